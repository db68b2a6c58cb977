// Packets of tunnels, made byte by byte with right checksums: VXLAN, GRE, IP in IP.
import { ipv4, ipv6, sum, tcp, udp } from "./frames.ts";
import { Random } from "./random.ts";

/** A packet and where its checksums stand: those that it has, and that can be made. */
export interface TunnelCase {
  name: string;
  frame: Buffer;
  outerIp: number | undefined;
  outerL4: number | undefined;
  gre: number | undefined;
  innerIp: number | undefined;
  innerL4: number | undefined;
}

const ETHERNET_BYTES = 14;
const VXLAN_PORT = 4789;
const GRE = 47;
const IPIP = 4;

interface Inner {
  name: string;
  /** An Ethernet frame without tags. */
  frame: Buffer;
  v6: boolean;
  /** Offset of the TCP or UDP checksum behind the IP header. */
  l4: number | undefined;
}

function innersOf(data: Uint8Array): Inner[] {
  const flow = { v6: true };
  return [
    { name: "UDP", frame: ipv4(17, udp(data)), v6: false, l4: 6 },
    { name: "TCP", frame: ipv4(6, tcp(data)), v6: false, l4: 16 },
    { name: "UDP over IPv6", frame: ipv6(17, udp(data, flow)), v6: true, l4: 6 },
    { name: "TCP over IPv6", frame: ipv6(6, tcp(data, flow)), v6: true, l4: 16 },
    { name: "ICMP", frame: ipv4(1, Buffer.concat([Buffer.alloc(8), data])), v6: false, l4: undefined },
  ];
}

/** A VXLAN header of VNI 0x123456 before a frame. */
export const vxlan = (frame: Uint8Array) => Buffer.concat([Buffer.from("0800000012345600", "hex"), frame]);

/** A GRE header before a packet: with checksum (8), key (2), sequence number (1). */
export function gre(type: number, packet: Uint8Array, fields = 0): Buffer {
  const words = [8, 2, 1].filter((bit) => fields & bit);
  const bytes = Buffer.concat([Buffer.alloc(4 + 4 * words.length, 0), packet]);
  bytes.writeUInt16BE(fields << 12, 0);
  bytes.writeUInt16BE(type, 2);
  if (fields & 2) bytes.writeUInt32BE(0xcafe, fields & 8 ? 8 : 4);
  if (fields & 8) bytes.writeUInt16BE(~sum(bytes) & 0xffff, 4);
  return bytes;
}

interface Carrier {
  name: string;
  v6?: boolean;
  /** The outer UDP datagram has a checksum. */
  summed?: boolean;
  gre?: number;
  /** Only this IP version inside, as an IP packet; by default an Ethernet frame. */
  bare?: boolean;
  carry: (inner: Inner, tags?: readonly [number, number][]) => Buffer;
}

const bare = ({ frame }: Inner) => frame.subarray(ETHERNET_BYTES);
const typeOf = ({ v6 }: Inner) => (v6 ? 0x86dd : 0x0800);

function overVxlan({ frame }: Inner, v6: boolean, summed: boolean): Buffer {
  const datagram = udp(vxlan(frame), { v6, port: VXLAN_PORT });
  if (!summed) datagram.writeUInt16BE(0, 6);
  return v6 ? ipv6(17, datagram) : ipv4(17, datagram);
}

const carriers: Carrier[] = [
  { name: "VXLAN", carry: (inner) => overVxlan(inner, false, false) },
  { name: "VXLAN with a checksum", summed: true, carry: (inner) => overVxlan(inner, false, true) },
  {
    name: "VXLAN over IPv6",
    v6: true,
    summed: true,
    carry: (inner) => overVxlan(inner, true, true),
  },
  { name: "GRE", bare: true, carry: (inner) => ipv4(GRE, gre(typeOf(inner), bare(inner))) },
  {
    name: "GRE with key and sequence number over IPv6",
    v6: true,
    bare: true,
    carry: (inner) => ipv6(GRE, gre(typeOf(inner), bare(inner), 3)),
  },
  {
    name: "GRE with a checksum and a key",
    gre: 4,
    bare: true,
    carry: (inner) => ipv4(GRE, gre(typeOf(inner), bare(inner), 10), { options: 8 }),
  },
  { name: "Ethernet in GRE", carry: ({ frame }) => ipv4(GRE, gre(0x6558, frame, 2)) },
  { name: "Ethernet in GRE with a checksum", gre: 4, carry: ({ frame }) => ipv4(GRE, gre(0x6558, frame, 8)) },
  { name: "IP in IP", bare: true, carry: (inner) => ipv4(IPIP, bare(inner)) },
  { name: "IP in IP over IPv6", v6: true, bare: true, carry: (inner) => ipv6(IPIP, bare(inner)) },
];

/** Each inner packet in each tunnel. */
export function tunnelCases(sizes: readonly number[], seed = 1): TunnelCase[] {
  const random = new Random(seed);
  return sizes.flatMap((size) =>
    carriers.flatMap((carrier) => innersOf(random.bytes(size)).map((inner) => tunnelCase(carrier, inner))),
  );
}

function tunnelCase(carrier: Carrier, inner: Inner): TunnelCase {
  const frame = carrier.carry(inner);
  const outerBytes = carrier.v6 ? 40 : 4 * (frame[ETHERNET_BYTES]! & 15);
  const innerAt = frame.length - inner.frame.length + ETHERNET_BYTES;
  const l4 = ETHERNET_BYTES + outerBytes;
  return {
    name: `${inner.name} in ${carrier.name}, ${frame.length} bytes`,
    frame,
    outerIp: carrier.v6 ? undefined : ETHERNET_BYTES + 10,
    outerL4: carrier.summed ? l4 + 6 : undefined,
    gre: carrier.gre === undefined ? undefined : l4 + carrier.gre,
    innerIp: inner.v6 ? undefined : innerAt + 10,
    innerL4: inner.l4 === undefined ? undefined : innerAt + (inner.v6 ? 40 : 20) + inner.l4,
  };
}
