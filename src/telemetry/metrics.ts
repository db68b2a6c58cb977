// /metrics: the snapshot's numbers in Prometheus' text format, written by prom-client.
import { readdirSync } from "node:fs";
import { Counter, Gauge, type Metric, Registry } from "prom-client";
import {
  type HistogramRow,
  histogramTable,
  type LcoreTotals,
  type MetricRow,
  metricTable,
  type Reading,
} from "./metric-table.ts";
import { rates } from "./rates.ts";
import { type Snapshot, type SnapshotSource, takeSnapshot } from "./snapshot.ts";
import { StallWatch } from "./stall.ts";

export class Metrics {
  readonly contentType: string;
  private readonly engine: SnapshotSource;
  private readonly registry = new Registry();
  private readonly watch = new StallWatch();
  private readonly totals = new Map<number, LcoreTotals>();
  private readonly numa: ReadonlyMap<number, number>;
  private previous: Snapshot;
  private reading: Reading | undefined;

  constructor(engine: SnapshotSource) {
    this.engine = engine;
    this.contentType = this.registry.contentType;
    this.previous = takeSnapshot(engine);
    this.numa = new Map(this.previous.lcores.map(({ lcore, cpus }) => [lcore, numaNode(cpus[0])]));
    for (const row of metricTable) this.register(row);
    for (const row of histogramTable) this.registry.registerMetric(countedHistogram(row, () => this.reading));
  }

  /** One scrape: all metrics as of now. */
  async text(): Promise<string> {
    this.reading = this.read();
    return this.registry.metrics();
  }

  close(): void {
    this.registry.clear();
    this.watch.close();
  }

  private read(): Reading {
    const snapshot = takeSnapshot(this.engine);
    const { seconds, lcores } = rates(this.previous, snapshot);
    this.previous = snapshot;
    for (const { lcore, busyShare, counters } of lcores) {
      const past = this.totals.get(lcore);
      const elapsedNs = seconds * 1e9;
      this.totals.set(lcore, {
        elapsedNs: (past?.elapsedNs ?? 0) + elapsedNs,
        busyNs: (past?.busyNs ?? 0) + elapsedNs * (busyShare ?? 0),
        bursts: counters.bursts.map((count, k) => count + (past?.bursts[k] ?? 0)),
        latency: counters.latency.map((count, k) => count + (past?.latency[k] ?? 0)),
      });
    }
    const { user, system } = process.cpuUsage();
    return {
      snapshot,
      lcores: this.totals,
      numa: this.numa,
      loop: this.watch.take(),
      process: {
        cpuSeconds: (user + system) / 1e6,
        residentBytes: process.memoryUsage.rss(),
        fds: readdirSync("/proc/self/fd").length - 1, // but for that of the listing itself
      },
    };
  }

  private register({ name, type, labels, help, read }: MetricRow): void {
    const samples = () => (this.reading ? read(this.reading) : []);
    const common = { name, help, labelNames: [...labels], registers: [this.registry] };
    if (type === "gauge") {
      new Gauge({
        ...common,
        collect() {
          this.reset();
          for (const [labels, value] of samples()) this.set(labels, value);
        },
      });
      return;
    }
    new Counter({
      ...common,
      collect() {
        this.reset();
        for (const [labels, value] of samples()) this.inc(labels, value);
      },
    });
  }
}

/** prom-client's own histograms observe one value at a time; here the lcores have counted already. */
function countedHistogram(row: HistogramRow, reading: () => Reading | undefined): Metric {
  const { name, help } = row;
  const type = "histogram";
  const values = () =>
    [...(reading()?.lcores ?? [])].flatMap(([lcore, totals]) => samples(row, lcore, totals));
  const metric = {
    name,
    help,
    type,
    get: async () => ({ name, help, type, values: values() }),
    reset: () => {},
  };
  return metric as unknown as Metric; // its type asks for more than the registry uses
}

function samples({ name, bounds, cells }: HistogramRow, lcore: number, totals: LcoreTotals) {
  const counted = cells(totals).filter(([, count]) => count > 0);
  const upTo = (bound: number) =>
    counted.reduce((sum, [value, count]) => (value <= bound ? sum + count : sum), 0);
  const bucket = (le: number | string, value: number) => ({
    metricName: `${name}_bucket`,
    labels: { lcore, le },
    value,
  });
  const all = upTo(Number.POSITIVE_INFINITY);
  const sum = counted.reduce((total, [value, count]) => total + value * count, 0);
  return [
    ...bounds.map((le) => bucket(le, upTo(le))),
    bucket("+Inf", all),
    { metricName: `${name}_sum`, labels: { lcore }, value: sum },
    { metricName: `${name}_count`, labels: { lcore }, value: all },
  ];
}

/** Linux shows a CPU's node as a link beside it; a machine without NUMA has node 0 alone. */
function numaNode(cpu: number | undefined): number {
  try {
    const names = readdirSync(`/sys/devices/system/cpu/cpu${cpu}`);
    return Number(names.map((name) => /^node(\d+)$/.exec(name)?.[1]).find((node) => node !== undefined) ?? 0);
  } catch {
    return 0;
  }
}
