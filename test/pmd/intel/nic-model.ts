// The ring engine of an Intel NIC, as its datasheets tell it (82574, 7.1 and 7.2; 82576, 7.1 and 7.2): takes transmit
// descriptors of both formats, computes what offloads ask for, reports; writes frames into receive buffers and their
// descriptors back. What a driver must not do throws DriverFault.
import type { Arena } from "../../../src/memory/arena.ts";
import type { Range } from "../../../src/memory/ranges.ts";

export class DriverFault extends Error {}

export type Format = "extended" | "advanced";

export interface RingPlace {
  arena: Arena;
  /** What the NIC may reach. */
  dma: Range;
  base: { low: number; high: number };
  size: number;
  /** Arena offset of the tail register. */
  tail: number;
}

function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new DriverFault(what);
}

class Ring {
  readonly arena: Arena;
  readonly size: number;
  /** RDH or TDH. */
  head = 0;
  private readonly place: RingPlace;
  private readonly at: number;

  constructor(place: RingPlace) {
    this.place = place;
    this.arena = place.arena;
    this.size = place.size;
    this.at = this.reach(place.base.low, place.base.high, 16 * place.size);
    demand(this.at % 128 === 0, "the ring's base is not a multiple of 128");
  }

  /** Arena offset of an address, behind which `bytes` may be reached. */
  reach(low: number, high: number, bytes: number): number {
    const { dma } = this.place;
    demand(high === 1, `address ${high}:${low} is none of the IOMMU's`);
    demand(
      low >= dma.start && low + bytes <= dma.start + dma.bytes,
      `address ${low} lies outside the DMA zone`,
    );
    return low;
  }

  get tail(): number {
    const tail = this.arena.u32[this.place.tail >>> 2]!;
    demand(tail < this.size, `the tail register says ${tail} in a ring of ${this.size}`);
    return tail;
  }

  /** Descriptors that the NIC holds. */
  get held(): number {
    return (this.tail - this.head + this.size) % this.size;
  }

  word(slot: number, word: number): number {
    return this.arena.u32[(this.at + 16 * (slot % this.size) + 4 * word) >>> 2]!;
  }

  put(slot: number, word: number, value: number): void {
    this.arena.u32[(this.at + 16 * (slot % this.size) + 4 * word) >>> 2] = value;
  }

  advance(count: number): void {
    this.head = (this.head + count) % this.size;
  }
}

/** Adds up big-endian 16-bit words, as RFC 1071 says; not inverted. */
export function sum16(bytes: Uint8Array): number {
  let sum = 0;
  for (let k = 0; k < bytes.length; k++) sum += bytes[k]! << (k % 2 === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

interface Context {
  words: readonly number[];
}

/** What is to be sent: the frame after its offloads, and the tag put in. */
export interface Sent {
  frame: Buffer;
  vlan: number | undefined;
}

export class TransmitModel {
  readonly ring: Ring;
  /** Context descriptors and reports asked for, counted. */
  contexts = 0;
  reports = 0;
  private readonly format: Format;
  private context: Context | undefined;
  /** Slots whose report was asked for and not given yet. */
  private readonly asked: number[] = [];

  constructor(place: RingPlace, format: Format) {
    this.ring = new Ring(place);
    this.format = format;
  }

  /** Takes up to `packets` packets, all by default; reports are kept until `report`. */
  take(packets = Number.POSITIVE_INFINITY): Sent[] {
    const sent: Sent[] = [];
    while (sent.length < packets && this.ring.held > 0) {
      if (this.isContext()) this.takeContext();
      else sent.push(this.takePacket());
    }
    return sent;
  }

  /** Gives the first `count` reports that were asked for. */
  report(count = this.asked.length): void {
    for (const slot of this.asked.splice(0, count)) this.ring.put(slot, 3, this.ring.word(slot, 3) | 1);
  }

  get unreported(): number {
    return this.asked.length;
  }

  /** Another queue of an 82574 has given a context of its own. */
  forgetContext(): void {
    this.context = undefined;
  }

  private type(): number {
    const command = this.ring.word(this.ring.head, 2);
    demand((command & (1 << 29)) !== 0, "a legacy descriptor");
    return (command >>> 20) & 15;
  }

  private isContext(): boolean {
    return this.type() === (this.format === "extended" ? 0 : 2);
  }

  private takeContext(): void {
    const { ring } = this;
    const words = [0, 1, 2, 3].map((word) => ring.word(ring.head, word));
    demand((words[2]! & (1 << 27)) === 0, "a context descriptor that asks for a report");
    this.context = { words };
    this.contexts++;
    ring.advance(1);
  }

  private takePacket(): Sent {
    const { ring } = this;
    const parts: Buffer[] = [];
    const options = ring.word(ring.head, 3);
    const asked: number[] = [];
    for (let slot = ring.head; ; ) {
      demand(ring.held > 0, "the tail cuts a packet");
      const command = ring.word(slot, 2);
      const status = ring.word(slot, 3);
      demand(this.type() === (this.format === "extended" ? 1 : 3), `a descriptor of type ${this.type()}`);
      demand((status & 1) === 0, "a descriptor that says DD");
      demand(status === options, "descriptors of one packet with different options");
      const length = command & (this.format === "extended" ? 0xfffff : 0xffff);
      demand(length > 0, "a descriptor without bytes");
      const at = ring.reach(ring.word(slot, 0), ring.word(slot, 1), length);
      parts.push(Buffer.from(ring.arena.u8.slice(at, at + length)));
      const last = (command & (1 << 24)) !== 0;
      if ((command & (1 << 27)) !== 0) {
        demand(last, "a report asked for within a packet");
        asked.push(slot);
      }
      ring.advance(1);
      slot = ring.head;
      if (!last) continue;
      demand((command & (1 << 25)) !== 0, "a packet without IFCS");
      this.reports += asked.length;
      this.asked.push(...asked);
      return this.finish(Buffer.concat(parts), command, options);
    }
  }

  private finish(frame: Buffer, command: number, options: number): Sent {
    demand(frame.length >= 17, `a frame of ${frame.length} bytes, which TCTL.PSP cannot pad`);
    demand(frame.length <= 9728, `a frame of ${frame.length} bytes`);
    const tagged = (command & (1 << 30)) !== 0;
    const extended = this.format === "extended";
    if (!extended) demand(options >>> 14 === frame.length, "PAYLEN is not the packet's length");
    const popts = (options >>> 8) & 3;
    if (popts !== 0) this.checksum(frame, popts);
    const tag = extended ? options >>> 16 : tagged ? this.contextWord(0) >>> 16 : 0;
    if (tagged && !extended) demand(((this.contextWord(0) >>> 9) & 127) >= 14, "no MACLEN");
    return { frame, vlan: tagged ? tag : undefined };
  }

  private contextWord(word: number): number {
    demand(this.context !== undefined, "an offload without a context");
    return this.context.words[word]!;
  }

  private checksum(frame: Buffer, popts: number): void {
    const [first, second, third] = [0, 1, 2].map((word) => this.contextWord(word)) as [
      number,
      number,
      number,
    ];
    if (this.format === "extended") {
      for (const [bit, word] of [
        [1, first],
        [2, second],
      ] as const) {
        if ((popts & bit) === 0) continue;
        const [start, offset, end] = [word & 255, (word >>> 8) & 255, word >>> 16];
        insert(
          frame,
          start,
          end === 0 ? frame.length : end + 1,
          offset,
          bit === 2 && (third & (1 << 24)) === 0,
        );
      }
      return;
    }
    const l2 = (first >>> 9) & 127;
    const l3 = first & 511;
    if ((popts & 1) !== 0) demand((third & (1 << 10)) !== 0, "IXSM without TUCMD.IPV4");
    if ((popts & 1) !== 0) insert(frame, l2, l2 + l3, l2 + 10, false);
    const tcp = ((third >>> 11) & 3) === 1;
    if ((popts & 2) !== 0) insert(frame, l2 + l3, frame.length, l2 + l3 + (tcp ? 16 : 6), !tcp);
  }
}

/** Puts the checksum of `start` … `end` to `offset`; what stands there counts, too. */
function insert(frame: Buffer, start: number, end: number, offset: number, udp: boolean): void {
  demand(start < end && end <= frame.length && offset + 2 <= frame.length, "a checksum beyond the frame");
  const sum = ~sum16(frame.subarray(start, end)) & 0xffff;
  frame.writeUInt16BE(udp && sum === 0 ? 0xffff : sum, offset);
}

/** What the NIC says of a received frame, beside its length. */
export interface Told {
  /** Status and error bits beside DD and EOP. */
  status?: number;
  vlan?: number;
  rss?: { type: number; hash: number };
}

/** A descriptor to be written back. */
export interface WriteBack {
  slot: number;
  words: [number, number, number, number];
}

export class ReceiveModel {
  readonly ring: Ring;
  private readonly room: number;

  constructor(place: RingPlace, room: number) {
    this.ring = new Ring(place);
    this.room = room;
  }

  /** Writes a frame into the next buffers; `complete` tells the driver. Undefined if there are not enough. */
  write(frame: Uint8Array, told: Told = {}): WriteBack[] | undefined {
    const ring = this.ring;
    const room = this.room;
    const pieces = Math.max(1, Math.ceil(frame.length / room));
    if (ring.held < pieces) return undefined;
    const backs: WriteBack[] = [];
    for (let k = 0; k < pieces; k++) {
      const slot = ring.head;
      const part = frame.subarray(k * room, (k + 1) * room);
      demand(ring.word(slot, 2) === 0 && ring.word(slot, 3) === 0, "a receive descriptor with an old status");
      const at = ring.reach(ring.word(slot, 0), ring.word(slot, 1), room);
      ring.arena.u8.set(part, at);
      const last = k === pieces - 1;
      const status = last ? (told.status ?? 0) | 3 : 1;
      const tag = last ? (told.vlan ?? 0) : 0;
      const { type, hash } = (last ? told.rss : undefined) ?? { type: 0, hash: 0 };
      backs.push({ slot, words: [type, hash, status >>> 0, (part.length | (tag << 16)) >>> 0] });
      ring.advance(1);
    }
    return backs;
  }

  complete(backs: readonly WriteBack[]): void {
    for (const { slot, words } of backs) {
      words.forEach((value, word) => {
        this.ring.put(slot, word, value);
      });
    }
  }

  /** Both at once; false if the ring has not enough buffers. */
  deliver(frame: Uint8Array, told?: Told): boolean {
    const backs = this.write(frame, told);
    if (backs) this.complete(backs);
    return backs !== undefined;
  }
}
