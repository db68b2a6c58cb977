// csum in tunnels: checksums inside and outside against packets that were made with right ones, then spoilt, cut and
// filled with lengths of an enemy's.
import { Mbuf, OlFlag } from "../../src/hot/layout.ts";
import { onEngines, type Rig } from "../support/engines.ts";
import { ethernet, ipv4, ipv6, sum, tcp, udp } from "../support/frames.ts";
import { Random } from "../support/random.ts";
import { PORT_MAC, StreamRun } from "../support/stream.ts";
import { gre, type TunnelCase, tunnelCases, vxlan } from "../support/tunnels.ts";

const PEER = Buffer.from("0200aabbccdd", "hex");
const spec = { mode: "csum", ethPeer: PEER, tunnels: true } as const;
const readdressed = (frame: Uint8Array) => Buffer.concat([PEER, PORT_MAC, frame.subarray(12)]);

const spots = ["outerIp", "outerL4", "gre", "innerIp", "innerL4"] as const;
type Spot = (typeof spots)[number];

function spoil(one: TunnelCase, which: readonly Spot[]): Buffer {
  const spoilt = Buffer.from(one.frame);
  for (const spot of which) {
    const at = one[spot];
    if (at !== undefined) spoilt.writeUInt16BE(spoilt.readUInt16BE(at) ^ 0x4242 || 1, at);
  }
  return spoilt;
}

const cases = tunnelCases([0, 1, 33, 700]);
const have = (spot: Spot) => cases.filter((one) => one[spot] !== undefined).length;

onEngines("right checksums stay; each wrong one is mended and counted", { mbufs: 1024 }, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const counts = () => {
    const { badIpChecksum, badL4Checksum, badOuterIpChecksum, badOuterL4Checksum } = run.counters;
    return [badIpChecksum, badL4Checksum, badOuterIpChecksum, badOuterL4Checksum];
  };
  const send = (which: readonly Spot[]) => {
    const before = counts();
    const sent = run.frames(cases.map((one) => spoil(one, which)));
    const wrong = cases.filter((one, k) => !sent[k]!.equals(readdressed(one.frame)));
    t.same(
      wrong.map(({ name }) => name),
      [],
      which.join(),
    );
    return counts().map((count, k) => count - before[k]!);
  };
  t.same(send([]), [0, 0, 0, 0]);
  t.same(send(["outerIp"]), [0, 0, have("outerIp"), 0]);
  t.same(send(["outerL4"]), [0, 0, 0, have("outerL4")]);
  t.same(send(["gre"]), [0, 0, 0, 0], "testpmd has no counter of these");
  // the outer checksum covers the inner ones, and was right over the right ones
  const both = (spot: Spot) => cases.filter((one) => one[spot] && one.outerL4).length;
  t.same(send(["innerIp"]), [have("innerIp"), 0, 0, both("innerIp")]);
  t.same(send(["innerL4"]), [0, have("innerL4"), 0, both("innerL4")]);
  const [ip, l4, outerIp] = send(spots);
  t.same([ip, l4, outerIp], [have("innerIp"), have("innerL4"), have("outerIp")]);
  t.same(rig.audit(), []);
});

onEngines("in segments of odd lengths, headers in the first", { mbufs: 2048, dataRoom: 512 }, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const long = cases.filter(({ frame }) => frame.length > 700);
  for (const room of [151, 177, 333]) {
    const sent = run.frames(
      long.map((one) => spoil(one, spots)),
      room,
    );
    long.forEach(({ name, frame }, k) => {
      t.ok(sent[k]!.equals(readdressed(frame)), `${name}, by ${room} bytes`);
    });
  }
  t.same(rig.audit(), []);
});

onEngines("the port makes no checksum of a tunnel's; what it marked is the outer headers'", {}, (t, rig) => {
  const run = new StreamRun(rig, spec, { info: { offloads: ["txChecksum"] } });
  const one = cases.find(({ name }) => name.startsWith("TCP in VXLAN with a checksum"))!;
  const mbuf = rig.packet(spoil(one, spots));
  rig.put(mbuf + Mbuf.OL_FLAGS, OlFlag.RX_IP_CKSUM_BAD | OlFlag.RX_L4_CKSUM_BAD);
  const [sent] = run.pass([mbuf]);
  t.same(rig.frame(sent!), readdressed(one.frame));
  t.equal(rig.word(sent! + Mbuf.OL_FLAGS), 0);
  const counted = { badIpChecksum: 1, badL4Checksum: 1, badOuterIpChecksum: 1, badOuterL4Checksum: 1 };
  t.match(run.counters, counted, "once each");
  const [plain] = run.pass([rig.packet(ipv4(17, udp(Buffer.alloc(9))))]);
  const asked = OlFlag.TX_IPV4 | OlFlag.TX_IP_CKSUM | OlFlag.TX_UDP_CKSUM;
  t.equal(rig.word(plain! + Mbuf.OL_FLAGS), asked, "of any other it does");
  rig.free([sent!, plain!]);
  t.same(rig.audit(), []);
});

onEngines("without `tunnels` nothing is looked into", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "csum", ethPeer: PEER });
  const few = cases.slice(0, 50);
  const inside = ["innerIp", "innerL4"] as const;
  const sent = run.frames(few.map((one) => spoil(one, inside)));
  few.forEach((one, k) => {
    const { outerL4 } = one;
    const wanted = readdressed(spoil(one, inside));
    if (outerL4 !== undefined) sent[k]!.copy(wanted, outerL4, outerL4, outerL4 + 2);
    t.ok(sent[k]!.equals(wanted), one.name);
  });
});

/** The inner checksum is wrong, and stays so. */
const wrongInside = (frame: Buffer) => {
  frame.writeUInt16BE(frame.readUInt16BE(24) ^ 0x4242, 24);
  return frame;
};

onEngines("what is no tunnel's stays as it is", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const inner = wrongInside(ipv4(6, tcp(Buffer.alloc(30, 7))));
  const packet = inner.subarray(14);
  const port = 4789;
  const changed = (bytes: Buffer, at: number, value: number) => {
    bytes[at] = value;
    return bytes;
  };
  /** Without a checksum. */
  const datagram = (payload: Uint8Array, to = port) => {
    const bytes = udp(payload, { port: to });
    bytes.writeUInt16BE(0, 6);
    return bytes;
  };
  const frames = [
    ipv4(17, datagram(changed(vxlan(inner), 0, 0))), // no VNI
    ipv4(17, datagram(vxlan(inner), 4788)),
    ipv4(17, changed(datagram(vxlan(inner)), 5, 15)), // too short for a VXLAN header
    ipv4(17, changed(datagram(vxlan(inner)), 5, 255)), // beyond the packet
    ipv4(17, datagram(vxlan(inner)), { fragment: 0x2000 }),
    ipv4(17, datagram(vxlan(Buffer.alloc(0)))),
    ipv4(17, datagram(vxlan(ethernet(0x0806, packet)))),
    ipv4(47, changed(gre(0x0800, packet), 1, 1)), // version 1: PPTP's
    ipv4(47, changed(gre(0x0800, packet), 0, 0x40)), // routing
    ipv4(47, gre(0x0806, packet)),
    ipv4(47, gre(0x0800, Buffer.alloc(0))),
    ipv4(47, Buffer.from("0000", "hex")),
    ipv4(47, Buffer.from("b0000800", "hex")), // fields that are not there
    ipv4(4, changed(Buffer.from(packet), 0, 0x54)),
    ipv4(4, Buffer.alloc(0)),
    ipv4(4, packet.subarray(0, 19)),
    ipv4(4, changed(Buffer.from(packet.subarray(0, 50)), 0, 0x4f)), // options beyond the packet
    ipv6(41, packet),
    ipv4(17, udp(Buffer.alloc(3))),
  ];
  const sent = run.frames(frames);
  frames.forEach((frame, k) => {
    t.equal(sent[k]!.toString("hex"), readdressed(frame).toString("hex"), `frame ${k}`);
  });
  t.same(rig.audit(), []);
});

onEngines("an inner packet that claims more than its tunnel holds: its header alone", {}, (t, rig) => {
  const run = new StreamRun(rig, spec);
  for (const [name, at] of [
    ["IPv4", 2],
    ["UDP", 24],
  ] as const) {
    const inner = ipv4(17, udp(Buffer.alloc(20, 5)));
    inner.writeUInt16BE(200, 14 + at);
    // bytes that lie in the frame, but behind the tunnel's packet
    const frame = ipv4(4, inner.subarray(14), { padding: 300 });
    const [sent] = run.frames([frame]);
    const wanted = readdressed(frame);
    sent!.copy(wanted, 34 + 10, 44, 46); // IPv4's own checksum covers that length
    t.same(sent, wanted, name);
  }
});

/** A frame that begins as a tunnel's and has lengths, flags and versions of an enemy's. */
function hostile(random: Random): Buffer {
  const { frame } = random.pick(cases);
  const bytes = Buffer.from(frame.subarray(0, 300));
  for (let k = random.between(1, 6); k > 0; k--) {
    const at = random.between(12, Math.min(bytes.length, 120) - 1);
    bytes[at] = random.chance(50)
      ? random.pick([0, 1, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff])
      : random.below(256);
  }
  return random.chance(60) ? bytes : bytes.subarray(0, random.between(12, bytes.length));
}

/**
 * Sends a frame behind whose end the buffer holds `behind`, again and again. What came of it, and whether what lies
 * before and behind it is as it was.
 */
function among(rig: Rig, run: StreamRun, frame: Buffer, behind: Uint8Array, room = rig.pool.dataRoom) {
  const mbuf = rig.packet(frame, room);
  const { u8 } = rig.arena;
  const outside: [from: number, to: number][] = [];
  for (let part = mbuf; part !== 0; part = rig.word(part + Mbuf.NEXT)) {
    const data = rig.word(part + Mbuf.DATA);
    outside.push([data - 64, data], [data + rig.word(part + Mbuf.DATA_LEN), data + rig.pool.dataRoom]);
  }
  for (const [from, to] of outside)
    for (let at = from; at < to; at++) u8[at] = behind[(at - from) % behind.length]!;
  const seen = () => outside.map(([from, to]) => Buffer.from(u8.subarray(from, to)).toString("hex")).join();
  const before = seen();
  const [sent] = run.pass([mbuf]);
  const whole = before === seen();
  const made = rig.frame(sent!).toString("hex");
  rig.free([sent!]);
  return { made, whole };
}

const [zeros, ones] = [Buffer.alloc(1), Buffer.alloc(1, 0xff)];

onEngines("nothing outside a frame is read or written", { mbufs: 1024, dataRoom: 512 }, (t, rig) => {
  const random = new Random(99);
  const run = new StreamRun(rig, spec);
  let [apart, spoilt, longest] = [0, 0, 0];
  for (let k = 0; k < 1500; k++) {
    const frame = hostile(random);
    const room = random.chance(70) ? 512 : random.between(14, 200);
    const [one, other] = [zeros, ones].map((behind) => among(rig, run, frame, behind, room));
    if (one!.made !== other!.made) apart++;
    if (!one!.whole || !other!.whole) spoilt++;
    longest = Math.max(longest, frame.length);
  }
  t.same({ apart, spoilt }, { apart: 0, spoilt: 0 }, "what lies beside it has no say, and is as it was");
  t.ok(longest > 200);
  t.same(rig.audit(), []);
});

/** The tunnel ends at `end`: so say its outer headers. No outer UDP checksum. */
function shortened({ outerIp }: TunnelCase, frame: Buffer, end: number): Buffer {
  const short = Buffer.from(frame);
  const isVxlan = short[outerIp === undefined ? 20 : 23] === 17;
  const l4 = outerIp === undefined ? 54 : 14 + 4 * (short[14]! & 15);
  if (outerIp === undefined) short.writeUInt16BE(end - l4, 18);
  else {
    short.writeUInt16BE(end - 14, 16);
    short.writeUInt16BE(0, outerIp);
    short.writeUInt16BE(~sum(short.subarray(14, l4)) & 0xffff, outerIp);
  }
  if (isVxlan && end >= l4 + 6) short.writeUInt16BE(end - l4, l4 + 4);
  if (isVxlan && end >= l4 + 8) short.writeUInt16BE(0, l4 + 6);
  return short;
}

onEngines("cut off at each byte, whether the outer headers know it or not", { dataRoom: 512 }, (t, rig) => {
  const run = new StreamRun(rig, spec);
  const faults: string[] = [];
  for (const one of tunnelCases([3]).filter(({ gre }) => gre === undefined)) {
    // what lies inside is wrong, and stays so wherever it is not whole
    const frame = spoil(one, ["innerIp", "innerL4"]);
    const l4 = one.outerIp === undefined ? 54 : 14 + 4 * (frame[14]! & 15);
    for (let end = l4; end < frame.length; end++) {
      const cut = frame.subarray(0, end);
      const rest = Buffer.concat([frame.subarray(end), Buffer.alloc(448)]);
      const fault = (what: string) => faults.push(`${one.name}, ${what} ${end}`);
      if (among(rig, run, cut, rest).made !== readdressed(cut).toString("hex")) fault("cut at");
      const short = shortened(one, frame, end);
      const known = short.subarray(0, end);
      const [alone, other] = [among(rig, run, known, zeros), among(rig, run, known, rest)];
      if (alone.made !== other.made || !other.whole) fault("ends at");
      // an inner IPv4 header that is all there is made, whatever it says of what follows; all else is as it was
      const wanted = readdressed(known);
      const { innerIp } = one;
      if (innerIp !== undefined && end >= innerIp + 10) one.frame.copy(wanted, innerIp, innerIp, innerIp + 2);
      if (alone.made !== wanted.toString("hex")) fault("made wrong, ends at");
      // the same with what was cut off as padding
      const padded = among(rig, run, short, zeros).made;
      if (padded !== Buffer.concat([wanted, short.subarray(end)]).toString("hex")) fault("padded behind");
    }
  }
  t.same(faults.slice(0, 5), []);
  t.same(rig.audit(), []);
});
