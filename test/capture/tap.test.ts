// The tap: what lies in the ring is what passed the queue, no more and no less.

import { Ring } from "../../src/capture/layout.ts";
import { ringsAt } from "../../src/capture/taps.ts";
import { Mbuf, OlFlag, Queue } from "../../src/hot/layout.ts";
import { MIB } from "../../src/limits.ts";
import { onEngines, type Rig, type Tap } from "../support/engines.ts";
import { RingEnd } from "../support/lcore.ts";
import { Random } from "../support/random.ts";
import { TapRig } from "./support.ts";

const options = { arenaMib: 24, mbufs: 512 };

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const frames = (random: Random, count: number, max = 1500) =>
  Array.from({ length: count }, () => random.bytes(random.between(14, max)));

onEngines("received packets: bytes, lengths, direction, queue, time", options, async (t, rig) => {
  const tap = new TapRig(rig);
  const random = new Random(1);
  const taps = tap.taps({ snaplen: 100 });
  const reader = tap.reader(taps);
  const before = BigInt(Date.now()) * 1_000_000n;
  const sent = [...frames(random, 20, 300), random.bytes(100), random.bytes(99), random.bytes(101)];
  const mbufs = sent.map((frame, k) => rig.packet(frame, k % 3 === 0 ? 2048 : 37));
  tap.receive(mbufs);
  const found = tap.read(reader);
  t.equal(found.length, sent.length);
  found.forEach(({ data, length, direction, stampNs }, k) => {
    const wanted = sent[k]!;
    if (hex(data) !== hex(wanted.subarray(0, 100))) t.fail(`packet ${k}: ${hex(data)}`);
    t.equal(length, wanted.length);
    t.equal(direction, "in");
    t.ok(stampNs! > before - 2_000_000n && stampNs! < before + 5_000_000_000n, `${stampNs} after ${before}`);
  });
  t.same(taps.counters, { seen: 23, accepted: 23, dropped: 0 });
  t.equal(tap.send(mbufs), mbufs.length);
  t.same(new Set(tap.read(reader).map(({ direction }) => direction)), new Set(["out"]));
  rig.free(tap.tx.take());
  await taps.close();
  t.same(rig.audit(), []);
});

onEngines(
  "tags that offloads took off, or are to put in, are where they are on the wire",
  options,
  async (t, rig) => {
    const tap = new TapRig(rig);
    const taps = tap.taps();
    const reader = tap.reader(taps);
    const frame = new Random(2).bytes(60);
    const tagged = Buffer.concat([
      frame.subarray(0, 12),
      Buffer.from([0x81, 0, 0x61, 0x23]),
      frame.subarray(12),
    ]);
    const make = (flags: number, room = 2048) => {
      const mbuf = rig.packet(frame, room);
      rig.put(mbuf + Mbuf.OL_FLAGS, flags);
      rig.arena.u16[(mbuf + Mbuf.VLAN_TCI) >>> 1] = 0x6123;
      return mbuf;
    };
    const mbufs = [
      make(OlFlag.RX_VLAN_STRIPPED),
      make(OlFlag.TX_VLAN, 20),
      make(OlFlag.RX_VLAN_STRIPPED, 14),
    ];
    tap.receive(mbufs);
    t.same(
      tap.read(reader).map(({ data }) => hex(data)),
      [tagged, frame, tagged].map(hex),
    );
    tap.send(mbufs);
    t.same(
      tap.read(reader).map(({ data, length }) => [hex(data), length]),
      [frame, tagged, frame].map((one) => [hex(one), one.length]),
    );
    await taps.close();
  },
);

onEngines("sent packets: those that the queue refused are never shown", options, async (t, rig) => {
  const random = new Random(3);
  const tap = new TapRig(rig, 64);
  const program = [
    [0x28, 0, 0, 0],
    [0x45, 0, 1, 1],
    [6, 0, 0, 0xffff],
    [6, 0, 0, 0],
  ] as const; // packets whose second byte is odd
  const all = tap.taps({ direction: "out" });
  const odd = tap.taps({ direction: "out", program });
  const [allReader, oddReader] = [tap.reader(all), tap.reader(odd)];
  const taken: Uint8Array[] = [];
  const shown: string[] = [];
  const shownOdd: string[] = [];
  for (let round = 0; round < 60; round++) {
    const sent = frames(random, random.between(1, 40), 200);
    const mbufs = sent.map((frame) => rig.packet(frame));
    const count = tap.send(mbufs);
    taken.push(...sent.slice(0, count));
    rig.free(mbufs.slice(count));
    shown.push(...tap.read(allReader).map(({ data }) => hex(data)));
    shownOdd.push(...tap.read(oddReader).map(({ data }) => hex(data)));
    rig.free(tap.tx.take(random.below(30)));
  }
  t.ok(rig.stats(tap.tx.block.offset).stalled > 100, "the queue refused many");
  t.equal(taken.length, rig.stats(tap.tx.block.offset).packets);
  t.same(shown, taken.map(hex));
  const wanted = taken.filter((frame) => frame[1]! & 1);
  t.same(shownOdd, wanted.map(hex));
  t.same(all.counters, { seen: taken.length, accepted: taken.length, dropped: 0 });
  t.same(odd.counters, { seen: taken.length, accepted: wanted.length, dropped: 0 });
  await all.close();
  await odd.close();
  rig.free(tap.tx.take());
  t.same(rig.audit(), []);
});

onEngines("a full ring: the first packets stay, the others are counted", options, async (t, rig) => {
  const tap = new TapRig(rig);
  const taps = tap.taps();
  const reader = tap.reader(taps);
  const random = new Random(4);
  const written: string[] = [];
  const read: string[] = [];
  let seen = 0;
  const burst = (n: number) => {
    const sent = frames(random, n);
    const mbufs = sent.map((frame) => rig.packet(frame));
    const before = taps.counters;
    tap.receive(mbufs);
    const { accepted, dropped } = taps.counters;
    seen += n;
    const lost = dropped - before.dropped;
    t.equal(accepted - before.accepted, n);
    rig.free(mbufs);
    return { sent, lost };
  };
  while (taps.counters.dropped === 0) {
    const { sent, lost } = burst(16);
    if (lost === 0) written.push(...sent.map(hex));
    else break;
  }
  for (let k = 0; k < 20; k++) burst(16);
  const found = tap.read(reader).map(({ data }) => hex(data));
  t.same(found.slice(0, written.length), written);
  const { accepted, dropped } = taps.counters;
  t.equal(found.length + dropped, seen);
  t.equal(accepted, seen);
  // a reader that is slower by turns: many times round the ring, with jumps over its end
  let total = 0;
  for (let k = 0; k < 400; k++) {
    const { sent, lost } = burst(random.between(1, 24));
    if (lost === 0) written.push(...sent.map(hex));
    total += sent.length;
    if (random.chance(30))
      read.push(...tap.read(reader, { packets: random.between(1, 60) }).map(({ data }) => hex(data)));
    if (lost > 0) break;
  }
  read.push(...tap.read(reader).map(({ data }) => hex(data)));
  t.equal(read.length + taps.counters.dropped - dropped, total);
  t.same(tap.read(reader), []);
  await taps.close();
});

onEngines(
  "round the ring: nothing lost, nothing doubled, in order",
  { ...options, mbufs: 1024 },
  async (t, rig) => {
    const tap = new TapRig(rig);
    const taps = tap.taps();
    const reader = tap.reader(taps);
    const random = new Random(5);
    let bytes = 0;
    for (let k = 0; bytes < 6 * MIB; k++) {
      const sent = frames(random, random.between(1, 64), random.pick([60, 1500, 9000]));
      const mbufs = sent.map((frame) => rig.packet(frame));
      tap.receive(mbufs);
      rig.free(mbufs);
      const found = tap.read(reader, { bytes: 4 * MIB });
      const wrong = found.findIndex(({ data }, at) => !Buffer.from(sent[at]!).equals(data));
      if (found.length !== sent.length || wrong >= 0) {
        t.fail(`burst ${k}: ${found.length} packets, ${wrong}`);
        break;
      }
      bytes += sent.reduce((sum, { length }) => sum + length, 0);
    }
    t.same(taps.counters.dropped, 0);
    await taps.close();
  },
);

onEngines("rings of several queues: read by time, whatever is read at a time", options, async (t, rig) => {
  const tap = new TapRig(rig);
  const taps = tap.taps();
  const reader = tap.reader(taps);
  const random = new Random(9);
  const wanted: string[] = [];
  const found: string[] = [];
  for (let k = 0; k < 200; k++) {
    const sent = frames(random, random.between(1, 5), 200);
    const mbufs = sent.map((frame) => rig.packet(frame));
    const inbound = random.chance(50);
    if (inbound) tap.receive(mbufs);
    else tap.send(mbufs);
    rig.free(inbound ? mbufs : tap.tx.take());
    wanted.push(...sent.map((frame) => `${inbound ? "in" : "out"} ${hex(frame)}`));
    const limits = random.pick([{ packets: random.between(1, 9) }, { bytes: random.between(1, 2000) }, {}]);
    if (random.chance(50)) continue;
    const got = tap.read(reader, limits);
    if (limits.packets !== undefined && got.length > limits.packets) t.fail(`${got.length} packets at once`);
    found.push(...got.map(({ direction, data }) => `${direction} ${hex(data)}`));
  }
  t.ok(reader.pending || found.length === wanted.length);
  found.push(...tap.read(reader).map(({ direction, data }) => `${direction} ${hex(data)}`));
  t.notOk(reader.pending);
  t.same(found, wanted);
  await taps.close();
});

onEngines("several captures of a queue come and go", options, async (t, rig) => {
  const tap = new TapRig(rig);
  const random = new Random(6);
  const first = () => rig.word(tap.rx.block.offset + Queue.CAPTURE);
  const open = new Map<number, { taps: ReturnType<TapRig["taps"]>; reader: ReturnType<TapRig["reader"]> }>();
  for (let k = 0; k < 60; k++) {
    if (open.size < 4 && random.chance(60)) {
      const taps = tap.taps({ direction: "in" });
      open.set(k, { taps, reader: tap.reader(taps) });
    } else if (open.size > 0) {
      const key = random.pick([...open.keys()]);
      await open.get(key)!.taps.close();
      open.delete(key);
    }
    const sent = frames(random, 3, 100);
    const mbufs = sent.map((frame) => rig.packet(frame));
    tap.receive(mbufs);
    rig.free(mbufs);
    for (const { reader } of open.values()) {
      t.same(
        tap.read(reader).map(({ data }) => hex(data)),
        sent.map(hex),
      );
    }
  }
  for (const { taps } of open.values()) await taps.close();
  t.equal(first(), 0);
  t.equal(rig.word(tap.tx.block.offset + Queue.CAPTURE), 0);
});

onEngines("a reader that lies about what it has read harms nobody", options, async (t, rig) => {
  const tap = new TapRig(rig);
  const taps = tap.taps({ direction: "in", queue: 0 });
  const random = new Random(7);
  const ring = taps.base + ringsAt(taps.plan);
  const end = ring + taps.plan.ringBytes;
  const fence = [rig.private.allocate("fence", 64)];
  const around = () =>
    hex(rig.arena.u8.slice(end, end + 4096)) + hex(rig.arena.u8.slice(fence[0]!, fence[0]! + 64));
  const before = around();
  for (let k = 0; k < 500; k++) {
    rig.put(taps.base + Ring.HEAD, random.pick([random.word(), 0, 0xffff_fffc, random.below(2 * MIB), 3]));
    const mbufs = frames(random, 8).map((frame) => rig.packet(frame));
    tap.receive(mbufs);
    rig.free(mbufs);
  }
  t.equal(around(), before, "nothing beside the ring was written");
  t.equal(taps.counters.seen, 4000);
  t.throws(
    () => {
      rig.put(taps.base + Ring.HEAD, (rig.word(taps.base + Ring.TAIL) - 100) >>> 0);
      rig.put(ring + (rig.word(taps.base + Ring.HEAD) & (MIB - 1) & ~3), 77);
      tap.read(tap.reader(taps));
    },
    { code: "CAPTURE_RING" },
  );
  await taps.close();
});

function ends(rig: Rig): { rx: RingEnd; tx: RingEnd } {
  return { rx: new RingEnd(rig), tx: new RingEnd(rig) };
}

onEngines("a port that gets new queues is captured on", options, async (t, rig) => {
  const tap = new TapRig(rig);
  const [one, two] = [tap.taps({ direction: "in" }), tap.taps({ direction: "in" })];
  const readers = [tap.reader(one), tap.reader(two)];
  await tap.port.configure();
  const check = (t: Tap) => {
    const sent = frames(new Random(8), 5, 90);
    const mbufs = sent.map((frame) => rig.packet(frame));
    tap.receive(mbufs);
    rig.free(mbufs);
    for (const reader of readers) t.same(tap.read(reader).length, 5);
  };
  check(t);
  const fresh = ends(rig);
  Object.assign(tap, { rx: fresh.rx });
  tap.rx.block.set(Queue.CAPTURE, 0);
  Object.defineProperty((tap.port as unknown as { device: object }).device, "rxQueues", {
    get: () => [fresh.rx.block.offset],
  });
  await tap.port.configure();
  check(t);
  await one.close();
  await tap.port.close();
  await two.close();
});

onEngines(
  "what is wrong in a capture's options is named, and nothing is left behind",
  options,
  async (t, rig) => {
    const tap = new TapRig(rig);
    const used = rig.private.usedBytes;
    for (const wrong of [
      { queue: 2 },
      { queue: -1 },
      { snaplen: -1 },
      { snaplen: 1.5 },
      { ringBytes: 4096 },
      { ringBytes: 3 * MIB },
      { ringBytes: 512 * MIB },
      { direction: "up" as "in" },
    ]) {
      t.throws(() => tap.taps(wrong), {
        code: "CAPTURE_OPTION",
        message: /^capture of port 0 \(net_test0\)/,
      });
    }
    t.throws(() => tap.taps({ program: [[5, 0, 0, 9]] }), { code: "CAPTURE_PROGRAM" });
    t.throws(() => tap.taps({ ringBytes: 16 * MIB }), { code: "OUT_OF_MEMORY" }, "more than the arena has");
    t.equal(rig.private.usedBytes, used);
    const taps = tap.taps();
    await taps.close();
    t.equal(rig.private.usedBytes, used);
    await tap.port.close();
    t.throws(() => tap.taps(), { code: "CAPTURE_OPTION", message: /is closed/ });
  },
);
