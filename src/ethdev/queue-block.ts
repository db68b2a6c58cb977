// A queue block seen from control code: made, read, run and halted.
import { Queue, type QueueKind } from "../hot/layout.ts";
import type { Arena } from "../memory/arena.ts";
import type { Zone } from "../memory/zone.ts";
import { type QueueFault, queueFault } from "./queue-errors.ts";

export interface QueueStats {
  readonly packets: number;
  readonly bytes: number;
  /** Dropped for their own fault: runts, frames that fit no buffer. */
  readonly errors: number;
  /** Receive: times no mbuf was to be had. Transmit: packets that were refused. */
  readonly stalled: number;
}

export class QueueBlock {
  readonly offset: number;
  private readonly arena: Arena;
  private readonly zone: Zone;
  /** The fault that was already reported. */
  private reported = 0;

  constructor(zone: Zone, what: string, port: number, index: number) {
    this.zone = zone;
    this.arena = zone.arena;
    this.offset = zone.allocate(what, Queue.BLOCK_BYTES);
    this.set(Queue.PORT, port);
    this.set(Queue.ORIGIN, (0x10000 | port) >>> 0);
    this.set(Queue.INDEX, index);
  }

  get(word: number): number {
    return this.arena.u32[(this.offset + word) >>> 2]!;
  }

  set(word: number, value: number): void {
    this.arena.u32[(this.offset + word) >>> 2] = value;
  }

  /** Lets the owning lcore work on the queue; clears an earlier error. */
  run(kind: QueueKind): void {
    this.set(0, kind);
    this.set(Queue.ERROR, 0);
    this.reported = 0;
    Atomics.store(this.arena.u32, (this.offset + Queue.RUN) >>> 2, 1);
  }

  /** Keeps the lcore out from its next burst on; the caller then waits for it (quiesce). */
  halt(): void {
    Atomics.store(this.arena.u32, (this.offset + Queue.RUN) >>> 2, 0);
  }

  get running(): boolean {
    return this.get(Queue.RUN) === 1;
  }

  get fault(): QueueFault | undefined {
    return queueFault(this.get(Queue.ERROR), this.get(Queue.ERROR_ARG));
  }

  /** The fault, the first time that it is asked for. */
  takeNewFault(): QueueFault | undefined {
    const code = this.get(Queue.ERROR);
    if (code === this.reported) return undefined;
    this.reported = code;
    return this.fault;
  }

  stats(): QueueStats {
    const counter = (word: number) => this.arena.f64[(this.offset + word) >>> 3]!;
    return {
      packets: counter(Queue.PACKETS),
      bytes: counter(Queue.BYTES),
      errors: counter(Queue.ERRORS),
      stalled: counter(Queue.STALLED),
    };
  }

  clearStats(): void {
    this.arena.f64.fill(0, (this.offset + Queue.PACKETS) >>> 3, (this.offset + Queue.DRIVER) >>> 3);
  }

  free(): void {
    this.zone.free(this.offset);
  }
}
