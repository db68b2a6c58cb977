// A model of a guest's network driver: the near side of virtqueues in its own memory, written from VIRTIO 1.2 (2.7,
// 2.8, 5.1.6) and independent of the vhost backend under test. It checks what a device must keep to as it goes.
import { Region } from "../../pmd/vhost/layout.ts";
import type { Rig } from "./engines.ts";
import type { Random } from "./random.ts";

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const HEADER_BYTES = 12;
const TABLE_ENTRIES_MAX = 40;

export class DeviceFault extends Error {}

interface GuestRegion {
  base: bigint;
  bytes: number;
  /** Arena offset. */
  offset: number;
}

/** Guest memory in several regions, and the table by which the backend translates. */
export class GuestMemory {
  readonly regions: GuestRegion[];
  /** Arena offset of the backend's region table. */
  readonly table: number;
  /** Pages before, between and behind the regions in the arena, which nobody owns. */
  readonly gaps: readonly { start: number; bytes: number }[];
  private readonly next: number[];
  private readonly floor: number[];

  constructor(rig: Rig, sizes: readonly number[] = [0x80000, 0x80000]) {
    // guests have memory below 4 GiB and above it
    const bases = [0x10000n, 0x1_0000_0000n, 0x2_ffff_0000n];
    const gaps = [rig.arena.reserve("gap", 4096, 4096)];
    this.regions = sizes.map((bytes, k) => {
      const { start } = rig.arena.reserve(`guest region ${k}`, bytes, 4096);
      gaps.push(rig.arena.reserve("gap", 4096, 4096));
      return { base: bases[k]!, bytes, offset: start };
    });
    this.gaps = gaps;
    this.next = sizes.map(() => 0);
    this.floor = sizes.map(() => 0);
    this.table = rig.private.allocate("region table", Region.BYTES + Region.MAX * Region.BYTES);
    rig.put(this.table, sizes.length);
    this.regions.forEach(({ base, bytes, offset }, k) => {
      const at = this.table + Region.BYTES + k * Region.BYTES;
      rig.put(at + Region.BASE_LOW, Number(base & 0xffffffffn));
      rig.put(at + Region.BASE_HIGH, Number(base >> 32n));
      rig.put(at + Region.SIZE, bytes);
      rig.put(at + Region.OFFSET, offset);
    });
  }

  /** Guest address of `bytes` in a region; what was handed out long ago is handed out again. */
  allocate(bytes: number, region: number, align = 1): bigint {
    const { base, bytes: size } = this.regions[region]!;
    let at = Math.ceil(this.next[region]! / align) * align;
    if (at + bytes > size) at = Math.ceil(this.floor[region]! / align) * align;
    if (at + bytes > size) throw new Error("guest memory is too small for the test");
    this.next[region] = at + bytes;
    return base + BigInt(at);
  }

  /** Keeps all that was handed out up to now. */
  keep(): void {
    this.next.forEach((next, k) => {
      this.floor[k] = next;
    });
  }

  offset(address: bigint): number {
    for (const { base, bytes, offset } of this.regions) {
      if (address >= base && address < base + BigInt(bytes)) return offset + Number(address - base);
    }
    throw new Error(`no guest memory at 0x${address.toString(16)}`);
  }
}

export interface GuestPiece {
  address: bigint;
  bytes: number;
  writable: boolean;
}

export interface Used {
  /** What `add` was given. */
  pieces: GuestPiece[];
  bytes: number;
}

/** One virtqueue as its driver sees it. `desc`, `avail`, `used` are arena offsets. */
export abstract class DriverRing {
  readonly size: number;
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  protected readonly view: DataView;
  protected readonly memory: GuestMemory;
  protected readonly chains = new Map<number, { pieces: GuestPiece[]; slots: number[] }>();
  /** Free descriptors, or ids: in no particular order, as in a ring that was long in use. */
  protected readonly free: number[] = [];
  private readonly order: number[];
  private readonly tables: bigint[];

  constructor(rig: Rig, memory: GuestMemory, size: number, random: Random) {
    this.view = new DataView(rig.arena.memory.buffer);
    this.memory = memory;
    this.size = size;
    const area = (bytes: number) => memory.offset(memory.allocate(bytes, 0, 16));
    this.desc = area(16 * size);
    this.avail = area(8 + 2 * size);
    this.used = area(8 + 8 * size);
    this.tables = Array.from({ length: size }, () => memory.allocate(16 * TABLE_ENTRIES_MAX, 0, 16));
    this.order = random.shuffle(Array.from({ length: size }, (_, k) => k));
    this.reset();
  }

  /** Begins anew: nothing is offered. */
  reset(): void {
    const areas: [number, number][] = [
      [this.desc, 16 * this.size],
      [this.avail, 8 + 2 * this.size],
      [this.used, 8 + 8 * this.size],
    ];
    for (const [at, bytes] of areas) for (let k = 0; k < bytes; k += 4) this.view.setUint32(at + k, 0, true);
    this.chains.clear();
    this.free.splice(0, this.free.length, ...this.order);
  }

  /** Arena offset of the indirect table that chain `k` may have. */
  tableOffset(k: number): number {
    return this.memory.offset(this.tables[k]!);
  }

  /** Offers a chain; false if there is no room for it. It is seen after `publish`. */
  abstract add(pieces: GuestPiece[], indirect: boolean): boolean;
  abstract publish(): void;
  /** What the device has used since the last call. */
  abstract reap(): Used[];
  abstract wantCalls(on: boolean): void;

  protected describe(at: number, { address, bytes }: GuestPiece): void {
    this.view.setBigUint64(at, address, true);
    this.view.setUint32(at + 8, bytes, true);
  }

  /** Writes an indirect table and returns the descriptor for it. `next`: split tables chain by index. */
  protected table(k: number, pieces: readonly GuestPiece[], next: boolean): GuestPiece {
    if (pieces.length > TABLE_ENTRIES_MAX) throw new Error("a chain too long for its table");
    const address = this.tables[k]!;
    pieces.forEach((piece, entry) => {
      const at = this.memory.offset(address) + 16 * entry;
      this.describe(at, piece);
      const more = next && entry + 1 < pieces.length;
      const flags = (piece.writable ? WRITE : 0) | (more ? NEXT : 0);
      this.view.setUint16(at + (next ? 12 : 14), flags, true);
      this.view.setUint16(at + (next ? 14 : 12), next ? entry + 1 : 0xbeef, true);
    });
    return { address, bytes: 16 * pieces.length, writable: false };
  }

  protected give(id: number, bytes: number): Used {
    const chain = this.chains.get(id);
    if (!chain) throw new DeviceFault(`the device used ${id}, which it does not have`);
    const room = chain.pieces.reduce((sum, piece) => sum + (piece.writable ? piece.bytes : 0), 0);
    if (bytes > room) throw new DeviceFault(`the device wrote ${bytes} of ${room} bytes`);
    this.chains.delete(id);
    this.free.unshift(...chain.slots);
    return { pieces: chain.pieces, bytes };
  }
}

/** VIRTIO 1.2, 2.7. */
export class SplitDriverRing extends DriverRing {
  private offered = 0;
  private reaped = 0;

  override reset(): void {
    super.reset();
    this.offered = 0;
    this.reaped = 0;
  }

  add(pieces: GuestPiece[], indirect: boolean): boolean {
    if (this.free.length < (indirect ? 1 : pieces.length)) return false;
    const head = this.free[this.free.length - 1]!;
    const list = indirect ? [this.table(head, pieces, true)] : pieces;
    const slots = list.map(() => this.free.pop()!);
    list.forEach((piece, k) => {
      const at = this.desc + 16 * slots[k]!;
      this.describe(at, piece);
      const flags =
        (piece.writable ? WRITE : 0) | (indirect ? INDIRECT : 0) | (k + 1 < list.length ? NEXT : 0);
      this.view.setUint16(at + 12, flags, true);
      this.view.setUint16(at + 14, slots[k + 1] ?? 0, true);
    });
    this.chains.set(head, { pieces, slots });
    this.view.setUint16(this.avail + 4 + 2 * (this.offered % this.size), head, true);
    this.offered = (this.offered + 1) & 0xffff;
    return true;
  }

  publish(): void {
    this.view.setUint16(this.avail + 2, this.offered, true);
  }

  reap(): Used[] {
    const list: Used[] = [];
    while (this.reaped !== this.view.getUint16(this.used + 2, true)) {
      const at = this.used + 4 + 8 * (this.reaped % this.size);
      list.push(this.give(this.view.getUint32(at, true), this.view.getUint32(at + 4, true)));
      this.reaped = (this.reaped + 1) & 0xffff;
    }
    return list;
  }

  wantCalls(on: boolean): void {
    this.view.setUint16(this.avail, on ? 0 : 1, true);
  }
}

/** VIRTIO 1.2, 2.8. */
export class PackedDriverRing extends DriverRing {
  private slot = 0;
  private wrap = 1;
  private room = this.size;
  private reaped = 0;
  private reapedWrap = 1;
  /** Flags of first descriptors, by address, that `publish` writes. */
  private heads: [at: number, flags: number][] = [];

  override reset(): void {
    super.reset();
    this.slot = 0;
    this.wrap = 1;
    this.room = this.size;
    this.reaped = 0;
    this.reapedWrap = 1;
    this.heads = [];
  }

  add(pieces: GuestPiece[], indirect: boolean): boolean {
    const [id] = this.free;
    if (id === undefined || this.room < (indirect ? 1 : pieces.length)) return false;
    this.free.shift();
    const list = indirect ? [this.table(id, pieces, false)] : pieces;
    list.forEach((piece, k) => {
      const at = this.desc + 16 * this.slot;
      this.describe(at, piece);
      const last = k + 1 === list.length;
      const kind = (piece.writable ? WRITE : 0) | (indirect ? INDIRECT : 0) | (last ? 0 : NEXT);
      const flags = kind | (this.wrap ? 0x80 : 0x8000);
      this.view.setUint16(at + 12, last ? id : 0xdead, true); // 2.8.6: only the last one's id counts
      if (k === 0) this.heads.push([at + 14, flags]);
      else this.view.setUint16(at + 14, flags, true);
      if (++this.slot === this.size) {
        this.slot = 0;
        this.wrap ^= 1;
      }
    });
    this.room -= list.length;
    this.chains.set(id, { pieces, slots: Array(list.length).fill(id) });
    return true;
  }

  publish(): void {
    for (const [at, flags] of this.heads.reverse()) this.view.setUint16(at, flags, true);
    this.heads = [];
  }

  reap(): Used[] {
    const list: Used[] = [];
    for (;;) {
      const at = this.desc + 16 * this.reaped;
      const flags = this.view.getUint16(at + 14, true);
      if (((flags >>> 7) & 1) !== this.reapedWrap || ((flags >>> 15) & 1) !== this.reapedWrap) return list;
      const id = this.view.getUint16(at + 12, true);
      const span = this.chains.get(id)?.slots.length ?? 0;
      if (this.chains.has(id)) this.chains.get(id)!.slots = [id];
      list.push(this.give(id, this.view.getUint32(at + 8, true)));
      this.room += span;
      this.reaped += span;
      if (this.reaped >= this.size) {
        this.reaped -= this.size;
        this.reapedWrap ^= 1;
      }
    }
  }

  wantCalls(on: boolean): void {
    this.view.setUint16(this.avail + 2, on ? 0 : 1, true);
  }
}

/** How a guest lays out what it offers. */
export interface Layout {
  indirect: boolean;
  /** A descriptor for the virtio_net_hdr alone. */
  headerApart: boolean;
  /** Pieces that the rest is cut into. */
  pieces: number;
}

/** A guest's network interface: frames into a transmit ring, buffers into a receive ring. */
export class GuestNet {
  readonly tx: DriverRing;
  readonly rx: DriverRing;
  private readonly rig: Rig;
  private readonly memory: GuestMemory;
  private readonly random: Random;
  private waiting: Used[] = [];

  constructor(rig: Rig, memory: GuestMemory, size: number, packed: boolean, random: Random) {
    const make = () => {
      return packed
        ? new PackedDriverRing(rig, memory, size, random)
        : new SplitDriverRing(rig, memory, size, random);
    };
    this.rig = rig;
    this.memory = memory;
    this.random = random;
    this.tx = make();
    this.rx = make();
    memory.keep();
  }

  reset(): void {
    this.tx.reset();
    this.rx.reset();
    this.waiting = [];
  }

  /** Pieces of `bytes` in all, cut as the layout says, in all regions in turn. */
  cut(bytes: number, layout: Layout, writable: boolean): GuestPiece[] {
    const sizes: number[] = [];
    let rest = bytes;
    if (layout.headerApart && rest > HEADER_BYTES) {
      sizes.push(HEADER_BYTES);
      rest -= HEADER_BYTES;
    }
    for (let left = layout.pieces; left > 1 && rest > left; left--) {
      const size = this.random.between(1, rest - left + 1);
      // a receive buffer's header lies in one piece
      const least = writable && sizes.length === 0 ? Math.min(HEADER_BYTES, rest - left + 1) : 1;
      sizes.push(Math.max(size, least));
      rest -= Math.max(size, least);
    }
    sizes.push(rest);
    return sizes.map((size) => {
      const region = this.random.below(this.memory.regions.length);
      return { address: this.memory.allocate(size, region), bytes: size, writable };
    });
  }

  /** Puts a frame out; false if the ring is full. */
  send(frame: Uint8Array, layout: Layout): boolean {
    const packet = new Uint8Array(HEADER_BYTES + frame.length);
    packet.set(frame, HEADER_BYTES);
    const pieces = this.cut(packet.length, layout, false);
    let from = 0;
    for (const { address, bytes } of pieces) {
      this.rig.arena.u8.set(packet.subarray(from, from + bytes), this.memory.offset(address));
      from += bytes;
    }
    return this.tx.add(pieces, layout.indirect);
  }

  /** Offers a receive buffer of `bytes`, header included; false if the ring is full. */
  offer(bytes: number, layout: Layout): boolean {
    return this.rx.add(this.cut(bytes, layout, true), layout.indirect);
  }

  /** Frames that the device put into receive buffers. */
  received(mergeable: boolean): Buffer[] {
    this.waiting.push(...this.rx.reap());
    const frames: Buffer[] = [];
    while (this.waiting.length > 0) {
      const first = this.content(this.waiting[0]!);
      if (first.length < HEADER_BYTES) throw new DeviceFault("no virtio_net_hdr");
      const count = first.readUInt16LE(10);
      if (first.subarray(0, 10).some((byte) => byte !== 0)) throw new DeviceFault("a header that says more");
      if (count === 0 || (!mergeable && count !== 1)) throw new DeviceFault(`num_buffers ${count}`);
      if (count > this.waiting.length) throw new DeviceFault("a packet that was shown in part");
      const parts = this.waiting.splice(0, count).map((used) => this.content(used));
      frames.push(Buffer.concat(parts).subarray(HEADER_BYTES));
    }
    return frames;
  }

  private content({ pieces, bytes }: Used): Buffer {
    const all = pieces.map(({ address, bytes }) => {
      const at = this.memory.offset(address);
      return this.rig.arena.u8.slice(at, at + bytes);
    });
    return Buffer.concat(all).subarray(0, bytes);
  }
}
