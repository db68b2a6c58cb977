// A model of a virtio device: the far side of a virtqueue, written from VIRTIO 1.2 (2.7 split, 2.8 packed) over the
// arena and independent of the driver under test. It checks what a driver must keep to as it goes.
import type { Arena } from "../../src/memory/arena.ts";

const NEXT = 1;
const WRITE = 2;
/** The device's own view of the addresses that it was given: arena offset + 2^32. */
const IOVA_HIGH = 1;

export interface Piece {
  at: number;
  bytes: number;
  writable: boolean;
}

/** A descriptor chain as the device took it. */
export interface Chain {
  /** Split: its head's number. Packed: its buffer id. */
  id: number;
  /** Descriptors in the ring. */
  span: number;
  pieces: Piece[];
}

export interface Use {
  chain: Chain;
  /** Bytes that the device wrote. */
  bytes: number;
}

export interface DeviceRing {
  /** The next chain that the driver has made available. */
  pop(): Chain | undefined;
  /** Gives chains back, in this order. `batch`: as one, where IN_ORDER allows it. */
  complete(uses: readonly Use[], batch?: boolean): void;
  wantKicks(on: boolean): void;
}

export interface RingAddresses {
  desc: bigint;
  avail: bigint;
  used: bigint;
}

/** What a driver did that the specification forbids. */
export class DriverFault extends Error {}

const offsetOf = (address: bigint) => Number(address & 0xffffffffn);

abstract class Ring {
  protected readonly view: DataView;
  protected readonly size: number;
  protected readonly desc: number;
  protected readonly avail: number;
  protected readonly used: number;
  private readonly bytes: number;

  constructor(arena: Arena, addresses: RingAddresses, size: number) {
    this.view = new DataView(arena.memory.buffer);
    this.bytes = arena.bytes;
    this.size = size;
    this.desc = offsetOf(addresses.desc);
    this.avail = offsetOf(addresses.avail);
    this.used = offsetOf(addresses.used);
  }

  protected u16(p: number): number {
    return this.view.getUint16(p, true);
  }
  protected u32(p: number): number {
    return this.view.getUint32(p, true);
  }
  protected put16(p: number, value: number): void {
    this.view.setUint16(p, value & 0xffff, true);
  }
  protected put32(p: number, value: number): void {
    this.view.setUint32(p, value, true);
  }

  protected piece(desc: number, flags: number): Piece {
    const at = this.u32(desc);
    const bytes = this.u32(desc + 8);
    if (this.u32(desc + 4) !== IOVA_HIGH || at + bytes > this.bytes) throw new DriverFault(`address ${at}`);
    if (bytes === 0) throw new DriverFault("a descriptor without bytes");
    return { at, bytes, writable: (flags & WRITE) !== 0 };
  }
}

/** VIRTIO 1.2, 2.7. */
export class SplitDeviceRing extends Ring implements DeviceRing {
  private taken: number;
  private given: number;

  constructor(arena: Arena, addresses: RingAddresses, size: number, start = 0) {
    super(arena, addresses, size);
    this.taken = start & 0xffff;
    this.given = start & 0xffff;
  }

  pop(): Chain | undefined {
    const ready = (this.u16(this.avail + 2) - this.taken) & 0xffff;
    if (ready > this.size) throw new DriverFault(`avail.idx is ${ready} ahead`);
    if (ready === 0) return undefined;
    const id = this.u16(this.avail + 4 + 2 * (this.taken % this.size));
    this.taken = (this.taken + 1) & 0xffff;
    const pieces: Piece[] = [];
    for (let index = id; ; ) {
      if (index >= this.size || pieces.length === this.size) throw new DriverFault(`chain at ${index}`);
      const at = this.desc + 16 * index;
      const flags = this.u16(at + 12);
      pieces.push(this.piece(at, flags));
      if ((flags & NEXT) === 0) return { id, span: pieces.length, pieces };
      index = this.u16(at + 14);
    }
  }

  complete(uses: readonly Use[], batch = false): void {
    uses.forEach(({ chain, bytes }, k) => {
      // 2.7.9: a batch is one used entry, the last buffer's; the index moves on by the whole batch
      const at = this.used + 4 + 8 * (((this.given + (batch ? 0 : k)) & 0xffff) % this.size);
      if (batch && k + 1 < uses.length) return;
      this.put32(at, chain.id);
      this.put32(at + 4, bytes);
    });
    this.given = (this.given + uses.length) & 0xffff;
    this.put16(this.used + 2, this.given);
  }

  wantKicks(on: boolean): void {
    this.put16(this.used, on ? 0 : 1);
  }
}

/** VIRTIO 1.2, 2.8. */
export class PackedDeviceRing extends Ring implements DeviceRing {
  private taken = 0;
  private takenWrap = 1;
  private given = 0;
  private givenWrap = 1;

  pop(): Chain | undefined {
    const pieces: Piece[] = [];
    let slot = this.taken;
    let wrap = this.takenWrap;
    for (;;) {
      const at = this.desc + 16 * slot;
      const flags = this.u16(at + 14);
      if (pieces.length === 0 && (((flags >>> 7) & 1) !== wrap || ((flags >>> 15) & 1) === wrap))
        return undefined;
      if (pieces.length === this.size) throw new DriverFault("a chain longer than the ring");
      pieces.push(this.piece(at, flags));
      if (++slot === this.size) {
        slot = 0;
        wrap ^= 1;
      }
      if ((flags & NEXT) !== 0) continue;
      this.taken = slot;
      this.takenWrap = wrap;
      return { id: this.u16(at + 12), span: pieces.length, pieces };
    }
  }

  complete(uses: readonly Use[], batch = false): void {
    const writes: [at: number, flags: number][] = [];
    uses.forEach(({ chain, bytes }, k) => {
      // 2.8: in order, one used descriptor may stand for a batch: at the batch's first slot, with the last one's id
      if (!batch || k === 0) {
        const last = batch ? uses[uses.length - 1]! : { chain, bytes };
        const at = this.desc + 16 * this.given;
        this.put32(at + 8, last.bytes);
        this.put16(at + 12, last.chain.id);
        writes.push([at + 14, (this.givenWrap ? 0x8080 : 0) | (chain.pieces[0]!.writable ? WRITE : 0)]);
      }
      this.given += chain.span;
      if (this.given >= this.size) {
        this.given -= this.size;
        this.givenWrap ^= 1;
      }
    });
    for (const [at, flags] of writes.reverse()) this.put16(at, flags); // the first one last, as it shows them all
  }

  wantKicks(on: boolean): void {
    this.put16(this.used + 2, on ? 0 : 1);
  }
}

const HEADER_BYTES = 12;

/** Writes `bytes` into a chain's writable pieces, from its start. */
function fill(arena: Arena, chain: Chain, bytes: Uint8Array): void {
  let from = 0;
  for (const { at, bytes: room, writable } of chain.pieces) {
    if (!writable) throw new DriverFault("a receive buffer that the device may not write");
    arena.u8.set(bytes.subarray(from, from + room), at);
    from += room;
  }
}

const capacity = (chain: Chain) => chain.pieces.reduce((sum, { bytes }) => sum + bytes, 0);

/** A network device's receive queue: puts frames into buffers that the driver offered. */
export class ReceiveSide {
  readonly ring: DeviceRing;
  private readonly arena: Arena;
  private readonly mergeable: boolean;
  private readonly spare: Chain[] = [];

  constructor(arena: Arena, ring: DeviceRing, mergeable: boolean) {
    this.arena = arena;
    this.ring = ring;
    this.mergeable = mergeable;
  }

  /** Chains that the driver has made available and that carry nothing yet. */
  buffers(): number {
    for (let chain = this.ring.pop(); chain; chain = this.ring.pop()) this.spare.push(chain);
    return this.spare.length;
  }

  /**
   * Writes a frame (5.1.6.4): into one buffer, or with MRG_RXBUF into as many as it takes. Returns what to complete;
   * undefined if the driver offered too little. `pick` draws buffers in another order than the ring's.
   */
  write(frame: Uint8Array, pick: (spare: number) => number = () => 0): Use[] | undefined {
    const packet = new Uint8Array(HEADER_BYTES + frame.length);
    packet.set(frame, HEADER_BYTES);
    const uses: Use[] = [];
    for (let from = 0; from < packet.length; ) {
      this.buffers();
      const [chain] = this.spare.splice(pick(this.spare.length), 1);
      const room = chain ? capacity(chain) : 0;
      if (!chain || (!this.mergeable && room < packet.length)) {
        this.spare.unshift(...uses.map((use) => use.chain));
        return undefined;
      }
      uses.push({ chain, bytes: Math.min(room, packet.length - from) });
      from += room;
    }
    packet[10] = this.mergeable ? uses.length & 255 : 0;
    packet[11] = this.mergeable ? uses.length >>> 8 : 0;
    let from = 0;
    for (const { chain, bytes } of uses) {
      fill(this.arena, chain, packet.subarray(from, from + bytes));
      from += bytes;
    }
    return uses;
  }

  /** Writes and completes; false if there was no room. */
  deliver(frame: Uint8Array): boolean {
    const uses = this.write(frame);
    if (uses) this.ring.complete(uses);
    return uses !== undefined;
  }
}

/** A network device's transmit queue: takes what the driver sends. */
export class TransmitSide {
  readonly ring: DeviceRing;
  private readonly arena: Arena;

  constructor(arena: Arena, ring: DeviceRing) {
    this.arena = arena;
    this.ring = ring;
  }

  /** The next packet and its chain, not completed yet. */
  take(): { chain: Chain; frame: Buffer } | undefined {
    const chain = this.ring.pop();
    if (!chain) return undefined;
    if (chain.pieces.some(({ writable }) => writable)) throw new DriverFault("a writable transmit buffer");
    const bytes = Buffer.concat(chain.pieces.map(({ at, bytes }) => this.arena.u8.slice(at, at + bytes)));
    if (bytes.length < HEADER_BYTES) throw new DriverFault("no virtio_net_hdr");
    // num_buffers, the last two bytes, means nothing on transmit and may be what was received
    if (bytes.subarray(0, HEADER_BYTES - 2).some((byte) => byte !== 0))
      throw new DriverFault("a header that asks");
    return { chain, frame: bytes.subarray(HEADER_BYTES) };
  }

  /** All that the driver has sent, not completed yet. */
  takeAll(): { chain: Chain; frame: Buffer }[] {
    const taken = [];
    for (let one = this.take(); one; one = this.take()) taken.push(one);
    return taken;
  }
}

export function makeDeviceRing(
  arena: Arena,
  addresses: RingAddresses,
  size: number,
  packed: boolean,
): DeviceRing {
  return packed ? new PackedDeviceRing(arena, addresses, size) : new SplitDeviceRing(arena, addresses, size);
}
