// Finds what a tunnel carries: VXLAN (RFC 7348), GRE (RFC 2784, 2890), IPv4 or IPv6 in IP (RFC 2003), one level deep.
// Lengths in a packet may be anything: what does not lie whole in its first segment, and within what the outer headers
// say, is as good as not there. Words of a frame are big-endian, so the constants here are byte-swapped.
import { Mbuf } from "../hot/layout.ts";
import { min32, r8, r16, r32 } from "../hot/mem.ts";
import { swap16 } from "./checksum.ts";
import {
  EtherType,
  findIpv4,
  findIpv6,
  Headers,
  headersAt,
  IpProtocol,
  l4Of,
  protocolOf,
} from "./headers.ts";

/** What tunnelAt returns, in one word. 0: no tunnel. */
export const enum Tunnel {
  /** Bits 0-11: offset of what the tunnel carries, from the packet's beginning; even. */
  AT_MASK = 0xfff,
  ETHERNET = 1 << 12,
  IPV4 = 1 << 13,
  IPV6 = 1 << 14,
}

const VXLAN_PORT: u32 = 0xb512; // 4789
/** The UDP and the VXLAN header. */
const VXLAN_BYTES: u32 = 16;
/** A VNI follows. */
const VXLAN_VALID: u32 = 0x08;

const GRE_CHECKSUM: u32 = 0x0080;
const GRE_KEY: u32 = 0x0020;
const GRE_SEQUENCE: u32 = 0x0010;
/** EtherType of Ethernet in GRE. */
const BRIDGED: u32 = 0x5865;

/** Offset of the first byte behind an IP packet, as its header says; 0 where the frame ends before. */
export function packetEnd(mbuf: u32, headers: u32): u32 {
  const l3: u32 = headers & Headers.L3_MASK;
  const l4: u32 = l4Of(headers);
  const p: u32 = r32(mbuf + Mbuf.DATA) + l3;
  // IPv4's Total Length counts the header, IPv6's Payload Length does not
  const isIpv4: u32 = headers & Headers.IS_IPV4;
  const end: u32 = isIpv4 != 0 ? l3 + swap16(r16(p + 2)) : l4 + swap16(r16(p + 4));
  return end < l4 || end > r32(mbuf + Mbuf.PKT_LEN) ? 0 : end;
}

/** Whether the packet with these headers is a tunnel's: what it carries, and where. */
export function tunnelAt(mbuf: u32, headers: u32): u32 {
  if (headers == 0 || (headers & Headers.IS_FRAGMENT) != 0) return 0;
  const end: u32 = packetEnd(mbuf, headers);
  const p: u32 = r32(mbuf + Mbuf.DATA);
  const l4: u32 = l4Of(headers);
  const length: u32 = min32(end, r32(mbuf + Mbuf.DATA_LEN));
  switch (protocolOf(headers)) {
    case IpProtocol.UDP:
      return vxlanAt(p, l4, length, end);
    case IpProtocol.GRE:
      return greAt(p, l4, length);
    case IpProtocol.IPIP:
      return l4 >= length ? 0 : l4 | versionOf(r8(p + l4));
    default:
      return 0;
  }
}

function versionOf(first: u32): u32 {
  const version: u32 = first >>> 4;
  return version == 4 ? Tunnel.IPV4 : Tunnel.IPV6;
}

function vxlanAt(p: u32, l4: u32, length: u32, end: u32): u32 {
  if (l4 + VXLAN_BYTES > length || r16(p + l4 + 2) != VXLAN_PORT) return 0;
  if (l4 + swap16(r16(p + l4 + 4)) != end || (r8(p + l4 + 8) & VXLAN_VALID) == 0) return 0;
  return (l4 + VXLAN_BYTES) | Tunnel.ETHERNET;
}

function greAt(p: u32, l4: u32, length: u32): u32 {
  if (l4 + 4 > length) return 0;
  const flags: u32 = r16(p + l4);
  if ((flags & ~(GRE_CHECKSUM | GRE_KEY | GRE_SEQUENCE)) != 0) return 0; // another version, or routing
  let at: u32 = l4 + 4;
  if ((flags & GRE_CHECKSUM) != 0) at = at + 4;
  if ((flags & GRE_KEY) != 0) at = at + 4;
  if ((flags & GRE_SEQUENCE) != 0) at = at + 4;
  if (at >= length) return 0;
  const type: u32 = r16(p + l4 + 2);
  if (type == BRIDGED) return at | Tunnel.ETHERNET;
  if (type == <u32>EtherType.IPV4) return at | Tunnel.IPV4;
  return type == <u32>EtherType.IPV6 ? at | Tunnel.IPV6 : 0;
}

/** Offset of the checksum over all that GRE carries and its own header; 0 where there is none. */
export function greChecksumAt(mbuf: u32, headers: u32): u32 {
  const l4: u32 = l4Of(headers);
  if (protocolOf(headers) != <u32>IpProtocol.GRE) return 0;
  return (r16(r32(mbuf + Mbuf.DATA) + l4) & GRE_CHECKSUM) != 0 ? l4 + 4 : 0;
}

/** The headers of what a tunnel carries, as findHeaders has them, from where it begins. `end`: packetEnd(). */
export function innerHeaders(mbuf: u32, tunnel: u32, end: u32): u32 {
  const at: u32 = tunnel & Tunnel.AT_MASK;
  const length: u32 = min32(end, r32(mbuf + Mbuf.DATA_LEN)) - at; // tunnelAt() has seen to it that it is above 0
  const p: u32 = r32(mbuf + Mbuf.DATA) + at;
  if ((tunnel & Tunnel.ETHERNET) != 0) return headersAt(p, length);
  return (tunnel & Tunnel.IPV4) != 0 ? findIpv4(p, 0, length) : findIpv6(p, 0, length);
}
