// noisy: io with a neighbour's noise, as network functions in virtual machines have it. Packets wait in a FIFO and are
// pushed out by later ones, or by time; each packet that comes costs reads and writes of a large memory.
import { rxBurst } from "../hot/dispatch.ts";
import { Stream } from "../hot/layout.ts";
import { acquire32, min32, now, r32, rf64, w32, wf64 } from "../hot/mem.ts";
import { Ring, ringDequeue, ringEnqueue } from "../hot/ring.ts";
import { received } from "./receive.ts";
import { sendOrDrop } from "./send.ts";

/** The mode's words in a stream block. */
export const enum Noisy {
  /** Arena offset of the FIFO, a Ring; 0: packets do not wait. */
  FIFO = 16,
  /** Packets that it is to hold at most. */
  SIZE = 20,
  /** f64: it is emptied when nothing was sent for so many milliseconds; 0: never. And when something was last sent. */
  FLUSH_MS = 24,
  SENT_MS = 32,
  /** 1 while it is being emptied, a burst a poll. */
  FLUSHING = 40,
  /** Arena offset of the memory, and its cache lines. */
  MEMORY = 44,
  LINES = 48,
  /** What each packet costs. */
  WRITES = 52,
  READS = 56,
  READ_WRITES = 60,
  /** State of the random numbers; never 0. */
  RANDOM = 64,
  /** What was read, so that no compiler leaves the reading out. */
  SEEN = 68,
}

export function noisy(s: u32, pkts: u32, n: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got != 0) {
    received(s, pkts, got);
    if (r32(s + Noisy.LINES) != 0) lookUp(s, got);
  }
  if (r32(s + Noisy.FIFO) == 0) {
    if (got != 0) sendOrDrop(s, pkts, got);
    return got;
  }
  const sent: u32 = got == 0 ? 0 : pass(s, pkts, got, n);
  if (rf64(s + Noisy.FLUSH_MS) == 0) return got;
  const flushed: u32 = flush(s, pkts, n, sent);
  return got != 0 ? got : flushed;
}

function waiting(s: u32): u32 {
  const fifo: u32 = r32(s + Noisy.FIFO);
  return (r32(fifo + Ring.TAIL) - acquire32(fifo + Ring.HEAD)) >>> 0;
}

/** Puts `got` packets into the FIFO and sends the oldest that have no room. Returns how many were to be sent. */
function pass(s: u32, pkts: u32, got: u32, n: u32): u32 {
  const fifo: u32 = r32(s + Noisy.FIFO);
  const room: u32 = r32(s + Noisy.SIZE) - waiting(s);
  const over: u32 = got > room ? got - room : 0;
  if (over != 0) {
    const old: u32 = pkts + (n << 2);
    const out: u32 = ringDequeue(fifo, old, over);
    if (out != 0) sendOrDrop(s, old, out);
    // a FIFO shorter than the burst
    if (out < over) sendOrDrop(s, pkts, over - out);
    ringEnqueue(fifo, pkts + ((over - out) << 2), got - (over - out));
  } else ringEnqueue(fifo, pkts, got);
  return over;
}

/** Empties the FIFO when its time has come, a burst a poll. Returns the packets that were to be sent. */
function flush(s: u32, pkts: u32, n: u32, sent: u32): u32 {
  const left: u32 = waiting(s);
  if (left == 0 || sent != 0 || rf64(s + Noisy.SENT_MS) == 0) {
    // the time counts from the last packet that was sent, or from the first one that waits
    wf64(s + Noisy.SENT_MS, left == 0 ? 0 : now());
    w32(s + Noisy.FLUSHING, 0);
    return 0;
  }
  if (r32(s + Noisy.FLUSHING) == 0) {
    if (now() - rf64(s + Noisy.SENT_MS) < rf64(s + Noisy.FLUSH_MS)) return 0;
    w32(s + Noisy.FLUSHING, 1);
  }
  const out: u32 = ringDequeue(r32(s + Noisy.FIFO), pkts, min32(left, n));
  sendOrDrop(s, pkts, out);
  return out;
}

/** xorshift32 (Marsaglia 2003). */
function draw(s: u32): u32 {
  let x: u32 = r32(s + Noisy.RANDOM);
  x = (x ^ (x << 13)) >>> 0;
  x = (x ^ (x >>> 17)) >>> 0;
  x = (x ^ (x << 5)) >>> 0;
  w32(s + Noisy.RANDOM, x);
  return x;
}

/** Cache lines read and written at random, for `packets` packets. */
function lookUp(s: u32, packets: u32): void {
  const writes: u32 = r32(s + Noisy.WRITES);
  const reads: u32 = r32(s + Noisy.READS);
  const both: u32 = r32(s + Noisy.READ_WRITES);
  for (let k: u32 = 0; k < packets; k++) {
    for (let j: u32 = 0; j < writes; j++) writeLine(s);
    for (let j: u32 = 0; j < reads; j++) readLine(s);
    for (let j: u32 = 0; j < both; j++) {
      readLine(s);
      writeLine(s);
    }
  }
}

function writeLine(s: u32): void {
  const at: u32 = r32(s + Noisy.MEMORY) + ((draw(s) % r32(s + Noisy.LINES)) << 6);
  w32(at, draw(s));
}

function readLine(s: u32): void {
  const at: u32 = r32(s + Noisy.MEMORY) + ((draw(s) % r32(s + Noisy.LINES)) << 6);
  w32(s + Noisy.SEEN, r32(s + Noisy.SEEN) ^ r32(at));
}
