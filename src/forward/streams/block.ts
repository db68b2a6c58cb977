// A stream's block in the arena as control code fills it in, and memory of an lcore's streams: rings, templates,
// histograms. It lives until the lcore is given other streams.
import type { LcoreControl } from "../../lcore/lcores.ts";
import { PAGE_BYTES } from "../../limits.ts";
import type { Range } from "../../memory/ranges.ts";
import type { Zone } from "../../memory/zone.ts";

export class LcoreMemory {
  readonly zone: Zone;
  private readonly blocks: number[] = [];
  private readonly ranges: Range[] = [];
  /** FIFOs of packets, which must be given back: arena offsets of rings. */
  readonly fifos: number[] = [];

  constructor(zone: Zone) {
    this.zone = zone;
  }

  /** Arena offset of zeroed bytes. */
  allocate(what: string, bytes: number): number {
    const at = this.zone.allocate(what, bytes);
    this.blocks.push(at);
    return at;
  }

  /** The same for what is large: a part of the arena of its own. */
  reserve(what: string, bytes: number): number {
    const range = this.zone.arena.reserve(what, bytes, PAGE_BYTES);
    this.ranges.push(range);
    return range.start;
  }

  free(): void {
    for (const block of this.blocks.splice(0)) this.zone.free(block);
    for (const range of this.ranges.splice(0)) this.zone.arena.release(range);
    this.fifos.length = 0;
  }
}

/** One stream's block. */
export class StreamBlock {
  readonly lcore: LcoreControl;
  readonly memory: LcoreMemory;
  readonly at: number;
  /** Bytes of frame that an mbuf holds. */
  readonly dataRoom: number;

  constructor(lcore: LcoreControl, memory: LcoreMemory, at: number, dataRoom: number) {
    this.lcore = lcore;
    this.memory = memory;
    this.at = at;
    this.dataRoom = dataRoom;
  }

  set(word: number, value: number): void {
    this.memory.zone.arena.u32[(this.at + word) >>> 2] = value;
  }

  setFloat(word: number, value: number): void {
    this.memory.zone.arena.f64[(this.at + word) >>> 3] = value;
  }

  /** Keeps the bytes where hot code reads them; returns their arena offset. `room` bytes are set aside. */
  keep(what: string, bytes: Uint8Array, room = bytes.length): number {
    const at = this.memory.allocate(what, room);
    this.memory.zone.arena.u8.set(bytes, at);
    return at;
  }
}
