// icmpecho: answers ARP requests, for whatever address they ask, and ICMP echo requests. All else is freed.
// RFC 826, RFC 791, RFC 792; words of a frame are big-endian, so the constants here are byte-swapped.
import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, Queue, Stream } from "../hot/layout.ts";
import { mbufFree } from "../hot/mbuf.ts";
import { r8, r16, r32, r32u, w8, w16, w32, w32u } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";
import { sendOrDrop } from "./send.ts";

/** The port's MAC address in the stream block: 4 bytes, then 2. */
export const enum IcmpEcho {
  MAC_LOW = 16,
  MAC_HIGH = 20,
}

const ARP: u32 = 0x0608;
const IPV4: u32 = 0x0008;
const REQUEST: u32 = 0x0100;
const REPLY: u32 = 0x0200;
const ETHERNET: u32 = 14;

/** Turns an ARP request into its answer. The frame is at least 42 bytes long, `p` a multiple of 4. */
function answerArp(s: u32, p: u32): u32 {
  if (r16(p + 20) != REQUEST) return 0;
  const low: u32 = r32(s + IcmpEcho.MAC_LOW);
  const high: u32 = r32(s + IcmpEcho.MAC_HIGH);
  const asked: u32 = r32u(p + 38);
  const asker: u32 = r32u(p + 28);
  w16(p + 20, REPLY);
  w32(p, r32u(p + 22)); // to the sender's hardware address
  w16(p + 4, r16(p + 26));
  w16(p + 6, low & 0xffff);
  w32(p + 8, ((low >>> 16) | (high << 16)) >>> 0);
  w32u(p + 32, r32u(p + 22)); // target: the asker
  w16(p + 36, r16(p + 26));
  w32u(p + 38, asker);
  w32u(p + 22, low); // sender: the address asked for is at ours
  w16(p + 26, high & 0xffff);
  w32u(p + 28, asked);
  return 1;
}

/** Turns an echo request of `length` frame bytes into its reply. */
function answerEcho(s: u32, p: u32, length: u32): u32 {
  const ihl: u32 = (r8(p + ETHERNET) & 15) << 2;
  const icmp: u32 = p + ETHERNET + ihl;
  if (r8(p + ETHERNET) >>> 4 != 4 || ihl < 20 || length < ETHERNET + ihl + 8) return 0;
  if (r8(p + 23) != 1 || r8(icmp) != 8 || (r16(p + 20) & 0xff3f) != 0) return 0; // nor a fragment
  const source: u32 = r32u(p + 26);
  w32u(p + 26, r32u(p + 30));
  w32u(p + 30, source);
  w8(icmp, 0);
  // the type went from 8 to 0 in the sum's high byte, so the checksum rises by as much (RFC 1624)
  let sum: u32 = ((r8(icmp + 2) << 8) | r8(icmp + 3)) + 0x800;
  sum = (sum & 0xffff) + (sum >>> 16);
  w8(icmp + 2, sum >>> 8);
  w8(icmp + 3, sum & 255);
  const low: u32 = r32(s + IcmpEcho.MAC_LOW);
  w32(p, (r16(p + 6) | (r16(p + 8) << 16)) >>> 0);
  w16(p + 4, r16(p + 10));
  w16(p + 6, low & 0xffff);
  w32(p + 8, ((low >>> 16) | (r32(s + IcmpEcho.MAC_HIGH) << 16)) >>> 0);
  return 1;
}

function answer(s: u32, mbuf: u32): u32 {
  const p: u32 = r32(mbuf + Mbuf.DATA);
  const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
  if (length < 42) return 0;
  // the IPv4 header's type field of bytes 12, 13; p is a multiple of 4 in every driver's receive path
  if (r16(p + 12) == ARP) return answerArp(s, p);
  return r16(p + 12) == IPV4 ? answerEcho(s, p, length) : 0;
}

export function icmpEcho(s: u32, pkts: u32, n: u32): u32 {
  const q: u32 = r32(s + Stream.RX_QUEUE);
  const got: u32 = rxBurst(q, pkts, n);
  if (got == 0) return 0;
  let kept: u32 = 0;
  for (let k: u32 = 0; k < got; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    if (answer(s, mbuf) != 0) {
      w32(pkts + (kept << 2), mbuf);
      kept++;
    } else {
      mbufFree(r32(q + Queue.CACHE), mbuf);
      bump(s + Stream.BAD, 1);
    }
  }
  if (kept != 0) sendOrDrop(s, pkts, kept);
  return got;
}
