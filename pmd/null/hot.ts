// net_null: receives frames out of nothing, as fast as mbufs can be drawn, and sends them to nowhere.
import { Mbuf, Queue } from "../../src/hot/layout.ts";
import { mbufAllocBulk, mbufFreeBulk } from "../../src/hot/mbuf.ts";
import { r32, w16, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets } from "../../src/hot/queue.ts";
import { copyFrame } from "../../src/hot/simd.ts";

/** The driver's words in a queue block. */
export const enum Null {
  /** Bytes a received frame has. */
  SIZE = 64,
  /** 1: the frame's bytes are copied from and to DUMMY, as DPDK's copy=1. */
  COPY = 68,
  /** 1: nothing is received. */
  NO_RX = 72,
  DUMMY = 76,
}

export function nullRxBurst(q: u32, pkts: u32, n: u32): u32 {
  if (r32(q + Null.NO_RX) != 0) return 0;
  if (mbufAllocBulk(r32(q + Queue.CACHE), pkts, n) == 0) {
    bump(q + Queue.STALLED, 1);
    return 0;
  }
  const size: u32 = r32(q + Null.SIZE);
  const copy: u32 = r32(q + Null.COPY);
  for (let k: u32 = 0; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    w32(mbuf + Mbuf.DATA_LEN, size);
    w32(mbuf + Mbuf.PKT_LEN, size);
    w16(mbuf + Mbuf.PORT, r32(q + Queue.PORT));
    if (copy != 0) copyFrame(r32(mbuf + Mbuf.DATA), r32(q + Null.DUMMY), size);
  }
  countPackets(q, n, n * size);
  return n;
}

export function nullTxBurst(q: u32, pkts: u32, n: u32): u32 {
  let bytes: u32 = 0;
  for (let k: u32 = 0; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    bytes = bytes + r32(mbuf + Mbuf.PKT_LEN);
    if (r32(q + Null.COPY) != 0)
      copyFrame(r32(q + Null.DUMMY), r32(mbuf + Mbuf.DATA), r32(mbuf + Mbuf.DATA_LEN));
  }
  mbufFreeBulk(r32(q + Queue.CACHE), pkts, n);
  countPackets(q, n, bytes);
  return n;
}
