// What receive and transmit queues of direct verbs have in common: the block, the completion queue in it, and the
// private arrays, which are there from attach() to drain(). The objects themselves are the device's (device.ts):
//
//   objects created → attach() → run()
//   halt() → quiesce → objects destroyed → drain()
import type { DvCq } from "../../src/bus/rdma/types.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { DriverContext } from "../../src/ethdev/driver.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { Queue, QueueKind } from "../../src/hot/layout.ts";
import { RING_SIZE_MAX } from "../../src/limits.ts";
import { Mlx5Queue } from "./layout.ts";

/** What a queue needs of its driver's context. */
export type QueueContext = Pick<DriverContext, "arena" | "private" | "dma" | "pool">;

export interface QueueOptions {
  readonly context: QueueContext;
  /** `rx queue 0 of net_rdma0`, for messages. */
  readonly name: string;
  readonly index: number;
  /** Descriptors asked for: a power of two from 8 on. */
  readonly size: number;
}

/** A 32-bit value with its bytes in the opposite order. */
export function swapped(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}

export class Mlx5QueueBase {
  readonly block: QueueBlock;
  readonly size: number;
  protected readonly context: QueueContext;
  protected readonly name: string;
  /** Arena offset of the private arrays, and where they end; 0 while nothing is attached. */
  protected arrays = 0;
  protected arraysBytes = 0;

  /** Error: RING_SIZE. */
  constructor({ context, name, index, size }: QueueOptions) {
    if (!Number.isInteger(Math.log2(size)) || size < 8 || size > RING_SIZE_MAX) {
      const message = `${name}: ${size} descriptors are not a power of two from 8 to ${RING_SIZE_MAX}`;
      throw new PollmodeError("RING_SIZE", message, "choose 1024");
    }
    this.context = context;
    this.name = name;
    this.size = size;
    this.block = new QueueBlock(context.private, `block of ${name}`, 0, index);
  }

  /** Lets the owning lcore work on it. */
  run(): void {
    this.block.run(QueueKind.MLX5);
  }

  halt(): void {
    this.block.halt();
  }

  /** The packets that the queue holds, by their first mbuf. The queue is halted and no lcore is in it. */
  held(): number[] {
    return [];
  }

  /** Gives the mbufs back to the pool. The NIC no longer works on them: its objects are destroyed. */
  drain(): void {
    if (this.arrays === 0) return;
    this.context.pool.give(this.held());
    this.context.private.free(this.arrays);
    this.arrays = 0;
  }

  free(): void {
    this.drain();
    this.block.free();
  }

  /** Makes the private arrays anew, and sets all of the driver's words to 0. */
  protected lay(bytes: number): void {
    this.drain();
    for (let word: number = Queue.DRIVER; word < Queue.CAPTURE; word += 4) this.block.set(word, 0);
    this.arrays = this.context.private.allocate(`shadow of ${this.name}`, bytes);
    this.arraysBytes = bytes;
  }

  /** Writes down where the rings are; `ring`: the work queue's address, entries and doorbell record. */
  protected describe(
    cq: DvCq,
    ring: { buffer: bigint; entries: number; record: bigint },
    lkey: number,
  ): void {
    const { block, context } = this;
    block.set(Mlx5Queue.CQ, this.offsetOf("completion queue", cq.buffer, cq.entries * cq.cqeBytes));
    block.set(Mlx5Queue.CQ_MASK, this.powerOfTwo("completion queue", cq.entries) - 1);
    block.set(Mlx5Queue.CQ_SHIFT, Math.log2(cq.entries));
    block.set(Mlx5Queue.CQ_RECORD, this.offsetOf("completion queue's doorbell record", cq.doorbell, 4));
    block.set(Mlx5Queue.RING, this.offsetOf("work queue", ring.buffer, 1));
    block.set(Mlx5Queue.MASK, this.powerOfTwo("work queue", ring.entries) - 1);
    block.set(Mlx5Queue.RECORD, this.offsetOf("work queue's doorbell record", ring.record, 4));
    block.set(Mlx5Queue.LKEY, swapped(lkey));
    block.set(Mlx5Queue.BASE_LOW, Number(context.arena.address & 0xffff_ffffn));
    block.set(Mlx5Queue.BASE_HIGH, Number(context.arena.address >> 32n));
  }

  /** `size`, which hot code takes a mask of. Error: RING_SIZE. */
  protected powerOfTwo(what: string, size: number): number {
    if (Number.isInteger(Math.log2(size)) && size <= 1 << 22) return size;
    const message = `${this.name}: libmlx5 made a ${what} of ${size} entries, which is no power of two`;
    throw new PollmodeError("RING_SIZE", message, "ask for a power of two of descriptors");
  }

  /** Error: RING_SIZE. */
  protected demand(holds: boolean, message: string, fix: string): void {
    if (!holds) throw new PollmodeError("RING_SIZE", `${this.name}: ${message}`, fix);
  }

  /** Arena offset of what libmlx5 has at an address of the process. Error: RING_PLACE. */
  private offsetOf(what: string, address: bigint, bytes: number): number {
    const { arena } = this.context;
    const offset = Number(address - arena.address);
    if (address >= arena.address && offset + bytes <= arena.bytes) return offset;
    const message = `${this.name}: its ${what} lies outside the arena, where the poll loop cannot reach it`;
    throw new PollmodeError("RING_PLACE", message, "use mode=ibv: this libmlx5 allocates rings its own way");
  }
}
