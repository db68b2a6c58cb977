import { pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { Pollmode, type Port } from "../../src/index.ts";
import { timesOf } from "../../src/telemetry/histogram.ts";
import { rates } from "../../src/telemetry/rates.ts";
import { takeSnapshot } from "../../src/telemetry/snapshot.ts";

t.setTimeout(60_000);
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

async function start(t: Test, vdev: string[], queues: number): Promise<Pollmode> {
  const pm = await Pollmode.start({ lcores: "0", vdev, noHuge: true, memoryMib: 16, mbufs: 2048 });
  t.teardown(() => pm.close());
  for (const port of pm.ports) {
    await port.configure({ rxQueues: queues, txQueues: queues });
    await port.start();
  }
  return pm;
}

const io = (rx: Port, tx: Port) => ({
  mode: "io" as const,
  rx: { port: rx, queue: 0 },
  tx: { port: tx, queue: 0 },
});

t.test("it holds what ports, lcore and pool count", async (t) => {
  const pm = await start(t, ["net_null0", "net_null1", "net_ring0"], 1);
  const [one, other, ring] = pm.ports as [Port, Port, Port];
  const before = takeSnapshot(pm);
  await pm.forward(0, [io(one, other), io(other, ring)]);
  await pause(150);
  const running = takeSnapshot(pm);
  const { lcores } = rates(before, running);
  t.equal(running.lcores[0]!.state, "running");
  t.ok(lcores[0]!.pps > 0 && lcores[0]!.burst > 1, `${lcores[0]!.burst} packets a burst`);
  t.ok(lcores[0]!.busyShare! > 0.3, `ports that always have packets: busy ${lcores[0]!.busyShare}`);
  for (const { stats, rxQueues } of running.ports)
    t.equal(stats.rxPackets, rxQueues[0]!.packets, "of one moment");
  await pm.stop(0);
  const { ports, lcores: idle, pool, dma } = takeSnapshot(pm);
  for (const port of pm.ports) {
    const found = ports[port.id]!;
    t.same(found.stats, port.stats());
    t.same(found.xstats, port.xstats());
    t.match(found, { name: port.name, driver: port.info.driver, state: "started", link: { up: true } });
  }
  const lost = ports[1]!.stats.rxPackets - ports[2]!.stats.txPackets;
  t.ok(lost > 0, "nobody empties the ring");
  t.match(idle[0], { state: "waiting", streams: [{ txDropped: 0 }, { txDropped: lost, byMode: 0 }] });
  t.same(idle[0]!.streams[1]!.tx, { port: 2, queue: 0 });
  t.equal(pool.inUse, pool.count - pm.pool.available(), "mbufs in the ring");
  t.ok(pool.inUse >= ports[2]!.stats.txPackets && pool.inUse < pool.count);
  t.same(dma, { bytes: 16 * 2 ** 20, usedBytes: pm.dma.usedBytes });
  t.equal(rates(running, takeSnapshot(pm)).lcores[0]!.polls > 0, true);
  const quiet = takeSnapshot(pm);
  await pause(5);
  t.match(rates(quiet, takeSnapshot(pm)).lcores[0], {
    polls: 0,
    pps: 0,
    busyShare: 0,
    emptyShare: 0,
    burst: 0,
  });
});

t.test("latency of stamped packets", async (t) => {
  const pm = await start(t, ["net_ring0"], 1);
  const [ring] = pm.ports as [Port];
  const before = takeSnapshot(pm);
  await pm.forward(0, [
    { mode: "txonly", tx: { port: ring, queue: 0 }, stamp: true },
    { mode: "rxonly", rx: { port: ring, queue: 0 }, latency: true },
  ]);
  await pause(50);
  await pm.stop(0);
  const { latency, packets } = rates(before, takeSnapshot(pm)).lcores[0]!.counters;
  const stamped = latency.reduce((sum, count) => sum + count, 0);
  t.ok(stamped > 100 && stamped <= packets, `${stamped} of ${packets}`);
  const { p50, p99, max } = timesOf(latency)!;
  t.ok(p50 > 0 && p50 <= p99 && p99 <= max && p50 < 1e7, `${p50}, ${p99}, ${max} ns`);
});

t.test("an lcore that finds nothing is not busy", async (t) => {
  const pm = await start(t, ["net_ring0"], 1);
  await pm.forward(
    0,
    [{ mode: "rxonly" as never, rx: { port: pm.port(0), queue: 0 } }].map((one) => ({ ...one })),
  );
  const before = takeSnapshot(pm);
  await pause(100);
  const { lcores } = rates(before, takeSnapshot(pm));
  t.match(lcores[0], { busyShare: 0, emptyShare: 1, pps: 0, burst: 0 });
  t.ok(lcores[0]!.polls > 1000);
});

t.test("ports that are stopped, closed, detached", async (t) => {
  const pm = await start(t, ["net_null0", "net_null1", "net_null2"], 2);
  await pm.port(0).stop();
  await pm.port(1).close();
  const { ports } = takeSnapshot(pm);
  t.same(
    ports.map(({ state }) => state),
    ["stopped", "closed", "started"],
  );
  t.match(ports[1], {
    name: "net_null1",
    rxQueues: [],
    txQueues: [],
    link: { up: false },
    stats: { rxPackets: 0 },
  });
  await pm.detach(pm.port(1));
  t.same(
    takeSnapshot(pm).ports.map(({ id }) => id),
    [0, 2],
  );
});

t.test("four ports of four queues cost less than a millisecond", async (t) => {
  const pm = await start(t, ["net_null0", "net_null1", "net_null2", "net_null3"], 4);
  const times = Array.from({ length: 300 }, () => {
    const begin = performance.now();
    takeSnapshot(pm);
    return performance.now() - begin;
  });
  const median = times.sort((a, b) => a - b)[150]!;
  t.comment(`${(median * 1000).toFixed(0)} µs`);
  t.ok(median < 1, `${median} ms`);
});

t.test("an application is measured as forwarding is", async (t) => {
  const pm = await start(t, ["net_null0"], 1);
  const folder = t.testdir({
    "app.mjs": `export default ({ queues, rxBurst, free }) => {
      let polls = 0;
      return () => {
        if (polls++ % 4 !== 0) return 0;
        const got = rxBurst(queues[0], 16);
        free(got);
        return got;
      };
    };`,
  });
  const before = takeSnapshot(pm);
  await pm.run({ lcore: 0, app: pathToFileURL(`${folder}/app.mjs`), queues: [pm.port(0)] });
  await pause(200);
  await pm.stop(0);
  const { lcores } = rates(before, takeSnapshot(pm));
  const { burst, emptyShare, busyShare, counters } = lcores[0]!;
  t.match({ burst, emptyShare }, { burst: 16, emptyShare: 0.75 });
  t.equal(counters.bursts[16], counters.polls - counters.emptyPolls);
  t.ok(busyShare! > 0.05 && busyShare! <= 1, `busy ${busyShare}`);
  t.ok(timesOf(counters.pollTimes)!.p50 > 0 && counters.roundNsMax > 0);
});
