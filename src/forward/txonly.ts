// txonly: sends one frame, prepared by control code, over and over, as fast as the queue takes it.
import { Mbuf } from "../hot/layout.ts";
import { r32, w16, w32 } from "../hot/mem.ts";
import { swap16, unfold } from "./checksum.ts";
import { Generate, makeBurst } from "./generate.ts";
import { sendOrDrop } from "./send.ts";

/** Returns the packets sent. What the queue refuses is a drop, as in testpmd. */
export function txOnly(s: u32, pkts: u32, n: u32): u32 {
  const made: u32 = makeBurst(s, pkts, n);
  if (made == 0) return 0;
  const varied: u32 = r32(s + Generate.FLOWS);
  if (varied != 0) varySources(s, pkts, made);
  const sent: u32 = sendOrDrop(s, pkts, made);
  // those that were dropped are sent anew
  if (varied != 0) w32(s + Generate.NEXT, (r32(s + Generate.NEXT) - (made - sent)) & 255);
  return sent;
}

/** Source addresses 198.18.0.2 + lcore to 198.18.255.2 + lcore in turn. The headers lie in the first segment. */
function varySources(s: u32, pkts: u32, n: u32): void {
  let next: u32 = r32(s + Generate.NEXT);
  for (let k: u32 = 0; k < n; k++) {
    const p: u32 = r32(r32(pkts + (k << 2)) + Mbuf.DATA);
    const source: u32 = 0xc6120002 + (next << 8) + r32(s + Generate.LCORE);
    w16(p + 26, swap16(source >>> 16));
    w16(p + 28, swap16(source & 0xffff));
    const sum: u32 = r32(s + Generate.IP_SUM) + (source >>> 16) + (source & 0xffff);
    w16(p + 24, swap16(unfold(sum)));
    next = (next + 1) & 255;
  }
  w32(s + Generate.NEXT, next);
}
