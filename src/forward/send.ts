// Sending from a mode: what the queue does not take goes back to the pool and is counted.
import { txBurst } from "../hot/dispatch.ts";
import { Queue, Stream } from "../hot/layout.ts";
import { mbufFreeBulk } from "../hot/mbuf.ts";
import { r32 } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";

/** Sends `n` packets to the stream's transmit queue; returns how many it took. */
export function sendOrDrop(s: u32, pkts: u32, n: u32): u32 {
  const q: u32 = r32(s + Stream.TX_QUEUE);
  const sent: u32 = txBurst(q, pkts, n);
  if (sent < n) {
    mbufFreeBulk(r32(q + Queue.CACHE), pkts + (sent << 2), n - sent);
    bump(s + Stream.TX_DROPPED, n - sent);
  }
  return sent;
}
