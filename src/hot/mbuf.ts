// Where packets come from and go back to: a pool's shared stack, and each lcore's cache in front of it.
//
//   pool stack <-> cache (one lcore's) -> mbufAllocBulk / a driver's refill -> application -> mbufFreeBulk -> cache
//
// A cache is a first-in-first-out queue and grows only when its lcore starves, so the same buffers come round in the
// same order and meet the same descriptor again: then a driver has nothing to write ("home slots",
// docs/decisions.md). The stack is taken by a lock that is only ever tried: an lcore that does not get it goes on with
// what it has and tries at the next poll, so nothing in the hot path waits.
import { Buffer, Cache, Mbuf, Pool } from "./layout.ts";
import { cas32, publish32, r32, w32 } from "./mem.ts";
import { copyWords } from "./simd.ts";

export function cacheCount(cache: u32): u32 {
  return (r32(cache + Cache.TAIL) - r32(cache + Cache.HEAD)) >>> 0;
}

/** Copies `n` words out of the cache's ring from running index `at` on, across its end where need be. */
function ringOut(cache: u32, at: u32, to: u32, n: u32): void {
  const ring: u32 = r32(cache + Cache.RING);
  const mask: u32 = r32(cache + Cache.MASK);
  const start: u32 = at & mask;
  const whole: u32 = mask + 1 - start;
  const first: u32 = n < whole ? n : whole;
  copyWords(to, ring + (start << 2), first);
  if (first < n) copyWords(to + (first << 2), ring, n - first);
}

function ringIn(cache: u32, at: u32, from: u32, n: u32): void {
  const ring: u32 = r32(cache + Cache.RING);
  const mask: u32 = r32(cache + Cache.MASK);
  const start: u32 = at & mask;
  const whole: u32 = mask + 1 - start;
  const first: u32 = n < whole ? n : whole;
  copyWords(ring + (start << 2), from, first);
  if (first < n) copyWords(ring, from + (first << 2), n - first);
}

/**
 * Draws up to `want` mbufs from the pool's stack into the cache. 0 also when another lcore holds the stack just now.
 */
export function cacheFill(cache: u32, want: u32): u32 {
  const pool: u32 = r32(cache + Cache.POOL);
  if (cas32(pool + Pool.LOCK, 0, 1) != 0) return 0;
  const top: u32 = r32(pool + Pool.TOP);
  const n: u32 = want < top ? want : top;
  const tail: u32 = r32(cache + Cache.TAIL);
  ringIn(cache, tail, r32(pool + Pool.STACK) + ((top - n) << 2), n);
  w32(cache + Cache.TAIL, (tail + n) >>> 0);
  w32(pool + Pool.TOP, top - n);
  publish32(pool + Pool.LOCK, 0);
  return n;
}

/** Gives the older half back to the stack, if nobody holds it; else the cache keeps it till next time. */
function cacheSpill(cache: u32): void {
  const pool: u32 = r32(cache + Cache.POOL);
  if (cas32(pool + Pool.LOCK, 0, 1) != 0) return;
  const n: u32 = cacheCount(cache) >>> 1;
  const head: u32 = r32(cache + Cache.HEAD);
  const top: u32 = r32(pool + Pool.TOP);
  ringOut(cache, head, r32(pool + Pool.STACK) + (top << 2), n);
  w32(cache + Cache.HEAD, (head + n) >>> 0);
  w32(pool + Pool.TOP, top + n);
  publish32(pool + Pool.LOCK, 0);
}

/** Puts `n` single mbufs (words at `from`) of the cache's own pool into it. Never fails. */
export function cachePut(cache: u32, from: u32, n: u32): void {
  const tail: u32 = r32(cache + Cache.TAIL);
  ringIn(cache, tail, from, n);
  w32(cache + Cache.TAIL, (tail + n) >>> 0);
  if (cacheCount(cache) > r32(cache + Cache.HIGH)) cacheSpill(cache);
}

/** Takes `n` mbufs into words at `to`; the caller has made sure that so many are there. */
export function cacheGet(cache: u32, to: u32, n: u32): void {
  const head: u32 = r32(cache + Cache.HEAD);
  ringOut(cache, head, to, n);
  w32(cache + Cache.HEAD, (head + n) >>> 0);
}

/** The `n` mbufs drawn next were read where they lie (cacheSlot, in the virtio driver): they are out now. */
export function cacheDrop(cache: u32, n: u32): void {
  w32(cache + Cache.HEAD, (r32(cache + Cache.HEAD) + n) >>> 0);
}

/** One mbuf of the cache's own pool. */
function cachePutOne(cache: u32, mbuf: u32): void {
  const tail: u32 = r32(cache + Cache.TAIL);
  w32(r32(cache + Cache.RING) + ((tail & r32(cache + Cache.MASK)) << 2), mbuf);
  w32(cache + Cache.TAIL, (tail + 1) >>> 0);
}

/** One mbuf, whatever pool it is of, into this lcore's cache of that pool. */
function putOne(cache: u32, mbuf: u32): void {
  const pool: u32 = r32(mbuf + Mbuf.POOL);
  let home: u32 = cache;
  if (pool != r32(cache + Cache.POOL)) home = r32(r32(pool + Pool.CACHES) + (r32(cache + Cache.LCORE) << 2));
  cachePutOne(home, mbuf);
  // an lcore that frees what another one draws would starve it otherwise
  if (cacheCount(home) > r32(home + Cache.HIGH)) cacheSpill(home);
}

/** Gives `n` packets (words at `pkts`), with all their segments, back through this lcore's cache. */
export function mbufFreeBulk(cache: u32, pkts: u32, n: u32): void {
  const pool: u32 = r32(cache + Cache.POOL);
  let odd: u32 = 0;
  for (let k: u32 = 0; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    odd = odd | r32(mbuf + Mbuf.NEXT) | (r32(mbuf + Mbuf.POOL) ^ pool);
  }
  if (odd == 0) {
    cachePut(cache, pkts, n);
    return;
  }
  for (let k: u32 = 0; k < n; k++) mbufFree(cache, r32(pkts + (k << 2)));
}

/** Gives one packet with all its segments back. */
export function mbufFree(cache: u32, first: u32): void {
  let mbuf: u32 = first;
  while (mbuf != 0) {
    const next: u32 = r32(mbuf + Mbuf.NEXT);
    w32(mbuf + Mbuf.NEXT, 0);
    putOne(cache, mbuf);
    mbuf = next;
  }
}

/** Empties an mbuf: data at the end of the headroom, no bytes, one segment. */
function mbufReset(mbuf: u32): void {
  w32(mbuf + Mbuf.DATA, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM);
  w32(mbuf + Mbuf.DATA_LEN, 0);
  w32(mbuf + Mbuf.PKT_LEN, 0);
  w32(mbuf + Mbuf.NEXT, 0);
  w32(mbuf + Mbuf.PORT, 0x10000);
  w32(mbuf + Mbuf.OL_FLAGS, 0);
}

/** Draws `n` empty mbufs into words at `pkts`; all of them or none. Returns how many. */
export function mbufAllocBulk(cache: u32, pkts: u32, n: u32): u32 {
  const have: u32 = cacheCount(cache);
  if (have < n && have + cacheFill(cache, n - have) < n) return 0;
  cacheGet(cache, pkts, n);
  for (let k: u32 = 0; k < n; k++) mbufReset(r32(pkts + (k << 2)));
  return n;
}
