// The split virtqueue (virtio 1.2, 2.7), driver's side.
//
//   device -> splitRxBurst -> application -> cache -> refill -> device
//   application -> splitTxBurst -> device -> splitTxClean -> cache
//
// The device is not trusted: ids, lengths and counts are checked against the private words before they are used, and
// nothing that was written into shared memory is read back from it.
import { Cache, Mbuf, Queue, QueueError } from "../../src/hot/layout.ts";
import { cacheDrop, cachePut, mbufFree } from "../../src/hot/mbuf.ts";
import { acquire32, fence, min32, publish16, r8, r16, r32, w8, w16, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { equalRun } from "../../src/hot/simd.ts";
import {
  cacheSlot,
  cacheSpan,
  claim,
  descriptorsOf,
  headerFits,
  kick,
  place,
  refillCount,
  setFlag,
} from "./hot-common.ts";
import { begin, buffersOf, consumed, finish, join } from "./hot-receive.ts";
import { Desc, Header, Virtq, VirtqFlag } from "./layout.ts";
import { clearHeader, takeQuads } from "./simd.ts";

/** chain's answer for a packet that has more segments than the ring. */
const DROPPED: u32 = 2;

/** Received packets into the words at `pkts`, at most `n`. */
export function splitRxBurst(q: u32, pkts: u32, n: u32): u32 {
  refill(q);
  const word: u32 = acquire32(r32(q + Virtq.USED)); // flags and index in one load
  kick(q, (word & 1) ^ 1, r32(q + Virtq.AVAIL_INDEX));
  const first: u32 = r32(q + Virtq.USED_INDEX);
  const ready: u32 = ((word >>> 16) - first) & 0xffff;
  if (ready == 0) return 0;
  if (ready > (r32(q + Virtq.AVAIL_INDEX) - first) >>> 0) {
    queueFail(q, QueueError.USED_INDEX_JUMPED, word >>> 16);
    return 0;
  }
  let taken: u32 = 0;
  let got: u32 = 0;
  let bytes: u32 = 0;
  while (taken < ready && got < n) {
    const at: u32 = pkts + (got << 2);
    const lot: u32 = takeQuads(q, (first + taken) >>> 0, min32(ready - taken, n - got), at);
    for (let k: u32 = 0; k < lot; k++) bytes = bytes + r32(r32(at + (k << 2)) + Mbuf.PKT_LEN);
    taken = taken + lot;
    got = got + lot;
    consumed(q, (first + taken) >>> 0);
    if (taken == ready || got == n) break;
    const used: u32 = takeOne(q, (first + taken) >>> 0, ready - taken, pkts + (got << 2));
    if (used == 0) break;
    taken = taken + used;
    consumed(q, (first + taken) >>> 0);
    const mbuf: u32 = r32(pkts + (got << 2));
    if (mbuf != 0) {
      bytes = bytes + r32(mbuf + Mbuf.PKT_LEN);
      got++;
    }
    if (r32(q + Queue.RUN) == 0) break;
  }
  countPackets(q, got, bytes);
  return got;
}

/**
 * Takes the packet that begins at used entry `position`, of which `available` more are there, into the word at `out`:
 * 0 there if it was dropped. Returns the entries it took; 0 if the packet is not complete or the queue was stopped.
 */
function takeOne(q: u32, position: u32, available: u32, out: u32): u32 {
  const entry: u32 = usedEntry(q, position);
  const id: u32 = r32(entry);
  const length: u32 = r32(entry + 4);
  w32(out, 0);
  const buffers: u32 = buffersOf(q, position, id, length);
  if (buffers == 0 || buffers > available) return 0; // stopped, or the last buffers are still on their way
  const head: u32 = begin(q, position, id, length);
  if (head == 0) return 0;
  let last: u32 = head;
  for (let k: u32 = 1; k < buffers; k++) {
    const index: u32 = (position + k) >>> 0;
    consumed(q, index);
    last = join(q, index, r32(usedEntry(q, index)), r32(usedEntry(q, index) + 4), head, last);
    if (last == 0) return k;
  }
  finish(q, head, buffers, out);
  return buffers;
}

function usedEntry(q: u32, position: u32): u32 {
  return r32(q + Virtq.USED) + 4 + ((position & (r32(q + Virtq.SIZE) - 1)) << 3);
}

/** Fills receive slots from the cache. avail.ring[slot] = slot was written once, at the start. */
function refill(q: u32): void {
  const count: u32 = refillCount(q);
  if (count == 0) return;
  const cache: u32 = r32(q + Queue.CACHE);
  const size: u32 = r32(q + Virtq.SIZE);
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const avail: u32 = r32(q + Virtq.AVAIL_INDEX);
  let k: u32 = 0;
  while (k < count) {
    const slot: u32 = (avail + k) & (size - 1);
    const from: u32 = cacheSlot(cache, k);
    const span: u32 = min32(min32(count - k, size - slot), cacheSpan(cache, k));
    const home: u32 = equalRun(from, mbufs + (slot << 2), span); // buffers that are back in their slot
    k = k + home;
    if (home < span) {
      place(q, slot + home, r32(from + (home << 2)));
      k++;
    }
  }
  cacheDrop(cache, count);
  w32(q + Virtq.AVAIL_INDEX, (avail + count) >>> 0);
  publish16(r32(q + Virtq.AVAIL) + 2, (avail + count) & 0xffff);
}

/** Interrupts on (1) or off (0): VIRTQ_AVAIL_F_NO_INTERRUPT (2.7.7). The look that follows comes after the flag. */
export function splitRxInterrupts(q: u32, on: u32): void {
  publish16(r32(q + Virtq.AVAIL), on ^ 1);
  fence(q + Virtq.FENCE);
}

/** 1 if a burst now has something to do: used buffers to take, or a ring without any to fill. */
export function splitRxPending(q: u32): u32 {
  if (r32(q + Virtq.AVAIL_INDEX) == r32(q + Virtq.FREE_INDEX)) return 1;
  const word: u32 = acquire32(r32(q + Virtq.USED));
  return word >>> 16 != (r32(q + Virtq.USED_INDEX) & 0xffff) ? 1 : 0;
}

/** Packets from the words at `pkts` to the device, as many as there are descriptors for. Returns how many. */
export function splitTxBurst(q: u32, pkts: u32, n: u32): u32 {
  splitTxClean(q);
  if (r32(q + Queue.RUN) == 0) return 0;
  const pool: u32 = r32(r32(q + Queue.CACHE) + Cache.POOL);
  const descs: u32 = r32(q + Virtq.DESC);
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const datas: u32 = r32(q + Virtq.DATA);
  const lengths: u32 = r32(q + Virtq.LENGTHS);
  const mask: u32 = r32(q + Virtq.SIZE) - 1;
  let chained: u32 = r32(q + Virtq.FLAGS) & VirtqFlag.CHAINED;
  let index: u32 = r32(q + Virtq.AVAIL_INDEX);
  let room: u32 = mask + 1 - ((index - r32(q + Virtq.FREE_INDEX)) >>> 0);
  let foreign: u32 = 0;
  let dropped: u32 = 0;
  let bytes: u32 = 0;
  let k: u32 = 0;
  for (; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    const length: u32 = r32(mbuf + Mbuf.DATA_LEN) + Header.BYTES;
    const data: u32 = r32(mbuf + Mbuf.DATA);
    foreign = foreign | (r32(mbuf + Mbuf.POOL) ^ pool);
    if (chained != 0 || r32(mbuf + Mbuf.NEXT) != 0 || headerFits(mbuf) == 0) {
      if (chained == 0) {
        w32(q + Virtq.AVAIL_INDEX, index); // until now both indices moved alike
        w32(q + Virtq.RING_INDEX, index);
      }
      const packetBytes: u32 = r32(mbuf + Mbuf.PKT_LEN);
      const taken: u32 = chain(q, mbuf, room);
      if (taken == 0) break;
      if (taken == DROPPED) dropped++;
      else bytes = bytes + packetBytes;
      chained = r32(q + Virtq.FLAGS) & VirtqFlag.CHAINED;
      room = room - ((r32(q + Virtq.AVAIL_INDEX) - index) >>> 0);
      index = r32(q + Virtq.AVAIL_INDEX);
      continue;
    }
    if (room == 0) break;
    const slot: u32 = index & mask;
    clearHeader(data);
    w32(mbufs + (slot << 2), mbuf);
    if (r32(datas + (slot << 2)) != data - Header.BYTES) {
      w32(datas + (slot << 2), data - Header.BYTES);
      w32(descs + (slot << 4), data - Header.BYTES);
    }
    if (r32(lengths + (slot << 2)) != length) {
      w32(lengths + (slot << 2), length);
      w32(descs + (slot << 4) + 8, length);
    }
    bytes = bytes + length - Header.BYTES;
    index = (index + 1) >>> 0;
    room--;
  }
  if (chained == 0) {
    w32(q + Virtq.AVAIL_INDEX, index);
    w32(q + Virtq.RING_INDEX, index);
  }
  if (foreign != 0) setFlag(q, VirtqFlag.MIXED);
  publish16(r32(q + Virtq.AVAIL) + 2, r32(q + Virtq.RING_INDEX) & 0xffff);
  kick(q, (r16(r32(q + Virtq.USED)) & 1) ^ 1, r32(q + Virtq.RING_INDEX));
  countPackets(q, k - dropped, bytes);
  if (k < n) bump(q + Queue.STALLED, n - k);
  return k;
}

/** Writes a descriptor, but for what already stands in it. LENGTHS remembers the flags in its high half. */
function describe(q: u32, slot: u32, address: u32, length: u32, flags: u32): void {
  const desc: u32 = r32(q + Virtq.DESC) + (slot << 4);
  const data: u32 = r32(q + Virtq.DATA) + (slot << 2);
  const lengths: u32 = r32(q + Virtq.LENGTHS) + (slot << 2);
  const both: u32 = (length | (flags << 16)) >>> 0;
  if (r32(data) != address) {
    w32(data, address);
    w32(desc, address);
  }
  if (r32(lengths) != both) {
    w32(lengths, both);
    w32(desc + 8, length);
    w32(desc + 12, (flags | (((slot + 1) & (r32(q + Virtq.SIZE) - 1)) << 16)) >>> 0); // flags, next
  }
}

/** Puts the chain of `count` descriptors that begins at `slot` into the avail ring; the index is published later. */
function offer(q: u32, slot: u32, count: u32): void {
  const ring: u32 = r32(q + Virtq.RING_INDEX);
  const at: u32 = ring & (r32(q + Virtq.SIZE) - 1);
  const heads: u32 = r32(q + Virtq.HEADS) + (at << 1);
  if (r16(heads) != slot) {
    w16(heads, slot);
    w16(r32(q + Virtq.AVAIL) + 4 + (at << 1), slot);
  }
  w32(q + Virtq.RING_INDEX, (ring + 1) >>> 0);
  w32(q + Virtq.AVAIL_INDEX, (r32(q + Virtq.AVAIL_INDEX) + count) >>> 0);
}

/** A packet of several descriptors: 1, 0 if there is no room for it now, or DROPPED if it can never fit. */
function chain(q: u32, mbuf: u32, room: u32): u32 {
  const mask: u32 = r32(q + Virtq.SIZE) - 1;
  const count: u32 = descriptorsOf(mbuf);
  if (count > mask + 1) {
    bump(q + Queue.ERRORS, 1);
    mbufFree(r32(q + Queue.CACHE), mbuf);
    return DROPPED;
  }
  if (count > room) return 0;
  const head: u32 = r32(q + Virtq.AVAIL_INDEX) & mask;
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  let slot: u32 = head;
  let left: u32 = count;
  let prefix: u32 = 0; // header bytes before the first segment
  setFlag(q, VirtqFlag.CHAINED | VirtqFlag.MIXED);
  if (headerFits(mbuf) != 0) {
    prefix = Header.BYTES;
    clearHeader(r32(mbuf + Mbuf.DATA));
  } else {
    left--;
    describe(q, slot, r32(q + Virtq.ZERO_HEADER), Header.BYTES, left != 0 ? Desc.NEXT : 0);
    w32(mbufs + (slot << 2), 0);
    slot = (slot + 1) & mask;
  }
  for (let m: u32 = mbuf; m != 0; m = r32(m + Mbuf.NEXT)) {
    const length: u32 = r32(m + Mbuf.DATA_LEN);
    if (length == 0) continue;
    left--;
    describe(q, slot, r32(m + Mbuf.DATA) - prefix, length + prefix, left != 0 ? Desc.NEXT : 0);
    w32(mbufs + (slot << 2), 0);
    slot = (slot + 1) & mask;
    prefix = 0;
  }
  w32(mbufs + (head << 2), mbuf);
  w32(r32(q + Virtq.CHAIN) + (head << 2), count);
  offer(q, head, count);
  return 1;
}

/** Takes sent packets back into the cache. Also to be called now and then when there is nothing to send. */
export function splitTxClean(q: u32): void {
  const word: u32 = acquire32(r32(q + Virtq.USED));
  const ring: u32 = r32(q + Virtq.RING_INDEX);
  kick(q, (word & 1) ^ 1, ring);
  const first: u32 = r32(q + Virtq.USED_INDEX);
  const done: u32 = ((word >>> 16) - first) & 0xffff;
  if (done == 0) return;
  if (done > (ring - first) >>> 0) {
    queueFail(q, QueueError.USED_INDEX_JUMPED, word >>> 16);
    return;
  }
  let k: u32 = 0;
  if ((r32(q + Virtq.FLAGS) & (VirtqFlag.MIXED | VirtqFlag.DISORDERED)) == 0) k = cleanRun(q, first, done);
  for (; k < done; k++) {
    // With IN_ORDER a device may write the last of a batch alone: entries are not read, all are done in turn.
    const mask: u32 = r32(q + Virtq.SIZE) - 1;
    const oldest: u32 = r32(q + Virtq.FREE_INDEX) & mask;
    const inOrder: u32 = r32(q + Virtq.FLAGS) & VirtqFlag.IN_ORDER;
    const id: u32 = inOrder != 0 ? oldest : r32(usedEntry(q, (first + k) >>> 0));
    w32(q + Virtq.USED_INDEX, (first + k) >>> 0);
    if (claim(q, id, oldest) == 0) return;
    if (r32(r32(q + Virtq.MBUFS) + (id << 2)) == 0) {
      queueFail(q, QueueError.BAD_USED_ID, id);
      return;
    }
    giveBack(q);
  }
  w32(q + Virtq.USED_INDEX, (first + done) >>> 0);
}

/** The common case: one descriptor a packet, all of one pool, in order. Returns how many were given back. */
function cleanRun(q: u32, first: u32, done: u32): u32 {
  const size: u32 = r32(q + Virtq.SIZE);
  const cache: u32 = r32(q + Queue.CACHE);
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const inOrder: u32 = r32(q + Virtq.FLAGS) & VirtqFlag.IN_ORDER;
  let k: u32 = 0;
  while (k < done) {
    const slot: u32 = (first + k) & (size - 1);
    const span: u32 = min32(done - k, size - slot);
    let run: u32 = inOrder != 0 ? span : 0;
    if (inOrder == 0) {
      const entries: u32 = usedEntry(q, (first + k) >>> 0);
      while (run < span && r32(entries + (run << 3)) == slot + run) run++;
    }
    cachePut(cache, mbufs + (slot << 2), run);
    k = k + run;
    if (run < span) break;
  }
  w32(q + Virtq.FREE_INDEX, (first + k) >>> 0);
  return k;
}

/** Frees the oldest packet and every later one that came back before it. In order, that is the oldest alone. */
export function giveBack(q: u32): void {
  const mask: u32 = r32(q + Virtq.SIZE) - 1;
  const cache: u32 = r32(q + Queue.CACHE);
  const disordered: u32 = r32(q + Virtq.FLAGS) & VirtqFlag.DISORDERED;
  do {
    const free: u32 = r32(q + Virtq.FREE_INDEX);
    const slot: u32 = free & mask;
    if (disordered != 0) {
      if (free == r32(q + Virtq.AVAIL_INDEX) || r8(r32(q + Virtq.DONE) + slot) == 0) return;
      w8(r32(q + Virtq.DONE) + slot, 0);
    }
    const length: u32 = r32(q + Virtq.CHAIN) + (slot << 2);
    mbufFree(cache, r32(r32(q + Virtq.MBUFS) + (slot << 2)));
    w32(q + Virtq.FREE_INDEX, (free + r32(length)) >>> 0);
    w32(length, 1);
  } while (disordered != 0);
}
