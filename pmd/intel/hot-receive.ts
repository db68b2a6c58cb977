// Receive, on a packet's way: the NIC writes a frame into the buffer of a descriptor and its length and status over the
// descriptor; here the descriptor's mbuf is taken, told what the NIC says, and handed on; the slot gets another mbuf,
// and the NIC, once a lot of slots, the new tail.
//
// What is known of a slot stands in private memory. Of the descriptor each word is read once, and lengths are checked.
import { Buffer, Cache, Mbuf, OlFlag, Queue, QueueError } from "../../src/hot/layout.ts";
import { cacheCount, cacheDrop, cacheFill, mbufFree } from "../../src/hot/mbuf.ts";
import { acquire32, min32, publish32, r16, r32, w16, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { writeMbuf } from "../../src/hot/simd.ts";
import { Desc, RxInfo, RxStatus, Word } from "./descriptors.ts";
import { IntelLimit, IntelQueue, IntelQueueFlag } from "./layout.ts";
import { describe } from "./simd.ts";

const WHOLE: u32 = RxStatus.DD | RxStatus.EOP;

/** Received packets into the words at `pkts`, at most `n`. */
export function intelRxBurst(q: u32, pkts: u32, n: u32): u32 {
  const ring: u32 = r32(q + IntelQueue.RING);
  const mask: u32 = r32(q + IntelQueue.MASK);
  const mbufs: u32 = r32(q + IntelQueue.MBUFS);
  const tail: u32 = r32(q + IntelQueue.TAIL);
  const room: u32 = r32(q + IntelQueue.ROOM);
  const origin: u32 = r32(q + Queue.ORIGIN);
  const annotated: u32 = r32(q + IntelQueue.FLAGS) & IntelQueueFlag.ANNOTATED;
  const looked: u32 = (r32(q + IntelQueue.BAD_FRAME) | WHOLE) >>> 0;
  const start: u32 = r32(q + IntelQueue.HEAD);
  let partial: u32 = r32(q + IntelQueue.PARTIAL);
  let head: u32 = start;
  let got: u32 = 0;
  let bytes: u32 = 0;
  while (got < n && head != tail) {
    const slot: u32 = head & mask;
    const desc: u32 = ring + (slot << Desc.SHIFT);
    const status: u32 = acquire32(desc + Word.STATUS);
    if ((status & RxStatus.DD) == 0) break;
    const word: u32 = r32(desc + Word.LENGTH);
    const length: u32 = word & 0xffff;
    if (length > room) {
      queueFail(q, QueueError.BAD_LENGTH, length);
      break;
    }
    let mbuf: u32 = r32(mbufs + (slot << 2));
    let total: u32 = length;
    head = (head + 1) >>> 0;
    writeMbuf(mbuf, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, length, origin);
    const odd: u32 = (((status & looked) ^ WHOLE) | partial) >>> 0;
    if (odd != 0 || length < <u32>IntelLimit.RECEIVED_MIN) {
      mbuf = gather(q, mbuf, status, length);
      partial = r32(q + IntelQueue.PARTIAL);
      if (mbuf == 0) {
        if (r32(q + Queue.RUN) == 0) break;
        continue;
      }
      total = r32(mbuf + Mbuf.PKT_LEN);
    }
    if (annotated != 0) annotate(q, mbuf, desc, status, word);
    w32(pkts + (got << 2), mbuf);
    bytes = bytes + total;
    got++;
  }
  if (head != start) {
    w32(q + IntelQueue.HEAD, head);
    countPackets(q, got, bytes);
  }
  if (r32(q + Queue.RUN) != 0) refill(q, head);
  return got;
}

/**
 * Takes a buffer that is not a good packet by itself: a piece of one, a damaged one, a runt. Returns the packet that it
 * completes; 0 if there is none, or if the queue was stopped.
 */
function gather(q: u32, mbuf: u32, status: u32, length: u32): u32 {
  const cache: u32 = r32(q + Queue.CACHE);
  let first: u32 = r32(q + IntelQueue.PARTIAL);
  if (first == 0) {
    first = mbuf;
    w32(q + IntelQueue.PARTIAL, mbuf);
    w32(q + IntelQueue.PARTIAL_LAST, mbuf);
  } else if (length == 0) {
    mbufFree(cache, mbuf); // nothing but the CRC was left, which the NIC strips
  } else {
    w32(r32(q + IntelQueue.PARTIAL_LAST) + Mbuf.NEXT, mbuf);
    w32(q + IntelQueue.PARTIAL_LAST, mbuf);
    w32(first + Mbuf.PKT_LEN, r32(first + Mbuf.PKT_LEN) + length);
    w16(first + Mbuf.NB_SEGS, r16(first + Mbuf.NB_SEGS) + 1);
  }
  if ((status & RxStatus.EOP) == 0) {
    if (r16(first + Mbuf.NB_SEGS) >= <u32>IntelLimit.SEGMENTS) {
      queueFail(q, QueueError.BAD_LENGTH, r32(first + Mbuf.PKT_LEN));
    }
    return 0;
  }
  w32(q + IntelQueue.PARTIAL, 0);
  const bad: u32 = (status & r32(q + IntelQueue.BAD_FRAME)) >>> 0;
  if (bad == 0 && r32(first + Mbuf.PKT_LEN) >= <u32>IntelLimit.RECEIVED_MIN) return first;
  bump(q + Queue.ERRORS, 1);
  mbufFree(cache, first);
  return 0;
}

/** Writes down what the NIC found out about a packet; its last descriptor tells it. */
function annotate(q: u32, mbuf: u32, desc: u32, status: u32, word: u32): void {
  const flags: u32 = r32(q + IntelQueue.FLAGS);
  let ol: u32 = 0;
  if ((flags & IntelQueueFlag.RSS) != 0) {
    if ((r32(desc) & RxInfo.RSS_TYPE) != 0) ol = OlFlag.RX_RSS_HASH;
    w32(mbuf + Mbuf.RSS_HASH, r32(desc + Word.ADDRESS_HIGH));
  }
  if ((flags & IntelQueueFlag.CHECKSUM) != 0 && (status & r32(q + IntelQueue.NO_CHECKSUM)) == 0) {
    const ip: u32 = (status >>> RxStatus.IPCS_BIT) & 1;
    const l4: u32 = ((status >>> RxStatus.L4CS_BIT) | (status >>> RxStatus.UDPCS_BIT)) & 1;
    const ipBad: u32 = (status >>> r32(q + IntelQueue.IP_ERROR_BIT)) & 1;
    const l4Bad: u32 = (status >>> r32(q + IntelQueue.L4_ERROR_BIT)) & 1;
    ol = ol | ((ip * OlFlag.RX_IP_CKSUM_GOOD) << ipBad) | ((l4 * OlFlag.RX_L4_CKSUM_GOOD) << l4Bad);
  }
  if ((flags & IntelQueueFlag.VLAN_STRIP) != 0) {
    let tag: u32 = word >>> 16;
    if ((status & RxStatus.LB) != 0 && (flags & IntelQueueFlag.LOOPBACK_VLAN_SWAPPED) != 0) {
      tag = ((tag << 8) | (tag >>> 8)) & 0xffff;
    }
    ol = ol | ((status >>> RxStatus.VP_BIT) & 1);
    w16(mbuf + Mbuf.VLAN_TCI, tag);
  }
  w32(mbuf + Mbuf.OL_FLAGS, ol);
}

/**
 * Gives the NIC new buffers, if a lot of slots is free; `head` is the oldest slot that it holds. Fewer than a lot only
 * where the ring is half empty. One descriptor always stays unused: with tail at head the NIC would see none at all.
 */
function refill(q: u32, head: u32): void {
  const mask: u32 = r32(q + IntelQueue.MASK);
  const tail: u32 = r32(q + IntelQueue.TAIL);
  const held: u32 = (tail - head) >>> 0;
  const room: u32 = mask - held;
  const lot: u32 = r32(q + IntelQueue.LOT);
  if (room < lot) return;
  const cache: u32 = r32(q + Queue.CACHE);
  let have: u32 = cacheCount(cache);
  if (have < lot) have = have + cacheFill(cache, room - have);
  const count: u32 = min32(have, room);
  if (count == 0) bump(q + Queue.STALLED, 1);
  if (count == 0 || (count < lot && held > mask >>> 1)) return;
  place(q, cache, tail, count);
  cacheDrop(cache, count);
  w32(q + IntelQueue.TAIL, (tail + count) >>> 0);
  publish32(r32(q + IntelQueue.TAIL_REG), (tail + count) & mask);
}

/** Puts the cache's next `count` mbufs into the slots from `tail` on, prepared as far as a packet does not matter. */
function place(q: u32, cache: u32, tail: u32, count: u32): void {
  const ring: u32 = r32(q + IntelQueue.RING);
  const mask: u32 = r32(q + IntelQueue.MASK);
  const mbufs: u32 = r32(q + IntelQueue.MBUFS);
  const from: u32 = r32(cache + Cache.RING);
  const fromMask: u32 = r32(cache + Cache.MASK);
  const first: u32 = r32(cache + Cache.HEAD);
  for (let k: u32 = 0; k < count; k++) {
    const mbuf: u32 = r32(from + (((first + k) & fromMask) << 2));
    const slot: u32 = (tail + k) & mask;
    const low: u32 = (r32(mbuf + Mbuf.BUF_IOVA) + Buffer.HEADROOM) >>> 0;
    describe(ring + (slot << Desc.SHIFT), low, r32(mbuf + Mbuf.BUF_IOVA_HIGH), 0, 0);
    w32(mbufs + (slot << 2), mbuf);
  }
}

/** Lets the queue's interrupt fire once, for an lcore that is about to sleep. */
export function intelRxArm(q: u32): void {
  const register: u32 = r32(q + IntelQueue.ARM_REG);
  const causes: u32 = r32(q + IntelQueue.ARM_CLEAR);
  if (causes != 0) w32(q + IntelQueue.CAUSES, acquire32(causes)); // a load that nobody uses, compilers may leave out
  if (register != 0) publish32(register, r32(q + IntelQueue.ARM_VALUE));
}

/** 1 if a burst now has something to do: a packet to take, or an empty ring to fill. */
export function intelRxPending(q: u32): u32 {
  const head: u32 = r32(q + IntelQueue.HEAD);
  if (head == r32(q + IntelQueue.TAIL)) return 1;
  const desc: u32 = r32(q + IntelQueue.RING) + ((head & r32(q + IntelQueue.MASK)) << Desc.SHIFT);
  return acquire32(desc + Word.STATUS) & RxStatus.DD;
}
