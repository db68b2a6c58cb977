// io: what comes in by one queue goes out by the other, unchanged.
import { rxBurst } from "../hot/dispatch.ts";
import { Stream } from "../hot/layout.ts";
import { r32 } from "../hot/mem.ts";
import { received } from "./receive.ts";
import { sendOrDrop } from "./send.ts";

export function io(s: u32, pkts: u32, n: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got == 0) return 0;
  received(s, pkts, got);
  sendOrDrop(s, pkts, got);
  return got;
}
