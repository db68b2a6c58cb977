// ibv mode, on a packet's way: any NIC with raw packet queue pairs, through libibverbs' own poll_cq, post_recv and
// post_send. Each is a call out of WebAssembly, which costs as much as several packets' handling; so a burst makes at
// most one poll, and posts a whole lot at once from an array of work requests that control has chained.
//
// Completions come in the order of the work requests (InfiniBand specification, 10.8.5), and are held to it here: what
// the library says is checked like any other peer's word.
import { Buffer, Mbuf, OlFlag, Queue, QueueError, VerbsCall } from "../../src/hot/layout.ts";
import { cacheCount, cacheFill, cacheGet, mbufFree, mbufFreeBulk } from "../../src/hot/mbuf.ts";
import { fillBytes, min32, mul32, r32, verbsPoll, verbsPost, w16, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { writeMbuf } from "../../src/hot/simd.ts";
import { listedBytes, listQuads } from "./simd.ts";
import {
  Errno,
  FailedSide,
  RecvWr,
  SendFlag,
  SendWr,
  Sge,
  VerbsFlag,
  VerbsLimit,
  VerbsQueue,
  Wc,
  WcStatus,
} from "./verbs-layout.ts";

/** OlFlag's bits of transmit that stand for IBV_SEND_IP_CSUM. */
const CHECKSUMS: u32 = OlFlag.TX_IP_CKSUM | OlFlag.TX_TCP_CKSUM | OlFlag.TX_UDP_CKSUM;

/** What describe() makes of a packet. */
const enum Kind {
  /** It can never be sent. */
  NONE = 0,
  /** Its work request is as it was: one segment, nothing asked for. */
  PLAIN = 1,
  SPECIAL = 2,
}

/** What sendLot returns besides its result: bytes of the packets that it posted, and packets it dropped. */
let lotBytes: u32 = 0;
let lotDropped: u32 = 0;

/** Received packets into the words at `pkts`, at most `n` and a lot. */
export function verbsRxBurst(q: u32, pkts: u32, n: u32): u32 {
  const held: u32 = (r32(q + VerbsQueue.TAIL) - r32(q + VerbsQueue.HEAD)) >>> 0;
  const wanted: u32 = min32(min32(n, held), r32(q + VerbsQueue.LOT));
  const got: u32 = wanted == 0 ? 0 : receive(q, pkts, wanted);
  if (r32(q + Queue.RUN) != 0) refill(q);
  return got;
}

/** Polls for up to `n` completions: the packets that they are of. */
function receive(q: u32, pkts: u32, n: u32): u32 {
  const wcs: u32 = r32(q + VerbsQueue.WCS);
  const peeked: u32 = r32(q + VerbsQueue.PEEKED);
  const count: u32 = peeked != 0 ? peeked : verbsPoll(q + VerbsQueue.POLL, n, wcs);
  if (count == 0) return 0;
  w32(q + VerbsQueue.PEEKED, 0);
  if (count > n) {
    queueFail(q, QueueError.VERBS_FAILED, count);
    return 0;
  }
  const mask: u32 = r32(q + VerbsQueue.MASK);
  const mbufs: u32 = r32(q + VerbsQueue.MBUFS);
  const segments: u32 = r32(q + VerbsQueue.SEGMENTS);
  const room: u32 = r32(q + VerbsQueue.ROOM);
  const origin: u32 = r32(q + Queue.ORIGIN);
  const span: u32 = r32(q + VerbsQueue.BYTES_MAX) - VerbsLimit.FRAME_MIN;
  let head: u32 = r32(q + VerbsQueue.HEAD);
  let got: u32 = 0;
  let bytes: u32 = 0;
  for (let k: u32 = 0; k < count; k++) {
    const wc: u32 = wcs + k * Wc.BYTES;
    const slot: u32 = head & mask;
    const length: u32 = r32(wc + Wc.BYTE_LEN);
    const tooLong: u32 = r32(wc + Wc.STATUS) == <u32>WcStatus.LOC_LEN_ERR ? 1 : 0;
    if (tooLong == 0 && hasFailed(q, wc, FailedSide.RECEIVE) != 0) break;
    if (r32(wc + Wc.WR_ID) != slot || r32(wc + Wc.WR_ID_HIGH) != 0) {
      queueFail(q, QueueError.BAD_CQE, r32(wc + Wc.WR_ID));
      break;
    }
    if (tooLong != 0) {
      head = (head + 1) >>> 0;
      bump(q + Queue.ERRORS, 1);
      mbufFreeBulk(r32(q + Queue.CACHE), mbufs + (mul32(slot, segments) << 2), segments);
      continue;
    }
    if (length > mul32(room, segments)) {
      queueFail(q, QueueError.BAD_LENGTH, length);
      break;
    }
    head = (head + 1) >>> 0;
    const mbuf: u32 = r32(mbufs + (mul32(slot, segments) << 2));
    writeMbuf(mbuf, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, min32(length, room), origin);
    if (segments != 1) gather(q, mbufs + (mul32(slot, segments) << 2), length);
    if ((length - VerbsLimit.FRAME_MIN) >>> 0 > span) {
      bump(q + Queue.ERRORS, 1);
      mbufFree(r32(q + Queue.CACHE), mbuf);
      continue;
    }
    w32(pkts + (got << 2), mbuf);
    bytes = bytes + length;
    got++;
  }
  w32(q + VerbsQueue.HEAD, head);
  countPackets(q, got, bytes);
  return got;
}

/** 1 if a completion reports an error; the queue is stopped then. */
function hasFailed(q: u32, wc: u32, side: u32): u32 {
  const status: u32 = r32(wc + Wc.STATUS);
  if (status == <u32>WcStatus.SUCCESS) return 0;
  queueFail(q, QueueError.CQE_ERROR, ((side << 8) | (status & 0xff)) >>> 0);
  return 1;
}

/** Makes a packet of `length` bytes of the mbufs at `list`, the first of which is written; gives unused ones back. */
function gather(q: u32, list: u32, length: u32): void {
  const segments: u32 = r32(q + VerbsQueue.SEGMENTS);
  const room: u32 = r32(q + VerbsQueue.ROOM);
  const first: u32 = r32(list);
  let last: u32 = first;
  let used: u32 = 1;
  let left: u32 = length - min32(length, room);
  for (; left != 0; used++) {
    const mbuf: u32 = r32(list + (used << 2));
    const part: u32 = min32(left, room);
    writeMbuf(mbuf, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, part, r32(q + Queue.ORIGIN));
    w32(last + Mbuf.NEXT, mbuf);
    last = mbuf;
    left = left - part;
  }
  w32(first + Mbuf.PKT_LEN, length);
  w16(first + Mbuf.NB_SEGS, used);
  if (used < segments) mbufFreeBulk(r32(q + Queue.CACHE), list + (used << 2), segments - used);
}

/** Posts buffers for the free work requests, if they are a lot; fewer only where half of the queue is empty. */
function refill(q: u32): void {
  const size: u32 = r32(q + VerbsQueue.MASK) + 1;
  const lot: u32 = r32(q + VerbsQueue.LOT);
  const segments: u32 = r32(q + VerbsQueue.SEGMENTS);
  const cache: u32 = r32(q + Queue.CACHE);
  for (;;) {
    const held: u32 = (r32(q + VerbsQueue.TAIL) - r32(q + VerbsQueue.HEAD)) >>> 0;
    const room: u32 = size - held;
    if (room < lot) return;
    let have: u32 = cacheCount(cache);
    if (have < mul32(lot, segments)) have = have + cacheFill(cache, mul32(room, segments) - have);
    const count: u32 = min32((have / segments) >>> 0, lot);
    if (count == 0) bump(q + Queue.STALLED, 1);
    if (count == 0 || (count < lot && held > size >>> 1)) return;
    if (postReceive(q, cache, count) != count || r32(q + Queue.RUN) == 0) return;
  }
}

/** Posts `count` work requests, at most a lot. Returns how many the queue took. */
function postReceive(q: u32, cache: u32, count: u32): u32 {
  const mask: u32 = r32(q + VerbsQueue.MASK);
  const segments: u32 = r32(q + VerbsQueue.SEGMENTS);
  const wrs: u32 = r32(q + VerbsQueue.WRS);
  const tail: u32 = r32(q + VerbsQueue.TAIL);
  let sge: u32 = r32(q + VerbsQueue.SGES);
  for (let k: u32 = 0; k < count; k++) {
    const slot: u32 = (tail + k) & mask;
    const list: u32 = r32(q + VerbsQueue.MBUFS) + (mul32(slot, segments) << 2);
    cacheGet(cache, list, segments);
    for (let j: u32 = 0; j < segments; j++) {
      putAddress(q, sge + Sge.ADDR, r32(r32(list + (j << 2)) + Mbuf.BUF) + Buffer.HEADROOM);
      sge = sge + (1 << Sge.SHIFT);
    }
    w32(wrs + (k << RecvWr.SHIFT) + RecvWr.WR_ID, slot);
  }
  const posted: u32 = post(q, wrs, count, RecvWr.SHIFT);
  w32(q + VerbsQueue.TAIL, (tail + posted) >>> 0);
  for (let k: u32 = posted; k < count; k++) {
    const list: u32 = r32(q + VerbsQueue.MBUFS) + (mul32((tail + k) & mask, segments) << 2);
    mbufFreeBulk(cache, list, segments);
  }
  return posted;
}

/** The address of arena offset `p`, at `at`. */
function putAddress(q: u32, at: u32, p: u32): void {
  const low: u32 = (r32(q + VerbsQueue.BASE) + p) >>> 0;
  w32(at, low);
  w32(at + 4, r32(q + VerbsQueue.BASE_HIGH) + (low < p ? 1 : 0));
}

/**
 * Posts the first `count` of the chained work requests at `wrs`, 1 << `shift` bytes each. Returns how many the library
 * took; on an error other than a full queue the queue is stopped.
 */
function post(q: u32, wrs: u32, count: u32, shift: u32): u32 {
  const next: u32 = wrs + ((count - 1) << shift) + SendWr.NEXT; // RecvWr.NEXT is the same
  w32(next, 0);
  w32(next + 4, 0);
  const error: u32 = verbsPost(q + VerbsQueue.POST, wrs);
  putAddress(q, next, wrs + (count << shift));
  if (error == 0) return count;
  if (error != <u32>Errno.ENOMEM) queueFail(q, QueueError.VERBS_FAILED, error);
  else bump(q + Queue.STALLED, 1);
  const distance: u32 = (r32(q + VerbsQueue.POST + VerbsCall.BAD_WR) - r32(q + VerbsQueue.BASE) - wrs) >>> 0;
  // a bad_wr that is none of them: the NIC may have any of the buffers until its queue is destroyed
  return min32(distance >>> shift, count);
}

/** Packets from the words at `pkts` to the NIC, as many as there are work requests for. Returns how many. */
export function verbsTxBurst(q: u32, pkts: u32, n: u32): u32 {
  const size: u32 = r32(q + VerbsQueue.MASK) + 1;
  const free: u32 = size - ((r32(q + VerbsQueue.TAIL) - r32(q + VerbsQueue.HEAD)) >>> 0);
  if (free < n || free <= size >>> 1) verbsTxClean(q);
  let bytes: u32 = 0;
  let dropped: u32 = 0;
  let k: u32 = 0;
  while (k < n && r32(q + Queue.RUN) != 0) {
    const lot: u32 = min32(n - k, r32(q + VerbsQueue.LOT));
    const taken: u32 = sendLot(q, pkts + (k << 2), lot);
    k = k + taken;
    bytes = bytes + lotBytes;
    dropped = dropped + lotDropped;
    if (taken != lot) break;
  }
  if (k != 0) countPackets(q, k - dropped, bytes);
  if (k < n) bump(q + Queue.STALLED, n - k);
  return k;
}

/** Posts up to `n` packets, one completion for all of them. Returns how many there was room for. */
function sendLot(q: u32, pkts: u32, n: u32): u32 {
  const mask: u32 = r32(q + VerbsQueue.MASK);
  const mbufs: u32 = r32(q + VerbsQueue.MBUFS);
  const wrs: u32 = r32(q + VerbsQueue.WRS);
  const sges: u32 = r32(q + VerbsQueue.SGES);
  const stride: u32 = r32(q + VerbsQueue.SEGMENTS) << Sge.SHIFT;
  const tail: u32 = r32(q + VerbsQueue.TAIL);
  const room: u32 = mask + 1 - ((tail - r32(q + VerbsQueue.HEAD)) >>> 0);
  let k: u32 = listQuads(q, pkts, min32(n, room));
  let count: u32 = k;
  let special: u32 = 0;
  lotBytes = listedBytes;
  lotDropped = 0;
  for (; k < n && count < room; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    const kind: u32 = describe(q, mbuf, wrs + (count << SendWr.SHIFT), sges + mul32(count, stride));
    if (kind == Kind.NONE) {
      drop(q, mbuf);
      continue;
    }
    if (kind == Kind.SPECIAL) special = 1;
    w32(mbufs + (((tail + count) & mask) << 2), mbuf);
    lotBytes = lotBytes + r32(mbuf + Mbuf.PKT_LEN);
    count++;
  }
  if (count == 0) return k;
  const last: u32 = wrs + ((count - 1) << SendWr.SHIFT);
  w32(last + SendWr.WR_ID, (tail + count) >>> 0);
  w32(last + SendWr.SEND_FLAGS, r32(last + SendWr.SEND_FLAGS) | SendFlag.SIGNALED);
  const posted: u32 = post(q, wrs, count, SendWr.SHIFT);
  w32(last + SendWr.SEND_FLAGS, 0);
  if (special != 0) makePlain(wrs, count);
  w32(q + VerbsQueue.TAIL, (tail + posted) >>> 0);
  for (let j: u32 = posted; j < count; j++) {
    const mbuf: u32 = r32(mbufs + (((tail + j) & mask) << 2));
    lotBytes = lotBytes - r32(mbuf + Mbuf.PKT_LEN);
    drop(q, mbuf);
  }
  return k;
}

/** Work requests are again what they are between lots: of one segment, nothing asked for. */
function makePlain(wrs: u32, count: u32): void {
  for (let k: u32 = 0; k < count; k++) {
    w32(wrs + (k << SendWr.SHIFT) + SendWr.NUM_SGE, 1);
    w32(wrs + (k << SendWr.SHIFT) + SendWr.SEND_FLAGS, 0);
  }
}

/** Frees a packet that can never be sent, or that the library would not take. */
function drop(q: u32, mbuf: u32): void {
  bump(q + Queue.ERRORS, 1);
  mbufFree(r32(q + Queue.CACHE), mbuf);
  lotDropped++;
}

/** Writes a packet's list at `sge`, and what is not plain of it into its work request at `wr`. Returns a Kind. */
function describe(q: u32, mbuf: u32, wr: u32, sge: u32): u32 {
  const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
  const data: u32 = r32(mbuf + Mbuf.DATA);
  const offset: u32 = (data - r32(mbuf + Mbuf.BUF)) >>> 0;
  const most: u32 = r32(mbuf + Mbuf.BUF_LEN);
  const span: u32 = r32(q + VerbsQueue.BYTES_MAX) - VerbsLimit.SENT_MIN;
  const ol: u32 = r32(mbuf + Mbuf.OL_FLAGS);
  const rare: u32 = r32(mbuf + Mbuf.NEXT) | (r32(mbuf + Mbuf.PKT_LEN) ^ length) | (ol & OlFlag.TX_VLAN);
  const asked: u32 = ol & CHECKSUMS;
  // sent without them, the frame would be a wrong one
  if (asked != 0 && (r32(q + VerbsQueue.FLAGS) & VerbsFlag.CHECKSUM) == 0) return Kind.NONE;
  let count: u32 = 1;
  if (rare != 0 || (length - VerbsLimit.SENT_MIN) >>> 0 > span || offset > most || offset + length > most) {
    count = describeSegments(q, mbuf, sge);
    if (count == 0) return Kind.NONE;
  } else {
    putAddress(q, sge + Sge.ADDR, data);
    w32(sge + Sge.LENGTH, length);
  }
  if (count == 1 && asked == 0) return Kind.PLAIN;
  w32(wr + SendWr.NUM_SGE, count);
  w32(wr + SendWr.SEND_FLAGS, asked != 0 ? SendFlag.IP_CSUM : 0);
  return Kind.SPECIAL;
}

/** The list of a packet of several segments, or of one that is short. 0 if its lengths or flags cannot be. */
function describeSegments(q: u32, mbuf: u32, sges: u32): u32 {
  const total: u32 = r32(mbuf + Mbuf.PKT_LEN);
  if (total < <u32>VerbsLimit.FRAME_MIN || total > r32(q + VerbsQueue.BYTES_MAX)) return 0;
  if ((r32(mbuf + Mbuf.OL_FLAGS) & OlFlag.TX_VLAN) != 0) return 0; // verbs cannot put a tag in
  const short: u32 = total < <u32>VerbsLimit.SENT_MIN ? VerbsLimit.SENT_MIN - total : 0;
  const segments: u32 = r32(q + VerbsQueue.SEGMENTS);
  if (short != 0 && r32(mbuf + Mbuf.NEXT) != 0) return 0;
  let left: u32 = total;
  let count: u32 = 0;
  let seen: u32 = 0;
  for (let m: u32 = mbuf; m != 0; m = r32(m + Mbuf.NEXT)) {
    const length: u32 = r32(m + Mbuf.DATA_LEN);
    const offset: u32 = (r32(m + Mbuf.DATA) - r32(m + Mbuf.BUF)) >>> 0;
    const most: u32 = r32(m + Mbuf.BUF_LEN);
    seen++;
    if (seen > <u32>VerbsLimit.SEGMENTS || length > left || offset > most || offset + length + short > most)
      return 0;
    if (length == 0) continue;
    if (count == segments) return 0;
    const sge: u32 = sges + (count << Sge.SHIFT);
    putAddress(q, sge + Sge.ADDR, r32(m + Mbuf.DATA));
    w32(sge + Sge.LENGTH, length + short);
    left = left - length;
    count++;
  }
  if (left != 0) return 0;
  if (short != 0) pad(mbuf, short);
  return count;
}

/** Lengthens a packet of one segment, behind which there is room, by `short` bytes. */
function pad(mbuf: u32, short: u32): void {
  const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
  fillBytes(r32(mbuf + Mbuf.DATA) + length, 0, short);
  w32(mbuf + Mbuf.DATA_LEN, length + short);
  w32(mbuf + Mbuf.PKT_LEN, length + short);
}

/** Takes sent packets back into the cache. Also to be called now and then when there is nothing to send. */
export function verbsTxClean(q: u32): void {
  const mask: u32 = r32(q + VerbsQueue.MASK);
  const tail: u32 = r32(q + VerbsQueue.TAIL);
  const wcs: u32 = r32(q + VerbsQueue.WCS);
  let head: u32 = r32(q + VerbsQueue.HEAD);
  if (head == tail) return;
  const lot: u32 = r32(q + VerbsQueue.LOT);
  const count: u32 = verbsPoll(q + VerbsQueue.POLL, lot, wcs);
  if (count > lot) {
    queueFail(q, QueueError.VERBS_FAILED, count);
    return;
  }
  for (let k: u32 = 0; k < count; k++) {
    const wc: u32 = wcs + k * Wc.BYTES;
    if (hasFailed(q, wc, FailedSide.SEND) != 0) break;
    const done: u32 = (r32(wc + Wc.WR_ID) - head) >>> 0;
    if (done == 0 || done > (tail - head) >>> 0 || r32(wc + Wc.WR_ID_HIGH) != 0) {
      queueFail(q, QueueError.BAD_CQE, r32(wc + Wc.WR_ID));
      break;
    }
    giveBack(q, head & mask, done);
    head = (head + done) >>> 0;
  }
  w32(q + VerbsQueue.HEAD, head);
}

/** Gives back the packets of `count` work requests from `slot` on. */
function giveBack(q: u32, slot: u32, count: u32): void {
  const cache: u32 = r32(q + Queue.CACHE);
  const mbufs: u32 = r32(q + VerbsQueue.MBUFS);
  const whole: u32 = min32(count, r32(q + VerbsQueue.MASK) + 1 - slot);
  mbufFreeBulk(cache, mbufs + (slot << 2), whole);
  if (whole < count) mbufFreeBulk(cache, mbufs, count - whole);
}
