// rxonly: receives and frees. `touch` reads the first cache line of each frame, as an application that looks at its
// packets would.

import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, Queue, Stream } from "../hot/layout.ts";
import { mbufFreeBulk } from "../hot/mbuf.ts";
import { r32, w32 } from "../hot/mem.ts";
import { received } from "./receive.ts";

/** The mode's word in a stream block: what was read, so that no compiler leaves the reading out. */
const SEEN: u32 = Stream.STATE;

export function rxOnly(s: u32, pkts: u32, n: u32, touch: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got == 0) return 0;
  received(s, pkts, got);
  if (touch != 0) {
    let seen: u32 = 0;
    for (let k: u32 = 0; k < got; k++) seen = seen ^ r32(r32(r32(pkts + (k << 2)) + Mbuf.DATA));
    w32(s + SEEN, seen);
  }
  mbufFreeBulk(r32(r32(s + Stream.RX_QUEUE) + Queue.CACHE), pkts, got);
  return got;
}
