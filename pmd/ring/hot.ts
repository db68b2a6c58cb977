// net_ring: packets go by reference through a single-producer, single-consumer ring to another port's queue, or round
// to the same one's.
import { Mbuf, Queue } from "../../src/hot/layout.ts";
import { r32, w16 } from "../../src/hot/mem.ts";
import { bump, countPackets } from "../../src/hot/queue.ts";
import { ringDequeue, ringEnqueue } from "../../src/hot/ring.ts";

/** The driver's word in a queue block. */
export const enum RingQueue {
  RING = 64,
}

export function ringRxBurst(q: u32, pkts: u32, n: u32): u32 {
  const got: u32 = ringDequeue(r32(q + RingQueue.RING), pkts, n);
  if (got == 0) return 0;
  let bytes: u32 = 0;
  for (let k: u32 = 0; k < got; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    w16(mbuf + Mbuf.PORT, r32(q + Queue.PORT));
    bytes = bytes + r32(mbuf + Mbuf.PKT_LEN);
  }
  countPackets(q, got, bytes);
  return got;
}

export function ringTxBurst(q: u32, pkts: u32, n: u32): u32 {
  // lengths are read first: once a packet is in the ring it is the consumer's
  let bytes: u32 = 0;
  for (let k: u32 = 0; k < n; k++) bytes = bytes + r32(r32(pkts + (k << 2)) + Mbuf.PKT_LEN);
  const sent: u32 = ringEnqueue(r32(q + RingQueue.RING), pkts, n);
  if (sent < n) {
    for (let k: u32 = sent; k < n; k++) bytes = bytes - r32(r32(pkts + (k << 2)) + Mbuf.PKT_LEN);
    bump(q + Queue.STALLED, n - sent);
  }
  countPackets(q, sent, bytes);
  return sent;
}
