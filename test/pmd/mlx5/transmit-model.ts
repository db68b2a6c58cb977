// The sending half of device-model.ts: takes WQEs when the BlueFlame register is written, and holds them against what
// mlx5dv.h and the kernel's driver say of them.
import {
  type CompletionModel,
  DriverFault,
  demand,
  OPCODE,
  QPN,
  type Reach,
  reach,
  view,
} from "./device-model.ts";

export interface TransmitPlace extends Reach {
  cq: CompletionModel;
  ring: number;
  blocks: number;
  record: number;
  bf: number;
  bfBytes: number;
  minInline: number;
  start: number;
}

/** A frame that was sent, and what was asked for it. */
export interface Sent {
  frame: Buffer;
  l3: boolean;
  l4: boolean;
  /** A tag that the device is to insert. */
  vlan: number | undefined;
}

export class TransmitModel {
  readonly cq: CompletionModel;
  /** WQEs and doorbells seen. */
  wqes = 0;
  doorbells = 0;
  multi = 0;
  private readonly place: TransmitPlace;
  private head: number;
  /** Where the doorbell record pointed when the register was written last. */
  private tail: number;
  private half = 0;
  /** Blocks that were handed over, as they were then. */
  private readonly snapshot = new Map<number, Buffer>();
  /** Counters of WQEs that asked for a completion and have none yet. */
  private readonly asked: number[] = [];

  constructor(place: TransmitPlace) {
    this.place = place;
    this.cq = place.cq;
    this.head = place.start;
    this.tail = place.start;
    view(place.arena, place.record, 4).writeUInt32BE(place.start & 0xffff);
    view(place.arena, place.bf, 8 + place.bfBytes).fill(0);
  }

  /** Sees whether the register was written. */
  poll(): void {
    const { arena, bf, bfBytes, record, blocks } = this.place;
    const written = [...new Set([0, bfBytes])].filter(
      (half) => view(arena, bf + half, 8).readBigUInt64BE() !== 0n,
    );
    const tail = view(arena, record, 4).readUInt32BE();
    demand(tail <= 0xffff, `the send record says ${tail}`);
    const more = (tail - this.tail) & 0xffff;
    if (written.length === 0) {
      demand(more === 0, "a doorbell record without a doorbell");
      return;
    }
    demand(written.length === 1 && written[0] === this.half, "the register's halves are not written in turn");
    demand(more > 0, "a doorbell without a doorbell record");
    const held = ((this.tail - this.head) & 0xffff) + more;
    demand(held <= blocks, `${held} blocks in a ring of ${blocks}: the send queue is overwritten`);
    const register = view(arena, bf + this.half, 8);
    const bell = Buffer.from(register);
    register.fill(0);
    this.half ^= bfBytes;
    this.doorbells++;
    let last = this.tail;
    for (let at = this.tail; at !== (this.tail + more) >>> 0; ) {
      last = at;
      const count = Math.ceil((this.block(at).readUInt32BE(4) & 0x3f) / 4);
      demand(count > 0, "a WQE without segments");
      demand((at + count - this.tail) >>> 0 <= more, "the doorbell record cuts a WQE");
      for (let k = 0; k < count; k++) this.snapshot.set((at + k) >>> 0, Buffer.from(this.block(at + k)));
      at = (at + count) >>> 0;
    }
    demand(bell.equals(this.block(last).subarray(0, 8)), "the register was not written with the last WQE");
    demand(((this.block(last)[11]! >> 2) & 3) === 2, "a burst whose last WQE asks for no completion");
    this.tail = (this.tail + more) >>> 0;
  }

  /** Sends up to `wqes` WQEs; completions are kept until `complete`. */
  take(wqes = Number.POSITIVE_INFINITY): Sent[] {
    this.poll();
    const sent: Sent[] = [];
    for (let k = 0; k < wqes && this.head !== this.tail; k++) sent.push(...this.execute());
    return sent;
  }

  /** Writes the first `count` completions that were asked for. */
  complete(count = this.asked.length): void {
    for (const counter of this.asked.splice(0, count)) {
      const fields = Buffer.alloc(64);
      fields.writeUInt32BE(((0x0a << 24) | QPN) >>> 0, 56);
      fields.writeUInt16BE(counter & 0xffff, 60);
      this.cq.put(fields, OPCODE.req);
    }
  }

  get uncompleted(): number {
    return this.asked.length;
  }

  fail(syndrome: number): void {
    this.cq.fail(OPCODE.reqError, this.asked[0] ?? this.head, syndrome);
  }

  private block(index: number): Buffer {
    return view(this.place.arena, this.place.ring + 64 * ((index >>> 0) % this.place.blocks), 64);
  }

  private execute(): Sent[] {
    const at = this.head;
    const title = this.block(at);
    const [operation, qpnDs] = [title.readUInt32BE(0), title.readUInt32BE(4)];
    demand(operation >>> 24 === 0, "opmod is not 0");
    demand(((operation >>> 8) & 0xffff) === (at & 0xffff), "a WQE with the wrong index");
    demand(qpnDs >>> 8 === QPN, "a WQE of another queue pair");
    const segments = qpnDs & 0x3f;
    const blocks = Math.ceil(segments / 4);
    const bytes = Buffer.concat(Array.from({ length: blocks }, (_, k) => this.block(at + k)));
    const before = Buffer.concat(
      Array.from({ length: blocks }, (_, k) => this.snapshot.get((at + k) >>> 0)!),
    );
    demand(bytes.equals(before), "the send queue is overwritten");
    for (let k = 0; k < blocks; k++) this.snapshot.delete((at + k) >>> 0);
    this.head = (at + blocks) >>> 0;
    this.wqes++;
    demand((title[11]! & ~0x0c) === 0 && title[8] === 0 && title.readUInt32BE(12) === 0, "a control segment");
    if (((title[11]! >> 2) & 3) === 2) this.asked.push(at);
    const wqe = bytes.subarray(0, 16 * segments);
    switch (operation & 0xff) {
      case 0x0a:
        return [this.send(wqe)];
      case 0x29:
        this.multi++;
        return this.sendMulti(wqe);
      default:
        throw new DriverFault(`opcode ${operation & 0xff}`);
    }
  }

  private flags(wqe: Buffer): Omit<Sent, "frame"> {
    demand(wqe.readUInt32BE(16) === 0 && (wqe[20]! & 0x3f) === 0 && wqe[21] === 0, "an Ethernet segment");
    demand(wqe.readUInt16BE(22) === 0 && wqe.readUInt32BE(24) === 0, "an Ethernet segment");
    const insert = (wqe[28]! & 0x80) !== 0;
    const vlan = insert ? wqe.readUInt16BE(30) : undefined;
    return { l3: (wqe[20]! & 0x40) !== 0, l4: (wqe[20]! & 0x80) !== 0, vlan };
  }

  private send(wqe: Buffer): Sent {
    const flags = this.flags(wqe);
    const inlined = flags.vlan === undefined ? wqe.readUInt16BE(28) : 0;
    const parts: Buffer[] = [Buffer.from(wqe.subarray(30, 30 + inlined))];
    demand(30 + inlined <= wqe.length, "an inlined header beyond the WQE");
    for (let at = inlined <= 2 ? 32 : 32 + 16 * Math.ceil((inlined - 2) / 16); at < wqe.length; at += 16) {
      parts.push(this.data(wqe, at));
    }
    const frame = Buffer.concat(parts);
    demand(inlined >= Math.min(this.place.minInline, frame.length), `${inlined} bytes inlined`);
    demand(frame.length > 18, `a frame of ${frame.length} bytes`);
    return { frame, ...flags };
  }

  private sendMulti(wqe: Buffer): Sent[] {
    const flags = this.flags(wqe);
    demand(this.place.minInline === 0 && wqe.readUInt32BE(28) === 0, "a multi-packet WQE with a header");
    demand(wqe.length > 32, "a multi-packet WQE without packets");
    const sent: Sent[] = [];
    for (let at = 32; at < wqe.length; at += 16) sent.push({ frame: this.data(wqe, at), ...flags });
    return sent;
  }

  private data(wqe: Buffer, at: number): Buffer {
    const count = wqe.readUInt32BE(at);
    demand(count > 0 && count < 0x8000_0000, `a data segment of ${count} bytes`);
    return Buffer.from(reach(this.place, wqe.readUInt32BE(at + 4), wqe.readBigUInt64BE(at + 8), count));
  }
}
