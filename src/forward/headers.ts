// Finds a packet's headers: Ethernet, 802.1Q and 802.1ad tags, IPv4 or IPv6. What does not lie whole in the packet's
// first segment is as good as not there. Words of a frame are big-endian, so the constants here are byte-swapped.
import { Mbuf } from "../hot/layout.ts";
import { r8, r16, r32 } from "../hot/mem.ts";

export const enum EtherType {
  IPV4 = 0x0008,
  ARP = 0x0608,
  VLAN = 0x0081,
  QINQ = 0xa888,
  IPV6 = 0xdd86,
}

export const enum IpProtocol {
  ICMP = 1,
  /** IP in IP. */
  IPIP = 4,
  TCP = 6,
  UDP = 17,
  GRE = 47,
}

/** What findHeaders returns, in one word. 0: no IP. */
export const enum Headers {
  /** Bits 0-6: offset of the IP header. */
  L3_MASK = 0x7f,
  /** Bits 8-13: its bytes. */
  L3_BYTES_SHIFT = 8,
  L3_BYTES_MASK = 0x3f,
  /** Bits 16-23: the next protocol. */
  PROTOCOL_SHIFT = 16,
  PROTOCOL_MASK = 0xff,
  IS_IPV4 = 1 << 24,
  IS_IPV6 = 1 << 25,
  /** A fragment, the first one included; one that is not the first. */
  IS_FRAGMENT = 1 << 26,
  IS_LATER_FRAGMENT = 1 << 27,
}

/** Where tags stop being followed: IP headers begin within Headers.L3_MASK. */
const TAGS_END: u32 = 110;

/** Offset of the last EtherType, 12 without tags; 0 if the frame ends before. `p` is even. */
export function etherTypeAt(p: u32, length: u32): u32 {
  let at: u32 = 12;
  while (at + 2 <= length && at < TAGS_END) {
    const type: u32 = r16(p + at);
    if (type != <u32>EtherType.VLAN && type != <u32>EtherType.QINQ) return at;
    at = at + 4;
  }
  return 0;
}

export function findHeaders(mbuf: u32): u32 {
  return headersAt(r32(mbuf + Mbuf.DATA), r32(mbuf + Mbuf.DATA_LEN));
}

/** The same of an Ethernet frame at `p`, of which `length` bytes are there. */
export function headersAt(p: u32, length: u32): u32 {
  const at: u32 = etherTypeAt(p, length);
  if (at == 0) return 0;
  const type: u32 = r16(p + at);
  if (type == <u32>EtherType.IPV4) return findIpv4(p, at + 2, length);
  return type == <u32>EtherType.IPV6 ? findIpv6(p, at + 2, length) : 0;
}

/** RFC 791. The header is to stand `l3` bytes behind `p`. */
export function findIpv4(p: u32, l3: u32, length: u32): u32 {
  if (l3 + 20 > length) return 0;
  const first: u32 = r8(p + l3);
  const bytes: u32 = (first & 15) << 2;
  if (first >>> 4 != 4 || bytes < 20 || l3 + bytes > length) return 0;
  const fragment: u32 = r16(p + l3 + 6);
  let flags: u32 = Headers.IS_IPV4;
  if ((fragment & 0xff3f) != 0) flags = flags | Headers.IS_FRAGMENT;
  if ((fragment & 0xff1f) != 0) flags = flags | Headers.IS_LATER_FRAGMENT;
  return flags | l3 | (bytes << Headers.L3_BYTES_SHIFT) | (r8(p + l3 + 9) << Headers.PROTOCOL_SHIFT);
}

/** RFC 8200. Extension headers are not followed, as in testpmd: the first of them is the protocol. */
export function findIpv6(p: u32, l3: u32, length: u32): u32 {
  if (l3 + 40 > length || r8(p + l3) >>> 4 != 6) return 0;
  const bytes: u32 = 40;
  return (
    Headers.IS_IPV6 | l3 | (bytes << Headers.L3_BYTES_SHIFT) | (r8(p + l3 + 6) << Headers.PROTOCOL_SHIFT)
  );
}

export function protocolOf(headers: u32): u32 {
  return (headers >>> Headers.PROTOCOL_SHIFT) & Headers.PROTOCOL_MASK;
}

/** Offset of what follows the IP header. */
export function l4Of(headers: u32): u32 {
  return (headers & Headers.L3_MASK) + ((headers >>> Headers.L3_BYTES_SHIFT) & Headers.L3_BYTES_MASK);
}
