// net_tap: a read(2) or write(2) a frame. The kernel has no ring here; what is read goes into mbufs directly.
import { Cache, Mbuf, Pool, Queue } from "../../src/hot/layout.ts";
import { mbufAllocBulk, mbufFree } from "../../src/hot/mbuf.ts";
import { fdRead, fdReadv, fdWrite, fdWritev, min32, r8, r32, w16, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets } from "../../src/hot/queue.ts";
import { writeMbuf } from "../../src/hot/simd.ts";
import { Iovec, Tap } from "./layout.ts";

const enum Ether {
  HEADER_BYTES = 14,
  TAG_BYTES = 4,
}

/** errno-base.h: a write's that is the frame's own fault. */
const enum Errno {
  EINVAL = 22,
  /** Results from here on, modulo 2^32, are errors (MAX_ERRNO, linux/err.h). */
  LOWEST = 0xfffff001,
}

export function tapRxBurst(q: u32, pkts: u32, n: u32): u32 {
  const cache: u32 = r32(q + Queue.CACHE);
  const room: u32 = r32(r32(cache + Cache.POOL) + Pool.DATA_ROOM);
  let got: u32 = 0;
  let bytes: u32 = 0;
  for (let k: u32 = 0; k < n; k++) {
    const wanted: u32 = r32(q + Tap.WANTED); // control may change it at any time
    if (holdMbufs(q, cache, wanted) == 0) {
      bump(q + Queue.STALLED, 1);
      break;
    }
    const length: u32 = readFrame(q, wanted, room);
    if (length == 0 || length >= <u32>Errno.LOWEST) break;
    // a frame that fills all of them was longer: they hold more than the interface's longest
    if (length >= wanted * room || length < <u32>Ether.HEADER_BYTES) {
      if (length >= <u32>Ether.HEADER_BYTES) bump(q + Tap.TRUNCATED, 1);
      bump(q + Queue.ERRORS, 1);
      continue;
    }
    w32(pkts + (got << 2), takePacket(q, length, room));
    bytes = bytes + length;
    got++;
  }
  if (got != 0) countPackets(q, got, bytes);
  return got;
}

/** 1 if there was no mbuf to read into: then frames wait of which the kernel has told already. */
export function tapRxPending(q: u32): u32 {
  return r32(q + Tap.HELD) < r32(q + Tap.WANTED) ? 1 : 0;
}

/** Makes sure that there are mbufs for the longest frame; 0 if they are not to be had. */
function holdMbufs(q: u32, cache: u32, wanted: u32): u32 {
  const held: u32 = r32(q + Tap.HELD);
  if (held >= wanted) return 1;
  if (mbufAllocBulk(cache, r32(q + Tap.SEGMENTS) + (held << 2), wanted - held) == 0) return 0;
  w32(q + Tap.HELD, wanted);
  w32(q + Tap.STALE, 1);
  return 1;
}

function readFrame(q: u32, wanted: u32, room: u32): u32 {
  const segments: u32 = r32(q + Tap.SEGMENTS);
  const fd: u32 = r32(q + Tap.FD);
  if (wanted == 1) return fdRead(fd, r32(r32(segments) + Mbuf.DATA), room);
  if (r32(q + Tap.STALE) != 0) {
    for (let k: u32 = 0; k < wanted; k++) putIovec(q, k, r32(r32(segments + (k << 2)) + Mbuf.DATA), room);
    w32(q + Tap.STALE, 0);
  }
  return fdReadv(fd, r32(q + Tap.IOVECS), wanted);
}

/** The mbufs that `length` bytes lie in, as a packet; the others move up. */
function takePacket(q: u32, length: u32, room: u32): u32 {
  const segments: u32 = r32(q + Tap.SEGMENTS);
  const held: u32 = r32(q + Tap.HELD);
  let count: u32 = 0;
  for (let rest: u32 = length; rest != 0; ) {
    const mbuf: u32 = r32(segments + (count << 2));
    const part: u32 = min32(rest, room);
    writeMbuf(mbuf, r32(mbuf + Mbuf.DATA), part, r32(q + Queue.ORIGIN));
    rest = rest - part;
    count++;
    if (rest != 0) w32(mbuf + Mbuf.NEXT, r32(segments + (count << 2)));
  }
  const first: u32 = r32(segments);
  w32(first + Mbuf.PKT_LEN, length);
  w16(first + Mbuf.NB_SEGS, count);
  for (let k: u32 = count; k < held; k++) w32(segments + ((k - count) << 2), r32(segments + (k << 2)));
  w32(q + Tap.HELD, held - count);
  w32(q + Tap.STALE, 1);
  return first;
}

export function tapTxBurst(q: u32, pkts: u32, n: u32): u32 {
  const cache: u32 = r32(q + Queue.CACHE);
  let packets: u32 = 0;
  let bytes: u32 = 0;
  let sent: u32 = 0;
  for (; sent < n; sent++) {
    const mbuf: u32 = r32(pkts + (sent << 2));
    const length: u32 = r32(mbuf + Mbuf.PKT_LEN);
    if (length < <u32>Ether.HEADER_BYTES || length > longest(q, mbuf)) {
      bump(q + Queue.ERRORS, 1);
    } else {
      const result: u32 = writeFrame(q, mbuf);
      if (result >= <u32>Errno.LOWEST && (0 - result) >>> 0 != <u32>Errno.EINVAL) break;
      if (result != length) bump(q + Queue.ERRORS, 1);
      else {
        packets++;
        bytes = bytes + length;
      }
    }
    mbufFree(cache, mbuf);
  }
  if (sent < n) bump(q + Queue.STALLED, n - sent);
  if (packets != 0) countPackets(q, packets, bytes);
  return sent;
}

/** What write(2) returned, or EINVAL for a packet of more segments than there are iovecs. */
function writeFrame(q: u32, mbuf: u32): u32 {
  const fd: u32 = r32(q + Tap.FD);
  if (r32(mbuf + Mbuf.NEXT) == 0) return fdWrite(fd, r32(mbuf + Mbuf.DATA), r32(mbuf + Mbuf.DATA_LEN));
  let count: u32 = 0;
  for (let segment: u32 = mbuf; segment != 0; segment = r32(segment + Mbuf.NEXT)) {
    if (count == <u32>Tap.IOVECS_MAX) return (0 - <u32>Errno.EINVAL) >>> 0;
    putIovec(q, count, r32(segment + Mbuf.DATA), r32(segment + Mbuf.DATA_LEN));
    count++;
  }
  return fdWritev(fd, r32(q + Tap.IOVECS), count);
}

/** Iovec `k` for `bytes` bytes at the arena offset `data`. */
function putIovec(q: u32, k: u32, data: u32, bytes: u32): void {
  const at: u32 = r32(q + Tap.IOVECS) + k * Iovec.BYTES;
  const low: u32 = (r32(q + Tap.BASE) + data) >>> 0;
  w32(at + Iovec.BASE, low);
  w32(at + Iovec.BASE_HIGH, r32(q + Tap.BASE_HIGH) + (low < data ? 1 : 0));
  w32(at + Iovec.LEN, bytes);
  w32(at + Iovec.LEN_HIGH, 0);
}

/** The longest frame: a tag that is in it does not count. */
function longest(q: u32, mbuf: u32): u32 {
  const data: u32 = r32(mbuf + Mbuf.DATA);
  const tagged: u32 = r8(data + 12) == 0x81 && r8(data + 13) == 0 ? 1 : 0;
  return r32(q + Tap.FRAME_MAX) + (tagged != 0 ? <u32>Ether.TAG_BYTES : 0);
}
