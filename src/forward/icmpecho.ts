// icmpecho: answers ARP requests, for whatever address they ask, and ICMP echo requests, tagged ones too. All else is
// freed. RFC 826, RFC 791, RFC 792; words of a frame are big-endian, so the constants here are byte-swapped.
import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, Queue, Stream } from "../hot/layout.ts";
import { mbufFree } from "../hot/mbuf.ts";
import { r8, r16, r32, r32u, w8, w16, w32, w32u } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";
import { sumBytes } from "../hot/simd.ts";
import { unfold } from "./checksum.ts";
import { EtherType, etherTypeAt, findHeaders, Headers, IpProtocol, l4Of, protocolOf } from "./headers.ts";
import { received } from "./receive.ts";
import { sendOrDrop } from "./send.ts";

/** The transmit port's MAC address in the stream block: 4 bytes, then 2. */
export const enum IcmpEcho {
  MAC_LOW = 16,
  MAC_HIGH = 20,
}

/** Hardware and protocol type, their lengths, and the operation: Ethernet and IPv4. */
const ARP_ETHERNET_IPV4: u32 = 0x00080100;
const ARP_LENGTHS: u32 = 0x0406;
const ARP_BYTES: u32 = 28;
const REQUEST: u32 = 0x0100;
const REPLY: u32 = 0x0200;

/** The frame goes back to its sender, from this port's address. */
function turnAround(s: u32, p: u32): void {
  w32(p, (r16(p + 6) | (r16(p + 8) << 16)) >>> 0);
  w16(p + 4, r16(p + 10));
  w16(p + 6, r16(s + IcmpEcho.MAC_LOW));
  w32(p + 8, ((r32(s + IcmpEcho.MAC_LOW) >>> 16) | (r32(s + IcmpEcho.MAC_HIGH) << 16)) >>> 0);
}

/** Turns the ARP request at `a` of the frame `p` into its answer. */
function answerArp(s: u32, p: u32, a: u32): u32 {
  if (r32u(a) != ARP_ETHERNET_IPV4 || r16(a + 4) != ARP_LENGTHS || r16(a + 6) != REQUEST) return 0;
  const asked: u32 = r32u(a + 24);
  w16(a + 6, REPLY);
  w32u(a + 18, r32u(a + 8)); // target: the asker
  w16(a + 22, r16(a + 12));
  w32u(a + 24, r32u(a + 14));
  w32u(a + 8, r32(s + IcmpEcho.MAC_LOW)); // sender: the address asked for is at ours
  w16(a + 12, r32(s + IcmpEcho.MAC_HIGH) & 0xffff);
  w32u(a + 14, asked);
  turnAround(s, p);
  return 1;
}

/** Turns an echo request into its reply. */
function answerEcho(s: u32, mbuf: u32, headers: u32): u32 {
  const p: u32 = r32(mbuf + Mbuf.DATA);
  const ip: u32 = p + (headers & Headers.L3_MASK);
  const icmp: u32 = p + l4Of(headers);
  if ((headers & Headers.IS_IPV4) == 0 || protocolOf(headers) != <u32>IpProtocol.ICMP) return 0;
  if ((headers & Headers.IS_FRAGMENT) != 0 || l4Of(headers) + 8 > r32(mbuf + Mbuf.DATA_LEN)) return 0;
  if (r16(icmp) != 8) return 0; // type 8, code 0
  const source: u32 = r32u(ip + 12);
  const asked: u32 = r32u(ip + 16);
  w32u(ip + 16, source);
  if (isOneHost(asked) != 0) w32u(ip + 12, asked);
  else answerForGroup(ip, icmp - ip);
  w8(icmp, 0);
  // the type went from 8 to 0 in the sum's high byte, so the checksum rises by as much (RFC 1624)
  let sum: u32 = ((r8(icmp + 2) << 8) | r8(icmp + 3)) + 0x800;
  sum = (sum & 0xffff) + (sum >>> 16);
  w8(icmp + 2, sum >>> 8);
  w8(icmp + 3, sum & 255);
  if ((r8(p) & 1) == 0) swapUnicast(p);
  else turnAround(s, p);
  return 1;
}

/** Not a multicast group and not the limited broadcast: those cannot be a source (RFC 1122, 3.2.1.3). */
function isOneHost(address: u32): u32 {
  return (address & 0xff) < 224 || (address != 0xffffffff && (address & 0xff) >= 240) ? 1 : 0;
}

/** A source near the asker's own, in its network: the last two bits are 01, or 10 where that is the asker itself. */
function answerForGroup(ip: u32, bytes: u32): void {
  const last: u32 = r8(ip + 15);
  w8(ip + 15, (last & 0xfc) | ((last & 3) == 1 ? 2 : 1));
  w16(ip + 10, 0);
  w16(ip + 10, unfold(sumBytes(ip, bytes)));
}

/** The answer comes from the address that was asked, even where the port only listens for it. */
function swapUnicast(p: u32): void {
  const low: u32 = r32(p);
  const high: u32 = r16(p + 4);
  w32(p, (r16(p + 6) | (r16(p + 8) << 16)) >>> 0);
  w16(p + 4, r16(p + 10));
  w16(p + 6, low & 0xffff);
  w32(p + 8, ((low >>> 16) | (high << 16)) >>> 0);
}

function answer(s: u32, mbuf: u32): u32 {
  const p: u32 = r32(mbuf + Mbuf.DATA);
  const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
  const at: u32 = etherTypeAt(p, length);
  if (at != 0 && r16(p + at) == <u32>EtherType.ARP)
    return at + 2 + ARP_BYTES <= length ? answerArp(s, p, p + at + 2) : 0;
  const headers: u32 = findHeaders(mbuf);
  return headers == 0 ? 0 : answerEcho(s, mbuf, headers);
}

export function icmpEcho(s: u32, pkts: u32, n: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got == 0) return 0;
  received(s, pkts, got);
  const cache: u32 = r32(r32(s + Stream.RX_QUEUE) + Queue.CACHE);
  let kept: u32 = 0;
  for (let k: u32 = 0; k < got; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    if (answer(s, mbuf) != 0) {
      w32(pkts + (kept << 2), mbuf);
      kept++;
    } else {
      mbufFree(cache, mbuf);
      bump(s + Stream.BAD, 1);
    }
  }
  if (kept != 0) sendOrDrop(s, pkts, kept);
  return got;
}
