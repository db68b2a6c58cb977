// verbose, --record-burst-stats, latency stamps.
import { readLatency, readStreams } from "../../src/forward/counters.ts";
import { assignApp } from "../../src/forward/streams.ts";
import { drainVerbose } from "../../src/forward/verbose.ts";
import { VerboseRing } from "../../src/forward/watch.ts";
import { Mbuf, OlFlag, Stream } from "../../src/hot/layout.ts";
import { bucketBounds } from "../../src/telemetry/histogram.ts";
import { makeFrame, onEngines, type Rig } from "../support/engines.ts";
import { PORT_MAC, StreamRun } from "../support/stream.ts";

const frames = (n: number) => Array.from({ length: n }, (_, k) => makeFrame(k, 60 + k));
const put = (rig: Rig, run: StreamRun, n: number) => {
  const sent = run.pass(frames(n).map((frame) => rig.packet(frame)));
  rig.free(sent);
  return sent.length;
};
const nonZero = (counts: ArrayLike<number> | undefined) =>
  Object.fromEntries(Array.from(counts ?? [], (count, k) => [k, count]).filter(([, count]) => count !== 0));

let timeMs = 5_000_000;
const clock = { now: () => timeMs };

/** The ages that an lcore recorded, ns: each bucket's lower bound, as often as it was hit. */
const ages = (rig: Rig, run: StreamRun) =>
  Array.from(readLatency(rig.arena, run.control)).flatMap((count, bucket) =>
    Array(count).fill(bucketBounds(bucket).from),
  );

onEngines("bursts by size, received and sent", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "io", recordBursts: true }, { txEntries: 64 });
  put(rig, run, 70);
  t.same(nonZero(run.counters.rxBursts), { 0: 253, 6: 1, 32: 2 });
  t.same(nonZero(run.counters.txBursts), { 0: 1, 32: 2 });
  t.match(run.counters, { rxPackets: 70, txPackets: 64, txDropped: 6 });
  const silent = new StreamRun(rig, { mode: "io" });
  put(rig, silent, 10);
  t.equal(silent.counters.rxBursts, undefined);
  t.same(rig.audit(), []);
});

onEngines("an application's bursts: by the stream blocks of its queues", clock, (t, rig) => {
  const run = new StreamRun(rig, { mode: "io" }, { txEntries: 32 });
  const queues = [{ port: 7, queue: 0, rx: run.rx.block.offset, tx: run.tx.block.offset, mac: PORT_MAC }];
  const place = { zone: rig.private, pool: rig.pool, lcore: run.control };
  const wrong = Array.from({ length: 65 }, () => queues[0]!);
  t.throws(() => assignApp(place, wrong, { verbose: 1 }), { message: /queue pairs .* 65 / });
  t.throws(() => assignApp(place, queues, { verbose: -1 }), { code: "FORWARD_OPTION" });
  const used = rig.private.usedBytes;
  t.equal(assignApp(place, wrong, { verbose: 0, recordBursts: false, latency: false }), undefined);
  t.same(readStreams(rig.arena, run.control), [], "nobody looks");
  const [s] = assignApp(place, queues, { verbose: 3, recordBursts: true, latency: true })!;
  const { hot, pkts } = rig;
  const receive = (n: number, most = n) => {
    if (n > 0) run.rx.put(frames(n).map((frame) => rig.packet(frame)));
    return hot.watchedRxBurst(s!, pkts, most);
  };
  t.equal(receive(0, 32), 0);
  t.equal(receive(40), 40);
  t.equal(hot.watchedTxBurst(s!, pkts, 40), 32, "the ring has no room for more");
  rig.free(rig.words(pkts + 4 * 32, 8));
  t.equal(hot.watchedTxBurst(s!, pkts, 0), 0);
  t.same(nonZero(run.counters.rxBursts), { 0: 1, 40: 1 });
  t.same(nonZero(run.counters.txBursts), { 32: 1 }, "a burst of none is none");
  t.match(run.counters, { rxPackets: 40, txPackets: 32, rxQueue: queues[0]!.rx, txQueue: queues[0]!.tx });
  const { packets } = drainVerbose(rig.arena, [run.control]);
  t.same(
    packets.map(({ way, burst, index }) => `${way} ${burst} ${index}`),
    ["received", "sent"].flatMap((way) => frames(40).map((_, k) => `${way} 40 ${k}`)),
  );
  const sent = run.tx.take();
  t.equal(hot.stampFrame(s!, rig.packet(makeFrame(1, 57))), 0, "too short");
  t.equal(hot.stampFrame(s!, sent[3]!), 1);
  timeMs += 0.05;
  run.rx.put(sent);
  t.equal(hot.watchedRxBurst(s!, pkts, 512), 32);
  t.same(ages(rig, run), [49_152]);
  for (const absent of [hot.watchedRxBurst, hot.watchedTxBurst]) t.equal(absent(0, pkts, 8), 0, "no queue");
  rig.free(rig.words(pkts, 32));
  const [quiet] = assignApp(place, queues, { recordBursts: true })!;
  const unstamped = rig.packet(makeFrame(1, 80));
  t.equal(hot.stampFrame(quiet!, unstamped), 0, "nobody measures");
  rig.free([unstamped]);
  assignApp(place, queues, {});
  t.ok(rig.private.usedBytes <= used + VerboseRing.BYTES, "blocks are given back; the ring stays");
});

onEngines("verbose 1: what is received", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "io", verbose: 1 });
  const drain = () => drainVerbose(rig.arena, [run.control]);
  const packets = frames(40).map((frame) => rig.packet(frame));
  rig.put(packets[3]! + Mbuf.OL_FLAGS, OlFlag.RX_RSS_HASH | OlFlag.RX_VLAN_STRIPPED);
  rig.put(packets[3]! + Mbuf.RSS_HASH, 0xcafebabe);
  rig.arena.u16[(packets[3]! + Mbuf.VLAN_TCI) >>> 1] = 0x0123;
  rig.free(run.pass(packets));
  const { packets: seen, missed } = drain();
  t.equal(missed, 0);
  t.equal(seen.length, 40);
  seen.forEach((packet, k) => {
    t.same(Buffer.from(packet.data), Buffer.from(makeFrame(k, 60 + k)));
    t.match(packet, {
      ...{ lcore: 3, way: "received", port: 7, queue: 0, length: 60 + k, segments: 1 },
      ...(k < 32 ? { burst: 32, index: k } : { burst: 8, index: k - 32 }),
    });
  });
  t.match(seen[3], {
    rssHash: 0xcafebabe,
    vlanTci: 0x0123,
    olFlags: OlFlag.RX_RSS_HASH | OlFlag.RX_VLAN_STRIPPED,
  });
  t.same(drain().packets, [], "once");
  t.same(rig.audit(), []);
});

onEngines("verbose 2 and 3: what is to be sent; long and chained packets", { dataRoom: 128 }, (t, rig) => {
  for (const verbose of [2, 3]) {
    const run = new StreamRun(rig, { mode: "macswap", verbose });
    const frame = Buffer.from(makeFrame(1, 700));
    rig.free(run.pass([rig.packet(frame, 50)]));
    const { packets } = drainVerbose(rig.arena, [run.control]);
    const swapped = Buffer.concat([frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12, 192)]);
    t.same(
      packets.map(({ way }) => way),
      verbose === 2 ? ["sent"] : ["received", "sent"],
    );
    t.match(packets.at(-1), { length: 700, segments: 14, burst: 1, index: 0 });
    t.same(Buffer.from(packets.at(-1)!.data), swapped, "the first 192 bytes");
    if (verbose === 3) t.same(Buffer.from(packets[0]!.data), frame.subarray(0, 192));
  }
  t.same(rig.audit(), []);
});

onEngines("verbose: a full ring misses packets and says how many; then it goes on", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "rxonly", verbose: 3 });
  put(rig, run, 200);
  put(rig, run, 200);
  const first = drainVerbose(rig.arena, [run.control]);
  t.equal(first.packets.length, 256);
  t.equal(first.missed, 144);
  // the ring's running index goes round
  for (let k = 0; k < 10; k++) {
    put(rig, run, 100);
    const { packets, missed } = drainVerbose(rig.arena, [run.control]);
    t.equal(packets.length, 100);
    t.equal(missed, 144);
    t.ok(
      packets.every(
        ({ data, length }, j) => length === 60 + j && Buffer.compare(data, makeFrame(j, 60 + j)) === 0,
      ),
    );
  }
  run.assign({ mode: "rxonly" });
  put(rig, run, 10);
  t.same(drainVerbose(rig.arena, [run.control]).packets, [], "off again");
  const other = new StreamRun(rig, { mode: "io" });
  t.same(drainVerbose(rig.arena, [other.control]), { packets: [], missed: 0 }, "never on");
});

onEngines("latency: one stamp a burst, its age recorded by who receives it", clock, (t, rig) => {
  for (const spec of [
    { mode: "txonly" },
    { mode: "txonly", txpkts: [20, 24, 16] },
    { mode: "txonly", frameBytes: 1500 },
    { mode: "flowgen" },
  ] as const) {
    const sender = new StreamRun(rig, { ...spec, stamp: true }, { burst: 8, txEntries: 32 });
    const sent = sender.pass([]);
    t.equal(sent.length, 32);
    timeMs += 0.05;
    const receiver = new StreamRun(rig, { mode: "io", latency: true });
    const back = receiver.pass(sent);
    t.equal(back.length, 32);
    // 50,000 ns fall into the bucket from 49,152
    t.same(ages(rig, receiver), spec.mode === "txonly" && "txpkts" in spec ? [] : Array(4).fill(49_152));
    rig.free(back);
  }
  t.same(rig.audit(), []);
});

onEngines("latency: tagged frames, foreign stamps, short frames, ages of 0", clock, (t, rig) => {
  const sender = new StreamRun(rig, { mode: "txonly", stamp: true }, { burst: 1, txEntries: 4 });
  const sent = sender.pass([]);
  const made = sent.map((mbuf) => rig.frame(mbuf));
  rig.free(sent);
  const tagged = Buffer.concat([
    made[0]!.subarray(0, 12),
    Buffer.from("81000007", "hex"),
    made[0]!.subarray(12),
  ]);
  const foreign = Buffer.from(made[1]!);
  foreign[46]! ^= 1; // another process
  const run = new StreamRun(rig, { mode: "rxonly", latency: true });
  const cut = made[2]!.subarray(0, 57);
  run.frames([tagged, foreign, cut, Buffer.from(makeFrame(1, 14)), made[3]!]);
  t.same(ages(rig, run), [0, 0]);
  const off = new StreamRun(rig, { mode: "rxonly" });
  off.frames(made);
  t.same(ages(rig, off), []);
  t.same(rig.audit(), []);
});

onEngines("an unstamped burst holds no stale stamp", clock, (t, rig) => {
  const sender = new StreamRun(rig, { mode: "txonly", stamp: true }, { txEntries: 256 });
  rig.free(sender.pass([]));
  sender.assign({ mode: "txonly" });
  const run = new StreamRun(rig, { mode: "rxonly", latency: true });
  for (let k = 0; k < 4; k++) run.pass(sender.pass([]));
  t.same(ages(rig, run), []);
  t.equal(rig.counter(run.control.get(16) + Stream.RX_PACKETS), 4 * 256);
  t.same(rig.audit(), []);
});
