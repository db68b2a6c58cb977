// Sending from a mode: counted, and looked at where somebody asked for it.
import { txBurst } from "../hot/dispatch.ts";
import { Queue, Stream } from "../hot/layout.ts";
import { mbufFreeBulk } from "../hot/mbuf.ts";
import { r32 } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";
import { watchOffered, watchSent } from "./watch.ts";

/** Sends `n` packets to the stream's transmit queue; returns how many it took. The others are still the caller's. */
export function send(s: u32, pkts: u32, n: u32): u32 {
  const watched: u32 = r32(s + Stream.WATCH);
  if (watched != 0) watchOffered(s, pkts, n);
  const sent: u32 = txBurst(r32(s + Stream.TX_QUEUE), pkts, n);
  if (watched != 0) watchSent(s, sent);
  bump(s + Stream.TX_PACKETS, sent);
  return sent;
}

/** The same; what the queue does not take goes back to the pool and is counted. */
export function sendOrDrop(s: u32, pkts: u32, n: u32): u32 {
  const sent: u32 = send(s, pkts, n);
  if (sent < n) {
    mbufFreeBulk(r32(r32(s + Stream.TX_QUEUE) + Queue.CACHE), pkts + (sent << 2), n - sent);
    bump(s + Stream.TX_DROPPED, n - sent);
  }
  return sent;
}
