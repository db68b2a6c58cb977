// flowgen: sends frames of numbered flows, which differ in their destination address, and frees what comes back.
import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, Queue, Stream } from "../hot/layout.ts";
import { mbufFreeBulk } from "../hot/mbuf.ts";
import { r32, w16, w32 } from "../hot/mem.ts";
import { swap16, unfold } from "./checksum.ts";
import { Generate, makeBurst } from "./generate.ts";
import { received } from "./receive.ts";
import { sendOrDrop } from "./send.ts";

/** 10.253.0.0: flow 0's destination. */
const FIRST_DESTINATION: u32 = 0x0afd0000;

/** Returns the packets sent, or received where none could be sent. */
export function flowGen(s: u32, pkts: u32, n: u32): u32 {
  const q: u32 = r32(s + Stream.RX_QUEUE);
  const got: u32 = rxBurst(q, pkts, n);
  if (got != 0) {
    received(s, pkts, got);
    mbufFreeBulk(r32(q + Queue.CACHE), pkts, got);
  }
  const made: u32 = makeBurst(s, pkts, n);
  if (made == 0) return got;
  const flows: u32 = r32(s + Generate.FLOWS);
  const first: u32 = r32(s + Generate.NEXT);
  numberFlows(s, pkts, made, first, flows);
  const sent: u32 = sendOrDrop(s, pkts, made);
  // flows go on where the queue was full
  w32(s + Generate.NEXT, (first + sent) % flows);
  return sent != 0 ? sent : got;
}

function numberFlows(s: u32, pkts: u32, n: u32, first: u32, flows: u32): void {
  let flow: u32 = first;
  for (let k: u32 = 0; k < n; k++) {
    const p: u32 = r32(r32(pkts + (k << 2)) + Mbuf.DATA);
    const destination: u32 = (FIRST_DESTINATION + flow) >>> 0;
    w16(p + 30, swap16(destination >>> 16));
    w16(p + 32, swap16(destination & 0xffff));
    const sum: u32 = r32(s + Generate.IP_SUM) + (destination >>> 16) + (destination & 0xffff);
    w16(p + 24, swap16(unfold(sum)));
    flow++;
    if (flow >= flows) flow = 0;
  }
}
