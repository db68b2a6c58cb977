// A raw packet queue pair behind libibverbs' three functions, in JavaScript: what is posted to it is kept, frames are
// delivered and completed as a test says. The functions are C function pointers (koffi.register), so hot code reaches
// them as it reaches a provider's.
import koffi from "koffi";
import type { EventAttachment } from "../../../pmd/mlx5/events.ts";
import { VerbsQueue } from "../../../pmd/mlx5/verbs-layout.ts";
import { VerbsReceiveQueue, VerbsTransmitQueue } from "../../../pmd/mlx5/verbs-queue.ts";
import { Queue } from "../../../src/hot/layout.ts";
import type { Rig } from "../../support/engines.ts";
import type { FakeEvents } from "./fake-events.ts";

const RX_CQ = 0x7f00_0000_1000;
const TX_CQ = 0x7f00_0000_2000;
const WQ = 0x7f00_0000_3000;
const QP = 0x7f00_0000_4000;
const ENOMEM = 12;
export const LKEY = 0x0102_0304;

const poll = koffi.pointer(koffi.proto("int", ["int64_t", "int", "int64_t"]));
const post = koffi.pointer(koffi.proto("int", ["int64_t", "int64_t", "int64_t"]));

/** One ibv_wc; what is not named is 0. */
export interface Completion {
  id: bigint;
  status?: number;
  length?: number;
}

interface Posted {
  id: bigint;
  flags: number;
  opcode: number;
  sges: { offset: number; length: number; lkey: number }[];
}

/** A frame that went out. */
export interface Sent {
  frame: Buffer;
  flags: number;
  pieces: number;
}

export class FakeVerbs {
  readonly rig: Rig;
  readonly receiving: Posted[] = [];
  readonly sent: Sent[] = [];
  readonly completed = { rx: [] as Completion[], tx: [] as Completion[] };
  /** Sent, and not yet completed: ids of those that asked for a completion, -1 of the others. */
  readonly unreported: bigint[] = [];
  readonly calls = { poll: 0, postRecv: 0, postSend: 0 };
  /** What was asked for that a library would not do. */
  readonly faults: string[] = [];
  /** Posts fail with this errno at the `at`-th work request from now. `badWr`: where bad_wr is to lead instead. */
  failure: { errno: number; at: number; badWr?: bigint } | undefined;
  /** poll_cq returns this, once. */
  pollAnswer: number | undefined;
  private readonly depth: number;
  private readonly segments: number;
  private readonly registered: bigint[] = [];

  constructor(rig: Rig, depth: number, segments: number) {
    this.rig = rig;
    this.depth = depth;
    this.segments = segments;
  }

  get calledBy() {
    const register = (call: (...values: bigint[]) => number, type: typeof poll) => {
      const guarded = (...values: (number | bigint)[]) => {
        try {
          return call(...values.map(BigInt));
        } catch (error) {
          this.faults.push(String(error));
          return -1;
        }
      };
      const pointer = koffi.register(guarded, type);
      this.registered.push(pointer);
      return pointer;
    };
    return {
      pollCq: register((cq, n, wcs) => this.pollCq(Number(cq), Number(n), this.offset(wcs)), poll),
      postRecv: register((wq, wr, bad) => this.postRecv(Number(wq), wr, this.offset(bad)), post),
      postSend: register((qp, wr, bad) => this.postSend(Number(qp), wr, this.offset(bad)), post),
    };
  }

  /** A frame comes in; false if nothing was posted for it. */
  deliver(frame: Uint8Array): boolean {
    const request = this.receiving.shift();
    if (!request) return false;
    let at = 0;
    for (const { offset, length } of request.sges) {
      this.rig.arena.u8.set(frame.subarray(at, at + length), offset);
      at += Math.min(length, frame.length - at);
    }
    if (at < frame.length) throw new Error(`no room for ${frame.length} bytes`);
    this.completed.rx.push({ id: request.id, length: frame.length });
    return true;
  }

  /** The first `count` of the frames sent are done with. */
  report(count = this.unreported.length): void {
    for (const id of this.unreported.splice(0, count)) if (id >= 0n) this.completed.tx.push({ id });
  }

  close(): void {
    for (const pointer of this.registered.splice(0)) koffi.unregister(pointer);
  }

  private offset(address: bigint): number {
    return Number(address - this.rig.arena.address);
  }

  private pollCq(cq: number, n: number, at: number): number {
    this.calls.poll++;
    if (cq !== RX_CQ && cq !== TX_CQ) this.faults.push(`poll_cq of 0x${cq.toString(16)}`);
    const answer = this.pollAnswer;
    this.pollAnswer = undefined;
    if (answer !== undefined) return answer;
    const list = this.completed[cq === RX_CQ ? "rx" : "tx"].splice(0, n);
    list.forEach(({ id, status = 0, length = 0 }, k) => {
      const { buffer } = this.rig.arena.memory;
      const wc = new DataView(buffer, at + 48 * k, 48);
      for (let byte = 0; byte < 48; byte++) wc.setUint8(byte, 0xee); // the library leaves fields as they were
      wc.setBigUint64(0, BigInt.asUintN(64, id), true);
      wc.setUint32(8, status, true);
      wc.setUint32(20, length, true);
    });
    return list.length;
  }

  private postRecv(wq: number, first: bigint, bad: number): number {
    this.calls.postRecv++;
    if (wq !== WQ) this.faults.push(`post_recv to 0x${wq.toString(16)}`);
    return this.post(first, bad, (request) => {
      if (this.receiving.length === this.depth) return false;
      this.receiving.push(request);
      return true;
    });
  }

  private postSend(qp: number, first: bigint, bad: number): number {
    this.calls.postSend++;
    if (qp !== QP) this.faults.push(`post_send to 0x${qp.toString(16)}`);
    return this.post(first, bad, (request, wr) => {
      if (this.unreported.length === this.depth) return false;
      const { opcode, flags } = this.sendFields(wr);
      if (opcode !== 2) this.faults.push(`opcode ${opcode}`);
      const pieces = request.sges.map(({ offset, length }) =>
        this.rig.arena.u8.slice(offset, offset + length),
      );
      this.sent.push({ frame: Buffer.concat(pieces), flags, pieces: pieces.length });
      this.unreported.push((flags & 2) !== 0 ? request.id : -1n);
      return true;
    });
  }

  private sendFields(wr: number) {
    const words = this.rig.arena.u32;
    return { opcode: words[(wr + 28) >>> 2]!, flags: words[(wr + 32) >>> 2]! };
  }

  private post(first: bigint, bad: number, take: (request: Posted, wr: number) => boolean): number {
    const view = new DataView(this.rig.arena.memory.buffer);
    let steps = 0;
    for (let wr = first; wr !== 0n; steps++) {
      const at = this.offset(wr);
      const failed = this.failure && this.failure.at-- === 0 ? this.failure : undefined;
      if (failed || steps > 64 || !take(this.request(view, at), at)) {
        view.setBigUint64(bad, failed?.badWr ?? wr, true);
        if (failed) this.failure = undefined;
        return failed?.errno ?? ENOMEM;
      }
      wr = view.getBigUint64(at + 8, true);
    }
    return 0;
  }

  private request(view: DataView, at: number): Posted {
    const count = view.getUint32(at + 24, true);
    if (count === 0 || count > this.segments) this.faults.push(`${count} sges`);
    const list = this.offset(view.getBigUint64(at + 16, true));
    const sges = Array.from({ length: Math.min(count, this.segments) }, (_, k) => ({
      offset: this.offset(view.getBigUint64(list + 16 * k, true)),
      length: view.getUint32(list + 16 * k + 8, true),
      lkey: view.getUint32(list + 16 * k + 12, true),
    }));
    for (const { offset, length, lkey } of sges) this.check(offset, length, lkey);
    return { id: view.getBigUint64(at, true), flags: 0, opcode: 0, sges };
  }

  /** What lies outside the memory region, which is the whole DMA zone. */
  private check(offset: number, length: number, lkey: number): void {
    const { start, bytes } = this.rig.dma.range;
    const inside = offset >= start && offset + length <= start + bytes;
    if (!inside || length === 0) this.faults.push(`${length} bytes at ${offset} are outside`);
    if (lkey !== LKEY) this.faults.push(`lkey ${lkey}`);
  }
}

export interface VerbsPairOptions {
  size?: number;
  segments?: number;
  room?: number;
  checksum?: boolean;
  /** The receive queue has an interrupt. */
  events?: FakeEvents;
  /** First running index: to let it wrap. */
  start?: number;
}

/** A receive and a transmit queue over one fake. */
export class VerbsPair {
  readonly nic: FakeVerbs;
  readonly rx: VerbsReceiveQueue;
  readonly tx: VerbsTransmitQueue;
  private readonly options: Required<Omit<VerbsPairOptions, "events">>;
  private readonly events: EventAttachment | undefined;
  private readonly calls: FakeVerbs["calledBy"];

  constructor(rig: Rig, options: VerbsPairOptions = {}) {
    const { size = 64, segments = 1, room = 1518, checksum = false, start = 0 } = options;
    this.events = options.events?.attachment;
    this.options = { size, segments, room, checksum, start };
    this.nic = new FakeVerbs(rig, size, segments);
    this.calls = this.nic.calledBy;
    this.rx = new VerbsReceiveQueue({ context: rig, name: "rx queue 0 of a test", index: 0, size });
    this.tx = new VerbsTransmitQueue({ context: rig, name: "tx queue 0 of a test", index: 0, size });
    for (const { block } of [this.rx, this.tx]) block.set(Queue.CACHE, rig.cache);
    this.start();
  }

  start(): void {
    const { segments, room, checksum, start } = this.options;
    const common = { lkey: LKEY, segments, calls: this.calls };
    const wq = { handle: BigInt(WQ), postRecv: this.calls.postRecv };
    const events = this.events ? { events: this.events } : {};
    this.rx.attach({ ...common, cq: { handle: BigInt(RX_CQ) }, wq, room, ...events });
    const qp = { handle: BigInt(QP) };
    this.tx.attach({ ...common, cq: { handle: BigInt(TX_CQ) }, qp, bytesMax: room, checksum });
    for (const { block } of [this.rx, this.tx]) {
      block.set(VerbsQueue.HEAD, start);
      block.set(VerbsQueue.TAIL, start);
    }
    this.rx.run();
    this.tx.run();
  }

  get rxq(): number {
    return this.rx.block.offset;
  }
  get txq(): number {
    return this.tx.block.offset;
  }

  held(): number[] {
    return [...this.rx.held(), ...this.tx.held()];
  }

  /** What a test ends with; the mbufs are back then. */
  stop(): void {
    this.rx.halt();
    this.tx.halt();
    this.rx.drain();
    this.tx.drain();
  }

  free(): void {
    this.stop();
    this.rx.free();
    this.tx.free();
    this.nic.close();
  }
}
