// txonly: sends one frame, prepared by control code, over and over, as fast as the queue takes it.
import { txBurst } from "../hot/dispatch.ts";
import { Cache, Mbuf, Pool, Queue, Stream } from "../hot/layout.ts";
import { mbufAllocBulk, mbufFreeBulk } from "../hot/mbuf.ts";
import { min32, r32, w32 } from "../hot/mem.ts";
import { copyFrame } from "../hot/simd.ts";
import { chainSegments } from "./frame.ts";

/** The mode's words in a stream block. */
export const enum TxOnly {
  /** Arena offset of the first TEMPLATE_BYTES bytes of the frame, private. */
  TEMPLATE = 16,
  /** Bytes of the whole frame; what the template does not give is whatever the buffer held. */
  SIZE = 20,
  /** Mbufs that a frame takes. */
  SEGMENTS = 24,
  TEMPLATE_BYTES = 64,
}

/** Returns the packets sent. What the queue refuses is not a drop: it was never meant to be sent faster. */
export function txOnly(s: u32, pkts: u32, n: u32): u32 {
  const q: u32 = r32(s + Stream.TX_QUEUE);
  const cache: u32 = r32(q + Queue.CACHE);
  const made: u32 =
    r32(s + TxOnly.SEGMENTS) <= 1 ? makeSmall(s, cache, pkts, n) : makeLarge(s, cache, pkts, n);
  if (made == 0) return 0;
  const sent: u32 = txBurst(q, pkts, made);
  if (sent < made) mbufFreeBulk(cache, pkts + (sent << 2), made - sent);
  return sent;
}

/** Frames of one segment. Returns how many were made: all or none. */
function makeSmall(s: u32, cache: u32, pkts: u32, n: u32): u32 {
  if (mbufAllocBulk(cache, pkts, n) == 0) return 0;
  const size: u32 = r32(s + TxOnly.SIZE);
  const given: u32 = min32(size, TxOnly.TEMPLATE_BYTES);
  for (let k: u32 = 0; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    copyFrame(r32(mbuf + Mbuf.DATA), r32(s + TxOnly.TEMPLATE), given);
    w32(mbuf + Mbuf.DATA_LEN, size);
    w32(mbuf + Mbuf.PKT_LEN, size);
  }
  return n;
}

/** Frames that one mbuf does not hold. The words at `pkts` have room for a frame's segments beyond `n`. */
function makeLarge(s: u32, cache: u32, pkts: u32, n: u32): u32 {
  const count: u32 = r32(s + TxOnly.SEGMENTS);
  const segments: u32 = pkts + (n << 2);
  let made: u32 = 0;
  while (made < n && mbufAllocBulk(cache, segments, count) != 0) {
    const room: u32 = r32(r32(cache + Cache.POOL) + Pool.DATA_ROOM);
    const mbuf: u32 = chainSegments(segments, count, r32(s + TxOnly.SIZE), room);
    copyFrame(r32(mbuf + Mbuf.DATA), r32(s + TxOnly.TEMPLATE), TxOnly.TEMPLATE_BYTES);
    w32(pkts + (made << 2), mbuf);
    made++;
  }
  return made;
}
