// txonly: sends one frame, prepared by control code, over and over, as fast as the queue takes it.
import { txBurst } from "../hot/dispatch.ts";
import { Mbuf, Queue, Stream } from "../hot/layout.ts";
import { mbufAllocBulk, mbufFreeBulk } from "../hot/mbuf.ts";
import { min32, r32, w32 } from "../hot/mem.ts";
import { copyFrame } from "../hot/simd.ts";

/** The mode's words in a stream block. */
export const enum TxOnly {
  /** Arena offset of the first TEMPLATE_BYTES bytes of the frame, private. */
  TEMPLATE = 16,
  /** Bytes of the whole frame; what the template does not give is whatever the buffer held. */
  SIZE = 20,
  TEMPLATE_BYTES = 64,
}

/** Returns the packets sent. What the queue refuses is not a drop: it was never meant to be sent faster. */
export function txOnly(s: u32, pkts: u32, n: u32): u32 {
  const q: u32 = r32(s + Stream.TX_QUEUE);
  const cache: u32 = r32(q + Queue.CACHE);
  if (mbufAllocBulk(cache, pkts, n) == 0) return 0;
  const size: u32 = r32(s + TxOnly.SIZE);
  const given: u32 = min32(size, TxOnly.TEMPLATE_BYTES);
  for (let k: u32 = 0; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    copyFrame(r32(mbuf + Mbuf.DATA), r32(s + TxOnly.TEMPLATE), given);
    w32(mbuf + Mbuf.DATA_LEN, size);
    w32(mbuf + Mbuf.PKT_LEN, size);
  }
  const sent: u32 = txBurst(q, pkts, n);
  if (sent < n) mbufFreeBulk(cache, pkts + (sent << 2), n - sent);
  return sent;
}
