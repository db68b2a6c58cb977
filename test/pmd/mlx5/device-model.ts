// The rings of a ConnectX, as mlx5dv.h and the kernel's driver tell of them: completions, compressed ones too, and
// receive WQEs, which it scatters frames into. What a driver must not do throws DriverFault. It shares no code with the
// driver, nor with test/softmlx5. Its other half is transmit-model.ts.
import type { Arena } from "../../../src/memory/arena.ts";
import type { Range } from "../../../src/memory/ranges.ts";

export class DriverFault extends Error {}

export const LKEY = 0x00a1_b2c3;
export const QPN = 0x12_3456;

export function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new DriverFault(what);
}

/** What the device reaches. */
export interface Reach {
  readonly arena: Arena;
  readonly dma: Range;
}

/** `bytes` at the address of a data segment. */
export function reach({ arena, dma }: Reach, lkey: number, address: bigint, bytes: number): Buffer {
  const offset = Number(address - arena.address);
  demand(lkey === LKEY, `lkey ${lkey}`);
  demand(
    offset >= dma.start && offset + bytes <= dma.start + dma.bytes,
    `address ${address} is none of the MR's`,
  );
  return view(arena, offset, bytes);
}

export function view(arena: Arena, offset: number, bytes: number): Buffer {
  return Buffer.from(arena.memory.buffer as unknown as ArrayBuffer, offset, bytes);
}

export const OPCODE = { req: 0, send: 2, reqError: 13, respError: 14 };

export class CompletionModel {
  readonly entries: number;
  /** Running index of the entry that is written next. */
  producer: number;
  private readonly ring: Buffer;
  private readonly record: Buffer;

  constructor(arena: Arena, at: number, entries: number, record: number, start: number) {
    this.entries = entries;
    this.producer = start;
    this.ring = view(arena, at, 64 * entries);
    this.record = view(arena, record, 4);
    this.record.writeUInt32BE(start & 0xffffff);
    for (let k = 0; k < entries; k++) this.ring[64 * k + 63] = 0xf0;
    // the turn before left its marks: entries that nobody reset must not be taken for new ones
    if (start > 0) for (let k = 0; k < entries; k++) this.ring[64 * k + 63] = 0x20 | (~this.owner(start) & 1);
  }

  /** Entries that the driver has given back. */
  get free(): number {
    const used = (this.producer - this.record.readUInt32BE()) & 0xffffff;
    demand(used <= this.entries, `the consumer index is ${used} entries behind in a CQ of ${this.entries}`);
    return this.entries - used;
  }

  owner(index: number): number {
    return Math.floor(index / this.entries) & 1;
  }

  entry(index: number): Buffer {
    const at = 64 * (index % this.entries);
    return this.ring.subarray(at, at + 64);
  }

  /** An entry from its fields; op_own goes last. */
  put(fields: Buffer, opcode: number): void {
    demand(this.free > 0, "CQ overrun");
    const entry = this.entry(this.producer);
    fields.copy(entry, 0, 0, 63);
    entry[63] = (opcode << 4) | this.owner(this.producer);
    this.producer = (this.producer + 1) >>> 0;
  }

  fail(opcode: number, counter: number, syndrome: number): void {
    const fields = Buffer.alloc(64);
    fields[54] = 0x68;
    fields[55] = syndrome;
    fields.writeUInt16BE(counter & 0xffff, 60);
    this.put(fields, opcode);
  }

  /** A compressed session: the title's fields, and the minis, 8 bytes each. */
  session(title: Buffer, minis: readonly Buffer[]): void {
    const count = minis.length;
    demand(this.free >= count, "CQ overrun");
    const start = this.producer;
    for (let k = 0; k < count; k += 8) {
      const group = Buffer.alloc(64, 0x5a);
      for (const [j, mini] of minis.slice(k, k + 8).entries()) mini.copy(group, 8 * j);
      group.copy(this.entry((start + (k === 0 ? 1 : k)) >>> 0));
    }
    const entry = this.entry(start);
    title.copy(entry, 0, 0, 63);
    entry.writeUInt32BE(count, 44);
    entry[63] = (OPCODE.send << 4) | (3 << 2) | this.owner(start);
    this.producer = (start + count) >>> 0;
  }
}

/** What the device says of a received frame. */
export interface Told {
  /** hds_ip_ext and l4_hdr_type_etc. */
  hds?: number;
  types?: number;
  vlan?: number;
  hash?: number;
  hashType?: number;
}

export interface ReceivePlace extends Reach {
  cq: CompletionModel;
  ring: number;
  wqes: number;
  strideBytes: number;
  record: number;
  start: number;
  striding?: { strideBytes: number; strides: number };
}

function fieldsOf(told: Told, byteCount: number, counter: number, wqe: number): Buffer {
  const fields = Buffer.alloc(64);
  fields.writeUInt16BE(wqe & 0xffff, 2);
  fields.writeUInt32BE(told.hash ?? 0, 12);
  fields[16] = told.hashType ?? 0;
  fields[28] = told.hds ?? 1;
  fields[29] = told.types ?? 0;
  fields.writeUInt16BE(told.vlan ?? 0, 30);
  fields.writeUInt32BE(byteCount >>> 0, 44);
  fields.writeUInt32BE(0x00ff_ffff, 56);
  fields.writeUInt16BE(counter & 0xffff, 60);
  fields[62] = 0xc3; // the signature, which nobody asked for
  return fields;
}

export class ReceiveModel {
  readonly cq: CompletionModel;
  /** Running index of the oldest WQE, and strides of it that are used up. */
  head: number;
  private consumed = 0;
  private readonly place: ReceivePlace;

  constructor(place: ReceivePlace) {
    this.place = place;
    this.cq = place.cq;
    this.head = place.start;
    view(place.arena, place.record, 4).writeUInt32BE(place.start & 0xffff);
  }

  /** WQEs that the device holds. */
  get held(): number {
    const { arena, record, wqes } = this.place;
    const word = view(arena, record, 4).readUInt32BE();
    demand(word <= 0xffff, `the receive record says ${word}`);
    const held = (word - this.head) & 0xffff;
    demand(held <= wqes, `${held} WQEs in a ring of ${wqes}`);
    return held;
  }

  /** Delivers a frame; false if there is no WQE for it. */
  deliver(frame: Uint8Array, told: Told = {}): boolean {
    const stored = this.store(frame);
    if (!stored) return false;
    this.cq.put(fieldsOf(told, stored.byteCount, stored.counter, stored.wqe), OPCODE.send);
    return true;
  }

  /** Delivers frames as one compressed session. Returns how many there were WQEs, or strides of one WQE, for. */
  deliverCompressed(frames: readonly Uint8Array[], hash: boolean, told: readonly Told[] = []): number {
    const minis: Buffer[] = [];
    let title: Buffer | undefined;
    let first = -1;
    for (const [k, frame] of frames.entries()) {
      if (this.place.striding && first >= 0 && !this.fitsWqe(frame.length)) break;
      const stored = this.store(frame);
      if (!stored) break;
      if (first < 0) first = stored.wqe;
      title ??= fieldsOf(told[0] ?? {}, 0, stored.counter, stored.wqe);
      const mini = Buffer.alloc(8);
      if (hash) mini.writeUInt32BE(told[k]?.hash ?? 0);
      else mini.writeUInt16BE(0xbeef);
      mini.writeUInt32BE(stored.byteCount >>> 0, 4);
      minis.push(mini);
    }
    if (title && minis.length > 1) this.cq.session(title, minis);
    if (title && minis.length === 1) {
      title.writeUInt32BE(minis[0]!.readUInt32BE(4), 44);
      this.cq.put(title, OPCODE.send);
    }
    return minis.length;
  }

  fail(syndrome: number): void {
    this.cq.fail(OPCODE.respError, this.head, syndrome);
  }

  private fitsWqe(length: number): boolean {
    const { strideBytes, strides } = this.place.striding!;
    return this.consumed > 0 && this.consumed + Math.ceil(length / strideBytes) <= strides;
  }

  private store(frame: Uint8Array): { byteCount: number; counter: number; wqe: number } | undefined {
    return this.place.striding ? this.storeStrides(frame) : this.storeSegments(frame);
  }

  private storeSegments(frame: Uint8Array) {
    if (this.held === 0) return undefined;
    const { arena, ring, wqes, strideBytes } = this.place;
    const wqe = view(arena, ring + (this.head % wqes) * strideBytes, strideBytes);
    let done = 0;
    for (let at = 0; at < strideBytes && done < frame.length; at += 16) {
      const [count, lkey] = [wqe.readUInt32BE(at), wqe.readUInt32BE(at + 4)];
      if (count === 0 && lkey === 0x100) break;
      const target = reach(this.place, lkey, wqe.readBigUInt64BE(at + 8), count);
      const part = frame.subarray(done, done + count);
      target.set(part);
      done += part.length;
    }
    demand(done === frame.length, `${frame.length} bytes for a WQE of ${done}`);
    const counter = this.head;
    this.head = (this.head + 1) >>> 0;
    return { byteCount: frame.length, counter, wqe: counter };
  }

  private storeStrides(frame: Uint8Array) {
    const { strideBytes, strides } = this.place.striding!;
    const need = Math.max(1, Math.ceil(frame.length / strideBytes));
    if (this.held === 0) return undefined;
    if (this.consumed + need > strides) {
      if (this.held < 2) return undefined;
      const left = strides - this.consumed;
      this.cq.put(fieldsOf({}, 0x8000_0000 + left * 0x10000, this.consumed, this.head), OPCODE.send);
      this.nextWqe();
    }
    const { arena, ring, wqes, strideBytes: wqeBytes } = this.place;
    const wqe = view(arena, ring + (this.head % wqes) * wqeBytes, wqeBytes);
    demand(wqe.readUInt32BE(16) === strides * strideBytes, "a multi-packet WQE of another size");
    const address = wqe.readBigUInt64BE(24) + BigInt(this.consumed * strideBytes);
    reach(this.place, wqe.readUInt32BE(20), address, need * strideBytes).set(frame);
    const stored = { byteCount: need * 0x10000 + frame.length, counter: this.consumed, wqe: this.head };
    this.consumed += need;
    if (this.consumed === strides) this.nextWqe();
    return stored;
  }

  private nextWqe(): void {
    this.consumed = 0;
    this.head = (this.head + 1) >>> 0;
  }
}
