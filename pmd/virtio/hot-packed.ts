// The packed virtqueue (virtio 1.2, 2.8), driver's side: one ring of 16-byte descriptors {address u64, length u32, id
// u16, flags u16} that both sides write. Same contract as hot-split.ts. A descriptor is handed over by the store of
// its id and flags, which comes last. Wrap counters are bit SIZE of the free-running indices: 0 there means the
// counter is 1.
import { Cache, Mbuf, Queue, QueueError } from "../../src/hot/layout.ts";
import { cacheDrop, cachePut, mbufFree } from "../../src/hot/mbuf.ts";
import { acquire32, fence, min32, publish16, publish32, r16, r32, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { writeMbuf } from "../../src/hot/simd.ts";
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
import { giveBack } from "./hot-split.ts";
import { Desc, Frame, Header, Virtq, VirtqFlag } from "./layout.ts";
import { clearHeader, handOver, takePackedQuads } from "./simd.ts";

/** chain's answer for a packet that has more segments than the ring. */
const DROPPED: u32 = 2;
const BOTH: u32 = 0x8080; // the AVAIL and USED bits of a flags half

/** The flag bits of a descriptor that the device has used in the lap of `index`: both equal the wrap counter. */
function usedBits(index: u32, size: u32): u32 {
  return (index & size) == 0 ? BOTH : 0;
}

/** The flag bits that hand a descriptor over in the lap of `index`. */
function availBits(index: u32, size: u32): u32 {
  return (index & size) == 0 ? Desc.PACKED_AVAIL : Desc.PACKED_USED;
}

/** The device's event suppression structure: 1 if it wants to be kicked (RING_EVENT_FLAGS_DISABLE is 1). */
function kickWanted(q: u32): u32 {
  return r16(r32(q + Virtq.USED) + 2) == 1 ? 0 : 1;
}

/** Whether the device has used the descriptor at running index `index`. */
function readyAt(q: u32, index: u32): u32 {
  const size: u32 = r32(q + Virtq.SIZE);
  const word: u32 = acquire32(r32(q + Virtq.DESC) + ((index & (size - 1)) << 4) + 12);
  return ((word >>> 16) & BOTH) == usedBits(index, size) ? 1 : 0;
}

/** Received packets into the words at `pkts`, at most `n`. */
export function packedRxBurst(q: u32, pkts: u32, n: u32): u32 {
  refill(q);
  kick(q, kickWanted(q), r32(q + Virtq.AVAIL_INDEX));
  const ring: u32 = r32(q + Virtq.DESC);
  const size: u32 = r32(q + Virtq.SIZE);
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const datas: u32 = r32(q + Virtq.DATA);
  const most: u32 = r32(q + Virtq.ROOM) - Frame.LENGTH_MIN;
  const origin: u32 = r32(q + Queue.ORIGIN);
  const avail: u32 = r32(q + Virtq.AVAIL_INDEX);
  const start: u32 = r32(q + Virtq.USED_INDEX);
  const mergeable: u32 = r32(q + Virtq.FLAGS) & VirtqFlag.MERGEABLE;
  let ordered: u32 = (r32(q + Virtq.FLAGS) & VirtqFlag.DISORDERED) ^ VirtqFlag.DISORDERED;
  let index: u32 = start;
  let got: u32 = 0;
  let bytes: u32 = 0;
  const lot: u32 = takePackedQuads(q, index, min32(n, (avail - index) >>> 0), pkts);
  for (; got < lot; got++) bytes = bytes + r32(r32(pkts + (got << 2)) + Mbuf.PKT_LEN);
  index = (index + lot) >>> 0;
  while (got < n && index != avail) {
    const slot: u32 = index & (size - 1);
    const desc: u32 = ring + (slot << 4);
    const word: u32 = acquire32(desc + 12);
    if (((word >>> 16) & BOTH) != usedBits(index, size)) break;
    const length: u32 = (r32(desc + 8) - Header.BYTES) >>> 0;
    const data: u32 = r32(datas + (slot << 2));
    const whole: u32 = (length - Frame.LENGTH_MIN) >>> 0 <= most ? 1 : 0;
    if (ordered != 0 && (word & 0xffff) == slot && whole != 0 && (mergeable == 0 || isAlone(data) != 0)) {
      const mbuf: u32 = r32(mbufs + (slot << 2));
      writeMbuf(mbuf, data, length, origin);
      w32(pkts + (got << 2), mbuf);
      bytes = bytes + length;
      got++;
      index = (index + 1) >>> 0;
      continue;
    }
    consumed(q, index);
    const used: u32 = takeOne(q, index, pkts + (got << 2));
    if (used == 0) break;
    index = (index + used) >>> 0;
    consumed(q, index);
    const mbuf: u32 = r32(pkts + (got << 2));
    if (mbuf != 0) {
      bytes = bytes + r32(mbuf + Mbuf.PKT_LEN);
      got++;
    }
    if (r32(q + Queue.RUN) == 0) break;
    ordered = (r32(q + Virtq.FLAGS) & VirtqFlag.DISORDERED) ^ VirtqFlag.DISORDERED;
  }
  if (index == start) return 0;
  consumed(q, index);
  countPackets(q, got, bytes);
  return got;
}

/** Whether the header before the frame at `data` says that one buffer holds it all. */
function isAlone(data: u32): u32 {
  return r16(data - Header.NUM_BUFFERS_BEFORE) == 1 ? 1 : 0;
}

/** As in hot-split.ts: the packet at `index` into the word at `out`; returns the descriptors it took, 0 if none. */
function takeOne(q: u32, index: u32, out: u32): u32 {
  const size: u32 = r32(q + Virtq.SIZE);
  const ring: u32 = r32(q + Virtq.DESC);
  const first: u32 = ring + ((index & (size - 1)) << 4);
  const id: u32 = r16(first + 12);
  const length: u32 = r32(first + 8);
  w32(out, 0);
  const buffers: u32 = buffersOf(q, index, id, length);
  // stopped, or the last buffers are still on their way
  if (buffers == 0 || (buffers > 1 && readyAt(q, (index + buffers - 1) >>> 0) == 0)) return 0;
  const head: u32 = begin(q, index, id, length);
  if (head == 0) return 0;
  let last: u32 = head;
  for (let k: u32 = 1; k < buffers; k++) {
    const next: u32 = (index + k) >>> 0;
    const desc: u32 = ring + ((next & (size - 1)) << 4);
    consumed(q, next);
    if (readyAt(q, next) == 0) {
      queueFail(q, QueueError.BAD_BUFFER_COUNT, buffers);
      mbufFree(r32(q + Queue.CACHE), head);
      return k;
    }
    last = join(q, next, r16(desc + 12), r32(desc + 8), head, last);
    if (last == 0) return k;
  }
  finish(q, head, buffers, out);
  return buffers;
}

function refill(q: u32): void {
  const count: u32 = refillCount(q);
  if (count == 0) return;
  const cache: u32 = r32(q + Queue.CACHE);
  const size: u32 = r32(q + Virtq.SIZE);
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const ring: u32 = r32(q + Virtq.DESC);
  const length: u32 = r32(q + Virtq.ROOM) + Header.BYTES;
  const avail: u32 = r32(q + Virtq.AVAIL_INDEX);
  let k: u32 = 0;
  while (k < count) {
    const slot: u32 = (avail + k) & (size - 1);
    const from: u32 = cacheSlot(cache, k);
    const span: u32 = min32(min32(count - k, size - slot), cacheSpan(cache, k));
    const bits: u32 = ((availBits((avail + k) >>> 0, size) | Desc.WRITE) << 16) >>> 0;
    for (let j: u32 = 0; j < span; j++) {
      const mbuf: u32 = r32(from + (j << 2));
      if (mbuf != r32(mbufs + ((slot + j) << 2))) place(q, slot + j, mbuf);
      handOver(ring + ((slot + j) << 4), length, (bits | (slot + j)) >>> 0); // the device wrote its own over it
    }
    k = k + span;
  }
  cacheDrop(cache, count);
  w32(q + Virtq.AVAIL_INDEX, (avail + count) >>> 0);
}

/** As splitRxInterrupts: the driver's event suppression structure (2.8.14), RING_EVENT_FLAGS_ENABLE or _DISABLE. */
export function packedRxInterrupts(q: u32, on: u32): void {
  publish16(r32(q + Virtq.AVAIL) + 2, on ^ 1);
  fence(q + Virtq.FENCE);
}

/** As splitRxPending. */
export function packedRxPending(q: u32): u32 {
  if (r32(q + Virtq.AVAIL_INDEX) == r32(q + Virtq.FREE_INDEX)) return 1;
  return readyAt(q, r32(q + Virtq.USED_INDEX));
}

/** Packets from the words at `pkts` to the device, as many as there are descriptors for. Returns how many. */
export function packedTxBurst(q: u32, pkts: u32, n: u32): u32 {
  packedTxClean(q);
  if (r32(q + Queue.RUN) == 0) return 0;
  const pool: u32 = r32(r32(q + Queue.CACHE) + Cache.POOL);
  const ring: u32 = r32(q + Virtq.DESC);
  const size: u32 = r32(q + Virtq.SIZE);
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const datas: u32 = r32(q + Virtq.DATA);
  let index: u32 = r32(q + Virtq.AVAIL_INDEX);
  let room: u32 = size - ((index - r32(q + Virtq.FREE_INDEX)) >>> 0);
  let bits: u32 = (availBits(index, size) << 16) >>> 0;
  let foreign: u32 = 0;
  let dropped: u32 = 0;
  let bytes: u32 = 0;
  let k: u32 = 0;
  for (; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    foreign = foreign | (r32(mbuf + Mbuf.POOL) ^ pool);
    bytes = bytes + r32(mbuf + Mbuf.PKT_LEN);
    if (r32(mbuf + Mbuf.NEXT) != 0 || headerFits(mbuf) == 0) {
      w32(q + Virtq.AVAIL_INDEX, index);
      const taken: u32 = chain(q, mbuf, room);
      if (taken != 1) bytes = bytes - r32(mbuf + Mbuf.PKT_LEN);
      if (taken == 0) break;
      if (taken == DROPPED) dropped++;
      room = room - ((r32(q + Virtq.AVAIL_INDEX) - index) >>> 0);
      index = r32(q + Virtq.AVAIL_INDEX);
      bits = (availBits(index, size) << 16) >>> 0;
      continue;
    }
    if (room == 0) {
      bytes = bytes - r32(mbuf + Mbuf.PKT_LEN);
      break;
    }
    const slot: u32 = index & (size - 1);
    const desc: u32 = ring + (slot << 4);
    const data: u32 = r32(mbuf + Mbuf.DATA);
    clearHeader(data);
    w32(mbufs + (slot << 2), mbuf);
    if (r32(datas + (slot << 2)) != data - Header.BYTES) {
      w32(datas + (slot << 2), data - Header.BYTES);
      w32(desc, data - Header.BYTES);
    }
    handOver(desc, r32(mbuf + Mbuf.DATA_LEN) + Header.BYTES, (slot | bits) >>> 0);
    index = (index + 1) >>> 0;
    room--;
    if ((index & (size - 1)) == 0) bits = (availBits(index, size) << 16) >>> 0;
  }
  w32(q + Virtq.AVAIL_INDEX, index);
  if (foreign != 0) setFlag(q, VirtqFlag.MIXED);
  kick(q, kickWanted(q), index);
  countPackets(q, k - dropped, bytes);
  if (k < n) bump(q + Queue.STALLED, n - k);
  return k;
}

/** Writes address and length of the descriptor at `index`; returns the word of id and flags that hands it over. */
function describe(q: u32, index: u32, address: u32, length: u32, flags: u32, head: u32): u32 {
  const size: u32 = r32(q + Virtq.SIZE);
  const slot: u32 = index & (size - 1);
  const desc: u32 = r32(q + Virtq.DESC) + (slot << 4);
  w32(r32(q + Virtq.DATA) + (slot << 2), address);
  w32(desc, address);
  w32(desc + 8, length);
  return ((head & (size - 1)) | ((availBits(index, size) | flags) << 16)) >>> 0;
}

/** A packet of several descriptors: the first one's flags are written last, for they hand over the whole chain. */
function chain(q: u32, mbuf: u32, room: u32): u32 {
  const size: u32 = r32(q + Virtq.SIZE);
  const count: u32 = descriptorsOf(mbuf);
  if (count > size) {
    bump(q + Queue.ERRORS, 1);
    mbufFree(r32(q + Queue.CACHE), mbuf);
    return DROPPED;
  }
  if (count > room) return 0;
  const head: u32 = r32(q + Virtq.AVAIL_INDEX);
  const ring: u32 = r32(q + Virtq.DESC);
  let first: u32 = 0; // the head's word
  let index: u32 = head;
  let segment: u32 = mbuf;
  let prefix: u32 = 0; // header bytes before the first segment
  setFlag(q, VirtqFlag.CHAINED | VirtqFlag.MIXED);
  const inFront: u32 = headerFits(mbuf);
  if (inFront != 0) {
    prefix = Header.BYTES;
    clearHeader(r32(mbuf + Mbuf.DATA));
  }
  for (let k: u32 = 0; k < count; k++) {
    let address: u32 = r32(q + Virtq.ZERO_HEADER);
    let length: u32 = Header.BYTES;
    if (k != 0 || inFront != 0) {
      while (r32(segment + Mbuf.DATA_LEN) == 0) segment = r32(segment + Mbuf.NEXT);
      address = r32(segment + Mbuf.DATA) - prefix;
      length = r32(segment + Mbuf.DATA_LEN) + prefix;
      segment = r32(segment + Mbuf.NEXT);
      prefix = 0;
    }
    const word: u32 = describe(q, index, address, length, k + 1 < count ? Desc.NEXT : 0, head);
    w32(r32(q + Virtq.MBUFS) + ((index & (size - 1)) << 2), 0);
    if (k == 0) first = word;
    else w32(ring + ((index & (size - 1)) << 4) + 12, word);
    index = (index + 1) >>> 0;
  }
  w32(r32(q + Virtq.MBUFS) + ((head & (size - 1)) << 2), mbuf);
  w32(r32(q + Virtq.CHAIN) + ((head & (size - 1)) << 2), count);
  publish32(ring + ((head & (size - 1)) << 4) + 12, first);
  w32(q + Virtq.AVAIL_INDEX, index);
  return 1;
}

/**
 * Takes sent packets back. With IN_ORDER one used descriptor may stand for a batch: it lies at the batch's first slot
 * and names its last buffer ("In-order use of descriptors", virtio 1.2, 2.8); else it stands for the buffer it names.
 */
export function packedTxClean(q: u32): void {
  kick(q, kickWanted(q), r32(q + Virtq.AVAIL_INDEX));
  if ((r32(q + Virtq.FLAGS) & (VirtqFlag.MIXED | VirtqFlag.DISORDERED)) == 0) cleanRun(q);
  const size: u32 = r32(q + Virtq.SIZE);
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const avail: u32 = r32(q + Virtq.AVAIL_INDEX);
  let used: u32 = r32(q + Virtq.USED_INDEX);
  while (used != avail && readyAt(q, used) != 0) {
    const id: u32 = r16(r32(q + Virtq.DESC) + ((used & (size - 1)) << 4) + 12);
    const flags: u32 = r32(q + Virtq.FLAGS);
    const oldest: u32 = r32(q + Virtq.FREE_INDEX);
    if (id >= size || r32(mbufs + (id << 2)) == 0) {
      queueFail(q, QueueError.BAD_USED_ID, id);
      return;
    }
    const length: u32 = r32(r32(q + Virtq.CHAIN) + (id << 2));
    if ((flags & VirtqFlag.IN_ORDER) != 0) {
      const batch: u32 = ((id - used) & (size - 1)) + length;
      if (batch > (avail - used) >>> 0) {
        queueFail(q, QueueError.BAD_USED_ID, id);
        return;
      }
      const end: u32 = (used + batch) >>> 0;
      while (r32(q + Virtq.FREE_INDEX) != end) giveBack(q);
      used = end;
    } else {
      if (claim(q, id, oldest & (size - 1)) == 0) return;
      used = (used + length) >>> 0;
      giveBack(q);
    }
    w32(q + Virtq.USED_INDEX, used);
  }
}

/** The common case: one descriptor a packet, all of one pool, in order. Stops at what is not so. */
function cleanRun(q: u32): void {
  const ring: u32 = r32(q + Virtq.DESC);
  const size: u32 = r32(q + Virtq.SIZE);
  const avail: u32 = r32(q + Virtq.AVAIL_INDEX);
  const start: u32 = r32(q + Virtq.USED_INDEX);
  const batches: u32 = r32(q + Virtq.FLAGS) & VirtqFlag.IN_ORDER;
  let used: u32 = start;
  while (used != avail) {
    const word: u32 = acquire32(ring + ((used & (size - 1)) << 4) + 12);
    const id: u32 = word & 0xffff;
    if (((word >>> 16) & BOTH) != usedBits(used, size) || id >= size) break;
    const batch: u32 = ((id - used) & (size - 1)) + 1;
    if (batch > (avail - used) >>> 0 || (batch != 1 && batches == 0)) break;
    used = (used + batch) >>> 0;
  }
  const n: u32 = (used - start) >>> 0;
  if (n == 0) return;
  const slot: u32 = start & (size - 1);
  const whole: u32 = min32(n, size - slot);
  cachePut(r32(q + Queue.CACHE), r32(q + Virtq.MBUFS) + (slot << 2), whole);
  if (whole < n) cachePut(r32(q + Queue.CACHE), r32(q + Virtq.MBUFS), n - whole);
  w32(q + Virtq.FREE_INDEX, used);
  w32(q + Virtq.USED_INDEX, used);
}
