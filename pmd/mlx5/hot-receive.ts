// Receive, on a packet's way: the NIC writes a frame into the buffers of the oldest WQE and tells of it by a completion
// queue entry; here the WQE's mbufs become a packet, the WQE gets others, and once a lot of WQEs the NIC is told, by
// the doorbell record. Completions come in the order of the WQEs.
//
// What is known of a WQE stands in private memory. Of an entry each word is read once, and held against what it must
// be: the index is that of the oldest WQE, and the length fits.
import { Buffer, Cache, Mbuf, Queue, QueueError } from "../../src/hot/layout.ts";
import { cacheCount, cacheDrop, cacheFill, mbufFree } from "../../src/hot/mbuf.ts";
import { acquire32, min32, publish32, r32, swap16, swap32, w16, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { equalRun, writeMbuf } from "../../src/hot/simd.ts";
import { Cqe, Owner } from "./cqe.ts";
import { annotate } from "./hot-annotate.ts";
import {
  completionBytes,
  completionCounter,
  completionHash,
  completionHashType,
  completionInfo,
  consumeTo,
  ownerOf,
  passCompletion,
  peekCompletion,
} from "./hot-completion.ts";
import { miniBytes, takeMinis } from "./hot-minis.ts";
import { stridingRxBurst } from "./hot-striding.ts";
import { Mlx5Flag, Mlx5Limit, Mlx5Queue } from "./layout.ts";
import { quadBytes, takeQuads, writeAddress, writeQuads } from "./simd.ts";
import { DataSegment, WqeSize } from "./wqe.ts";

/** `takeOne`'s answer where no completion is, or the queue was stopped. */
const NOTHING: u32 = 0xffffffff;

/** Bytes of the packets of the burst at hand. */
let burstBytes: u32 = 0;

/** Received packets into the words at `pkts`, at most `n`. */
export function mlx5RxBurst(q: u32, pkts: u32, n: u32): u32 {
  if ((r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.STRIDING) != 0) return stridingRxBurst(q, pkts, n);
  const before: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  const single: u32 = r32(q + Mlx5Queue.SEGMENTS) == 1 ? 1 : 0;
  const compressed: u32 = single != 0 ? r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.COMPRESSED : 0;
  let got: u32 = 0;
  burstBytes = 0;
  while (got < n) {
    if (compressed != 0) {
      const minis: u32 = takeMinis(q, pkts + (got << 2), n - got);
      burstBytes = burstBytes + miniBytes;
      got = got + minis;
      if (minis != 0) continue;
    }
    if (single != 0 && r32(q + Mlx5Queue.MINIS) == 0) got = got + takeRun(q, pkts + (got << 2), n - got);
    if (got == n) break;
    const mbuf: u32 = takeOne(q);
    if (mbuf == NOTHING) break;
    if (mbuf == 0) continue;
    w32(pkts + (got << 2), mbuf);
    got++;
  }
  const index: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  if (index != before) consumeTo(q, index);
  if (got != 0) countPackets(q, got, burstBytes);
  if (r32(q + Queue.RUN) != 0) refill(q);
  return got;
}

/** Takes ordinary packets, one buffer and one entry each, up to the first that is not. Returns how many. */
function takeRun(q: u32, pkts: u32, n: u32): u32 {
  const cq: u32 = r32(q + Mlx5Queue.CQ);
  const cqMask: u32 = r32(q + Mlx5Queue.CQ_MASK);
  const mbufs: u32 = r32(q + Mlx5Queue.MBUFS);
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const origin: u32 = r32(q + Queue.ORIGIN);
  const span: u32 = r32(q + Mlx5Queue.ROOM) - Mlx5Limit.FRAME_MIN;
  const annotated: u32 = r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.ANNOTATED;
  const index: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  const head: u32 = r32(q + Mlx5Queue.HEAD);
  const most: u32 = min32(n, (r32(q + Mlx5Queue.TAIL) - head) >>> 0);
  let got: u32 = takeQuads(q, pkts, most);
  let bytes: u32 = quadBytes;
  for (; got < most; got++) {
    const cqe: u32 = cq + (((index + got) & cqMask) << Cqe.SHIFT);
    const wanted: u32 = Owner.RESP_SEND | ownerOf(q, index + got) | swap16(head + got);
    if (((acquire32(cqe + Cqe.OWNER_WORD) ^ wanted) & Owner.LOOKED_AT) != 0) break;
    const length: u32 = swap32(r32(cqe + Cqe.BYTE_CNT));
    if ((length - Mlx5Limit.FRAME_MIN) >>> 0 > span) break;
    const mbuf: u32 = r32(mbufs + (((head + got) & mask) << 2));
    writeMbuf(mbuf, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, length, origin);
    if (annotated != 0) {
      const hash: u32 = swap32(r32(cqe + Cqe.RX_HASH_RESULT));
      annotate(q, mbuf, r32(cqe + Cqe.INFO), hash, r32(cqe + Cqe.RX_HASH_TYPE) & 0xff);
    }
    w32(pkts + (got << 2), mbuf);
    bytes = bytes + length;
  }
  burstBytes = burstBytes + bytes;
  w32(q + Mlx5Queue.HEAD, (head + got) >>> 0);
  w32(q + Mlx5Queue.CQ_INDEX, (index + got) >>> 0);
  return got;
}

/** Takes one packet of whatever form. Returns its mbuf, 0 if it was dropped, or NOTHING. */
function takeOne(q: u32): u32 {
  const head: u32 = r32(q + Mlx5Queue.HEAD);
  const held: u32 = (r32(q + Mlx5Queue.TAIL) - head) >>> 0;
  if (held == 0 || peekCompletion(q, held) == 0) return NOTHING;
  const length: u32 = completionBytes;
  if (completionCounter != (head & 0xffff)) {
    queueFail(q, QueueError.BAD_CQE, completionCounter);
    return NOTHING;
  }
  const buffer: u32 = r32(q + Mlx5Queue.BUFFER_BYTES);
  if (length > buffer * r32(q + Mlx5Queue.SEGMENTS)) {
    queueFail(q, QueueError.BAD_LENGTH, length);
    return NOTHING;
  }
  const group: u32 = (head & r32(q + Mlx5Queue.MASK)) << r32(q + Mlx5Queue.SEGMENT_SHIFT);
  const first: u32 = join(q, r32(q + Mlx5Queue.MBUFS) + (group << 2), length, buffer);
  passCompletion(q, 1);
  w32(q + Mlx5Queue.HEAD, (head + 1) >>> 0);
  if (length < <u32>Mlx5Limit.FRAME_MIN || length > r32(q + Mlx5Queue.ROOM)) {
    bump(q + Queue.ERRORS, 1);
    mbufFree(r32(q + Queue.CACHE), first);
    return 0;
  }
  if ((r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.ANNOTATED) != 0) {
    annotate(q, first, completionInfo, completionHash, completionHashType);
  }
  burstBytes = burstBytes + length;
  return first;
}

/** Makes a packet of the mbufs at `from` that a frame of `length` bytes lies in; the others stay the WQE's. */
function join(q: u32, from: u32, length: u32, buffer: u32): u32 {
  const first: u32 = r32(from);
  const single: u32 = r32(q + Mlx5Queue.SEGMENTS) == 1 ? 1 : 0;
  let left: u32 = length;
  let last: u32 = 0;
  let count: u32 = 0;
  do {
    const mbuf: u32 = r32(from + (count << 2));
    const part: u32 = min32(left, buffer);
    writeMbuf(mbuf, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, part, r32(q + Queue.ORIGIN));
    if (last != 0) w32(last + Mbuf.NEXT, mbuf);
    if (single == 0) w32(from + (count << 2), 0);
    last = mbuf;
    left = left - part;
    count++;
  } while (left != 0);
  w32(first + Mbuf.PKT_LEN, length);
  w16(first + Mbuf.NB_SEGS, count);
  return first;
}

/** Gives the NIC WQEs with new buffers, if a lot of them is free. Fewer only where the ring is half empty. */
function refill(q: u32): void {
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const tail: u32 = r32(q + Mlx5Queue.TAIL);
  const held: u32 = (tail - r32(q + Mlx5Queue.HEAD)) >>> 0;
  const room: u32 = mask + 1 - held;
  const lot: u32 = r32(q + Mlx5Queue.LOT);
  if (room < lot) return;
  const cache: u32 = r32(q + Queue.CACHE);
  const segments: u32 = r32(q + Mlx5Queue.SEGMENTS);
  let have: u32 = cacheCount(cache);
  if (have < lot * segments) have = have + cacheFill(cache, room * segments - have);
  if (have < lot * segments && held > mask >>> 1) {
    if (have == 0) bump(q + Queue.STALLED, 1);
    return;
  }
  const count: u32 = segments == 1 ? min32(have, room) : placeGroups(q, cache, tail, room);
  if (segments == 1) place(q, cache, tail, count);
  if (count == 0) {
    bump(q + Queue.STALLED, 1);
    return;
  }
  w32(q + Mlx5Queue.TAIL, (tail + count) >>> 0);
  publish32(r32(q + Mlx5Queue.RECORD), swap32((tail + count) & 0xffff));
}

/**
 * Gives the cache's next `count` mbufs to the WQEs from `tail` on, one each. A WQE stays as it was written, so a buffer
 * that comes back to its place needs nothing.
 */
function place(q: u32, cache: u32, tail: u32, count: u32): void {
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const from: u32 = r32(cache + Cache.RING);
  const fromMask: u32 = r32(cache + Cache.MASK);
  const first: u32 = r32(cache + Cache.HEAD);
  let k: u32 = 0;
  while (k < count) {
    const slot: u32 = (tail + k) & mask;
    const at: u32 = (first + k) & fromMask;
    const span: u32 = min32(min32(count - k, mask + 1 - slot), fromMask + 1 - at);
    const home: u32 = equalRun(from + (at << 2), r32(q + Mlx5Queue.MBUFS) + (slot << 2), span);
    const moved: u32 = min32(span - home, Mlx5Limit.MOVED);
    writeBuffers(q, slot + home, from + ((at + home) << 2), moved);
    k = k + home + moved;
  }
  cacheDrop(cache, count);
}

/** Points the WQEs from `slot` on at the buffers of the `n` mbufs in the words at `from`. */
function writeBuffers(q: u32, slot: u32, from: u32, n: u32): void {
  const mbufs: u32 = r32(q + Mlx5Queue.MBUFS) + (slot << 2);
  const shift: u32 = r32(q + Mlx5Queue.WQE_SHIFT);
  const addresses: u32 = r32(q + Mlx5Queue.RING) + (slot << shift) + DataSegment.ADDR;
  const low: u32 = r32(q + Mlx5Queue.BASE_LOW);
  const high: u32 = r32(q + Mlx5Queue.BASE_HIGH);
  for (let k: u32 = writeQuads(addresses, shift, mbufs, from, n, low, high); k < n; k++) {
    const mbuf: u32 = r32(from + (k << 2));
    writeAddress(addresses + (k << shift), r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, low, high);
    w32(mbufs + (k << 2), mbuf);
  }
}

/**
 * The same where a WQE has several buffers: those that its last frame left unused stay. Returns how many of the `room`
 * WQEs have all of theirs.
 */
function placeGroups(q: u32, cache: u32, tail: u32, room: u32): u32 {
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const shift: u32 = r32(q + Mlx5Queue.SEGMENT_SHIFT) + 2;
  const segments: u32 = r32(q + Mlx5Queue.SEGMENTS);
  const low: u32 = r32(q + Mlx5Queue.BASE_LOW);
  const high: u32 = r32(q + Mlx5Queue.BASE_HIGH);
  let have: u32 = cacheCount(cache);
  for (let k: u32 = 0; k < room; k++) {
    const slot: u32 = (tail + k) & mask;
    const group: u32 = r32(q + Mlx5Queue.MBUFS) + (slot << shift);
    const wqe: u32 = r32(q + Mlx5Queue.RING) + (slot << r32(q + Mlx5Queue.WQE_SHIFT));
    for (let s: u32 = 0; s < segments; s++) {
      if (r32(group + (s << 2)) != 0) continue;
      if (have == 0) return k;
      have--;
      const mbuf: u32 = nextCached(cache);
      w32(group + (s << 2), mbuf);
      const segment: u32 = wqe + (s << WqeSize.SEGMENT_SHIFT);
      writeAddress(segment + DataSegment.ADDR, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, low, high);
    }
  }
  return room;
}

/** Draws one mbuf from the cache, which has one. */
function nextCached(cache: u32): u32 {
  const at: u32 = r32(cache + Cache.HEAD) & r32(cache + Cache.MASK);
  cacheDrop(cache, 1);
  return r32(r32(cache + Cache.RING) + (at << 2));
}
