// Single-producer, single-consumer ring of words: the wire between two lcores (net_ring).
// Producer and consumer each have a cache line of their own and look at the other's only when theirs says full or
// empty.
import { acquire32, min32, publish32, r32, w32 } from "./mem.ts";
import { copyWords } from "./simd.ts";

export const enum Ring {
  MASK = 0,
  /** u32[MASK + 1]. */
  WORDS = 4,
  /** The producer's line: its running index, and the consumer's as it last saw it. */
  TAIL = 64,
  SEEN_HEAD = 68,
  /** The consumer's line. */
  HEAD = 128,
  SEEN_TAIL = 132,
  BYTES = 192,
}

function span(ring: u32, at: u32, n: u32): u32 {
  return min32(n, r32(ring + Ring.MASK) + 1 - (at & r32(ring + Ring.MASK)));
}

/** Producer's side: puts up to `n` words from `from`; returns how many there was room for. */
export function ringEnqueue(ring: u32, from: u32, n: u32): u32 {
  const size: u32 = r32(ring + Ring.MASK) + 1;
  const tail: u32 = r32(ring + Ring.TAIL);
  let room: u32 = size - ((tail - r32(ring + Ring.SEEN_HEAD)) >>> 0);
  if (room < n) {
    w32(ring + Ring.SEEN_HEAD, acquire32(ring + Ring.HEAD));
    room = size - ((tail - r32(ring + Ring.SEEN_HEAD)) >>> 0);
  }
  const c: u32 = min32(n, room);
  const first: u32 = span(ring, tail, c);
  const words: u32 = r32(ring + Ring.WORDS);
  copyWords(words + ((tail & (size - 1)) << 2), from, first);
  copyWords(words, from + (first << 2), c - first);
  publish32(ring + Ring.TAIL, (tail + c) >>> 0);
  return c;
}

/** Consumer's side: takes up to `n` words to `to`; returns how many there were. */
export function ringDequeue(ring: u32, to: u32, n: u32): u32 {
  const head: u32 = r32(ring + Ring.HEAD);
  let ready: u32 = (r32(ring + Ring.SEEN_TAIL) - head) >>> 0;
  if (ready < n) {
    w32(ring + Ring.SEEN_TAIL, acquire32(ring + Ring.TAIL));
    ready = (r32(ring + Ring.SEEN_TAIL) - head) >>> 0;
  }
  const c: u32 = min32(n, ready);
  const first: u32 = span(ring, head, c);
  const words: u32 = r32(ring + Ring.WORDS);
  copyWords(to, words + ((head & r32(ring + Ring.MASK)) << 2), first);
  copyWords(to + (first << 2), words, c - first);
  publish32(ring + Ring.HEAD, (head + c) >>> 0);
  return c;
}
