// mac, 5tswap: frame by frame.
import { onEngines } from "../support/engines.ts";
import { ethernet, ipv4, ipv6, tcp, udp } from "../support/frames.ts";
import { Random } from "../support/random.ts";
import { PORT_MAC, StreamRun } from "../support/stream.ts";

const random = new Random(11);
const bytes = (n: number) => Buffer.from(random.bytes(n));

onEngines("mac: from the transmit port to the peer", {}, (t, rig) => {
  const frames = [14, 60, 61, 1500].map(bytes);
  for (const ethPeer of [undefined, Buffer.from("aabbccddeeff", "hex")]) {
    const run = new StreamRun(rig, { mode: "mac", ethPeer });
    const peer = ethPeer ?? Buffer.from("020000000007", "hex");
    t.same(
      run.frames(frames),
      frames.map((frame) => Buffer.concat([peer, PORT_MAC, frame.subarray(12)])),
    );
    t.match(run.counters, { rxPackets: 4, txPackets: 4, txDropped: 0 });
  }
  const run = new StreamRun(rig, { mode: "mac" });
  const parts = run.frames([bytes(500)], 128);
  t.equal(parts[0]!.toString("hex", 0, 12), `020000000007${PORT_MAC.toString("hex")}`, "a chain");
  t.same(rig.audit(), []);
});

interface Case {
  name: string;
  frame: Buffer;
  /** Exchanged ranges behind the MAC addresses: two offsets and a length each. */
  swaps?: [number, number, number][];
}

const v4 = (ip: number): [number, number, number] => [ip + 12, ip + 16, 4];
const v6 = (ip: number): [number, number, number] => [ip + 8, ip + 24, 16];
const ports = (l4: number): [number, number, number] => [l4, l4 + 2, 2];

const cases: Case[] = [
  { name: "UDP", frame: ipv4(17, udp(bytes(20))), swaps: [v4(14), ports(34)] },
  {
    name: "TCP with IPv4 options",
    frame: ipv4(6, tcp(bytes(21)), { options: 12 }),
    swaps: [v4(14), ports(46)],
  },
  { name: "ICMP", frame: ipv4(1, bytes(20)), swaps: [v4(14)] },
  { name: "UDP on IPv6", frame: ipv6(17, udp(bytes(3), { v6: true })), swaps: [v6(14), ports(54)] },
  { name: "TCP on IPv6", frame: ipv6(6, tcp(bytes(3), { v6: true })), swaps: [v6(14), ports(54)] },
  { name: "an extension header", frame: ipv6(44, bytes(40)), swaps: [v6(14)] },
  { name: "a tag", frame: ipv4(17, udp(bytes(20)), { tags: [[0x8100, 9]] }), swaps: [v4(18), ports(38)] },
  {
    name: "two tags",
    frame: ipv6(6, tcp(bytes(20)), {
      tags: [
        [0x88a8, 9],
        [0x8100, 10],
      ],
    }),
    swaps: [v6(22), ports(62)],
  },
  {
    name: "first fragment",
    frame: ipv4(17, udp(bytes(48)), { fragment: 0x2000 }),
    swaps: [v4(14), ports(34)],
  },
  { name: "later fragment", frame: ipv4(17, bytes(48), { fragment: 0x2004 }), swaps: [v4(14)] },
  { name: "cut off within the ports", frame: ipv4(17, udp(bytes(0))).subarray(0, 37), swaps: [v4(14)] },
  {
    name: "cut off behind the ports",
    frame: ipv4(17, udp(bytes(0))).subarray(0, 38),
    swaps: [v4(14), ports(34)],
  },
  { name: "cut off within IPv4", frame: ipv4(17, udp(bytes(0))).subarray(0, 33) },
  { name: "cut off within IPv6", frame: ipv6(17, udp(bytes(0))).subarray(0, 53) },
  { name: "ARP", frame: ethernet(0x0806, bytes(46)) },
  { name: "14 bytes", frame: bytes(14) },
];

function swapped({ frame, swaps = [] }: Case): Buffer {
  const made = Buffer.from(frame);
  for (const [a, b, length] of [[0, 6, 6] as const, ...swaps]) {
    made.set(frame.subarray(b, b + length), a);
    made.set(frame.subarray(a, a + length), b);
  }
  return made;
}

onEngines("5tswap: each layer that is there", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "5tswap" });
  const sent = run.frames(cases.map(({ frame }) => frame));
  cases.forEach((one, k) => {
    t.equal(sent[k]?.toString("hex"), swapped(one).toString("hex"), one.name);
  });
  t.equal(run.counters.txPackets, cases.length);
  t.same(rig.audit(), []);
});

onEngines("5tswap: twice is as it was; checksums stay right; chains", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "5tswap" });
  const frame = ipv4(6, tcp(bytes(700)));
  t.same(run.frames(run.frames([frame], 100), 64), [frame]);
  const [there] = run.frames([frame]);
  const back = ipv4(6, tcp(frame.subarray(54), { from: [10, 0, 0, 2], to: [10, 0, 0, 1] }), {
    from: [10, 0, 0, 2],
    to: [10, 0, 0, 1],
  });
  t.equal(
    there!.readUInt16BE(24),
    back.readUInt16BE(24),
    "the header's sum is that of a packet made the other way",
  );
  t.equal(there!.readUInt16BE(50), back.readUInt16BE(50), "and so is TCP's");
  t.same(rig.audit(), []);
});
