// mac: sends on with the transmit port's own address as source and a fixed peer's as destination.
import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, Stream } from "../hot/layout.ts";
import { r32, w32 } from "../hot/mem.ts";
import { received } from "./receive.ts";
import { sendOrDrop } from "./send.ts";

/** The mode's words in a stream block; csum has the same. */
export const enum MacHeader {
  /** A frame's first 12 bytes: destination, source. */
  FIRST = 16,
  SECOND = 20,
  THIRD = 24,
}

/** Writes the stream's addresses into the frame at `p`, a multiple of 4. */
export function writeMacs(s: u32, p: u32): void {
  w32(p, r32(s + MacHeader.FIRST));
  w32(p + 4, r32(s + MacHeader.SECOND));
  w32(p + 8, r32(s + MacHeader.THIRD));
}

export function mac(s: u32, pkts: u32, n: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got == 0) return 0;
  received(s, pkts, got);
  for (let k: u32 = 0; k < got; k++) writeMacs(s, r32(r32(pkts + (k << 2)) + Mbuf.DATA));
  sendOrDrop(s, pkts, got);
  return got;
}
