// What split and packed virtqueues share on the driver's side: which descriptors are with the device, and receive
// buffers placed into them.
//
// Descriptors are used in ring order. A device may give them back in another order (unless VIRTIO_F_IN_ORDER): a packet
// is delivered when its buffer comes, but a slot is filled again only when all older ones are back. So a slot's number
// is its descriptor's number for good, and a ring entry that would not change is not written.
import { Buffer, Cache, Mbuf, Queue, QueueError } from "../../src/hot/layout.ts";
import { cacheCount, cacheFill } from "../../src/hot/mbuf.ts";
import { notify, r8, r32, w8, w32 } from "../../src/hot/mem.ts";
import { bump, queueFail } from "../../src/hot/queue.ts";
import { Header, Lot, Virtq, VirtqFlag } from "./layout.ts";

export function setFlag(q: u32, flag: u32): void {
  w32(q + Virtq.FLAGS, r32(q + Virtq.FLAGS) | flag);
}

/**
 * Takes descriptor `id` back, which the device says it has done with; `expected` is the oldest. 1 if that is true, 0
 * (and the queue stopped) if the device never had it. The caller has brought FREE_INDEX up to date.
 */
export function claim(q: u32, id: u32, expected: u32): u32 {
  const flags: u32 = r32(q + Virtq.FLAGS);
  if (id == expected && (flags & VirtqFlag.DISORDERED) == 0) return 1;
  const size: u32 = r32(q + Virtq.SIZE);
  const free: u32 = r32(q + Virtq.FREE_INDEX);
  const held: u32 = (r32(q + Virtq.AVAIL_INDEX) - free) >>> 0;
  const done: u32 = r32(q + Virtq.DONE);
  if (
    (flags & VirtqFlag.IN_ORDER) != 0 ||
    id >= size ||
    ((id - free) & (size - 1)) >= held ||
    r8(done + id) != 0
  ) {
    queueFail(q, QueueError.BAD_USED_ID, id);
    return 0;
  }
  setFlag(q, VirtqFlag.DISORDERED);
  w8(done + id, 1);
  return 1;
}

/** Out of order: moves FREE_INDEX over the receive slots that are back. */
export function advanceFree(q: u32): void {
  const mask: u32 = r32(q + Virtq.SIZE) - 1;
  const avail: u32 = r32(q + Virtq.AVAIL_INDEX);
  const done: u32 = r32(q + Virtq.DONE);
  let free: u32 = r32(q + Virtq.FREE_INDEX);
  while (free != avail && r8(done + (free & mask)) != 0) {
    w8(done + (free & mask), 0);
    free = (free + 1) >>> 0;
  }
  w32(q + Virtq.FREE_INDEX, free);
}

/**
 * How many receive slots to fill now: whole lots of what the cache holds. The pool is asked only when less than half
 * the ring is filled, so that as many buffers go round as there are slots, each in its own.
 */
export function refillCount(q: u32): u32 {
  const size: u32 = r32(q + Virtq.SIZE);
  const held: u32 = (r32(q + Virtq.AVAIL_INDEX) - r32(q + Virtq.FREE_INDEX)) >>> 0;
  const room: u32 = size - held;
  if (room < <u32>Lot.REFILL && held != 0) return 0;
  const cache: u32 = r32(q + Queue.CACHE);
  let have: u32 = cacheCount(cache);
  if (have < room && held < size >>> 1) {
    have = have + cacheFill(cache, room - have);
    if (have == 0) bump(q + Queue.STALLED, 1);
  }
  if (have < <u32>Lot.REFILL && held != 0) return 0;
  return have < room ? have : room;
}

/** Gives slot's descriptor the buffer of `mbuf`. The high half of its address never changes. */
export function place(q: u32, slot: u32, mbuf: u32): void {
  const data: u32 = r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM;
  w32(r32(q + Virtq.MBUFS) + (slot << 2), mbuf);
  w32(r32(q + Virtq.DATA) + (slot << 2), data);
  w32(r32(q + Virtq.DESC) + (slot << 4), data - Header.BYTES);
}

/** Where in the cache's ring the mbuf lies that is drawn `k`-th. */
export function cacheSlot(cache: u32, k: u32): u32 {
  const at: u32 = (r32(cache + Cache.HEAD) + k) & r32(cache + Cache.MASK);
  return r32(cache + Cache.RING) + (at << 2);
}

/** Words left before the cache's ring wraps, from the `k`-th draw on. */
export function cacheSpan(cache: u32, k: u32): u32 {
  const mask: u32 = r32(cache + Cache.MASK);
  return mask + 1 - ((r32(cache + Cache.HEAD) + k) & mask);
}

/** Wakes the device if `wanted` and it was not yet told of what was published up to `index`. */
export function kick(q: u32, wanted: u32, index: u32): void {
  if (wanted == 0 || r32(q + Virtq.KICKED_INDEX) == index) return;
  w32(q + Virtq.KICKED_INDEX, index);
  notify(r32(q + Virtq.KICK_FD));
}

/**
 * Descriptors a packet needs: its segments that hold bytes, and one for the header where it does not fit before
 * them.
 */
export function descriptorsOf(mbuf: u32): u32 {
  let n: u32 = headerFits(mbuf) != 0 ? 0 : 1;
  for (let m: u32 = mbuf; m != 0; m = r32(m + Mbuf.NEXT)) {
    if (r32(m + Mbuf.DATA_LEN) != 0) n++;
  }
  return n;
}

/** Whether the virtio_net_hdr can be written just before the frame: there is headroom, aligned, and bytes to follow. */
export function headerFits(mbuf: u32): u32 {
  const data: u32 = r32(mbuf + Mbuf.DATA);
  const headroom: u32 = (data - r32(mbuf + Mbuf.BUF)) >>> 0;
  return (data & 3) == 0 && headroom >= <u32>Header.BYTES && r32(mbuf + Mbuf.DATA_LEN) != 0 ? 1 : 0;
}
