// What the modes that make up packets share: bursts of a frame that control code prepared.
import { Mbuf, Queue, Stream } from "../hot/layout.ts";
import { mbufAllocBulk } from "../hot/mbuf.ts";
import { min32, r32, w32 } from "../hot/mem.ts";
import { copyFrame } from "../hot/simd.ts";
import { chainLengths, copyInto } from "./frame.ts";
import { stampPacket } from "./stamp.ts";

/** The modes' words in a stream block. */
export const enum Generate {
  /** Arena offset of the first TEMPLATE_BYTES bytes of the frame, private; 16 bytes of scratch memory follow them. */
  TEMPLATE = 16,
  /** Bytes of the whole frame; what the template does not give is whatever the buffers held. */
  SIZE = 20,
  /** Mbufs that a frame takes, and arena offset of the bytes of each (u32[SEGMENTS]). */
  SEGMENTS = 24,
  LENGTHS = 28,
  /** 1: one packet a burst carries the time. */
  STAMP = 32,
  /** Sum of the IPv4 header's 16-bit words but the checksum and the address that changes. */
  IP_SUM = 36,
  /** txonly: 1 if the source address changes from packet to packet. flowgen: number of flows. */
  FLOWS = 40,
  /** The next packet's flow. */
  NEXT = 44,
  /** txonly: number of the lcore, which is added to the source address. */
  LCORE = 48,
  TEMPLATE_BYTES = 64,
}

/** Makes a burst of frames at `pkts`, the first one stamped where that is asked for. Returns how many. */
export function makeBurst(s: u32, pkts: u32, n: u32): u32 {
  const cache: u32 = r32(r32(s + Stream.TX_QUEUE) + Queue.CACHE);
  const made: u32 =
    r32(s + Generate.SEGMENTS) <= 1 ? makeSmall(s, cache, pkts, n) : makeLarge(s, cache, pkts, n);
  if (made != 0 && r32(s + Generate.STAMP) != 0)
    stampPacket(s, r32(pkts), r32(s + Generate.TEMPLATE) + Generate.TEMPLATE_BYTES);
  return made;
}

/** Frames of one segment: all or none. */
function makeSmall(s: u32, cache: u32, pkts: u32, n: u32): u32 {
  if (mbufAllocBulk(cache, pkts, n) == 0) return 0;
  const size: u32 = r32(s + Generate.SIZE);
  const given: u32 = min32(size, Generate.TEMPLATE_BYTES);
  for (let k: u32 = 0; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    copyFrame(r32(mbuf + Mbuf.DATA), r32(s + Generate.TEMPLATE), given);
    w32(mbuf + Mbuf.DATA_LEN, size);
    w32(mbuf + Mbuf.PKT_LEN, size);
  }
  return n;
}

/** Frames of several. The words at `pkts` have room for a frame's segments beyond `n`. */
function makeLarge(s: u32, cache: u32, pkts: u32, n: u32): u32 {
  const count: u32 = r32(s + Generate.SEGMENTS);
  const size: u32 = r32(s + Generate.SIZE);
  const segments: u32 = pkts + (n << 2);
  let made: u32 = 0;
  while (made < n && mbufAllocBulk(cache, segments, count) != 0) {
    const mbuf: u32 = chainLengths(segments, count, size, r32(s + Generate.LENGTHS));
    copyInto(mbuf, 0, r32(s + Generate.TEMPLATE), min32(size, Generate.TEMPLATE_BYTES));
    w32(pkts + (made << 2), mbuf);
    made++;
  }
  return made;
}
