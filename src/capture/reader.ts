// The reading end of a capture's rings, in whatever process: whole pcapng blocks out of them, ordered by their stamps.
import { PollmodeError } from "../errors.ts";
import { Block } from "../pcap/format.ts";
import { Epb, Ring } from "./layout.ts";
import { type RingPlan, readCounters, ringsAt } from "./taps.ts";

/** A memory that holds the rings, from byte `base` on: an arena, or a mapping of the capture's memfd. */
export interface RingMemory {
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;
  readonly base: number;
}

export interface ReadLimits {
  readonly packets: number;
  /** No block is begun when there are so many bytes already. */
  readonly bytes: number;
}

/** A ring that has something to read. */
interface Source {
  /** Byte of the memory where the ring begins, and its header. */
  readonly ring: number;
  readonly header: number;
  at: number;
  readonly tail: number;
  /** Of the block at `at`: ns since the reader's first packet's 4 seconds. */
  stamp: number;
  bytes: number;
}

const TWO_32 = 4294967296;

export class RingReader {
  private readonly memory: RingMemory;
  private readonly plan: RingPlan;
  private highBase: number | undefined;

  constructor(memory: RingMemory, plan: RingPlan) {
    this.memory = memory;
    this.plan = plan;
  }

  get counters(): { seen: number; accepted: number; dropped: number } {
    return readCounters(this.memory.f64, this.memory.base, this.plan.slots);
  }

  get pending(): boolean {
    const { base, u32 } = this.memory;
    for (let k = 0; k < this.plan.slots; k++) {
      const header = (base + k * Ring.BYTES) >>> 2;
      if (Atomics.load(u32, header + (Ring.TAIL >>> 2)) !== u32[header + (Ring.HEAD >>> 2)]) return true;
    }
    return false;
  }

  /**
   * Moves packets' blocks into `into`, as many as there are, fit and are allowed. Packets that are in the rings at once
   * come out in the order of their stamps. `into` must have room for a longest packet behind `limits.bytes`.
   */
  read(into: Uint8Array, limits: ReadLimits): { bytes: number; packets: number } {
    const sources = this.sources();
    let bytes = 0;
    let packets = 0;
    while (sources.length > 0 && packets < limits.packets && bytes < limits.bytes) {
      const [source, until] = earliest(sources);
      // one after the other as long as no other ring's turn comes: copied in one piece
      const start = this.placeOf(source);
      let length = 0;
      let more = true;
      while (more && source.stamp <= until && packets < limits.packets && bytes + length < limits.bytes) {
        length += source.bytes;
        packets++;
        more = this.advance(source, source.bytes);
        if (more && this.placeOf(source) !== start + length) break;
      }
      into.set(this.memory.u8.subarray(start, start + length), bytes);
      bytes += length;
      Atomics.store(this.memory.u32, (source.header + Ring.HEAD) >>> 2, source.at);
      if (!more) sources.splice(sources.indexOf(source), 1);
    }
    return { bytes, packets };
  }

  /** Byte of the memory where the source's next block lies. */
  private placeOf({ ring, at }: Source): number {
    return ring + (at & (this.plan.ringBytes - 1));
  }

  private sources(): Source[] {
    const { base, u32 } = this.memory;
    const found: Source[] = [];
    for (let k = 0; k < this.plan.slots; k++) {
      const header = base + k * Ring.BYTES;
      const tail = Atomics.load(u32, (header + Ring.TAIL) >>> 2);
      const at = u32[(header + Ring.HEAD) >>> 2]!;
      if (at === tail) continue;
      const ring = base + ringsAt(this.plan) + k * this.plan.ringBytes;
      const source: Source = { ring, header, at, tail, stamp: 0, bytes: 0 };
      if (this.advance(source, 0)) found.push(source);
    }
    return found;
  }

  /** Goes on by `bytes` and looks at the block there. False: there is none. */
  private advance(source: Source, bytes: number): boolean {
    const { u32 } = this.memory;
    const { ringBytes } = this.plan;
    source.at = (source.at + bytes) >>> 0;
    for (;;) {
      const left = (source.tail - source.at) >>> 0;
      if (left === 0) return false;
      const offset = source.at & (ringBytes - 1);
      const word = (source.ring + offset) >>> 2;
      if (u32[word] === 0) {
        source.at = (source.at + ringBytes - offset) >>> 0;
        continue;
      }
      const length = u32[word + (Epb.LENGTH >>> 2)]!;
      const fits = length >= Epb.DATA && length <= left && length <= ringBytes - offset;
      if (u32[word] !== Block.ENHANCED_PACKET || !fits || left > ringBytes) {
        const message = `capture ring: no packet at ${source.at}, ${left} bytes before its end`;
        throw new PollmodeError("CAPTURE_RING", message, "start the capture again");
      }
      const high = u32[word + (Epb.STAMP_HIGH >>> 2)]!;
      this.highBase ??= high;
      source.bytes = length;
      source.stamp = (high - this.highBase) * TWO_32 + u32[word + (Epb.STAMP_LOW >>> 2)]!;
      return true;
    }
  }
}

/** The source whose turn it is, and the stamp up to which it is. */
function earliest(sources: readonly Source[]): [source: Source, until: number] {
  let first = sources[0]!;
  let until = Number.POSITIVE_INFINITY;
  for (const source of sources.slice(1)) {
    if (source.stamp < first.stamp) {
      until = Math.min(until, first.stamp);
      first = source;
    } else until = Math.min(until, source.stamp);
  }
  return [first, until];
}
