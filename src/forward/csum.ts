// csum: gives each packet's IPv4 header, TCP and UDP right checksums, in software or by asking the transmit port for
// them, writes the MAC addresses as the mode mac does, and sends it on. Counts the packets that came with wrong ones:
// those that the receive port marked, and, where it checked nothing, those that are found when the sum is made anew.
//
// Left as it came is what cannot be known here: the TCP or UDP checksum of a fragment, which covers the whole datagram,
// and of a packet that ends before its IP length says. A UDP checksum of 0 means that there is none (RFC 768).
//
// Where tunnels are looked into, all checksums of their packets are made in software: outer ones cover inner ones. So
// the outer ones are made twice: counted if they are wrong as they came, and right when the inner ones are.
import { rxBurst } from "../hot/dispatch.ts";
import { Mbuf, OlFlag, Stream, TxOffload } from "../hot/layout.ts";
import { r16, r32, w16, w32 } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";
import { sumBytes } from "../hot/simd.ts";
import { fold, sumPacket, swap16, unfold } from "./checksum.ts";
import { findHeaders, Headers, IpProtocol, l4Of, protocolOf } from "./headers.ts";
import { writeMacs } from "./mac.ts";
import { received } from "./receive.ts";
import { sendOrDrop } from "./send.ts";
import { greChecksumAt, innerHeaders, packetEnd, Tunnel, tunnelAt } from "./tunnels.ts";

/** The mode's words in a stream block; MacHeader's stand before them. */
export const enum Csum {
  /** CsumBy bits: what the transmit port makes (txChecksum). */
  BY_PORT = 28,
  /** 1: tunnels are looked into. */
  TUNNELS = 32,
}

export const enum CsumBy {
  IP = 1,
  TCP = 2,
  UDP = 4,
}

const IP_CHECKED: u32 = OlFlag.RX_IP_CKSUM_GOOD | OlFlag.RX_IP_CKSUM_BAD;
const L4_CHECKED: u32 = OlFlag.RX_L4_CKSUM_GOOD | OlFlag.RX_L4_CKSUM_BAD;

export function csum(s: u32, pkts: u32, n: u32): u32 {
  const got: u32 = rxBurst(r32(s + Stream.RX_QUEUE), pkts, n);
  if (got == 0) return 0;
  received(s, pkts, got);
  for (let k: u32 = 0; k < got; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    writeMacs(s, r32(mbuf + Mbuf.DATA));
    w32(mbuf + Mbuf.OL_FLAGS, sumMbuf(s, mbuf));
  }
  sendOrDrop(s, pkts, got);
  return got;
}

/** Makes a packet's checksums; returns its OL_FLAGS for transmit. */
function sumMbuf(s: u32, mbuf: u32): u32 {
  const ol: u32 = r32(mbuf + Mbuf.OL_FLAGS);
  const headers: u32 = findHeaders(mbuf);
  const tunnel: u32 = r32(s + Csum.TUNNELS) == 0 ? 0 : tunnelAt(mbuf, headers);
  const end: u32 = tunnel == 0 ? 0 : packetEnd(mbuf, headers);
  const inner: u32 = tunnel == 0 ? 0 : innerHeaders(mbuf, tunnel, end);
  const badIp: u32 = s + (inner == 0 ? Stream.BAD_IP_CKSUM : Stream.BAD_OUTER_IP_CKSUM);
  const badL4: u32 = s + (inner == 0 ? Stream.BAD_L4_CKSUM : Stream.BAD_OUTER_L4_CKSUM);
  if ((ol & OlFlag.RX_IP_CKSUM_BAD) != 0) bump(badIp, 1);
  if ((ol & OlFlag.RX_L4_CKSUM_BAD) != 0) bump(badL4, 1);
  if (headers == 0) return 0;
  const countIp: u32 = (ol & IP_CHECKED) == 0 ? badIp : 0;
  const countL4: u32 = (ol & L4_CHECKED) == 0 ? badL4 : 0;
  if (inner == 0) {
    return sumLayers(mbuf, 0, headers, r32(mbuf + Mbuf.PKT_LEN), r32(s + Csum.BY_PORT), countIp, countL4);
  }
  sumLayers(mbuf, 0, headers, end, 0, countIp, countL4);
  // no receive port has looked at what is inside
  sumLayers(mbuf, tunnel & Tunnel.AT_MASK, inner, end, 0, s + Stream.BAD_IP_CKSUM, s + Stream.BAD_L4_CKSUM);
  const gre: u32 = greChecksumAt(mbuf, headers);
  if (gre != 0) {
    const l4: u32 = l4Of(headers);
    const field: u32 = r32(mbuf + Mbuf.DATA) + gre;
    w16(field, unfold(sumPacket(mbuf, l4, end - l4) + (r16(field) ^ 0xffff)));
  }
  sumLayers(mbuf, 0, headers, end, 0, 0, 0); // what it covers has changed
  return 0;
}

/**
 * Makes the checksums of headers that stand `at` bytes behind the packet's beginning, and of what they head, up to
 * `end`. `byPort`: CsumBy bits of those that the port is asked for; returns the flags that ask. Wrong ones are counted
 * at `badIp` and `badL4`, where these are not 0.
 */
function sumLayers(mbuf: u32, at: u32, headers: u32, end: u32, byPort: u32, badIp: u32, badL4: u32): u32 {
  const l3: u32 = headers & Headers.L3_MASK;
  const l4: u32 = l4Of(headers);
  w32(mbuf + Mbuf.TX_OFFLOAD, l3 | ((l4 - l3) << TxOffload.L3_SHIFT));
  let flags: u32 = 0;
  if ((headers & Headers.IS_IPV4) != 0) {
    flags = OlFlag.TX_IPV4;
    const p: u32 = r32(mbuf + Mbuf.DATA) + at + l3;
    if ((byPort & CsumBy.IP) != 0) {
      flags = flags | OlFlag.TX_IP_CKSUM;
      w16(p + 10, 0);
    } else {
      const was: u32 = sumBytes(p, l4 - l3);
      if (was != 0xffff && badIp != 0) bump(badIp, 1);
      w16(p + 10, unfold(was + (r16(p + 10) ^ 0xffff)));
    }
  }
  const bytes: u32 = l4Bytes(mbuf, at, headers, end);
  return bytes == 0 ? flags : flags | sumL4(mbuf, at, headers, bytes, byPort, badL4);
}

/** Bytes of a TCP segment or UDP datagram whose checksum can be made; 0 where there is none. */
function l4Bytes(mbuf: u32, at: u32, headers: u32, end: u32): u32 {
  const protocol: u32 = protocolOf(headers);
  const isUdp: u32 = protocol == <u32>IpProtocol.UDP ? 1 : 0;
  if (isUdp == 0 && protocol != <u32>IpProtocol.TCP) return 0;
  if ((headers & Headers.IS_FRAGMENT) != 0) return 0;
  const data: u32 = r32(mbuf + Mbuf.DATA) + at;
  const p: u32 = data + (headers & Headers.L3_MASK);
  const l4: u32 = l4Of(headers);
  // IPv4's Total Length counts the header, IPv6's Payload Length does not
  const total: u32 = swap16(r16(p + ((headers & Headers.IS_IPV4) != 0 ? 2 : 4)));
  const before: u32 = (headers & Headers.IS_IPV4) != 0 ? data + l4 - p : 0;
  const least: u32 = isUdp != 0 ? 8 : 20;
  if (total < before + least) return 0;
  let bytes: u32 = total - before;
  if (at + l4 + bytes > end || at + l4 + least > r32(mbuf + Mbuf.DATA_LEN)) return 0;
  if (isUdp != 0) {
    if (r16(data + l4 + 6) == 0) return 0;
    const length: u32 = swap16(r16(data + l4 + 4));
    if (length < 8 || length > bytes) return 0;
    bytes = length;
  }
  return bytes;
}

/** Makes TCP's or UDP's checksum over `bytes` bytes; returns the flag that asks the port for it, if it is to. */
function sumL4(mbuf: u32, at: u32, headers: u32, bytes: u32, byPort: u32, bad: u32): u32 {
  const data: u32 = r32(mbuf + Mbuf.DATA) + at;
  const protocol: u32 = protocolOf(headers);
  const isUdp: u32 = protocol == <u32>IpProtocol.UDP ? 1 : 0;
  const l4: u32 = l4Of(headers);
  const field: u32 = data + l4 + (isUdp != 0 ? 6 : 16);
  const pseudo: u32 = sumPseudoHeader(data + (headers & Headers.L3_MASK), headers, protocol, bytes);
  const asked: u32 = byPort & (isUdp != 0 ? CsumBy.UDP : CsumBy.TCP);
  // a port sums up to the packet's end: not where bytes follow that do not belong to it
  if (asked != 0 && l4 + bytes == r32(mbuf + Mbuf.PKT_LEN)) {
    w16(field, pseudo);
    return isUdp != 0 ? OlFlag.TX_UDP_CKSUM : OlFlag.TX_TCP_CKSUM;
  }
  const was: u32 = fold(sumPacket(mbuf, at + l4, bytes) + pseudo);
  if (was != 0xffff && bad != 0) bump(bad, 1);
  const sum: u32 = unfold(was + (r16(field) ^ 0xffff));
  w16(field, sum == 0 && isUdp != 0 ? 0xffff : sum);
  return 0;
}

/** RFC 768, RFC 8200 section 8.1: addresses, protocol, length. `p` is the IP header. */
function sumPseudoHeader(p: u32, headers: u32, protocol: u32, bytes: u32): u32 {
  const addresses: u32 = (headers & Headers.IS_IPV4) != 0 ? sumBytes(p + 12, 8) : sumBytes(p + 8, 32);
  return fold(addresses + (protocol << 8) + swap16(bytes));
}
