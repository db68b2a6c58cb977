// Numbered frames: a clean wire is found clean; loss, repetition, reordering and corruption are each found and
// counted.
import { Mode } from "../../src/forward/modes.ts";
import { Progress, Sequence } from "../../src/forward/sequence.ts";
import { Mbuf, Stream } from "../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig } from "../support/engines.ts";
import { makeRing, RingEnd, TestLcore } from "../support/lcore.ts";

interface Sizes {
  min: number;
  max: number;
  window: number;
  total: number;
}

/** A sender and a checker on lcores of their own; the test is the wire between them. */
class Wire {
  readonly progress: number;
  readonly out: RingEnd;
  readonly in: RingEnd;
  private readonly sender: TestLcore;
  private readonly checker: TestLcore;
  private readonly rig: Rig;

  constructor(rig: Rig, { min, max, window, total }: Sizes, checkerCache = rig.cache, start = 0) {
    this.rig = rig;
    this.progress = rig.private.allocate("progress", Progress.BYTES);
    for (const word of [Progress.SENT, Progress.RECEIVED, Progress.EXPECTED])
      rig.put(this.progress + word, start);
    this.out = new RingEnd(rig, makeRing(rig, 64));
    this.in = new RingEnd(rig, makeRing(rig, 256), checkerCache);
    const words = [
      [Sequence.PROGRESS, this.progress],
      [Sequence.SIZE_MIN, min],
      [Sequence.SIZE_MAX, max],
      [Sequence.WINDOW, window],
      [Sequence.TOTAL, (start + total) >>> 0],
    ] as const;
    this.sender = new TestLcore(rig, [{ mode: Mode.SEQ_SEND, tx: this.out.block, words }]);
    this.checker = new TestLcore(rig, [{ mode: Mode.SEQ_CHECK, rx: this.in.block, words }]);
  }

  send(): number[] {
    this.sender.run();
    return this.out.take();
  }

  check(packets: readonly number[]): void {
    this.in.put(packets);
    this.checker.run();
  }

  /** What the checker has found. */
  get found() {
    const at = (word: number) => this.rig.word(this.progress + word);
    return {
      received: at(Progress.RECEIVED),
      lost: at(Progress.LOST),
      late: at(Progress.LATE),
      changed: at(Progress.CHANGED),
      bad: this.rig.counter(this.checker.streams[0]! + Stream.BAD),
    };
  }
}

const sizes = { min: 60, max: 1500, window: 48, total: 100_000 };
const clean = { lost: 0, late: 0, changed: 0, bad: 0 };

onEngines("a clean wire", {}, (t, rig) => {
  const wire = new Wire(rig, { ...sizes, total: 1000 });
  const lengths = new Set<number>();
  for (let round = 0; round < 30; round++) {
    const packets = wire.send();
    if (round < 20) t.equal(packets.length, 48, "no more than the window");
    t.same(wire.send(), [], "none until some arrived");
    for (const mbuf of packets) lengths.add(rig.word(mbuf + Mbuf.PKT_LEN));
    wire.check(packets);
  }
  t.same(wire.found, { received: 1000, ...clean });
  t.ok(Math.min(...lengths) >= 60 && Math.max(...lengths) <= 1500 && lengths.size > 300);
  t.same(wire.send(), [], "all that was asked for is sent");
  t.same(rig.audit(), []);
});

onEngines("numbers wrap at 2^32", {}, (t, rig) => {
  const wire = new Wire(rig, { ...sizes, total: 200 }, rig.cache, 0xffffffc0);
  for (let round = 0; round < 10; round++) wire.check(wire.send());
  t.same(wire.found, { received: 200 - 64, ...clean });
  t.same(rig.audit(), []);
});

onEngines("frames of many segments", { dataRoom: 256, mbufs: 1024 }, (t, rig) => {
  const wire = new Wire(rig, { min: 28, max: 9000, window: 16, total: 200 });
  for (let round = 0; round < 20; round++) wire.check(wire.send());
  t.same(wire.found, { received: 200, ...clean });
  t.same(rig.audit(), []);
});

onEngines("loss, repetition and reordering", {}, (t, rig) => {
  const wire = new Wire(rig, { ...sizes, window: 10_000 });
  const packets = wire.send();
  rig.free(packets.splice(10, 3));
  wire.check(packets);
  t.same(wire.found, { received: 61, ...clean, lost: 3 });

  const again = wire.send();
  const twin = rig.packet(rig.frame(again[5]!));
  again.splice(20, 0, twin);
  wire.check(again);
  t.match(wire.found, { lost: 3, late: 1, changed: 0 }, "repeated");

  const swapped = wire.send();
  [swapped[7], swapped[8]] = [swapped[8]!, swapped[7]!];
  wire.check(swapped);
  t.match(wire.found, { lost: 4, late: 2, changed: 0 }, "out of order: lost, then late after all");
  t.same(rig.audit(), []);
});

onEngines("corruption: any byte but the addresses and the padding", {}, (t, rig) => {
  const wire = new Wire(rig, { min: 100, max: 100, window: 10_000, total: 100_000 });
  let changed = 0;
  for (let byte = 20; byte < 100; byte++) {
    const packets = wire.send();
    rig.arena.u8[rig.word(packets[3]!) + byte]! ^= 0x10;
    changed++;
    wire.check(packets);
    if (wire.found.changed !== changed) return void t.fail(`byte ${byte} went unseen`);
  }
  const short = wire.send();
  rig.put(short[0]! + Mbuf.DATA_LEN, 96);
  rig.put(short[0]! + Mbuf.PKT_LEN, 96);
  wire.check(short);
  t.same(wire.found, { received: 81 * 64, ...clean, changed: 81 }, "a frame cut off, too");
  t.same(rig.audit(), []);
});

onEngines("a changed number is loss or lateness, and changed content", {}, (t, rig) => {
  const wire = new Wire(rig, { ...sizes, window: 10_000 });
  const packets = wire.send();
  rig.arena.u8[rig.word(packets[3]!) + 17]! ^= 0x01; // number 3 becomes 259
  wire.check(packets);
  t.match(wire.found, { changed: 1, late: 60 });
  t.same(rig.audit(), []);
});

onEngines("two words that changed places", {}, (t, rig) => {
  const wire = new Wire(rig, { min: 100, max: 100, window: 10_000, total: 1000 });
  const packets = wire.send();
  const words = rig.arena.u32.subarray(rig.word(packets[0]!) >>> 2);
  [words[10], words[11]] = [words[11]!, words[10]!];
  wire.check(packets);
  t.equal(wire.found.changed, 1);
});

onEngines("foreign frames are BAD, not ours", {}, (t, rig) => {
  const wire = new Wire(rig, sizes);
  wire.check([14, 27, 60, 1500].map((length) => rig.packet(makeFrame(length, length))));
  t.same(wire.found, { received: 0, ...clean, bad: 4 });
  t.same(rig.audit(), []);
});

onEngines(
  "sender and checker on two lcores do not starve each other",
  { mbufs: 4096, dataRoom: 128 },
  (t, rig) => {
    const wire = new Wire(rig, { ...sizes, min: 60, max: 120 }, rig.pool.cacheOf(1));
    for (let round = 0; round < 150; round++) wire.check(wire.send());
    t.equal(wire.found.received, 150 * 48);
    t.same(rig.audit(), []);
  },
);
