// The poll loop: what it counts, when it looks at its command, how it measures.
import { Null } from "../../pmd/null/hot.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { Mode } from "../../src/forward/modes.ts";
import { Histogram, Lcore, LcoreCommand, Queue, QueueKind } from "../../src/hot/layout.ts";
import { onEngines, type Rig } from "../support/engines.ts";
import { TestLcore } from "../support/lcore.ts";

/** A clock that moves on by `stepNs` each time it is read. */
const clock = { ms: 1, stepNs: 100 };
const options = { now: () => (clock.ms += clock.stepNs / 1e6) };

function nullQueue(rig: Rig, receives: boolean): QueueBlock {
  const queue = new QueueBlock(rig.private, "null queue", 0, 0);
  queue.set(Queue.CACHE, rig.cache);
  queue.set(Null.SIZE, 64);
  queue.set(Null.NO_RX, receives ? 0 : 1);
  queue.run(QueueKind.NULL);
  return queue;
}

/** The bucket that times of `ns` fall into. */
function bucketOf(rig: Rig, lcore: TestLcore, ns: number): number {
  const buckets = rig.arena.u32.subarray(lcore.pollHistogram >>> 2).subarray(0, Histogram.BUCKETS);
  buckets.fill(0);
  clock.ms = 1;
  clock.stepNs = ns + 0.5;
  rig.put(lcore.block + Lcore.HEARTBEAT, 0); // the round that is clocked
  lcore.run();
  const hit = [...buckets.keys()].filter((bucket) => buckets[bucket] !== 0);
  return hit.length === 1 && buckets[hit[0]!] === 256 ? hit[0]! : Number.NaN;
}

onEngines("histogram: exact below 64 ns, 3 % above, in order, never outside", options, (t, rig) => {
  const lcore = new TestLcore(rig, [{ mode: Mode.COUNT, rx: nullQueue(rig, false) }]);
  const times = [0, 1, 2, 31, 32, 62, 63, 64, 65, 66, 100, 127, 128, 129, 255, 256, 1000, 4095, 4096];
  for (let ns = 5000; ns < 4e9; ns = Math.floor(ns * 1.37)) times.push(ns);
  times.push(3_999_999_999, 4_000_000_000, 4_100_000_000, 60_000_000_000);
  const buckets = times.map((ns) => bucketOf(rig, lcore, ns));
  t.notOk(buckets.some(Number.isNaN), "each time falls into one bucket");
  t.same(buckets.slice(0, 7), times.slice(0, 7));
  for (let k = 1; k < buckets.length; k++) {
    const [low, high] = [times[k - 1]!, Math.min(times[k]!, 4e9)];
    if (buckets[k]! < buckets[k - 1]!) t.fail(`${high} ns before ${low} ns`);
    if (buckets[k] === buckets[k - 1] && high > low * (1 + 1 / 32))
      t.fail(`${low} and ${high} ns look alike`);
  }
  t.equal(buckets.at(-1), buckets.at(-3), "what is too long counts as the longest");
  t.ok(buckets.at(-1)! < Histogram.BUCKETS);
  clock.stepNs = 100;
});

onEngines("polls, packets and rounds are counted", options, (t, rig) => {
  clock.stepNs = 100;
  const streams = [
    { mode: Mode.COUNT, rx: nullQueue(rig, true) },
    { mode: Mode.COUNT, rx: nullQueue(rig, false) },
  ];
  const lcore = new TestLcore(rig, streams, 16);
  lcore.run(3);
  t.equal(rig.word(lcore.block + Lcore.HEARTBEAT), 3);
  t.equal(lcore.counter(Lcore.POLLS), 768);
  t.equal(lcore.counter(Lcore.EMPTY_POLLS), 384, "streams take turns");
  t.equal(lcore.counter(Lcore.PACKETS), 384 * 16);
  t.equal(rig.word(lcore.burstHistogram + 4 * 16), 384);
  t.equal(rig.stats(streams[0]!.rx.offset).packets, 384 * 16);
  t.equal(rig.stats(streams[0]!.rx.offset).bytes, 384 * 16 * 64);
  t.equal(lcore.counter(Lcore.BUSY_POLLS), 128, "one round in 64 is clocked");
  t.equal(lcore.counter(Lcore.BUSY_PACKETS), 128 * 16);
  t.equal(Math.round(lcore.counter(Lcore.BUSY_NS)), 12800);
  lcore.run(62);
  t.equal(lcore.counter(Lcore.BUSY_POLLS), 256);
  t.same(rig.audit(), []);
});

onEngines("a command ends it after the round at hand", options, (t, rig) => {
  const lcore = new TestLcore(rig, [{ mode: Mode.COUNT, rx: nullQueue(rig, true) }]);
  rig.put(lcore.block + Lcore.COMMAND, LcoreCommand.IDLE);
  lcore.run(5);
  t.equal(lcore.counter(Lcore.POLLS), 0);
  rig.put(lcore.block + Lcore.COMMAND, LcoreCommand.RUN);
  lcore.run(5);
  t.equal(lcore.counter(Lcore.POLLS), 5 * 256);
});

onEngines("the longest round is kept", options, (t, rig) => {
  const lcore = new TestLcore(rig, [{ mode: Mode.COUNT, rx: nullQueue(rig, false) }]);
  clock.stepNs = 1000;
  lcore.run(2);
  clock.ms += 5;
  lcore.run(1);
  const longest = lcore.counter(Lcore.ROUND_NS_MAX);
  lcore.run(3);
  t.ok(Math.abs(longest - 5_001_000) < 10, `${longest} ns`);
  t.equal(lcore.counter(Lcore.ROUND_NS_MAX), longest);
});

onEngines("a stopped queue gives and takes nothing", {}, (t, rig) => {
  const queue = nullQueue(rig, true);
  const packet = rig.alloc(1);
  queue.halt();
  t.same(rig.receive(queue.offset, 8), []);
  t.equal(rig.send(queue.offset, packet), 0);
  rig.hot.txIdle(queue.offset);
  queue.run(99 as QueueKind);
  t.same(rig.receive(queue.offset, 8), [], "nor does a kind that is not there");
  t.equal(rig.send(queue.offset, packet), 0);
  rig.free(packet);
  t.same(rig.audit(), []);
});

onEngines("net_null: copies, refuses to receive, stalls without mbufs", { mbufs: 64 }, (t, rig) => {
  const queue = nullQueue(rig, true);
  const dummy = rig.private.allocate("dummy", 2048);
  rig.arena.u8.fill(0x5a, dummy, dummy + 64);
  queue.set(Null.COPY, 1);
  queue.set(Null.DUMMY, dummy);
  const packets = rig.receive(queue.offset, 32);
  t.equal(packets.length, 32);
  t.ok(packets.every((mbuf) => rig.frame(mbuf).equals(Buffer.alloc(64, 0x5a))));
  const more = rig.receive(queue.offset, 32);
  t.same(rig.receive(queue.offset, 32), []);
  t.equal(rig.stats(queue.offset).stalled, 1);
  rig.arena.u8.fill(0x11, rig.word(packets[31]!), rig.word(packets[31]!) + 64);
  t.equal(rig.send(queue.offset, packets), 32);
  t.ok(
    rig.arena.u8.slice(dummy, dummy + 64).every((byte) => byte === 0x11),
    "the frame was read",
  );
  rig.free(more);
  t.same(rig.audit(), []);
});
