// Numbered frames: a sender that keeps no more than a window under way, and a checker that finds every frame that is
// lost, repeated, out of order or changed. For acceptance of a link or a driver, and for the tests.
//
// Frame: Ethernet header with type 0x88b5 (IEEE 802, local experiment), 2 bytes of padding, then little-endian words
// {number, bytes of the frame, checksum}, then the payload: words drawn from the number, and up to 3 bytes of zeros.
import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, Pool, Queue, Stream } from "../hot/layout.ts";
import { mbufAllocBulk, mbufFree, mbufFreeBulk } from "../hot/mbuf.ts";
import { acquire32, min32, mul32, publish32, r8, r16, r32, w8, w16, w32 } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";
import { chainSegments } from "./frame.ts";
import { received } from "./receive.ts";
import { send } from "./send.ts";

/** The modes' words in a stream block; sender and checker of a pair share a Progress block. */
export const enum Sequence {
  /** Arena offset of Progress. */
  PROGRESS = 16,
  /** Sizes go from MIN to MAX by a pseudo-random draw that the checker repeats. */
  SIZE_MIN = 20,
  SIZE_MAX = 24,
  /** Frames under way at most. */
  WINDOW = 28,
  /** Frames to send in all; numbers wrap at 2^32. */
  TOTAL = 32,
  /** Destination address: its first 4 bytes, and the other 2. */
  MAC_LOW = 36,
  MAC_HIGH = 40,
}

/** What sender and checker tell each other and control: u32 words. */
export const enum Progress {
  SENT = 0,
  /** Frames that came, right or wrong. */
  RECEIVED = 64,
  /** Next number expected. */
  EXPECTED = 68,
  LOST = 72,
  /** Came with a number lower than expected. */
  LATE = 76,
  CHANGED = 80,
  BYTES = 128,
}

const HEADER_BYTES: u32 = 28;
const TYPE: u32 = 0xb588; // 0x88b5 big-endian

/** A number's pseudo-random word. */
function draw(number: u32, k: u32): u32 {
  const x: u32 = (mul32(number, 0x9e3779b1) + mul32(k, 0x85ebca6b)) >>> 0;
  return (x ^ (x >>> 15)) >>> 0;
}

function sizeOf(s: u32, number: u32): u32 {
  const min: u32 = r32(s + Sequence.SIZE_MIN);
  const max: u32 = r32(s + Sequence.SIZE_MAX);
  return min + ((draw(number, 0xffff) >>> 1) % (max - min + 1));
}

/** Walks the payload of a frame of `size` bytes that begins in `mbuf`: writes it if `write`. Returns its checksum. */
function payload(mbuf: u32, number: u32, size: u32, write: u32): u32 {
  const words: u32 = (size - HEADER_BYTES) >>> 2;
  let segment: u32 = mbuf;
  let p: u32 = r32(segment + Mbuf.DATA) + HEADER_BYTES;
  let left: u32 = r32(segment + Mbuf.DATA_LEN) - HEADER_BYTES;
  let a: u32 = (number ^ size) >>> 0;
  let b: u32 = 0;
  let k: u32 = 0;
  while (k < words) {
    while (left < 4) {
      segment = r32(segment + Mbuf.NEXT);
      if (segment == 0) return 0; // shorter than it says
      p = r32(segment + Mbuf.DATA);
      left = r32(segment + Mbuf.DATA_LEN);
    }
    const run: u32 = min32(words - k, left >>> 2);
    for (let j: u32 = 0; j < run; j++) {
      if (write != 0) w32(p + (j << 2), draw(number, k + j));
      a = (a + r32(p + (j << 2))) >>> 0;
      b = (b + a) >>> 0;
    }
    k = k + run;
    p = p + (run << 2);
    left = left - (run << 2);
  }
  return (a ^ mul32(b, 0x9e3779b1)) >>> 0;
}

/** Makes frame `number` of drawn mbufs at `segments`, as many as it needs. */
function build(s: u32, segments: u32, count: u32, number: u32, size: u32, room: u32): void {
  const first: u32 = chainSegments(segments, count, size, room);
  const p: u32 = r32(first + Mbuf.DATA);
  w32(p, r32(s + Sequence.MAC_LOW));
  w32(p + 4, 0x00020000 | r32(s + Sequence.MAC_HIGH)); // from 02:00:00:00:00:01
  w32(p + 8, 0x01000000);
  w16(p + 12, TYPE);
  w16(p + 14, 0);
  w32(p + 16, number);
  w32(p + 20, size);
  const sum: u32 = payload(first, number, size, 1);
  w32(p + 24, sum);
}

/**
 * Sends as many numbered frames as the window allows, at most `n`. The words at `pkts` have room for n segments
 * more.
 */
export function sequenceSend(s: u32, pkts: u32, n: u32): u32 {
  const q: u32 = r32(s + Stream.TX_QUEUE);
  const cache: u32 = r32(q + Queue.CACHE);
  const room: u32 = r32(r32(cache) + Pool.DATA_ROOM);
  const progress: u32 = r32(s + Sequence.PROGRESS);
  const sent: u32 = r32(progress + Progress.SENT);
  const underWay: u32 = (sent - acquire32(progress + Progress.RECEIVED)) >>> 0;
  const window: u32 = r32(s + Sequence.WINDOW);
  if (underWay >= window || sent == r32(s + Sequence.TOTAL)) return 0;
  const most: u32 = min32(min32(n, window - underWay), (r32(s + Sequence.TOTAL) - sent) >>> 0);
  let made: u32 = 0;
  while (made < most) {
    const size: u32 = sizeOf(s, (sent + made) >>> 0);
    const count: u32 = ((size + room - 1) / room) >>> 0;
    const segments: u32 = pkts + (n << 2);
    if (mbufAllocBulk(cache, segments, count) == 0) break;
    build(s, segments, count, (sent + made) >>> 0, size, room);
    w32(pkts + (made << 2), r32(segments));
    made++;
  }
  if (made == 0) return 0;
  const took: u32 = send(s, pkts, made);
  if (took < made) mbufFreeBulk(cache, pkts + (took << 2), made - took); // their numbers are sent anew
  publish32(progress + Progress.SENT, (sent + took) >>> 0);
  return took;
}

/**
 * Receives numbered frames and judges them; frames of another type (a kernel's own chatter) are counted as BAD
 * alone.
 */
export function sequenceCheck(s: u32, pkts: u32, n: u32): u32 {
  const q: u32 = r32(s + Stream.RX_QUEUE);
  const got: u32 = rxBurst(q, pkts, n);
  if (got == 0) return 0;
  received(s, pkts, got);
  const progress: u32 = r32(s + Sequence.PROGRESS);
  let numbered: u32 = 0;
  for (let k: u32 = 0; k < got; k++) numbered = numbered + judge(s, progress, r32(pkts + (k << 2)));
  for (let k: u32 = 0; k < got; k++) mbufFree(r32(q + Queue.CACHE), r32(pkts + (k << 2)));
  publish32(progress + Progress.RECEIVED, (r32(progress + Progress.RECEIVED) + numbered) >>> 0);
  return got;
}

/** Judges one frame. 1 if it was one of ours. Its first bytes are then wiped, so that a stale buffer cannot pass. */
function judge(s: u32, progress: u32, mbuf: u32): u32 {
  const p: u32 = r32(mbuf + Mbuf.DATA);
  if (r32(mbuf + Mbuf.DATA_LEN) < HEADER_BYTES || r16(p + 12) != TYPE) {
    bump(s + Stream.BAD, 1);
    return 0;
  }
  const number: u32 = r32(p + 16);
  const size: u32 = r32(p + 20);
  const expected: u32 = r32(progress + Progress.EXPECTED);
  const ahead: u32 = (number - expected) >>> 0;
  if (ahead < 0x80000000) {
    w32(progress + Progress.LOST, r32(progress + Progress.LOST) + ahead);
    w32(progress + Progress.EXPECTED, (number + 1) >>> 0);
  } else w32(progress + Progress.LATE, r32(progress + Progress.LATE) + 1);
  let same: u32 = size == r32(mbuf + Mbuf.PKT_LEN) && size == sizeOf(s, number) ? 1 : 0;
  if (same != 0 && payload(mbuf, number, size, 0) != r32(p + 24)) same = 0;
  if (same == 0) w32(progress + Progress.CHANGED, r32(progress + Progress.CHANGED) + 1);
  w32(p + 16, 0xffffffff);
  w8(p + 24, r8(p + 24) ^ 0xff);
  return 1;
}
