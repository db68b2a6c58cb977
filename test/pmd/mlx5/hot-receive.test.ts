// Receive of direct verbs against the modelled device, on every engine: one and several buffers a WQE, multi-packet
// RQs, compressed completions.
import t from "tap";
import { Mlx5Queue } from "../../../pmd/mlx5/layout.ts";
import { Mbuf, OlFlag } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines, type Tap } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import type { Told } from "./device-model.ts";
import { Mlx5Pair, onPairs, type PairOptions, PORT } from "./rings.ts";

const RING = 64;
const mbufs = { mbufs: 1200, dataRoom: 1024 };
const striding = { logStrideBytes: 6, logStrides: 5 };
const kinds: Record<string, PairOptions> = {
  "one buffer": { size: RING },
  "several buffers": { size: RING, segments: 9 },
  "three buffers": { size: RING, segments: 3 },
  striding: { size: RING, striding: { logStrideBytes: 9, logStrides: 6 }, segments: 9, room: 9216 },
};

const compressed: Record<string, PairOptions> = {
  "one buffer, hash": { size: RING, compression: "hash" },
  "one buffer, csum": { size: RING, compression: "csum" },
  "several buffers, hash": { size: RING, segments: 4, compression: "hash" },
  "striding, hash": { size: RING, striding, compression: "hash" },
  "striding, csum": { size: RING, striding, compression: "csum" },
};

const longest = ({ segments = 1, room = segments * mbufs.dataRoom }: PairOptions) => room;

/** Frames of all lengths through the queue; every one is looked at. Returns how many came. */
function stream(t: Tap, pair: Mlx5Pair, options: PairOptions, rounds: number, seed = 5): number {
  const { rig } = pair;
  const random = new Random(seed);
  const wanted: Buffer[] = [];
  let [bad, got, tag] = [0, 0, 0];
  pair.fill();
  for (let round = 0; round < rounds; round++) {
    const frames = Array.from({ length: random.below(70) }, () => {
      const length = random.chance(60) ? random.between(14, 128) : random.between(14, longest(options));
      return makeFrame(tag++, options.striding ? Math.min(length, 1500) : length);
    });
    let taken = 0;
    while (taken < frames.length) {
      const some = frames.slice(taken, taken + random.between(1, 40));
      const count =
        options.compression && random.chance(70)
          ? pair.nic.rx.deliverCompressed(some, options.compression === "hash")
          : some.findIndex((frame) => !pair.nic.rx.deliver(frame));
      const delivered = count < 0 ? some.length : count;
      wanted.push(...some.slice(0, delivered).map((frame) => Buffer.from(frame)));
      taken += delivered;
      if (delivered < some.length && !options.compression) break;
      if (delivered === 0) break;
    }
    const burst = random.pick([1, 3, 32, 64]);
    for (let packets = [1]; packets.length > 0 && random.chance(95); ) {
      packets = rig.receive(pair.rxq, burst);
      for (const mbuf of packets) {
        const first = rig.words(mbuf, 16);
        if (!rig.frame(mbuf).equals(wanted.shift()!)) bad++;
        if (first[Mbuf.PKT_LEN / 4] !== rig.frame(mbuf).length) bad++;
        if (rig.arena.u16[(mbuf + Mbuf.PORT) >>> 1] !== PORT) bad++;
        if (rig.arena.u16[(mbuf + Mbuf.NB_SEGS) >>> 1] !== rig.segments(mbuf).length) bad++;
      }
      got += packets.length;
      rig.free(packets);
    }
    if (round % 100 === 0) bad += rig.audit(pair.held()).length;
  }
  t.equal(bad, 0, "all frames as they were sent");
  return got;
}

onPairs("frames of all lengths, in order", { ...mbufs, dmaMib: 8 }, kinds, (t, pair, options) => {
  const got = stream(t, pair, options, 300);
  t.ok(got > 10 * RING, `${got} frames`);
  t.equal(pair.rig.stats(pair.rxq).packets, got);
});

onPairs("compressed completions", mbufs, compressed, (t, pair, options) => {
  const got = stream(t, pair, options, 400, 6);
  t.ok(got > 20 * RING, `${got} frames`);
});

// 16-bit WQE counters, the 24-bit consumer index and the driver's own 32-bit indices all wrap on the way
for (const [what, start] of [
  ["16 bits", 2 ** 16],
  ["24 bits", 2 ** 24],
  ["32 bits", 2 ** 32],
] as const) {
  const all = { ...kinds, ...compressed };
  onPairs(`indices pass ${what}`, { ...mbufs, dmaMib: 8 }, all, (t, pair, options) => {
    pair.stop();
    pair.start(start - 4096);
    const before = pair.rx.block.get(Mlx5Queue.CQ_INDEX);
    let got = 0;
    for (let k = 0; k < 12 && got < 4600; k++) got += stream(t, pair, options, 200, k);
    const moved = (pair.rx.block.get(Mlx5Queue.CQ_INDEX) - before) >>> 0;
    t.ok(moved > 4096, `${moved} completions`);
  });
}

onEngines("a full ring, and no mbufs", { mbufs: 80, dataRoom: 1024 }, (t, rig) => {
  const pair = new Mlx5Pair(rig, { size: RING });
  t.same(rig.receive(pair.rxq, 32), []);
  t.equal(pair.nic.rx.held, RING, "all WQEs have buffers");
  const kept = rig.alloc(16);
  for (let k = 0; k < RING; k++) t.ok(pair.nic.rx.deliver(makeFrame(k, 60)));
  t.notOk(pair.nic.rx.deliver(makeFrame(99, 60)), "no WQE is left");
  const packets = rig.receive(pair.rxq, RING);
  t.equal(packets.length, RING);
  t.equal(pair.nic.rx.held, 0, "nothing to refill with");
  t.ok(rig.stats(pair.rxq).stalled > 0);
  rig.free(kept.splice(0));
  rig.receive(pair.rxq, 1);
  t.equal(pair.nic.rx.held, 16, "what there was");
  rig.free(packets);
  pair.fill();
  t.equal(pair.nic.rx.held, RING);
  pair.end(t);
});

onEngines("runts and frames beyond the limit are dropped", mbufs, (t, rig) => {
  const cases: PairOptions[] = [
    { size: RING, room: 500 },
    { size: RING, room: 1500, segments: 2 },
    { size: RING, room: 1500, segments: 2, striding },
  ];
  for (const options of cases) {
    const pair = new Mlx5Pair(rig, options);
    pair.fill();
    const room = options.room!;
    for (const length of [1, 13, 14, room, room + 1]) t.ok(pair.nic.rx.deliver(makeFrame(length, length)));
    const packets = rig.receive(pair.rxq, 32);
    t.same(
      packets.map((mbuf) => rig.word(mbuf + Mbuf.PKT_LEN)),
      [14, room],
    );
    t.same(rig.stats(pair.rxq), { packets: 2, bytes: 14 + room, errors: 3, stalled: 0 });
    pair.rx.setRoom(100);
    rig.free(packets);
    t.ok(pair.nic.rx.deliver(makeFrame(1, 101)));
    t.ok(pair.nic.rx.deliver(makeFrame(1, 100)));
    const [short] = rig.receive(pair.rxq, 32);
    t.equal(rig.word(short! + Mbuf.PKT_LEN), 100);
    rig.free([short!]);
    pair.end(t);
  }
});

onEngines("a frame that its buffers cannot hold costs its WQE alone", mbufs, (t, rig) => {
  for (const segments of [1, 3]) {
    const pair = new Mlx5Pair(rig, { size: RING, segments });
    pair.fill();
    for (let k = 0; k < 3; k++) pair.nic.rx.deliver(makeFrame(k, 60));
    pair.nic.rx.fail(0x01);
    pair.nic.rx.head++;
    for (let k = 3; k < 9; k++) pair.nic.rx.deliver(makeFrame(k, 60));
    const packets = rig.receive(pair.rxq, 32);
    t.same(
      packets.map((mbuf) => rig.frame(mbuf)),
      Array.from({ length: 9 }, (_, k) => Buffer.from(makeFrame(k, 60))),
    );
    t.equal(rig.stats(pair.rxq).errors, 1);
    rig.free(packets);
    pair.end(t);
  }
});

const L3 = { none: 0, ipv6: 1 << 2, ipv4: 2 << 2 };
const L4 = { none: 0, udp: 2 << 4, tcp: 4 << 4, fragment: 1 << 7 };
const IP = OlFlag.RX_IP_CKSUM_GOOD;
const IP_BAD = OlFlag.RX_IP_CKSUM_BAD;
const L4_GOOD = OlFlag.RX_L4_CKSUM_GOOD;
const L4_BAD = OlFlag.RX_L4_CKSUM_BAD;
const RSS = OlFlag.RX_RSS_HASH;
const VLAN = OlFlag.RX_VLAN_STRIPPED;

/** What is told of a frame, and what OL_FLAGS must say. */
const told: [Told, number][] = [
  [{ hds: 1 }, 0],
  [{ hds: 3, types: L3.ipv4 }, IP],
  [{ hds: 1, types: L3.ipv4 }, 0],
  [{ hds: 7, types: L3.ipv4 | L4.udp }, IP | L4_GOOD],
  [{ hds: 3, types: L3.ipv4 | L4.tcp }, IP],
  [{ hds: 1, types: L3.ipv4 | L4.tcp }, 0],
  [{ hds: 7, types: L3.ipv6 | L4.tcp }, L4_GOOD],
  [{ hds: 3, types: L3.ipv6 | L4.udp }, 0],
  [{ hds: 3, types: L3.ipv4 | L4.udp | L4.fragment }, IP],
  [{ hds: 1, hash: 0x89ab_cdef, hashType: 2 }, RSS],
  [{ hds: 1, hash: 0x1234_5678, hashType: 0 }, 0],
  [{ hds: 1, types: 1, vlan: 0xe123 }, VLAN],
  [{ hds: 7, types: 1 | L3.ipv4 | L4.udp, vlan: 7, hash: 5, hashType: 1 }, IP | L4_GOOD | RSS | VLAN],
];

function annotations(t: Tap, pair: Mlx5Pair, mask: number, many: boolean): void {
  const { rig } = pair;
  const list = many ? Array.from({ length: 52 }, (_, k) => told[k % told.length]!) : told;
  pair.fill();
  for (const [about] of list) t.ok(pair.nic.rx.deliver(makeFrame(1, 60), about));
  const packets = rig.receive(pair.rxq, 64);
  t.equal(packets.length, list.length);
  packets.forEach((mbuf, k) => {
    const [about, flags] = list[k]!;
    const ol = rig.word(mbuf + Mbuf.OL_FLAGS);
    t.equal(ol, flags & mask, `flags of ${JSON.stringify(about)}`);
    if (ol & RSS) t.equal(rig.word(mbuf + Mbuf.RSS_HASH), about.hash);
    if (ol & VLAN) t.equal(rig.arena.u16[(mbuf + Mbuf.VLAN_TCI) >>> 1], about.vlan);
  });
  rig.free(packets);
}

const ALL = 0xff;
const annotated: Record<string, PairOptions & { mask: number }> = {
  all: { flags: { checksum: true, rss: true, vlanStrip: true }, mask: ALL },
  checksums: { flags: { checksum: true }, mask: IP | IP_BAD | L4_GOOD | L4_BAD },
  rss: { flags: { rss: true }, mask: RSS },
  vlan: { flags: { vlanStrip: true }, mask: VLAN },
  none: { flags: {}, mask: 0 },
  striding: { flags: { checksum: true, rss: true, vlanStrip: true }, striding, mask: ALL },
  "several buffers": { flags: { checksum: true, rss: true, vlanStrip: true }, segments: 2, mask: ALL },
};
onPairs("checksums, hashes and tags", mbufs, annotated, (t, pair, options) => {
  const { mask } = options as { mask: number };
  annotations(t, pair, mask, false);
  annotations(t, pair, mask, true);
  if (mask !== 0) return;
  pair.rx.setVlanStrip(true);
  annotations(t, pair, VLAN, true);
  pair.rx.setVlanStrip(false);
  annotations(t, pair, 0, true);
});

onEngines("a session's packets share what its title says", mbufs, (t, rig) => {
  for (const compression of ["hash", "csum"] as const) {
    const flags = { checksum: true, rss: true, vlanStrip: true };
    const pair = new Mlx5Pair(rig, { size: RING, compression, flags });
    pair.fill();
    const title: Told = { hds: 7, types: 1 | L3.ipv4 | L4.udp, vlan: 33, hashType: 2 };
    const frames = Array.from({ length: 19 }, (_, k) => makeFrame(k, 60 + k));
    const about = frames.map((_, k) => ({ ...title, hash: 0x1000_0000 + k }));
    t.equal(pair.nic.rx.deliverCompressed(frames, compression === "hash", about), 19);
    const packets = [...rig.receive(pair.rxq, 5), ...rig.receive(pair.rxq, 64)];
    t.equal(packets.length, 19);
    packets.forEach((mbuf, k) => {
      t.same(rig.frame(mbuf), Buffer.from(frames[k]!));
      const hashed = compression === "hash";
      t.equal(rig.word(mbuf + Mbuf.OL_FLAGS), IP | L4_GOOD | VLAN | (hashed ? RSS : 0));
      if (hashed) t.equal(rig.word(mbuf + Mbuf.RSS_HASH), 0x1000_0000 + k);
      t.equal(rig.arena.u16[(mbuf + Mbuf.VLAN_TCI) >>> 1], 33);
    });
    rig.free(packets);
    pair.end(t);
  }
});

onEngines("frames wait in their strides for mbufs", { mbufs: 64, dataRoom: 1024 }, (t, rig) => {
  const kept = rig.alloc(56);
  const pair = new Mlx5Pair(rig, { size: RING, striding });
  rig.receive(pair.rxq, 1);
  for (let k = 0; k < 12; k++) t.ok(pair.nic.rx.deliver(makeFrame(k, 100)));
  const first = rig.receive(pair.rxq, 32);
  t.equal(first.length, 8);
  t.equal(rig.stats(pair.rxq).stalled, 1);
  rig.free(first);
  const rest = rig.receive(pair.rxq, 32);
  t.same(
    rest.map((mbuf) => rig.frame(mbuf)),
    [8, 9, 10, 11].map((k) => Buffer.from(makeFrame(k, 100))),
  );
  rig.free(rest);
  rig.free(kept);
  pair.end(t);
});

t.setTimeout(600_000);
