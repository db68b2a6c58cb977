// Packets as filters distinguish them, drawn from a seed: many protocols, few addresses and ports, so that expressions
// match some and not others; and packets that end in the midst of a header.
import type { Random } from "../support/random.ts";

const u16 = (value: number) => [(value >>> 8) & 255, value & 255];
const macs = [
  [0x02, 0, 0, 0, 0, 1],
  [0x02, 0, 0, 0, 0, 2],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0x01, 0, 0x5e, 0, 0, 1],
];
const addresses = [
  [10, 0, 0, 1],
  [10, 0, 0, 2],
  [192, 168, 1, 77],
  [224, 0, 0, 1],
];
const ports = [22, 53, 80, 443, 8080, 40_000];
const protocols = [1, 2, 6, 17, 47, 50, 58, 132, 89, 112];

function v6(random: Random): number[] {
  return [0x20, 1, 0x0d, 0xb8, ...new Array<number>(11).fill(0), random.between(1, 3)];
}

function transport(random: Random, protocol: number): number[] {
  const head = [...u16(random.pick(ports)), ...u16(random.pick(ports))];
  if (protocol === 6) {
    const flags = random.pick([0x02, 0x12, 0x10, 0x18, 0x11, 0x04]);
    return [...head, ...random.bytes(8), random.pick([0x50, 0x60, 0x80]), flags, ...random.bytes(18)];
  }
  if (protocol === 1 || protocol === 58)
    return [random.pick([0, 3, 8, 11, 128, 135]), 0, ...random.bytes(10)];
  return [...head, ...random.bytes(random.below(40))];
}

function ipv4(random: Random): number[] {
  const protocol = random.chance(70) ? random.pick([1, 6, 17]) : random.pick(protocols);
  const words = random.pick([5, 5, 5, 6, 8]);
  const fragment = random.chance(85) ? [0x40, 0] : [random.pick([0x20, 0x00]), random.below(200)];
  const payload = transport(random, protocol);
  const start = [0x40 | words, random.below(256), ...u16(words * 4 + payload.length), ...random.bytes(2)];
  const rest = [...fragment, random.pick([1, 64, 128]), protocol, ...random.bytes(2)];
  const options = [...random.bytes(words * 4 - 20)];
  return [...start, ...rest, ...random.pick(addresses), ...random.pick(addresses), ...options, ...payload];
}

function ipv6(random: Random): number[] {
  const next = random.pick([6, 17, 58, 0, 44]);
  const payload = next === 0 || next === 44 ? [...random.bytes(24)] : transport(random, next);
  return [0x60, 0, 0, 0, ...u16(payload.length), next, 64, ...v6(random), ...v6(random), ...payload];
}

function arp(random: Random): number[] {
  const head = [0, 1, 8, 0, 6, 4, 0, random.pick([1, 2])];
  return [
    ...head,
    ...random.pick(macs),
    ...random.pick(addresses),
    ...random.pick(macs),
    ...random.pick(addresses),
  ];
}

function body(random: Random, depth = 0): number[] {
  const kind = random.below(depth < 2 ? 12 : 8);
  if (kind < 4) return [0x08, 0x00, ...ipv4(random)];
  if (kind < 6) return [0x86, 0xdd, ...ipv6(random)];
  if (kind === 6) return [0x08, 0x06, ...arp(random)];
  if (kind === 7)
    return [...u16(random.pick([0x88cc, 0x8864, 0x8847, 38, 0x0600, 0x9000])), ...random.bytes(38)];
  const tpid = random.pick([0x8100, 0x8100, 0x88a8]);
  return [...u16(tpid), ...u16(random.pick([1, 5, 100, 0x6005])), ...body(random, depth + 1)];
}

export function randomPacket(random: Random): Uint8Array {
  const whole = Uint8Array.from([...random.pick(macs), ...random.pick(macs), ...body(random)]);
  if (random.chance(80)) return whole;
  return whole.subarray(0, random.between(1, whole.length));
}

// biome-ignore format: a list to be read in rows
const primitives = [
  "ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "sctp", "igmp", "vlan", "vlan 5", "mpls", "pppoes", "rarp",
  "host 10.0.0.1", "src host 10.0.0.2", "dst host 192.168.1.77", "net 10.0.0.0/8", "src net 192.168.0.0/16",
  "port 80", "src port 53", "dst port 443", "tcp port 22", "udp port 53", "portrange 1-1024",
  "tcp dst portrange 80-443",
  "ether host 02:00:00:00:00:01", "ether src 02:00:00:00:00:02", "ether broadcast", "ether multicast",
  "ip multicast", "ip6 host 2001:db8::1", "ip6 net 2001:db8::/32", "less 60", "greater 100", "len > 70",
  "tcp[tcpflags] & tcp-syn != 0", "tcp[13] = 0x12", "ip[8] < 5", "ip[6:2] & 0x1fff != 0", "icmp[icmptype] = icmp-echo",
  "ether[12:2] > 1500", "ether[0] & 1 = 1", "ip[2:2] - ((ip[0] & 0xf) << 2) > 20", "tcp[4:4] % 3 = 1",
  "ip[12:4] * 3 > 100000", "udp[4:2] / 2 > 10", "ether[len - 1] = 7", "ip proto 47", "ip6 proto 17", "ip proto \\ospf",
  "ip6 protochain 6", "ip6 multicast", "llc", "stp", "ether proto 0x88cc", "ip[1] ^ 0xff > 200", "ip[1] | 3 = 3",
  "arp[6:2] = 1", "tcp[((tcp[12] & 0xf0) >> 2):4] = 0", "gateway 10.0.0.1 or tcp", "vlan and vlan 100", "ether[6] = 2",
];

/** Expressions, each made of one to four primitives. libpcap refuses some: they contradict themselves. */
export function expressions(random: Random, count: number): string[] {
  const list = [...primitives];
  while (list.length < count) {
    const parts = Array.from({ length: random.between(2, 4) }, () => {
      const not = random.chance(25) ? "not " : "";
      return `${not}(${random.pick(primitives)})`;
    });
    list.push(parts.join(random.pick([" and ", " or "])));
  }
  return list;
}
