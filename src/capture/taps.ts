// Control's side of a capture: the rings' memory, and a tap on each queue of a port, also when it gets new queues.
//
// The rings lie in a memfd of their own, so that a capturing process maps it and reads packets without a word to this
// one: the main thread has nothing to do for a packet, however many there are, and a reader that hangs costs nothing
// but its packets. It is sealed: nobody can take the memory away under an lcore.
import { PollmodeError } from "../errors.ts";
import type { Port } from "../ethdev/port.ts";
import { Queue } from "../hot/layout.ts";
import {
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  MAP_SHARED,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
} from "../libc/abi.ts";
import { addSeals, close, ftruncate, memfdCreate, populateAsync } from "../libc/libc.ts";
import {
  CAPTURE_RING_BYTES_DEFAULT,
  CAPTURE_RING_BYTES_MAX,
  CAPTURE_RING_BYTES_MIN,
  MIB,
  PAGE_BYTES,
  PCAP_FRAME_BYTES_MAX,
} from "../limits.ts";
import { alignUp, type Range } from "../memory/ranges.ts";
import { availableBytes } from "../memory/system.ts";
import type { Zone } from "../memory/zone.ts";
import { type BpfProgram, checkProgram, encodeProgram } from "./bpf.ts";
import type { StampClock } from "./clock.ts";
import { Ring, Tap } from "./layout.ts";

/** `in`: what the port receives, `out`: what it sends. */
export type CaptureDirection = "in" | "out" | "both";

export interface TapOptions {
  /** Default: both. */
  readonly direction?: CaptureDirection | undefined;
  /** Only this queue, of each direction. Default: all, also those that the port gets later. */
  readonly queue?: number | undefined;
  /** Bytes kept of a packet; 0 and above 262144: 262144. */
  readonly snaplen?: number | undefined;
  /** Bytes of each queue's ring, a power of two. */
  readonly ringBytes?: number | undefined;
  readonly program?: BpfProgram | undefined;
}

/** Where rings lie in a memory: `slots` headers, then from a page's start on as many rings. */
export interface RingPlan {
  readonly slots: number;
  readonly ringBytes: number;
}

export function ringsAt({ slots }: RingPlan): number {
  return alignUp(slots * Ring.BYTES, PAGE_BYTES);
}
export function planBytes(plan: RingPlan): number {
  return ringsAt(plan) + plan.slots * plan.ringBytes;
}

/** What a capture needs of its engine. */
export interface TapContext {
  readonly zone: Zone;
  readonly clock: StampClock;
  quiesce(): Promise<void>;
}

interface Slot {
  readonly direction: "in" | "out";
  readonly queue: number;
  /** Arena offset of its Tap; 0 until the port has the queue. */
  tap: number;
}

export class PortTaps {
  readonly plan: RingPlan;
  readonly snaplen: number;
  /** The rings' memory. */
  readonly fd: number;
  /** Arena offset of the rings' headers. */
  readonly base: number;
  private readonly context: TapContext;
  private readonly port: Port;
  private readonly range: Range;
  private readonly slots: readonly Slot[];
  /** Arena offset of the filter's program; 0: none. */
  private readonly program: number;
  private readonly plug = () => this.plugAll();
  private readonly populating: Promise<void>[] = [];
  private closing: Promise<void> | undefined;

  /** Captures from now on. */
  constructor(context: TapContext, port: Port, options: TapOptions) {
    const { arena } = context.zone;
    this.context = context;
    this.port = port;
    const checked = checkTapOptions(port, options);
    this.slots = checked.slots;
    this.snaplen = checked.snaplen;
    this.plan = { slots: this.slots.length, ringBytes: checked.ringBytes };
    const bytes = planBytes(this.plan);
    this.range = arena.reserve(`capture of port ${port.id}`, bytes, PAGE_BYTES);
    this.base = this.range.start;
    let fd: number | undefined;
    try {
      fd = memfdCreate("pollmode-capture", MFD_CLOEXEC | MFD_ALLOW_SEALING);
      ftruncate(fd, bytes);
      addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
      arena.overlay(this.range, fd, 0, MAP_SHARED);
      this.program = this.placeProgram(options.program);
    } catch (error) {
      if (fd !== undefined) close(fd);
      arena.release(this.range);
      throw error;
    }
    this.fd = fd;
    context.clock.use();
    try {
      this.plugAll();
    } catch (error) {
      void this.close();
      throw error;
    }
    port.on("configured", this.plug);
  }

  private placeProgram(program: BpfProgram | undefined): number {
    if (program === undefined) return 0;
    const { zone } = this.context;
    const bytes = encodeProgram(program);
    const at = zone.allocate("capture filter", bytes.length);
    zone.arena.u8.set(bytes, at);
    return at;
  }

  /** Packets so far: seen on the queues, let pass by the filter, and of those missed because a ring was full. */
  get counters(): { seen: number; accepted: number; dropped: number } {
    const { f64 } = this.context.zone.arena;
    return readCounters(f64, this.base, this.plan.slots);
  }

  private blockOf({ direction, queue }: Slot): number | undefined {
    if (this.port.closed) return undefined;
    return direction === "in" ? this.port.rxQueues[queue] : this.port.txQueues[queue];
  }

  /** Puts a tap on each queue that the port has and that has none yet. */
  private plugAll(): void {
    const { u32 } = this.context.zone.arena;
    this.slots.forEach((slot, k) => {
      const block = this.blockOf(slot);
      if (block === undefined) return;
      slot.tap ||= this.makeTap(slot, k);
      const first = (block + Queue.CAPTURE) >>> 2;
      for (let t = u32[first]!; t !== 0; t = u32[(t + Tap.NEXT) >>> 2]!) if (t === slot.tap) return;
      u32[(slot.tap + Tap.NEXT) >>> 2] = u32[first]!;
      Atomics.store(u32, first, slot.tap);
    });
  }

  private makeTap({ direction, queue }: Slot, k: number): number {
    const { zone, clock } = this.context;
    const { u32 } = zone.arena;
    const { ringBytes } = this.plan;
    const available = availableBytes();
    if (ringBytes > available / 2) {
      const message = `a capture ring of ${ringBytes / MIB} MiB: ${Math.floor(available / MIB)} MiB are available`;
      throw new PollmodeError("OUT_OF_MEMORY", message, "ask for less with --ring-size, or free memory");
    }
    const ring = this.base + ringsAt(this.plan) + k * ringBytes;
    // so that no lcore waits for the kernel to find and clear a page; while it goes on, one may still have to
    this.populating.push(populateAsync(zone.arena.address + BigInt(ring), ringBytes));
    const tap = zone.allocate(`tap on ${direction} ${queue} of port ${this.port.id}`, Tap.BYTES);
    const words: [number, number][] = [
      [Tap.PROGRAM, this.program],
      [Tap.SNAPLEN, this.snaplen],
      [Tap.RING, ring],
      [Tap.MASK, ringBytes - 1],
      [Tap.HEADER, this.base + k * Ring.BYTES],
      [Tap.CLOCK, clock.word],
      [Tap.DIRECTION, direction === "in" ? 1 : 2],
      [Tap.QUEUE, queue],
    ];
    for (const [word, value] of words) u32[(tap + word) >>> 2] = value;
    return tap;
  }

  /** No packet is captured any more; what lies in the rings can still be read. */
  private unplug(): void {
    const { u32 } = this.context.zone.arena;
    this.port.off("configured", this.plug);
    for (const slot of this.slots) {
      const block = this.blockOf(slot);
      if (block === undefined || slot.tap === 0) continue;
      let link = (block + Queue.CAPTURE) >>> 2;
      while (u32[link] !== 0 && u32[link] !== slot.tap) link = (u32[link]! + Tap.NEXT) >>> 2;
      if (u32[link] === slot.tap) Atomics.store(u32, link, u32[(slot.tap + Tap.NEXT) >>> 2]!);
    }
  }

  /** Resolves when no lcore writes into the rings any more; they can be read until `close`. */
  async stop(): Promise<void> {
    this.unplug();
    await this.context.quiesce();
  }

  /** Stops, and gives the memory back. */
  close(): Promise<void> {
    this.closing ??= this.release();
    return this.closing;
  }

  private async release(): Promise<void> {
    const { zone, clock } = this.context;
    try {
      await this.stop();
    } catch {
      return; // an lcore hangs and may yet come back into the tap: the memory stays until the engine's end
    } finally {
      clock.release();
      close(this.fd);
    }
    await Promise.all(this.populating); // else it would bring pages into memory that is somebody else's
    for (const { tap } of this.slots) if (tap !== 0) zone.free(tap);
    if (this.program !== 0) zone.free(this.program);
    zone.arena.release(this.range);
  }
}

/** Sums up the counters of `slots` ring headers at `base`. */
export function readCounters(f64: Float64Array, base: number, slots: number) {
  const sum = (word: number) => {
    let total = 0;
    for (let k = 0; k < slots; k++) total += f64[(base + k * Ring.BYTES + word) >>> 3]!;
    return total;
  };
  return { seen: sum(Ring.SEEN), accepted: sum(Ring.ACCEPTED), dropped: sum(Ring.DROPPED) };
}

function checkTapOptions(
  port: Port,
  options: TapOptions,
): { slots: Slot[]; snaplen: number; ringBytes: number } {
  const where = `capture of port ${port.id} (${port.name})`;
  const fault = (what: string, fix: string) => new PollmodeError("CAPTURE_OPTION", `${where}: ${what}`, fix);
  if (port.closed)
    throw fault("the port is closed", "name a port that is open: `pollmode capture` lists them");
  const { direction = "both", queue, snaplen = 0, ringBytes = CAPTURE_RING_BYTES_DEFAULT, program } = options;
  if (!["in", "out", "both"].includes(direction)) {
    throw fault(`direction ${String(direction)}`, "it is in, out or both");
  }
  if (!Number.isInteger(snaplen) || snaplen < 0)
    throw fault(`snaplen ${snaplen}`, "give bytes, or 0 for all");
  const fits = ringBytes >= CAPTURE_RING_BYTES_MIN && ringBytes <= CAPTURE_RING_BYTES_MAX;
  if (!Number.isInteger(ringBytes) || !fits || (ringBytes & (ringBytes - 1)) !== 0) {
    const bounds = `${CAPTURE_RING_BYTES_MIN / MIB} to ${CAPTURE_RING_BYTES_MAX / MIB} MiB`;
    throw fault(`a ring of ${ringBytes} bytes`, `a ring has a power of two of bytes, ${bounds}`);
  }
  if (program !== undefined) checkProgram(program);
  const { rxQueuesMax, txQueuesMax } = port.info;
  const side = (way: "in" | "out", max: number): Slot[] =>
    direction !== "both" && direction !== way
      ? []
      : Array.from({ length: max }, (_, k) => ({ direction: way, queue: k, tap: 0 }));
  const all = [...side("in", rxQueuesMax), ...side("out", txQueuesMax)];
  const slots = queue === undefined ? all : all.filter((slot) => slot.queue === queue);
  if (slots.length === 0) {
    throw fault(`there is no queue ${queue}`, `queues are 0 to ${Math.max(rxQueuesMax, txQueuesMax) - 1}`);
  }
  return { slots, ringBytes, snaplen: Math.min(snaplen || PCAP_FRAME_BYTES_MAX, PCAP_FRAME_BYTES_MAX) };
}
