// Bursts of an application at which somebody looks (Watch): as rxBurst and txBurst, with a stream block in place of the
// queue. While nobody does, applications call those themselves, and nothing of this costs them anything.
import { rxBurst, txBurst } from "../hot/dispatch.ts";
import { Mbuf, Stream, Watch } from "../hot/layout.ts";
import { r32 } from "../hot/mem.ts";
import { received } from "./receive.ts";
import { send } from "./send.ts";
import { Stamp, stampPacket } from "./stamp.ts";
import { watchEmpty } from "./watch.ts";

/** Receives up to `n` packets from the stream's queue. */
export function watchedRxBurst(s: u32, pkts: u32, n: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got != 0) received(s, pkts, got);
  else watchEmpty(s);
  return got;
}

/** Sends by the stream's queue. A burst of no packets is none: applications need not ask before they send. */
export function watchedTxBurst(s: u32, pkts: u32, n: u32): u32 {
  const q: u32 = r32(s + Stream.TX_QUEUE);
  return n == 0 || q == 0 ? txBurst(q, pkts, n) : send(s, pkts, n);
}

/** Puts the time into a packet of the application; 0 if it is too short for that, or nobody measures. */
export function stampFrame(s: u32, mbuf: u32): u32 {
  if ((r32(s + Stream.WATCH) & Watch.LATENCY) == 0) return 0;
  if (r32(mbuf + Mbuf.PKT_LEN) < <u32>Stamp.OFFSET + <u32>Stamp.BYTES) return 0;
  stampPacket(s, mbuf, s + Stream.STATE); // no mode has words there
  return 1;
}
