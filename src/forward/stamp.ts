// Latency stamps: a generator writes the time into the UDP payload of one packet a burst; whoever receives it back, on
// any lcore of the same process, records its age. A stamp is 16 bytes at offset 42 (Ethernet, IPv4, UDP): magic, the
// process's tag, and the time in ns as two words. All words little-endian.
import { recordNs } from "../hot/histogram.ts";
import { Mbuf, Stream } from "../hot/layout.ts";
import { now, r16, r32, r32u, toF64, toU32, w32 } from "../hot/mem.ts";
import { copyInto } from "./frame.ts";

const MAGIC: u32 = 0x544c4d50; // "PMLT"
const VLAN: u32 = 0x0081; // 0x8100 big-endian
const TWO_TO_32: f64 = 4294967296;

export const enum Stamp {
  /** Where it stands in an untagged packet. */
  OFFSET = 42,
  BYTES = 16,
}

/** Stamps the packet, by way of 16 bytes of scratch memory. */
export function stampPacket(s: u32, mbuf: u32, scratch: u32): void {
  const ns: f64 = now() * 1e6;
  const high: u32 = toU32(ns / TWO_TO_32);
  w32(scratch, MAGIC);
  w32(scratch + 4, r32(s + Stream.STAMP_TAG));
  w32(scratch + 8, toU32(ns - toF64(high) * TWO_TO_32));
  w32(scratch + 12, high);
  copyInto(mbuf, Stamp.OFFSET, scratch, Stamp.BYTES);
}

/** Records the age of each stamped packet. The clock is read at most once. */
export function measureAges(s: u32, pkts: u32, n: u32): void {
  const tag: u32 = r32(s + Stream.STAMP_TAG);
  let ns: f64 = 0;
  for (let k: u32 = 0; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    let at: u32 = Stamp.OFFSET;
    const p: u32 = r32(mbuf + Mbuf.DATA);
    if (r16(p + 12) == VLAN) at = at + 4;
    if (r32(mbuf + Mbuf.DATA_LEN) < at + Stamp.BYTES) continue;
    if (r32u(p + at) != MAGIC || r32u(p + at + 4) != tag) continue;
    if (ns == 0) ns = now() * 1e6;
    recordNs(r32(s + Stream.LATENCY), ns - toF64(r32u(p + at + 12)) * TWO_TO_32 - toF64(r32u(p + at + 8)));
  }
}
