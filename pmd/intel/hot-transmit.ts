// Transmit, on a packet's way: its segments' buffers are described to the NIC, which is told the new tail once a burst;
// the last descriptor of each lot asks for a report (RS), and when that has come the lot's mbufs go back to the cache.
import { Cache, Mbuf, Queue } from "../../src/hot/layout.ts";
import { cachePut, mbufFree } from "../../src/hot/mbuf.ts";
import { acquire32, fillBytes, min32, mul32, publish32, r32, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets } from "../../src/hot/queue.ts";
import { Desc, TxCommand, TxStatus, Word } from "./descriptors.ts";
import { commandOf, lengthsFit, needsContext, optionsOf, writeContext } from "./hot-context.ts";
import { Asked, IntelLimit, IntelQueue, Report } from "./layout.ts";
import { describe } from "./simd.ts";

const EOP: u32 = TxCommand.EOP;
const RS: u32 = TxCommand.RS;

/** What `sendSegments` returns besides its result, and `sendLot`: word STATUS of the last descriptor; bytes; drops. */
let lastCommand: u32 = 0;
let lotBytes: u32 = 0;
let lotDropped: u32 = 0;

/** sendSegments' answer for a packet that cannot be sent. */
const DROPPED: u32 = 0xffff;

/** Packets from the words at `pkts` to the NIC, as many as there are descriptors for. Returns how many. */
export function intelTxBurst(q: u32, pkts: u32, n: u32): u32 {
  const mask: u32 = r32(q + IntelQueue.MASK);
  const before: u32 = r32(q + IntelQueue.TAIL);
  const free: u32 = mask - ((before - r32(q + IntelQueue.HEAD)) >>> 0);
  let cleaned: u32 = 0;
  if (free < n || free <= mask >>> 1) {
    intelTxClean(q);
    cleaned = 1;
  }
  let bytes: u32 = 0;
  let dropped: u32 = 0;
  let k: u32 = 0;
  while (k < n) {
    const lot: u32 = min32(n - k, IntelLimit.LOT);
    const taken: u32 = sendLot(q, pkts + (k << 2), lot);
    k = k + taken;
    bytes = bytes + lotBytes;
    dropped = dropped + lotDropped;
    if (taken == lot) continue;
    if (cleaned != 0) break; // the ring is full
    intelTxClean(q); // of packets with several segments it holds fewer than seemed
    cleaned = 1;
  }
  const tail: u32 = r32(q + IntelQueue.TAIL);
  if (tail != before) publish32(r32(q + IntelQueue.TAIL_REG), tail & mask);
  if (k != 0) countPackets(q, k - dropped, bytes);
  if (k < n) bump(q + Queue.STALLED, n - k);
  return k;
}

/** Describes up to `n` packets and asks for a report of the last. Returns how many there was room for. */
function sendLot(q: u32, pkts: u32, n: u32): u32 {
  const pool: u32 = r32(r32(q + Queue.CACHE) + Cache.POOL);
  const ring: u32 = r32(q + IntelQueue.RING);
  const mask: u32 = r32(q + IntelQueue.MASK);
  const mbufs: u32 = r32(q + IntelQueue.MBUFS);
  const command: u32 = (r32(q + IntelQueue.COMMAND) | EOP) >>> 0;
  const unit: u32 = r32(q + IntelQueue.PAYLEN_UNIT);
  const span: u32 = r32(q + IntelQueue.BYTES_MAX) - IntelLimit.SENT_MIN;
  const start: u32 = r32(q + IntelQueue.TAIL);
  let room: u32 = mask - ((start - r32(q + IntelQueue.HEAD)) >>> 0);
  let tail: u32 = start;
  let last: u32 = 0;
  let odd: u32 = 0;
  let bytes: u32 = 0;
  let dropped: u32 = 0;
  let k: u32 = 0;
  for (; k < n && room != 0; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
    const offset: u32 = (r32(mbuf + Mbuf.DATA) - r32(mbuf + Mbuf.BUF)) >>> 0;
    const most: u32 = r32(mbuf + Mbuf.BUF_LEN);
    const rare: u32 =
      r32(mbuf + Mbuf.NEXT) | (r32(mbuf + Mbuf.OL_FLAGS) & Asked.ALL) | (r32(mbuf + Mbuf.PKT_LEN) ^ length);
    odd = odd | (r32(mbuf + Mbuf.POOL) ^ pool);
    if (rare != 0 || (length - IntelLimit.SENT_MIN) >>> 0 > span || offset > most || offset + length > most) {
      const packetBytes: u32 = r32(mbuf + Mbuf.PKT_LEN);
      const next: u32 = r32(mbuf + Mbuf.NEXT);
      const used: u32 = sendSegments(q, mbuf, tail, room);
      if (used == 0) break;
      if (used == DROPPED) {
        dropped++;
        continue;
      }
      odd = odd | (used - 1) | next;
      last = lastCommand;
      bytes = bytes + packetBytes;
      tail = (tail + used) >>> 0;
      room = room - used;
      continue;
    }
    const slot: u32 = tail & mask;
    last = (command | length) >>> 0;
    const low: u32 = (r32(mbuf + Mbuf.BUF_IOVA) + offset) >>> 0;
    describe(ring + (slot << Desc.SHIFT), low, r32(mbuf + Mbuf.BUF_IOVA_HIGH), last, mul32(length, unit));
    w32(mbufs + (slot << 2), mbuf);
    bytes = bytes + length;
    tail = (tail + 1) >>> 0;
    room--;
  }
  if (tail != start) {
    const slot: u32 = (tail - 1) & mask;
    w32(ring + (slot << Desc.SHIFT) + Word.STATUS, (last | RS) >>> 0);
    w32(r32(q + IntelQueue.REPORTS) + ((start & mask) << 2), odd == 0 ? slot : slot | Report.ODD);
    w32(q + IntelQueue.TAIL, tail);
  }
  lotBytes = bytes;
  lotDropped = dropped;
  return k;
}

/**
 * Describes a packet of several segments, or one that asks for offloads, from running index `tail` on. Returns the
 * descriptors it took, 0 if there is no room for them now, or DROPPED if it can never be sent; then it is freed.
 */
function sendSegments(q: u32, mbuf: u32, tail: u32, room: u32): u32 {
  const ring: u32 = r32(q + IntelQueue.RING);
  const mask: u32 = r32(q + IntelQueue.MASK);
  const mbufs: u32 = r32(q + IntelQueue.MBUFS);
  const ol: u32 = r32(mbuf + Mbuf.OL_FLAGS) & Asked.ALL;
  const count: u32 = piecesOf(q, mbuf);
  if (count == 0 || count >= mask || lengthsFit(q, mbuf, ol) == 0) {
    bump(q + Queue.ERRORS, 1);
    mbufFree(r32(q + Queue.CACHE), mbuf);
    return DROPPED;
  }
  const contexts: u32 = needsContext(q, mbuf, ol);
  if (contexts + count > room) return 0;
  let index: u32 = tail;
  if (contexts != 0) {
    writeContext(q, ring + ((index & mask) << Desc.SHIFT), mbuf, ol);
    w32(mbufs + ((index & mask) << 2), 0);
    index = (index + 1) >>> 0;
  }
  if (r32(mbuf + Mbuf.PKT_LEN) < <u32>IntelLimit.SENT_MIN) pad(mbuf);
  const command: u32 = (r32(q + IntelQueue.COMMAND) | commandOf(ol)) >>> 0;
  const paylen: u32 = mul32(r32(mbuf + Mbuf.PKT_LEN), r32(q + IntelQueue.PAYLEN_UNIT));
  const word: u32 = (optionsOf(q, mbuf, ol) | paylen) >>> 0;
  let left: u32 = count;
  for (let m: u32 = mbuf; left != 0; m = r32(m + Mbuf.NEXT)) {
    const length: u32 = r32(m + Mbuf.DATA_LEN);
    if (length == 0) continue;
    left--;
    const slot: u32 = index & mask;
    const offset: u32 = (r32(m + Mbuf.DATA) - r32(m + Mbuf.BUF)) >>> 0;
    lastCommand = (command | length | (left == 0 ? EOP : 0)) >>> 0;
    const low: u32 = (r32(m + Mbuf.BUF_IOVA) + offset) >>> 0;
    describe(ring + (slot << Desc.SHIFT), low, r32(m + Mbuf.BUF_IOVA_HIGH), lastCommand, word);
    w32(mbufs + (slot << 2), left == 0 ? mbuf : 0);
    index = (index + 1) >>> 0;
  }
  return (index - tail) >>> 0;
}

/**
 * The segments of a packet that hold bytes; 0 if the NIC may not be given it: then its lengths contradict each other.
 */
function piecesOf(q: u32, mbuf: u32): u32 {
  const total: u32 = r32(mbuf + Mbuf.PKT_LEN);
  if (total < <u32>IntelLimit.RECEIVED_MIN || total > r32(q + IntelQueue.BYTES_MAX)) return 0;
  const short: u32 = total < <u32>IntelLimit.SENT_MIN ? IntelLimit.SENT_MIN - total : 0; // what pad() will add
  let left: u32 = total;
  let pieces: u32 = 0;
  let segments: u32 = 0;
  for (let m: u32 = mbuf; m != 0; m = r32(m + Mbuf.NEXT)) {
    const length: u32 = r32(m + Mbuf.DATA_LEN);
    const offset: u32 = (r32(m + Mbuf.DATA) - r32(m + Mbuf.BUF)) >>> 0;
    const most: u32 = r32(m + Mbuf.BUF_LEN);
    segments++;
    if (segments > <u32>IntelLimit.SEGMENTS || length > left) return 0;
    if (offset > most || offset + length + short > most) return 0;
    left = left - length;
    if (length != 0) pieces++;
  }
  return left != 0 || (short != 0 && segments != 1) ? 0 : pieces;
}

/** Lengthens a packet of one segment, behind which there is room, to what the NIC can pad. */
function pad(mbuf: u32): void {
  const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
  fillBytes(r32(mbuf + Mbuf.DATA) + length, 0, IntelLimit.SENT_MIN - length);
  w32(mbuf + Mbuf.DATA_LEN, IntelLimit.SENT_MIN);
  w32(mbuf + Mbuf.PKT_LEN, IntelLimit.SENT_MIN);
}

/** Takes sent packets back into the cache. Also to be called now and then when there is nothing to send. */
export function intelTxClean(q: u32): void {
  const ring: u32 = r32(q + IntelQueue.RING);
  const mask: u32 = r32(q + IntelQueue.MASK);
  const reports: u32 = r32(q + IntelQueue.REPORTS);
  const tail: u32 = r32(q + IntelQueue.TAIL);
  const start: u32 = r32(q + IntelQueue.HEAD);
  let head: u32 = start;
  while (head != tail) {
    const report: u32 = r32(reports + ((head & mask) << 2));
    const last: u32 = report & Report.SLOT;
    if ((acquire32(ring + (last << Desc.SHIFT) + Word.LENGTH) & TxStatus.DD) == 0) break;
    const count: u32 = ((last - head) & mask) + 1;
    giveBack(q, head & mask, count, report & Report.ODD);
    head = (head + count) >>> 0;
  }
  if (head != start) w32(q + IntelQueue.HEAD, head);
}

/** Gives back the mbufs of `count` slots. */
function giveBack(q: u32, slot: u32, count: u32, odd: u32): void {
  const cache: u32 = r32(q + Queue.CACHE);
  const mask: u32 = r32(q + IntelQueue.MASK);
  const mbufs: u32 = r32(q + IntelQueue.MBUFS);
  if (odd == 0) {
    const whole: u32 = min32(count, mask + 1 - slot);
    cachePut(cache, mbufs + (slot << 2), whole);
    if (whole < count) cachePut(cache, mbufs, count - whole);
    return;
  }
  for (let k: u32 = 0; k < count; k++) {
    const mbuf: u32 = r32(mbufs + (((slot + k) & mask) << 2));
    if (mbuf != 0) mbufFree(cache, mbuf);
  }
}
