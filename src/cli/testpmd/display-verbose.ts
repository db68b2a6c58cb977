// `set verbose`: received and sent packets in testpmd's words, which scripts take apart.
import type { VerbosePacket } from "../../forward/verbose.ts";
import { OlFlag } from "../../hot/layout.ts";
import { macText } from "./words.ts";

const ETHER_BYTES = 14;
const TAG_BYTES = 4;
const IPV6_BYTES = 40;
const ETHERTYPE = { vlan: 0x8100, ipv4: 0x0800, ipv6: 0x86dd };
/** Extension headers (RFC 8200, 4): each has the next one's number and, but for the fragment header, its length. */
const IPV6_EXTENSIONS = [0, 43, 44, 60];
const IPV6_FRAGMENT = 44;
const L4_NAMES: Readonly<Record<number, { name: string; bytes: number }>> = {
  6: { name: "L4_TCP", bytes: 20 },
  17: { name: "L4_UDP", bytes: 8 },
  132: { name: "L4_SCTP", bytes: 12 },
};

/** Packets as they were taken out of the rings: a head line a burst, two lines a packet. */
export function verboseText(packets: readonly VerbosePacket[]): string {
  const lines: string[] = [];
  packets.forEach((packet, k) => {
    const { way, port, queue, burst, index } = packet;
    const before = packets[k - 1];
    const same = before !== undefined && before.way === way && before.port === port && before.queue === queue;
    if (!same || index <= before.index) lines.push(`port ${port}/queue ${queue}: ${way} ${burst} packets`);
    lines.push(...packetLines(packet));
  });
  return lines.join("\n");
}

function packetLines(packet: VerbosePacket): string[] {
  const { data, way, queue, olFlags, rssHash, vlanTci, length, segments } = packet;
  const frame = Buffer.concat([data, Buffer.alloc(Math.max(0, ETHER_BYTES - data.length))]);
  const hex = (number: number, digits = 1) => `0x${number.toString(16).padStart(digits, "0")}`;
  const headers = headersOf(frame);
  const parts = [
    `  src=${macText(frame.subarray(6, 12))}`,
    `dst=${macText(frame.subarray(0, 6))}`,
    "pool=mb_pool_0",
    `type=${hex(frame.readUInt16BE(12), 4)}`,
    `length=${length}`,
    `nb_segs=${segments}`,
  ];
  if (way === "received" && olFlags & OlFlag.RX_RSS_HASH) {
    parts.push(`RSS hash=${hex(rssHash)}`, `RSS queue=${hex(queue)}`);
  }
  if (olFlags & (OlFlag.RX_VLAN_STRIPPED | OlFlag.TX_VLAN)) parts.push(`VLAN tci=${hex(vlanTci)}`);
  parts.push(`sw ptype: ${headers.map(({ name }) => `${name} `).join("")}`);
  headers.forEach(({ bytes }, k) => {
    parts.push(`l${k + 2}_len=${bytes}`);
  });
  parts.push(`${way === "received" ? "Receive" : "Send"} queue=${hex(queue)}`);
  return [parts.join(" - "), `  ol_flags: ${flagNames(way, olFlags)}`];
}

interface Header {
  readonly name: string;
  readonly bytes: number;
}

/** Ethernet, IP and the transport protocol, as far as they are there. */
function headersOf(frame: Buffer): Header[] {
  let type = frame.readUInt16BE(12);
  let l2: Header = { name: "L2_ETHER", bytes: ETHER_BYTES };
  if (type === ETHERTYPE.vlan && frame.length >= ETHER_BYTES + TAG_BYTES) {
    l2 = { name: "L2_ETHER_VLAN", bytes: ETHER_BYTES + TAG_BYTES };
    type = frame.readUInt16BE(16);
  }
  const packet = frame.subarray(l2.bytes);
  if (type === ETHERTYPE.ipv4 && packet.length >= 20) return [l2, ...ipv4Headers(packet)];
  if (type === ETHERTYPE.ipv6 && packet.length >= IPV6_BYTES) return [l2, ...ipv6Headers(packet)];
  return [l2];
}

function ipv4Headers(packet: Buffer): Header[] {
  const bytes = 4 * (packet[0]! & 0xf);
  const ip = { name: bytes > 20 ? "L3_IPV4_EXT" : "L3_IPV4", bytes };
  const isFragment = (packet.readUInt16BE(6) & 0x3fff) !== 0;
  return [ip, ...transport(packet, packet[9]!, bytes, isFragment)];
}

function ipv6Headers(packet: Buffer): Header[] {
  let next = packet[6]!;
  let bytes = IPV6_BYTES;
  let isFragment = false;
  while (IPV6_EXTENSIONS.includes(next) && packet.length >= bytes + 8) {
    isFragment ||= next === IPV6_FRAGMENT;
    const extension = next === IPV6_FRAGMENT ? 8 : 8 * (packet[bytes + 1]! + 1);
    next = packet[bytes]!;
    bytes += extension;
  }
  const ip = { name: bytes > IPV6_BYTES ? "L3_IPV6_EXT" : "L3_IPV6", bytes };
  return [ip, ...transport(packet, next, bytes, isFragment)];
}

function transport(packet: Buffer, protocol: number, at: number, isFragment: boolean): Header[] {
  if (isFragment) return [{ name: "L4_FRAG", bytes: 0 }];
  const known = L4_NAMES[protocol];
  if (!known) return [];
  const isTcp = protocol === 6 && packet.length > at + 12;
  return [{ name: known.name, bytes: isTcp ? 4 * (packet[at + 12]! >>> 4) : known.bytes }];
}

/** DPDK's names of what receive found, or transmit was asked for. */
function flagNames(way: VerbosePacket["way"], flags: number): string {
  const has = (flag: number) => (flags & flag) !== 0;
  const quality = (good: OlFlag, bad: OlFlag) => (has(good) ? "GOOD" : has(bad) ? "BAD" : "UNKNOWN");
  const received = [
    has(OlFlag.RX_VLAN_STRIPPED) && "VLAN",
    has(OlFlag.RX_RSS_HASH) && "RSS_HASH",
    `L4_CKSUM_${quality(OlFlag.RX_L4_CKSUM_GOOD, OlFlag.RX_L4_CKSUM_BAD)}`,
    `IP_CKSUM_${quality(OlFlag.RX_IP_CKSUM_GOOD, OlFlag.RX_IP_CKSUM_BAD)}`,
    has(OlFlag.RX_VLAN_STRIPPED) && "VLAN_STRIPPED",
    "OUTER_L4_CKSUM_UNKNOWN",
  ];
  const sent = [
    has(OlFlag.TX_VLAN) && "VLAN",
    has(OlFlag.TX_IP_CKSUM) && "IP_CKSUM",
    has(OlFlag.TX_TCP_CKSUM) && "TCP_CKSUM",
    has(OlFlag.TX_UDP_CKSUM) && "UDP_CKSUM",
    has(OlFlag.TX_IPV4) && "IPV4",
  ];
  const names = way === "received" ? received : sent;
  const prefix = way === "received" ? "RTE_MBUF_F_RX_" : "RTE_MBUF_F_TX_";
  return names.flatMap((name) => (name ? [`${prefix}${name} `] : [])).join("");
}
