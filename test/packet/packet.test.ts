// The views of headers: read and written by name, refused where a header is cut off or makes no sense.
import t from "tap";
import * as packet from "../../src/packet/packet.ts";
import { hashInput, ipv4Vectors, ipv6Vectors } from "../pmd/e1000/toeplitz.ts";

const { Arp, Ethernet, EtherType, Icmp, Ipv4, Ipv6, Tcp, TcpFlag, ToeplitzHash, Udp, Vlan } = packet;
const hex = (text: string) =>
  Uint8Array.from(text.match(/[0-9a-f]{2}/g)!, (byte) => Number.parseInt(byte, 16));
/** RFC-conforming frames, checksums made by the kernel and read back with tcpdump -vv: "cksum … (correct)". */
const ipv4Header = "4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7"; // a much quoted header; its checksum is b861
const offset = 6; // no view may count on where it stands
const place = (text: string) => Uint8Array.of(...new Array(offset).fill(0xee), ...hex(text));

t.test("Ethernet and VLAN", async (t) => {
  const u8 = place("ffffffffffff 020000000007 8100 a123 0800");
  const ethernet = new Ethernet(u8);
  const vlan = new Vlan(u8);
  t.ok(ethernet.move(offset, u8.length));
  t.equal(packet.formatMac(ethernet.destination), "ff:ff:ff:ff:ff:ff");
  t.equal(ethernet.source, 0x020000000007);
  t.ok(ethernet.isMulticast);
  t.equal(ethernet.etherType, EtherType.VLAN);
  t.ok(vlan.move(ethernet.payload, ethernet.end));
  t.same([vlan.id, vlan.priority, vlan.dropEligible, vlan.etherType], [0x123, 5, false, EtherType.IPV4]);
  vlan.id = 4094;
  vlan.priority = 2;
  t.same([vlan.id, vlan.priority, vlan.dropEligible], [4094, 2, false]);
  ethernet.swapAddresses();
  ethernet.source = packet.parseMac("de:ad:be:ef:00:01")!;
  t.same([...u8.subarray(offset, offset + 12)], [2, 0, 0, 0, 0, 7, 0xde, 0xad, 0xbe, 0xef, 0, 1]);
});

t.test("IPv4", async (t) => {
  const u8 = Uint8Array.of(...place(ipv4Header), ...new Array(0x73 - 20 + 5).fill(0)); // 5 bytes of padding
  const ip = new Ipv4(u8);
  t.ok(ip.move(offset, u8.length));
  t.same([ip.headerBytes, ip.totalLength, ip.ttl, ip.protocol, ip.checksum], [20, 0x73, 64, 17, 0xb861]);
  t.equal(ip.end, u8.length - 5, "padding is no part of it");
  t.equal(packet.formatIpv4(ip.source), "192.168.0.1");
  t.equal(packet.formatIpv4(ip.destination), "192.168.0.199");
  t.same([ip.dontFragment, ip.isFragment, ip.verify()], [true, false, 0]);
  for (let k = 0; k < 70; k++) ip.ttl = (ip.ttl + 3) & 255;
  t.equal(ip.verify(), 0, "the checksum follows the TTL");
  ip.source = packet.parseIpv4("10.1.2.3")!;
  t.not(ip.verify(), 0);
  ip.fillChecksum();
  t.equal(ip.verify(), 0);
  t.equal(u8[offset - 1], 0xee);
});

t.test("TCP and UDP", async (t) => {
  // 10.0.0.1:40000 to 10.0.0.2:53, "hi!"; checksum worked out by hand: pseudo header + header + data
  const u8 = place("4500001f00004000401126cc0a0000010a0000029c400035000b00006869 21");
  const [ip, udp] = [new Ipv4(u8), new Udp(u8)];
  t.ok(ip.move(offset, u8.length) && udp.move(ip.payload, ip.end));
  t.same([ip.verify(), udp.sourcePort, udp.destinationPort, udp.length], [0, 40000, 53, 11]);
  t.equal(udp.verify(ip), 0, "no checksum is a right one");
  udp.fillChecksum(ip);
  // 0a00 0001 0a00 0002 0011 000b + 9c40 0035 000b + 6869 2100
  const words = [0x0a00, 1, 0x0a00, 2, 0x11, 0xb, 0x9c40, 0x35, 0xb, 0x6869, 0x2100];
  const sum = words.reduce((a, b) => a + b);
  t.equal(udp.checksum, 0xffff - ((sum & 0xffff) + (sum >>> 16)));
  t.equal(udp.verify(ip), 0);
  udp.destinationPort = 54;
  t.not(udp.verify(ip), 0);
  const segment = place("9c40 0050 00000001 80000002 6012 ffff 0000 0000 020405b4 41");
  const tcp = new Tcp(segment);
  t.ok(tcp.move(offset, segment.length));
  t.same([tcp.sequence, tcp.acknowledgement, tcp.headerBytes, tcp.window], [1, 0x8000_0002, 24, 0xffff]);
  t.equal(tcp.flags, TcpFlag.SYN | TcpFlag.ACK);
  t.equal(segment[tcp.payload], 0x41);
  tcp.fillChecksum({ pseudoSum: 0x1234 });
  t.equal(tcp.verify({ pseudoSum: 0x1234 }), 0);
});

t.test("ARP and ICMP", async (t) => {
  const arp = new Arp(place("0001 0800 06 04 0001 020000000007 0a000001 000000000000 0a000002"));
  t.ok(arp.move(offset, offset + 28));
  t.same([arp.operation, arp.senderMac, arp.senderIp, arp.targetMac], [1, 0x020000000007, 0x0a000001, 0]);
  arp.targetMac = 0xfedcba987654;
  arp.targetIp = 0xc0a80001;
  t.same([arp.targetMac, arp.targetIp], [0xfedcba987654, 0xc0a80001]);
  t.notOk(new Arp(hex("0006 0800 06 04 0001".padEnd(80, "0"))).move(0, 28), "not over Ethernet");
  const icmp = new Icmp(place("0800 0000 1234 0001 6162 63"));
  t.ok(icmp.move(offset, offset + 11));
  icmp.fillChecksum();
  t.equal(icmp.verify(), 0);
  const before = icmp.checksum;
  icmp.type = 0;
  t.equal(packet.updateChecksum(before, 0x0800, 0), (before + 0x800) % 0xffff, "RFC 1624");
});

t.test("IPv6 and its extension headers", async (t) => {
  const addresses = "20010db8000000000000000000000001 fe80000000000000000000000000abcd";
  const fixed = (next: string, bytes: string) => `6001 2345 ${bytes} ${next} 40 ${addresses}`;
  const plain = place(`${fixed("11", "0008")} 1111 2222 0008 0000`);
  const [ip, udp] = [new Ipv6(plain), new Udp(plain)];
  t.ok(ip.move(offset, plain.length) && udp.move(ip.payload, ip.end));
  t.same([ip.protocol, ip.hopLimit, ip.flowLabel, ip.sourceWord(0)], [17, 64, 0x12345, 0x20010db8]);
  t.equal(packet.formatIpv6(plain.subarray(ip.destinationAt, ip.destinationAt + 16)), "fe80::abcd");
  udp.fillChecksum(ip);
  t.equal(udp.verify(ip), 0);
  const extended = place(`${fixed("00", "0018")} 3c00 000000000000 2c00 000000000000 11 00 0001 00000007`);
  const view = new Ipv6(extended);
  t.ok(view.move(offset, extended.length));
  t.same(
    [view.protocol, view.isFragment, view.isLaterFragment, view.payload],
    [17, true, false, extended.length],
  );
  t.notOk(view.move(offset, extended.length - 1), "its payload is cut off");
  t.equal(packet.formatIpv6(new Uint8Array(16)), "::");
  t.equal(packet.formatIpv6(hex("2001 0db8 0000 0001 0000 0000 0000 0001")), "2001:db8:0:1::1");
});

t.test("nothing is read behind a packet's end", async (t) => {
  const bytes = new Uint8Array(200).fill(0x45);
  for (const View of [Arp, Ethernet, Icmp, Ipv4, Ipv6, Tcp, Udp, Vlan]) {
    const view = new View(bytes);
    t.notOk(view.move(10, 11), `${View.name}: one byte`);
    t.notOk(view.move(199, 260), `${View.name}: behind the bytes`);
    t.notOk(view.move(-1, 100), `${View.name}: before them`);
  }
  for (let round = 0; round < 20_000; round++) {
    for (let k = 0; k < 64; k++) bytes[k] = Math.floor(Math.random() * 256);
    const end = Math.floor(Math.random() * 65);
    for (const view of [new Ipv4(bytes), new Ipv6(bytes), new Tcp(bytes), new Udp(bytes)]) {
      if (!view.move(0, end)) continue;
      if (view.end > end || view.payload > view.end)
        t.fail(`${view.constructor.name}: ${bytes.subarray(0, end)}`);
    }
  }
});

t.test("addresses as text", async (t) => {
  for (const bad of ["1.2.3", "1.2.3.256", "1.2.3.04", "a.b.c.d", ""])
    t.equal(packet.parseIpv4(bad), undefined);
  for (const bad of ["1:2:3:4:5:6", "00:00:00:00:00", "zz:00:00:00:00:00"])
    t.equal(packet.parseMac(bad), undefined);
  t.equal(packet.formatMac(packet.macOf(Uint8Array.of(0xfe, 1, 2, 3, 4, 5))), "fe:01:02:03:04:05");
});

t.test("Toeplitz hash, by Microsoft's examples", async (t) => {
  const toeplitz = new ToeplitzHash();
  for (const vector of [...ipv4Vectors, ...ipv6Vectors]) {
    const input = hashInput(vector, true);
    const addresses = input.length - 4;
    t.equal(toeplitz.add(input, 0, addresses), vector.hash);
    t.equal(toeplitz.add(input, addresses, 4, addresses, vector.hash), vector.hashWithPorts);
  }
  t.throws(() => new ToeplitzHash(new Uint8Array(4)), RangeError);
  t.throws(() => toeplitz.add(new Uint8Array(37), 0, 37), RangeError);
});
