// macswap: exchanges the two MAC addresses of each frame and sends it on.
import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, Stream } from "../hot/layout.ts";
import { r32 } from "../hot/mem.ts";
import { swapMacs } from "../hot/simd.ts";
import { received } from "./receive.ts";
import { sendOrDrop } from "./send.ts";

export function macSwap(s: u32, pkts: u32, n: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got == 0) return 0;
  received(s, pkts, got);
  for (let k: u32 = 0; k < got; k++) swapMacs(r32(r32(pkts + (k << 2)) + Mbuf.DATA));
  sendOrDrop(s, pkts, got);
  return got;
}
