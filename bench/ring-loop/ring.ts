// The descriptor-ring loop in the hot dialect: WebAssembly of it and the TypeScript engine come from this one file.
//
//   device -> rxBurst -> application -> txBurst -> device
//                ^ free stack <- txClean <- device
//
// loop.c is the same in C, step by step.
import { Buffer, Mbuf } from "../../src/hot/layout.ts";
import { acquire32, min32, publish32, r16, r32, w32 } from "../../src/hot/mem.ts";
import { copyWords, swapMacs, writeMbuf } from "../../src/hot/simd.ts";
import { App, At, Command, Queue, Register, Ring, RxDesc, Status, TxDesc } from "./layout.ts";
import { describe, sendFour, takeFour } from "./simd.ts";

/** Port 0, one segment: the mbuf's word of both. */
const ORIGIN: u32 = 0x10000;

/** Received packets into the words at `pkts`, at most `n`. */
export function rxBurst(q: u32, pkts: u32, n: u32): u32 {
  return receive(q, pkts, 0, n);
}

/** The same, and where their frames begin into the words at `frames`: for an application in TypeScript. */
export function rxFrames(q: u32, pkts: u32, frames: u32, n: u32): u32 {
  return receive(q, pkts, (frames - pkts) >>> 0, n);
}

/** `frames`: the distance from `pkts` to the words for the frames' beginnings; 0 if they are not wanted. */
function receive(q: u32, pkts: u32, frames: u32, n: u32): u32 {
  const next: u32 = r32(q + Queue.RX_NEXT);
  const free: u32 = r32(q + Queue.FREE_COUNT);
  const want: u32 = min32(n, free);
  const toEnd: u32 = Ring.SIZE - next;
  let got: u32 = rxRun(q, next, free, pkts, frames, min32(want, toEnd));
  if (got == toEnd) got = got + rxRun(q, 0, free - got, pkts + (got << 2), frames, want - got);
  if (got > 0) {
    const after: u32 = (next + got) & (Ring.SIZE - 1);
    w32(q + Queue.RX_NEXT, after);
    w32(q + Queue.FREE_COUNT, free - got);
    publish32(At.REGISTERS + Register.RX_TAIL, (after - 1) & (Ring.SIZE - 1));
  }
  return got;
}

/** Takes up to `n` packets from slot `next` on, short of the ring's end, and gives their slots fresh buffers. */
function rxRun(q: u32, next: u32, free: u32, pkts: u32, frames: u32, n: u32): u32 {
  let desc: u32 = r32(q + Queue.RX_RING) + (next << 4);
  let slot: u32 = r32(q + Queue.RX_MBUFS) + (next << 2);
  let top: u32 = r32(q + Queue.FREE) + (free << 2);
  let out: u32 = pkts;
  const end: u32 = pkts + (n << 2);
  while (out + 16 <= end && takeFour(desc, slot, top - 16, out, frames) != 0) {
    desc = desc + 64;
    slot = slot + 16;
    top = top - 16;
    out = out + 16;
  }
  while (out < end) {
    if ((acquire32(desc + RxDesc.STATUS) & Status.DONE) == 0) break;
    const length: u32 = r16(desc + RxDesc.LENGTH);
    const mbuf: u32 = r32(slot);
    top = top - 4;
    const fresh: u32 = r32(top);
    const frame: u32 = r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM;
    if (frames != 0) w32(out + frames, frame);
    writeMbuf(mbuf, frame, length, ORIGIN);
    w32(slot, fresh);
    describe(desc, r32(fresh + Mbuf.BUF) + Buffer.HEADROOM, 0, 0);
    w32(out, mbuf);
    desc = desc + 16;
    slot = slot + 4;
    out = out + 4;
  }
  return (out - pkts) >>> 2;
}

/** Takes sent buffers back, a lot at a time, when the last of a lot is done. */
function txClean(q: u32): void {
  const ring: u32 = r32(q + Queue.TX_RING);
  const mbufs: u32 = r32(q + Queue.TX_MBUFS);
  const pool: u32 = r32(q + Queue.FREE);
  const next: u32 = r32(q + Queue.TX_NEXT);
  let clean: u32 = r32(q + Queue.TX_CLEAN);
  let free: u32 = r32(q + Queue.FREE_COUNT);
  while (((next - clean) & (Ring.SIZE - 1)) >= <u32>Ring.LOT) {
    const last: u32 = ring + ((clean + Ring.LOT - 1) << 4);
    if ((acquire32(last + TxDesc.STATUS) & Status.DONE) == 0) break;
    copyWords(pool + (free << 2), mbufs + (clean << 2), Ring.LOT); // lots begin at multiples: never across the end
    free = free + Ring.LOT;
    clean = (clean + Ring.LOT) & (Ring.SIZE - 1);
  }
  w32(q + Queue.TX_CLEAN, clean);
  w32(q + Queue.FREE_COUNT, free);
}

export function txBurst(q: u32, pkts: u32, n: u32): u32 {
  txClean(q);
  const next: u32 = r32(q + Queue.TX_NEXT);
  const room: u32 = (r32(q + Queue.TX_CLEAN) - next - 1) & (Ring.SIZE - 1);
  const count: u32 = min32(n, room);
  if (count == 0) return 0;
  const first: u32 = min32(count, Ring.SIZE - next);
  txRun(q, next, pkts, first);
  if (first < count) txRun(q, 0, pkts + (first << 2), count - first);
  const after: u32 = (next + count) & (Ring.SIZE - 1);
  w32(q + Queue.TX_NEXT, after);
  publish32(At.REGISTERS + Register.TX_TAIL, after);
  return count;
}

/** Describes `n` packets from slot `next` on, short of the ring's end. */
function txRun(q: u32, next: u32, pkts: u32, n: u32): void {
  let desc: u32 = r32(q + Queue.TX_RING) + (next << 4);
  let slot: u32 = r32(q + Queue.TX_MBUFS) + (next << 2);
  const end: u32 = slot + (n << 2);
  let from: u32 = pkts;
  while (slot + 16 <= end && sendFour(desc, slot, from) != 0) {
    desc = desc + 64;
    slot = slot + 16;
    from = from + 16;
  }
  while (slot < end) {
    const mbuf: u32 = r32(from);
    const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
    w32(slot, mbuf);
    slot = slot + 4;
    const report: u32 = (slot & ((Ring.LOT << 2) - 1)) == 0 ? Command.REPORT : 0;
    describe(desc, r32(mbuf + Mbuf.DATA), Command.FRAME | report | length, length << 14);
    desc = desc + 16;
    from = from + 4;
  }
}

/** Gives packets back to the pool: those that tx did not take. */
export function freeBurst(q: u32, pkts: u32, n: u32): void {
  const free: u32 = r32(q + Queue.FREE_COUNT);
  copyWords(r32(q + Queue.FREE) + (free << 2), pkts, n);
  w32(q + Queue.FREE_COUNT, free + n);
}

function apply(q: u32, pkts: u32, n: u32, app: u32): void {
  const end: u32 = pkts + (n << 2);
  if (app == <u32>App.TOUCH) {
    let sum: u32 = r32(q + Queue.SUM);
    for (let at: u32 = pkts; at < end; at += 4) sum = (sum + r32(frameAt(at))) >>> 0;
    w32(q + Queue.SUM, sum);
  } else if (app == <u32>App.MACSWAP) {
    let at: u32 = pkts;
    // V8 looks at its stack limit in every turn of a loop
    for (; at + 8 <= end; at += 8) {
      swapMacs(frameAt(at));
      swapMacs(frameAt(at + 4));
    }
    if (at < end) swapMacs(frameAt(at));
  }
}

function frameAt(at: u32): u32 {
  return r32(r32(at) + Mbuf.DATA);
}

/** Polls until nothing comes any more. Returns the packets that came. */
export function drain(batch: u32, app: u32): u32 {
  let total: u32 = 0;
  let got: u32 = rxBurst(At.QUEUE, At.PKTS, batch);
  while (got > 0) {
    apply(At.QUEUE, At.PKTS, got, app);
    const sent: u32 = txBurst(At.QUEUE, At.PKTS, got);
    if (sent < got) freeBurst(At.QUEUE, At.PKTS + (sent << 2), got - sent);
    total = total + got;
    got = rxBurst(At.QUEUE, At.PKTS, batch);
  }
  return total;
}
