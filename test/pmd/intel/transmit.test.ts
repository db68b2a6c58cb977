// The transmit side of pmd/intel against a model NIC, on every engine, with both formats of descriptors.
import { IntelQueue } from "../../../pmd/intel/layout.ts";
import { Mbuf } from "../../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig, type RigOptions, type Tap } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import type { Format } from "./nic-model.ts";
import { formats, IntelPair } from "./rings.ts";

const RING = 64;
const options = { mbufs: 640, dataRoom: 1024 };

function inBothFormats(
  name: string,
  body: (t: Tap, rig: Rig, format: Format) => void,
  rigOptions: RigOptions = options,
): void {
  onEngines(name, rigOptions, async (t, rig) => {
    for (const format of formats) {
      await t.test(format, async (t) => body(t as unknown as Tap, rig, format));
    }
  });
}

function end(t: Tap, rig: Rig, pair: IntelPair): void {
  t.equal(pair.tx.block.fault, undefined);
  t.same(rig.audit(pair.held()), []);
  pair.stop();
  t.same(rig.audit(), []);
  pair.free();
}

/** Packets of 60 bytes. */
function small(rig: Rig, n: number): number[] {
  const packets = rig.alloc(n);
  for (const mbuf of packets) {
    rig.put(mbuf + Mbuf.DATA_LEN, 60);
    rig.put(mbuf + Mbuf.PKT_LEN, 60);
  }
  return packets;
}

/** Everything that is sent is taken and reported. */
function settle(rig: Rig, pair: IntelPair) {
  const sent = pair.nic.tx.take();
  pair.nic.tx.report();
  rig.hot.txIdle(pair.txq);
  return sent;
}

/** Random bursts through a ring; the NIC takes and reports as it pleases. */
function stream(t: Tap, rig: Rig, pair: IntelPair, rounds: number, chains: boolean): number {
  const random = new Random(3);
  const wanted: Uint8Array[] = [];
  let bad = 0;
  let sent = 0;
  let refused = 0;
  const check = (frames: { frame: Buffer; vlan: number | undefined }[]) => {
    for (const { frame, vlan } of frames) {
      if (vlan !== undefined || Buffer.compare(frame, wanted.shift()!) !== 0) bad++;
    }
  };
  for (let round = 0; round < rounds; round++) {
    const made = Array.from({ length: random.pick([1, 2, 7, 32, 64, 65, 90]) }, (_, k) => {
      const frame = makeFrame(sent + k, random.pick([17, 60, 64, 500, 900]));
      const room = chains ? random.pick([1024, 1024, 512, 128, 31]) : 1024;
      return { frame, mbuf: rig.packet(frame, room, random.pick([0, 0, 1, 2, 4, -16, -127, -128, 100])) };
    });
    const packets = made.map(({ mbuf }) => mbuf);
    const took = rig.send(pair.txq, packets);
    rig.free(packets.slice(took));
    wanted.push(...made.slice(0, took).map(({ frame }) => frame));
    sent += took;
    refused += made.length - took;
    check(pair.nic.tx.take(random.chance(50) ? random.below(80) : undefined));
    pair.nic.tx.report(random.below(pair.nic.tx.unreported + 1));
    const lost = rig.audit(pair.held());
    if (lost.length > 0) t.same(lost, [], `round ${round}`);
  }
  check(settle(rig, pair));
  t.equal(bad, 0, `${sent} frames`);
  t.equal(wanted.length, 0);
  t.same(pair.tx.held(), [], "all of them came back");
  t.equal(rig.stats(pair.txq).packets, sent);
  t.equal(rig.stats(pair.txq).stalled, refused);
  t.ok(refused > 0, "the ring was full now and then");
  return sent;
}

for (const chains of [false, true]) {
  inBothFormats(`every frame, in order: ${chains ? "chains" : "single buffers"}`, (t, rig, format) => {
    const pair = new IntelPair(rig, format, { size: chains ? 128 : RING });
    t.ok(stream(t, rig, pair, 120, chains) > 12 * RING);
    end(t, rig, pair);
  });
}

inBothFormats("the running index passes 2^32", (t, rig, format) => {
  const pair = new IntelPair(rig, format);
  pair.start(2 ** 32 - 4 * RING);
  stream(t, rig, pair, 40, true);
  t.ok(pair.tx.block.get(IntelQueue.TAIL) < 2 ** 31);
  end(t, rig, pair);
});

inBothFormats("a full ring refuses, and takes again what reports make room for", (t, rig, format) => {
  const pair = new IntelPair(rig, format);
  const packets = small(rig, RING + 10);
  t.equal(rig.send(pair.txq, packets), RING - 1, "one descriptor stays unused");
  t.equal(rig.stats(pair.txq).stalled, 11);
  t.equal(pair.nic.tx.take(20).length, 20);
  t.equal(rig.send(pair.txq, packets.slice(RING - 1)), 0, "taken is not reported");
  t.equal(pair.nic.tx.take().length, RING - 1 - 20);
  pair.nic.tx.report();
  t.equal(rig.send(pair.txq, packets.slice(RING - 1)), 11);
  t.same(rig.audit(pair.held()), []);
  t.equal(settle(rig, pair).length, 11);
  t.same(pair.tx.held(), []);
  end(t, rig, pair);
});

inBothFormats("one report a burst, and one in 64 packets", (t, rig, format) => {
  const pair = new IntelPair(rig, format, { size: 512 });
  const counts = [1, 32, 64, 65, 200].map((n) => {
    rig.send(pair.txq, small(rig, n));
    settle(rig, pair);
    return pair.nic.tx.reports;
  });
  t.same(counts, [1, 2, 3, 5, 9]);
  t.same(pair.tx.held(), []);
  end(t, rig, pair);
});

inBothFormats("chains on a ring that looks emptier than it is", (t, rig, format) => {
  const pair = new IntelPair(rig, format);
  const chain = (tag: number) => rig.packet(makeFrame(tag, 300), 10); // 30 descriptors
  t.equal(rig.send(pair.txq, [chain(1)]), 1);
  t.equal(settle(rig, pair).length, 1);
  t.equal(rig.send(pair.txq, [chain(2)]), 1);
  pair.nic.tx.take();
  pair.nic.tx.report();
  const two = [chain(3), chain(4)];
  t.equal(rig.send(pair.txq, two), 2, "33 are free without a look at the reports");
  t.equal(settle(rig, pair).length, 2);
  end(t, rig, pair);
});

inBothFormats("what cannot be sent is dropped, freed and counted", (t, rig, format) => {
  const pair = new IntelPair(rig, format);
  const bad: [name: string, spoil: (mbuf: number) => void, frame?: Uint8Array, room?: number][] = [
    ["no bytes", (mbuf) => rig.put(mbuf + Mbuf.PKT_LEN, 0)],
    ["13 bytes", () => {}, makeFrame(1, 13)],
    ["16 bytes in two segments", () => {}, makeFrame(1, 16), 8],
    ["PKT_LEN is more than its segments", (mbuf) => rig.put(mbuf + Mbuf.PKT_LEN, 61)],
    ["PKT_LEN is less", (mbuf) => rig.put(mbuf + Mbuf.PKT_LEN, 59)],
    ["data before the buffer", (mbuf) => rig.put(mbuf + Mbuf.DATA, rig.word(mbuf + Mbuf.BUF) - 1)],
    ["data beyond it", (mbuf) => rig.put(mbuf + Mbuf.DATA, rig.word(mbuf + Mbuf.BUF) + 128 + 1024 - 59)],
    ["data far away", (mbuf) => rig.put(mbuf + Mbuf.DATA, 0)],
    [
      "a length that wraps",
      (mbuf) => {
        rig.put(mbuf + Mbuf.DATA_LEN, 0xffff_fff0);
        rig.put(mbuf + Mbuf.PKT_LEN, 0xffff_fff0);
      },
    ],
    ["more than the NIC takes", () => {}, makeFrame(1, 9729)],
    ["41 segments", () => {}, makeFrame(1, 41 * 30), 30],
    [
      "a second segment outside its buffer",
      (mbuf) => {
        const second = rig.word(mbuf + Mbuf.NEXT);
        rig.put(second + Mbuf.DATA, rig.word(second + Mbuf.BUF) - 4);
      },
      makeFrame(1, 60),
      30,
    ],
  ];
  for (const [k, [name, spoil, frame = makeFrame(1, 60), room]] of bad.entries()) {
    const good = [0, 1].map((tag) => rig.packet(makeFrame(tag, 60)));
    const mbuf = rig.packet(frame, room);
    spoil(mbuf);
    t.equal(rig.send(pair.txq, [good[0]!, mbuf, good[1]!]), 3, name);
    t.equal(rig.stats(pair.txq).errors, k + 1);
    t.same(
      settle(rig, pair).map((sent) => sent.frame),
      [0, 1].map((tag) => Buffer.from(makeFrame(tag, 60))),
    );
    t.same(rig.audit(pair.held()), [], name);
  }
  t.equal(rig.send(pair.txq, [rig.packet(makeFrame(1, 13))]), 1, "alone");
  t.equal(pair.nic.tx.ring.held, 0);
  t.equal(rig.stats(pair.txq).packets, 2 * bad.length);
  t.equal(rig.stats(pair.txq).bytes, 120 * bad.length);
  end(t, rig, pair);
});

inBothFormats("40 segments, empty ones among them, and a ring too small for them", (t, rig, format) => {
  const pair = new IntelPair(rig, format);
  const frame = makeFrame(1, 40 * 24);
  t.equal(rig.send(pair.txq, [rig.packet(frame, 24)]), 1);
  t.same(settle(rig, pair)[0]!.frame, Buffer.from(frame));
  const mbuf = rig.packet(makeFrame(2, 90), 30);
  const [first, second] = rig.segments(mbuf);
  rig.put(second! + Mbuf.DATA_LEN, 0);
  rig.put(first! + Mbuf.PKT_LEN, 60);
  t.equal(rig.send(pair.txq, [mbuf]), 1);
  const whole = Buffer.from(makeFrame(2, 90));
  t.same(settle(rig, pair)[0]!.frame, Buffer.concat([whole.subarray(0, 30), whole.subarray(60)]));
  const single = rig.packet(makeFrame(3, 90), 60);
  rig.put(rig.word(single + Mbuf.NEXT) + Mbuf.DATA_LEN, 0);
  rig.put(single + Mbuf.PKT_LEN, 60);
  t.equal(rig.send(pair.txq, [single]), 1);
  t.equal(settle(rig, pair)[0]!.frame.length, 60);
  end(t, rig, pair);
  const tiny = new IntelPair(rig, format, { size: 8 });
  t.equal(rig.send(tiny.txq, [rig.packet(makeFrame(1, 70), 10)]), 1, "7 descriptors never fit");
  t.equal(rig.stats(tiny.txq).errors, 1);
  t.equal(rig.send(tiny.txq, [rig.packet(makeFrame(1, 60), 10)]), 1, "6 do");
  t.equal(settle(rig, tiny).length, 1);
  end(t, rig, tiny);
});

inBothFormats("frames too short for the NIC to pad are lengthened by zeros", (t, rig, format) => {
  const pair = new IntelPair(rig, format);
  for (const length of [14, 15, 16, 17]) {
    const frame = makeFrame(length, length);
    const mbuf = rig.packet(frame);
    const data = rig.word(mbuf + Mbuf.DATA);
    rig.arena.u8.fill(0xaa, data + length, data + 20);
    t.equal(rig.send(pair.txq, [mbuf]), 1);
    t.same(settle(rig, pair)[0]!.frame, Buffer.concat([frame, Buffer.alloc(17 - length)]));
    t.equal(rig.arena.u8[data + 17], 0xaa);
  }
  const mbuf = rig.packet(makeFrame(1, 14));
  rig.put(mbuf + Mbuf.DATA, rig.word(mbuf + Mbuf.BUF) + 128 + 1024 - 14);
  t.equal(rig.send(pair.txq, [mbuf]), 1, "no room behind it");
  t.equal(rig.stats(pair.txq).errors, 1);
  end(t, rig, pair);
});

inBothFormats("packets of another pool go home", (t, rig, format) => {
  const other = rig.makePool({ name: "other", count: 64, dataRoom: 256 });
  const pair = new IntelPair(rig, format);
  const foreign = rig.alloc(4, other.cacheOf(0));
  for (const mbuf of foreign) {
    rig.put(mbuf + Mbuf.DATA_LEN, 60);
    rig.put(mbuf + Mbuf.PKT_LEN, 60);
  }
  t.equal(rig.send(pair.txq, [...small(rig, 4), ...foreign]), 8);
  t.equal(settle(rig, pair).length, 8);
  t.same(other.audit([]), []);
  end(t, rig, pair);
  other.close();
});

inBothFormats("stopped with packets under way", (t, rig, format) => {
  const pair = new IntelPair(rig, format);
  t.equal(rig.send(pair.txq, [...small(rig, 5), rig.packet(makeFrame(1, 900), 100)]), 6);
  pair.nic.tx.take(2);
  t.equal(pair.tx.held().length, 6);
  t.same(rig.audit(pair.held()), []);
  pair.stop();
  t.same(rig.audit(), []);
  t.equal(rig.send(pair.txq, []), 0, "halted");
  pair.start();
  t.equal(rig.send(pair.txq, small(rig, 3)), 3);
  t.equal(settle(rig, pair).length, 3);
  end(t, rig, pair);
});
