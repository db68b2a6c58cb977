// csum: checksums against frames that were made with right ones, then spoilt.
import { Mbuf, OlFlag, TxOffload } from "../../src/hot/layout.ts";
import { onEngines } from "../support/engines.ts";
import { ethernet, ipv4, ipv6, sum, tcp, udp } from "../support/frames.ts";
import { Random } from "../support/random.ts";
import { PORT_MAC, StreamRun } from "../support/stream.ts";

const PEER = Buffer.from("0200aabbccdd", "hex");
const spec = { mode: "csum", ethPeer: PEER } as const;

/** What csum sends of a frame but for checksums: other MAC addresses. */
function readdressed(frame: Uint8Array): Buffer {
  return Buffer.concat([PEER, PORT_MAC, frame.subarray(12)]);
}

interface Case {
  name: string;
  /** With right checksums. */
  frame: Buffer;
  /** Offset of the IP header, and of the TCP or UDP checksum, if they have one to be made. */
  ip?: number;
  l4?: number;
}

const random = new Random(7);
const bytes = (n: number) => random.bytes(n);

const cases: Case[] = [
  ...[0, 1, 2, 17, 18, 255, 1000, 1471, 1472].flatMap((n): Case[] => {
    const data = bytes(n);
    return [
      { name: `UDP of ${n} bytes`, frame: ipv4(17, udp(data)), ip: 14, l4: 34 + 6 },
      { name: `TCP of ${n} bytes`, frame: ipv4(6, tcp(data)), ip: 14, l4: 34 + 16 },
      { name: `UDP of ${n} bytes, IPv6`, frame: ipv6(17, udp(data, { v6: true })), l4: 54 + 6 },
      { name: `TCP of ${n} bytes, IPv6`, frame: ipv6(6, tcp(data, { v6: true })), l4: 54 + 16 },
    ];
  }),
  { name: "IPv4 options", frame: ipv4(6, tcp(bytes(33)), { options: 40 }), ip: 14, l4: 74 + 16 },
  { name: "padding", frame: ipv4(17, udp(bytes(3)), { padding: 15 }), ip: 14, l4: 34 + 6 },
  { name: "a tag", frame: ipv4(17, udp(bytes(9)), { tags: [[0x8100, 5]] }), ip: 18, l4: 38 + 6 },
  {
    name: "two tags",
    frame: ipv6(6, tcp(bytes(9), { v6: true }), {
      tags: [
        [0x88a8, 5],
        [0x8100, 6],
      ],
    }),
    l4: 62 + 16,
  },
  { name: "ICMP", frame: ipv4(1, bytes(30)), ip: 14 },
  { name: "the first fragment of a datagram", frame: ipv4(17, udp(bytes(64)), { fragment: 0x2000 }), ip: 14 },
  { name: "its last fragment", frame: ipv4(17, bytes(64), { fragment: 0x0009 }), ip: 14 },
  { name: "SCTP", frame: ipv4(132, bytes(40)), ip: 14 },
  { name: "an IPv6 extension header", frame: ipv6(0, bytes(40)) },
];

function spoil({ frame, ip, l4 }: Case): Buffer {
  const spoilt = Buffer.from(frame);
  if (ip !== undefined) spoilt.writeUInt16BE(spoilt.readUInt16BE(ip + 10) ^ 0x0101, ip + 10);
  if (l4 !== undefined) spoilt.writeUInt16BE(spoilt.readUInt16BE(l4) ^ 0x4242 || 1, l4);
  return spoilt;
}

onEngines("right checksums stay, wrong ones are mended and counted", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const wanted = cases.map(({ frame }) => readdressed(frame));
  t.same(run.frames(cases.map(({ frame }) => frame)), wanted);
  t.match(run.counters, {
    rxPackets: cases.length,
    txPackets: cases.length,
    badIpChecksum: 0,
    badL4Checksum: 0,
  });
  const mended = run.frames(cases.map(spoil));
  cases.forEach(({ name }, k) => {
    t.ok(mended[k]!.equals(wanted[k]!), name);
  });
  t.equal(run.counters.badIpChecksum, cases.filter(({ ip }) => ip !== undefined).length);
  t.equal(run.counters.badL4Checksum, cases.filter(({ l4 }) => l4 !== undefined).length);
  t.same(rig.audit(), []);
});

onEngines("the same in segments of odd lengths", { mbufs: 2048, dataRoom: 512 }, (t, rig) => {
  const run = new StreamRun(rig, spec);
  // the headers lie in the first segment
  const long = cases.filter(({ frame }) => frame.length > 100);
  for (const room of [101, 127, 98, 333]) {
    const mended = run.frames(long.map(spoil), room);
    long.forEach(({ name, frame }, k) => {
      t.ok(mended[k]!.equals(readdressed(frame)), `${name}, by ${room} bytes`);
    });
  }
  t.same(rig.audit(), []);
});

onEngines("every checksum value, 0 and ffff among them", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const frames: Buffer[] = [];
  for (let k = 0; k < 200; k++) {
    // a payload that brings the sum near its edges
    const data = Buffer.alloc(2);
    data.writeUInt16BE((0xffff - sum(udp(Buffer.alloc(2)).subarray(6, 8)) + 0xffff - 100 + k) % 0xffff, 0);
    frames.push(ipv4(17, udp(data)), ipv4(6, tcp(data)));
  }
  for (let at = 0; at < frames.length; at += 100) {
    const part = frames.slice(at, at + 100);
    const spoilt = part.map((frame, k) => spoil({ name: "", frame, ip: 14, l4: k % 2 === 0 ? 40 : 50 }));
    t.same(run.frames(spoilt), part.map(readdressed));
  }
  t.equal(run.counters.badL4Checksum, frames.length);
  t.same(rig.audit(), []);
});

onEngines("what cannot be known stays as it is", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const none = ipv4(17, udp(bytes(20)));
  none.writeUInt16BE(0, 40);
  const changed = (frame: Buffer, at: number, value: number) => {
    frame.writeUInt16BE(value, at);
    return frame;
  };
  const withSum = (frame: Buffer) => {
    frame.writeUInt16BE(0, 24);
    frame.writeUInt16BE(~sum(frame.subarray(14, 34)) & 0xffff, 24);
    return frame;
  };
  const frames = [
    none,
    withSum(changed(ipv4(17, udp(bytes(20))), 16, 200)), // longer than the frame
    withSum(changed(ipv4(6, tcp(bytes(20))), 16, 30)), // shorter than TCP's header
    changed(ipv4(17, udp(bytes(20))), 38, 7), // a UDP length below its header
    changed(ipv4(17, udp(bytes(20))), 38, 100), // and beyond the packet
    changed(ipv6(17, udp(bytes(20), { v6: true })), 18, 100),
    ipv4(17, udp(bytes(20))).subarray(0, 41), // cut off within UDP's header
    ipv4(6, tcp(bytes(20))).subarray(0, 53),
    ipv4(6, tcp(bytes(20))).subarray(0, 33), // within IPv4's
    ipv6(6, tcp(bytes(20))).subarray(0, 53),
    changed(ipv4(6, tcp(bytes(20))), 14, 0x4400), // an impossible header length
    changed(ipv4(6, tcp(bytes(20))), 14, 0x6500),
    changed(ipv6(6, tcp(bytes(20))), 14, 0x4000),
    ethernet(0x0806, bytes(46)),
    ethernet(0x8100, Buffer.alloc(0)),
    ethernet(0x0800, Buffer.alloc(0), { tags: Array.from({ length: 60 }, () => [0x8100, 1] as const) }),
    Buffer.from(bytes(14)),
  ];
  const sent = run.frames(frames);
  frames.forEach((frame, k) => {
    t.equal(sent[k]!.toString("hex"), readdressed(frame).toString("hex"), `frame ${k}`);
  });
  t.same(rig.audit(), []);
});

onEngines("a UDP datagram that ends before its packet", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const frame = ipv4(17, Buffer.concat([udp(bytes(21)), bytes(5)]));
  t.same(run.frames([spoil({ name: "", frame, ip: 14, l4: 40 })]), [readdressed(frame)]);
});

onEngines("what the receive port found counts, and is not counted twice", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const marks: [number, number, number][] = [
    [OlFlag.RX_IP_CKSUM_BAD | OlFlag.RX_L4_CKSUM_GOOD, 1, 0],
    [OlFlag.RX_IP_CKSUM_GOOD | OlFlag.RX_L4_CKSUM_BAD, 0, 1],
    [OlFlag.RX_IP_CKSUM_GOOD | OlFlag.RX_L4_CKSUM_GOOD, 0, 0],
    [OlFlag.RX_IP_CKSUM_BAD, 1, 1],
  ];
  let [ip, l4] = [0, 0];
  for (const [flags, badIp, badL4] of marks) {
    const mbuf = rig.packet(spoil(cases[0]!));
    rig.put(mbuf + Mbuf.OL_FLAGS, flags);
    const sent = run.pass([mbuf]);
    t.same(rig.frame(sent[0]!), readdressed(cases[0]!.frame));
    t.equal(rig.word(sent[0]! + Mbuf.OL_FLAGS), OlFlag.TX_IPV4);
    rig.free(sent);
    ip += badIp;
    l4 += badL4;
    t.match(run.counters, { badIpChecksum: ip, badL4Checksum: l4 }, `flags ${flags}`);
  }
});

onEngines("by the port: pseudo header sums, lengths and flags", {}, (t, rig) => {
  const run = new StreamRun(rig, spec, { info: { offloads: ["txChecksum"] } });
  for (const { name, frame, ip, l4 } of cases) {
    const [mbuf] = run.pass([rig.packet(spoil({ name, frame, ip: ip!, l4: l4! }))]);
    const seen = rig.frame(mbuf!);
    const isV4 =
      frame.readUInt16BE(12) === 0x0800 || (frame[12] === 0x81 && frame.readUInt16BE(16) === 0x0800);
    const flags = rig.word(mbuf! + Mbuf.OL_FLAGS);
    t.equal((flags & OlFlag.TX_IPV4) !== 0, isV4, name);
    t.equal((flags & OlFlag.TX_IP_CKSUM) !== 0, isV4, name);
    if (l4 !== undefined && name !== "padding") {
      const isTcp = /TCP|options|two tags/.test(name);
      t.ok((flags & (isTcp ? OlFlag.TX_TCP_CKSUM : OlFlag.TX_UDP_CKSUM)) !== 0, name);
      const start = l4 - (isTcp ? 16 : 6);
      // the device adds all from the header on, and writes the complement
      const made = ~sum(seen.subarray(start)) & 0xffff;
      t.equal(made === 0 && !isTcp ? 0xffff : made, frame.readUInt16BE(l4), name);
      const lengths = rig.word(mbuf! + Mbuf.TX_OFFLOAD);
      t.equal(
        (lengths & TxOffload.L2_MASK) + ((lengths >>> TxOffload.L3_SHIFT) & TxOffload.L3_MASK),
        start,
        name,
      );
    }
    rig.free([mbuf!]);
  }
  t.same(rig.audit(), []);
});

onEngines("by the port, where bytes follow the packet: in software", {}, (t, rig) => {
  const run = new StreamRun(rig, spec, { info: { offloads: ["txChecksum"] } });
  const padded = cases.find(({ name }) => name === "padding")!;
  const [mbuf] = run.pass([rig.packet(spoil(padded))]);
  t.equal(rig.word(mbuf! + Mbuf.OL_FLAGS), OlFlag.TX_IPV4 | OlFlag.TX_IP_CKSUM);
  t.equal(rig.frame(mbuf!).readUInt16BE(40), padded.frame.readUInt16BE(40));
  rig.free([mbuf!]);
  const software = new StreamRun(
    rig,
    { ...spec, checksum: "software" },
    { info: { offloads: ["txChecksum"] } },
  );
  t.same(software.frames([spoil(cases[0]!)]), [readdressed(cases[0]!.frame)]);
});
