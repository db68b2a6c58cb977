import t from "tap";
import { Histogram } from "../../src/hot/layout.ts";
import { noCounters } from "../../src/telemetry/counters.ts";
import { busyShare, counted, rates } from "../../src/telemetry/rates.ts";
import { lcoreOf, portOf, queueOf, snapshotOf, streamOf } from "./fakes.ts";

t.test("a port's and its queues' rates", async (t) => {
  const then = portOf({
    stats: { rxPackets: 100, rxBytes: 6400 },
    rxQueues: [queueOf({ packets: 100, bytes: 6400 })],
  });
  const now = portOf({
    stats: {
      rxPackets: 1100,
      rxBytes: 70_400,
      rxMissed: 8,
      rxErrors: 6,
      rxNoMbuf: 4,
      txErrors: 2,
      txRefused: 10,
    },
    rxQueues: [queueOf({ packets: 1100, bytes: 70_400, errors: 6, stalled: 4 })],
    txQueues: [queueOf({ errors: 2, stalled: 10 })],
  });
  const { seconds, ports } = rates(snapshotOf(1000, [then]), snapshotOf(3000, [now]));
  t.equal(seconds, 2);
  t.match(ports[0], { id: 0, name: "net_fake0", rx: { pps: 500, bps: 256_000 }, tx: { pps: 0, bps: 0 } });
  t.same(ports[0]!.drops, { rxMissed: 4, rxErrors: 3, rxNoMbuf: 2, byMode: 0, txErrors: 1, txFull: 0 });
  t.equal(ports[0]!.txRefused, 5, "refused is not lost");
  t.same(ports[0]!.rxQueues, [{ pps: 500, bps: 256_000, errors: 3, stalled: 2, dropped: 5 }]);
  t.same(ports[0]!.txQueues, [{ pps: 0, bps: 0, errors: 1, stalled: 5, dropped: 1 }]);
});

t.test("what forwarding drops belongs to the queue that it could not go to, or came from", async (t) => {
  const ports = [portOf({ id: 0 }), portOf({ id: 1 })];
  const then = snapshotOf(0, ports, [lcoreOf({ streams: [streamOf(0, 1, 10, 1)] })]);
  const now = snapshotOf(1000, ports, [lcoreOf({ streams: [streamOf(0, 1, 40, 6), streamOf(1, 0, 7, 0)] })]);
  const { ports: found, lcores } = rates(then, now);
  t.match(found[0], {
    drops: { byMode: 5, txFull: 7 },
    rxQueues: [{ dropped: 5 }],
    txQueues: [{ dropped: 7 }],
  });
  t.match(found[1], {
    drops: { byMode: 0, txFull: 30 },
    rxQueues: [{ dropped: 0 }],
    txQueues: [{ dropped: 30 }],
  });
  t.same(lcores[0]!.drops, { byMode: 5, txFull: 37 });
  const moved = snapshotOf(1000, ports, [lcoreOf({ streams: [streamOf(1, 0, 12, 0)] })]);
  t.equal(rates(then, moved).lcores[0]!.drops.txFull, 12, "another stream in the same place counts from 0");
});

t.test("counters that were cleared, ports that came and went", async (t) => {
  const port = (id: number, rxPackets: number, name = `net_fake${id}`) =>
    portOf({ id, name, stats: { rxPackets } });
  const pps = (before: ReturnType<typeof portOf>[], after: ReturnType<typeof portOf>[]) =>
    rates(snapshotOf(0, before), snapshotOf(1000, after)).ports.map(({ id, rx }) => [id, rx.pps]);
  t.same(pps([port(0, 1000)], [port(0, 30)]), [[0, 30]], "cleared in between");
  t.same(
    pps([port(0, 5)], [port(0, 6), port(1, 9)]),
    [
      [0, 1],
      [1, 9],
    ],
    "attached in between",
  );
  t.same(pps([port(0, 5), port(1, 5)], [port(1, 7)]), [[1, 2]], "detached: others keep their ids");
  t.same(pps([port(0, 5)], [port(0, 9, "net_other0")]), [[0, 9]], "another port with the same id");
  const two = portOf({ rxQueues: [queueOf({ packets: 5 }), queueOf({ packets: 3 })] });
  const { rxQueues } = rates(snapshotOf(0, [portOf()]), snapshotOf(1000, [two])).ports[0]!;
  t.same(
    rxQueues.map((queue) => queue.pps),
    [5, 3],
    "configured with more queues",
  );
  t.equal(
    rates(snapshotOf(0, [two]), snapshotOf(1000, [portOf()])).ports[0]!.rxQueues.length,
    1,
    "with fewer",
  );
  const lcores = (polls: number) => [lcoreOf({ counters: { polls, emptyPolls: polls } })];
  t.equal(rates(snapshotOf(0, [], lcores(900)), snapshotOf(1000, [], lcores(50))).lcores[0]!.polls, 50);
  t.equal(counted(5, 9), 5);
});

t.test("nothing before: all 0, as testpmd's first block", async (t) => {
  const now = snapshotOf(
    5,
    [portOf({ stats: { rxPackets: 7 } })],
    [lcoreOf({ counters: { polls: 9, packets: 9 } })],
  );
  for (const before of [undefined, now]) {
    const { seconds, ports, lcores } = rates(before, now);
    t.same(
      [seconds, ports[0]!.rx.pps, lcores[0]!.pps, lcores[0]!.polls, lcores[0]!.busyShare],
      [0, 0, 0, 0, 0],
    );
  }
});

/** As record() in src/hot/loop.ts. */
function bucketOf(ns: number): number {
  const shift = Math.max(0, 32 - Math.clz32(ns | 1) - Histogram.SUB_BITS);
  return (shift << Histogram.SUB_BITS) + (ns >>> shift);
}

/** One second of an lcore whose filled polls take `fullNs`, empty ones `emptyNs`, and a look at the clock `clockNs`. */
function second(share: number, fullNs: number, emptyNs: number, clockNs: number) {
  const full = (share * 1e9) / fullNs;
  const empty = ((1 - share) * 1e9) / emptyNs;
  const pollTimes = new Float64Array(Histogram.BUCKETS);
  pollTimes[bucketOf(fullNs + clockNs)]! += full / 64;
  pollTimes[bucketOf(emptyNs + clockNs)]! += empty / 64;
  const busyPolls = full / 64;
  const busyNs = busyPolls * (fullNs + clockNs);
  return {
    ...noCounters(),
    polls: full + empty,
    emptyPolls: empty,
    packets: full * 8,
    busyPolls,
    busyNs,
    pollTimes,
  };
}

t.test("the busy share is that of time, not of polls", async (t) => {
  for (const share of [0.05, 0.3, 0.7, 1]) {
    for (const [fullNs, emptyNs, clockNs] of [
      [1000, 5, 40],
      [60, 6, 40],
      [2000, 200, 0],
    ] as const) {
      const counters = second(share, fullNs, emptyNs, clockNs);
      // what the clocked round of 64 takes longer is time of no poll
      const clocks = (counters.polls / 64) * clockNs;
      const found = busyShare(counters, 1 + clocks / 1e9)!;
      t.ok(
        Math.abs(found - share) < 0.05,
        `${share} of ${fullNs}/${emptyNs}/${clockNs} ns: ${found.toFixed(3)}`,
      );
    }
  }
  t.equal(busyShare({ ...noCounters(), polls: 1e6, emptyPolls: 1e6 }, 1), 0, "only empty polls");
  t.equal(busyShare(noCounters(), 1), 0, "none at all: it waits");
  t.equal(busyShare({ ...noCounters(), polls: 9, packets: 9 }, 1), undefined, "nothing was clocked");
  const late = second(1, 1000, 5, 40);
  late.pollTimes[bucketOf(3_000_000)] = 100;
  t.equal(Math.round(busyShare(late, 1)! * 10), 10, "polls that were interrupted do not count");
});
