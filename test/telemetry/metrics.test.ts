import { readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { Lcore } from "../../src/hot/layout.ts";
import { Pollmode, type Port, type PortStats } from "../../src/index.ts";
import { histogramTable, metricTable } from "../../src/telemetry/metric-table.ts";
import { Metrics } from "../../src/telemetry/metrics.ts";
import { repositoryRoot } from "../beds/paths.ts";
import { type Exposition, parseExposition } from "./exposition.ts";

t.setTimeout(60_000);
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

async function start(t: Test, vdev: string[]): Promise<Pollmode> {
  const pm = await Pollmode.start({ lcores: "0", vdev, noHuge: true, memoryMib: 16, mbufs: 2048 });
  t.teardown(() => pm.close());
  for (const port of pm.ports) {
    await port.configure({ rxQueues: 2, txQueues: 2 });
    await port.start();
  }
  return pm;
}

function metricsOf(t: Test, pm: ConstructorParameters<typeof Metrics>[0]): Metrics {
  const metrics = new Metrics(pm);
  t.teardown(() => metrics.close());
  return metrics;
}

type Labels = Record<string, string>;

function value({ samples }: Exposition, name: string, labels: Labels = {}): number | undefined {
  const found = samples.filter((one) => one.name === name);
  return found.find((one) => Object.entries(labels).every(([key, text]) => one.labels[key] === text))?.value;
}

/** DPDK's dpdk-telemetry-exporter.py, usertools/telemetry-endpoints/counters.py: names and what they are of. */
const dpdkCounters: Record<string, keyof PortStats> = {
  rx_packets: "rxPackets",
  rx_bytes: "rxBytes",
  rx_missed: "rxMissed",
  rx_nombuf: "rxNoMbuf",
  rx_errors: "rxErrors",
  tx_packets: "txPackets",
  tx_bytes: "txBytes",
  tx_errors: "txErrors",
};

t.test("what is served is what ports and lcores have counted", async (t) => {
  const pm = await start(t, ["net_null0", "net_ring0"]);
  const metrics = metricsOf(t, pm);
  const [source, sink] = pm.ports as [Port, Port];
  await pm.forward(0, [{ mode: "io", rx: { port: source, queue: 1 }, tx: { port: sink, queue: 0 } }]);
  await pause(100);
  const early = parseExposition(await metrics.text());
  await pm.stop(0);
  const found = parseExposition(await metrics.text());
  for (const port of pm.ports) {
    const stats = port.stats();
    for (const [name, stat] of Object.entries(dpdkCounters)) {
      t.equal(
        value(found, `dpdk_counters_${name}`, { port: port.name }),
        stats[stat],
        `${port.name} ${name}`,
      );
    }
    for (const [name, count] of Object.entries(port.xstats())) {
      const [, way, queue, stem] = /^([rt]x)_q(\d)_(\w+)$/.exec(name)!;
      const metric = `pollmode_${way}_queue_${stem!.replace("no_mbuf", "nombuf")}`;
      t.equal(value(found, metric, { port: port.name, queue: queue! }), count, `${port.name} ${name}`);
    }
  }
  const dropped = source.stats().rxPackets - sink.stats().txPackets;
  t.ok(dropped > 0);
  t.equal(value(found, "pollmode_dropped_packets", { port: "net_ring0", cause: "tx_full" }), dropped);
  const { polls, packets } = pm.lcores.all[0]!.status();
  t.equal(value(found, "pollmode_lcore_polls", { lcore: "0" }), polls);
  t.equal(value(found, "pollmode_lcore_packets", { lcore: "0" }), packets);
  t.equal(value(found, "pollmode_mbufs_in_use", { pool: "mbufs" }), pm.pool.count - pm.pool.available());
  t.equal(value(found, "pollmode_link_up", { port: "net_null0" }), 1);
  t.equal(value(found, "pollmode_lcore_info", { lcore: "0", state: "waiting" }), 1);
  const [busy, total] = ["busy", "total"].map(
    (name) => value(found, `dpdk_cpu_${name}_cycles`, { lcore: "0" })!,
  );
  t.ok(busy! > 0 && busy! <= total!, `${busy} of ${total} ns`);
  for (const { name, value: before, labels } of early.samples) {
    if (early.types.get(name) !== "counter") continue;
    t.ok(value(found, name, labels)! >= before, `${name} never falls`);
  }
});

t.test("histograms: cumulative, and their sums are the lcore's own counts", async (t) => {
  const pm = await start(t, ["net_null0"]);
  const metrics = metricsOf(t, pm);
  await pm.forward(0, [{ mode: "rxonly", rx: { port: pm.port(0), queue: 0 } }], { burst: 24 });
  await pause(50);
  await pm.stop(0);
  const lcore = pm.lcores.all[0]!;
  const ages = lcore.get(Lcore.LATENCY_HISTOGRAM) >>> 2;
  pm.arena.u32[ages + 40] = 3; // ns
  const found = parseExposition(await metrics.text());
  const { packets, polls, emptyPolls } = lcore.status();
  const bursts = "pollmode_lcore_burst_packets";
  t.equal(found.types.get(bursts), "histogram");
  t.equal(value(found, `${bursts}_sum`), packets);
  t.equal(value(found, `${bursts}_count`), polls - emptyPolls);
  t.equal(value(found, `${bursts}_bucket`, { le: "16" }), 0);
  t.equal(value(found, `${bursts}_bucket`, { le: "32" }), polls - emptyPolls);
  for (const { name } of histogramTable) {
    const buckets = found.samples.filter((one) => one.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => Number(labels.le!.replace("+Inf", "Infinity")));
    t.same(
      bounds,
      [...bounds].sort((a, b) => a - b),
      name,
    );
    t.ok(
      buckets.every(({ value }, k) => k === 0 || value >= buckets[k - 1]!.value),
      "cumulative",
    );
    t.equal(buckets.at(-1)!.value, value(found, `${name}_count`), "+Inf has all");
  }
  t.equal(value(found, "pollmode_latency_seconds_count"), 3);
  t.ok(Math.abs(value(found, "pollmode_latency_seconds_sum")! - 3 * 40.5e-9) < 3e-9);
});

t.test("every metric has its type and help, and stands in docs/telemetry.md", async (t) => {
  const pm = await start(t, ["net_null0"]);
  const found = parseExposition(await metricsOf(t, pm).text());
  const rows = [
    ...metricTable,
    ...histogramTable.map(({ name, help }) => ({ name, help, type: "histogram", labels: ["lcore"] })),
  ];
  t.same(
    [...found.types],
    rows.map(({ name, type }) => [name, type]),
  );
  t.same(
    [...found.helps],
    rows.map(({ name, help }) => [name, help]),
  );
  const names = new Set(found.samples.map(({ name }) => name.replace(/_(bucket|sum|count)$/, "")));
  for (const name of names) t.ok(found.types.has(name), name);
  for (const { name, labels } of found.samples) {
    const row = rows.find((one) => one.name === name);
    if (row) t.same(Object.keys(labels).sort(), [...row.labels].sort(), name);
  }
  const root = dirname(realpathSync(join(repositoryRoot, "package.json")));
  const lines = readFileSync(join(root, "docs/telemetry.md"), "utf8").split("\n");
  const start_ = lines.indexOf("| metric | type | labels | meaning |");
  const documented = lines.slice(start_ + 2).filter((line) => line.startsWith("|"));
  const wanted = rows.map(
    ({ name, type, labels, help }) => `| ${name} | ${type} | ${labels.join(", ")} | ${help} |`,
  );
  t.same(documented, wanted);
});

t.test("a port's name may hold anything; queues that stopped are named", async (t) => {
  const name = 'a"b\\c\nd';
  const pm = await start(t, ["net_null0"]);
  const port = pm.port(0);
  const odd = Object.create(port, { name: { value: name } }) as Port;
  pm.arena.u32[(port.rxQueues[1]! + 8) >>> 2] = 2; // Queue.ERROR: BAD_USED_ID
  const { arena, lcores, pool, dma } = pm;
  const found = parseExposition(await metricsOf(t, { arena, lcores, pool, dma, ports: [odd] }).text());
  t.equal(value(found, "pollmode_link_up", { port: name }), 1);
  t.equal(
    value(found, "pollmode_queue_fault", { port: name, way: "rx", queue: "1", fault: "BAD_USED_ID" }),
    1,
  );
});

t.test("the reader refuses what is no exposition", async (t) => {
  for (const text of [
    "a 1",
    "a{b=c} 1\n",
    'a{b="c} 1\n',
    "a one\n",
    "1a 1\n",
    "a 1\na 1\n",
    'a{b="\\x"} 1\n',
  ]) {
    t.throws(() => parseExposition(text), text);
  }
  t.same(parseExposition('a{b="x\\"y\\\\",c="z"} 1e3\n').samples, [
    { name: "a", labels: { b: 'x"y\\', c: "z" }, value: 1000 },
  ]);
});
