// The metrics that /metrics serves: names, labels, meanings, and where each value comes from. docs/telemetry.md shows
// the same table; a test compares them.
//
// Names and labels that DPDK's usertools/dpdk-telemetry-exporter.py has (dpdk_counters_*, dpdk_cpu_*, dpdk_memory_*)
// are kept as they are there, so that dashboards made for it work. What it has not begins with pollmode_.
import type { PortStats } from "../ethdev/port.ts";
import { BURST_MAX } from "../limits.ts";
import { bucketBounds } from "./histogram.ts";
import type { LcoreSnapshot, PortSnapshot, QueueSnapshot, Snapshot } from "./snapshot.ts";
import type { LoopDelay } from "./stall.ts";

/** What a scrape reads its values from. */
export interface Reading {
  readonly snapshot: Snapshot;
  /** Counted since the server was started, by lcore. */
  readonly lcores: ReadonlyMap<number, LcoreTotals>;
  /** NUMA node by lcore. */
  readonly numa: ReadonlyMap<number, number>;
  readonly loop: LoopDelay;
  readonly process: { readonly cpuSeconds: number; readonly residentBytes: number; readonly fds: number };
}

/** What grows beyond what the arena's counters hold, or is no counter there. */
export interface LcoreTotals {
  readonly elapsedNs: number;
  readonly busyNs: number;
  /** Polls by the packets they brought. */
  readonly bursts: Float64Array;
  /** Stamped packets by bucket of their age. */
  readonly latency: Float64Array;
}

export type Labels = Readonly<Record<string, string | number>>;
export type Sample = readonly [labels: Labels, value: number];

export interface MetricRow {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly labels: readonly string[];
  readonly help: string;
  readonly read: (reading: Reading) => readonly Sample[];
}

export interface HistogramRow {
  readonly name: string;
  readonly help: string;
  /** Ascending. What is above the last is counted too. */
  readonly bounds: readonly number[];
  /** What was counted: values, and how often each. */
  readonly cells: (totals: LcoreTotals) => readonly (readonly [value: number, count: number])[];
}

const powersOfTwo = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, k) => 2 ** (from + k));

/** By lcore. */
export const histogramTable: readonly HistogramRow[] = [
  {
    name: "pollmode_lcore_burst_packets",
    help: "Packets that a poll brought, empty polls left out.",
    bounds: powersOfTwo(0, Math.log2(BURST_MAX)),
    cells: ({ bursts }) => Array.from(bursts, (count, size) => [size, count] as const),
  },
  {
    name: "pollmode_latency_seconds",
    help: "Age of the stamped packets that came in.",
    bounds: powersOfTwo(8, 27).map((ns) => ns / 1e9), // 256 ns to 134 ms: where buckets end
    cells: ({ latency }) =>
      Array.from(latency, (count, bucket) => {
        const { from, to } = bucketBounds(bucket);
        return [(from + to) / 2e9, count] as const;
      }),
  },
];

export const metricTable: readonly MetricRow[] = [
  port("rx_packets", "rxPackets", "Packets received."),
  port("rx_bytes", "rxBytes", "Bytes received, without CRC."),
  port("rx_missed", "rxMissed", "Packets that the device dropped because the receive rings were full."),
  port("rx_nombuf", "rxNoMbuf", "Times that a receive queue found no mbuf."),
  port("rx_errors", "rxErrors", "Packets received with errors, and dropped."),
  port("tx_packets", "txPackets", "Packets sent."),
  port("tx_bytes", "txBytes", "Bytes sent, without CRC."),
  port("tx_errors", "txErrors", "Packets that could not be sent for a fault of theirs."),
  {
    name: "dpdk_cpu_total_cycles",
    type: "counter",
    labels: ["cpu", "numa", "lcore"],
    help: "Time since the server was started, ns: cycles of 1 GHz.",
    read: (reading) =>
      lcores(reading, (lcore) => [cpuLabels(reading, lcore), totals(reading, lcore)?.elapsedNs]),
  },
  {
    name: "dpdk_cpu_busy_cycles",
    type: "counter",
    labels: ["cpu", "numa", "lcore"],
    help: "Time of it that the lcore was at work on packets, ns; a sampled estimate.",
    read: (reading) =>
      lcores(reading, (lcore) => [cpuLabels(reading, lcore), totals(reading, lcore)?.busyNs]),
  },
  {
    name: "dpdk_memory_total_bytes",
    type: "gauge",
    labels: [],
    help: "Memory for packets and rings (-m).",
    read: ({ snapshot }) => [[{}, snapshot.dma.bytes]],
  },
  {
    name: "dpdk_memory_used_bytes",
    type: "gauge",
    labels: [],
    help: "What is allocated of it.",
    read: ({ snapshot }) => [[{}, snapshot.dma.usedBytes]],
  },
  queue("rx", "packets", "packets", "Packets received by the queue."),
  queue("rx", "bytes", "bytes", "Bytes received by the queue."),
  queue("rx", "errors", "errors", "Packets that the queue dropped for their own fault."),
  queue("rx", "nombuf", "stalled", "Times that the queue found no mbuf."),
  queue("tx", "packets", "packets", "Packets sent by the queue."),
  queue("tx", "bytes", "bytes", "Bytes sent by the queue."),
  queue("tx", "errors", "errors", "Packets that the queue dropped for their own fault."),
  queue(
    "tx",
    "refused",
    "stalled",
    "Packets refused because the queue was full; not lost unless dropped by who sent them.",
  ),
  {
    name: "pollmode_queue_fault",
    type: "gauge",
    labels: ["port", "way", "queue", "fault"],
    help: "1: the queue has stopped itself, for its peer or device broke the rules.",
    read: ({ snapshot }) => snapshot.ports.flatMap(faults),
  },
  {
    name: "pollmode_dropped_packets",
    type: "counter",
    labels: ["port", "cause"],
    help: "Packets lost, by cause: rx_missed, rx_errors, rx_nombuf (times), by_mode (forwarding), tx_errors, tx_full.",
    read: ({ snapshot }) => snapshot.ports.flatMap((one) => dropped(one, snapshot.lcores)),
  },
  {
    name: "pollmode_xstats",
    type: "counter",
    labels: ["port", "name"],
    help: "The driver's own counters, as `show port xstats` names them.",
    read: ({ snapshot }) => snapshot.ports.flatMap(ownXstats),
  },
  {
    name: "pollmode_link_up",
    type: "gauge",
    labels: ["port"],
    help: "1: the port's link is up.",
    read: ({ snapshot }) => snapshot.ports.map(({ name, link }) => [{ port: name }, link.up ? 1 : 0]),
  },
  {
    name: "pollmode_link_speed_bits",
    type: "gauge",
    labels: ["port"],
    help: "The link's speed, bits a second; 0 where it means nothing.",
    read: ({ snapshot }) => snapshot.ports.map(({ name, link }) => [{ port: name }, link.speed * 1e6]),
  },
  {
    name: "pollmode_port_info",
    type: "gauge",
    labels: ["port", "id", "driver", "state"],
    help: "Always 1: the port's id, driver and state (started, stopped, closed).",
    read: ({ snapshot }) =>
      snapshot.ports.map(({ id, name, driver, state }) => [{ port: name, id, driver, state }, 1]),
  },
  {
    name: "pollmode_lcore_info",
    type: "gauge",
    labels: ["lcore", "cpus", "state"],
    help: "Always 1: the lcore's CPUs and state (waiting, running, stalled, failed).",
    read: ({ snapshot }) =>
      snapshot.lcores.map(({ lcore, cpus, state }) => [{ lcore, cpus: cpus.join(","), state }, 1]),
  },
  lcore("packets", "counter", "Packets that the lcore's polls brought.", ({ packets }) => packets),
  lcore("polls", "counter", "Polls of a queue.", ({ polls }) => polls),
  lcore("empty_polls", "counter", "Polls that brought nothing.", ({ emptyPolls }) => emptyPolls),
  lcore("sleeps", "counter", "Times it slept until an interrupt (--rx-interrupt).", ({ sleeps }) => sleeps),
  lcore(
    "round_max_seconds",
    "gauge",
    "Longest time between two rounds of 256 polls: the lcore was put off its CPU.",
    ({ counters }) => counters.roundNsMax / 1e9,
  ),
  {
    name: "pollmode_mbufs",
    type: "gauge",
    labels: ["pool"],
    help: "mbufs of the pool.",
    read: ({ snapshot: { pool } }) => [[{ pool: pool.name }, pool.count]],
  },
  {
    name: "pollmode_mbufs_in_use",
    type: "gauge",
    labels: ["pool"],
    help: "mbufs that rings, applications and packets under way hold.",
    read: ({ snapshot: { pool } }) => [[{ pool: pool.name }, pool.inUse]],
  },
  own(
    "process_cpu_seconds_total",
    "counter",
    "CPU time of the process, polling lcores included.",
    (r) => r.process.cpuSeconds,
  ),
  own(
    "process_resident_memory_bytes",
    "gauge",
    "Resident memory of the process.",
    (r) => r.process.residentBytes,
  ),
  own("process_open_fds", "gauge", "Open file descriptors.", (r) => r.process.fds),
  own(
    "nodejs_eventloop_lag_max_seconds",
    "gauge",
    "How late the main thread's event loop was at worst since the last scrape.",
    ({ loop }) => loop.maxMs / 1000,
  ),
  own(
    "nodejs_eventloop_lag_p99_seconds",
    "gauge",
    "The same, 99th percentile.",
    ({ loop }) => loop.p99Ms / 1000,
  ),
];

function port(stem: string, stat: keyof PortStats, help: string): MetricRow {
  return {
    name: `dpdk_counters_${stem}`,
    type: "counter",
    labels: ["port"],
    help,
    read: ({ snapshot }) => snapshot.ports.map(({ name, stats }) => [{ port: name }, stats[stat]]),
  };
}

type Counter = "packets" | "bytes" | "errors" | "stalled";

function queue(way: "rx" | "tx", stem: string, counter: Counter, help: string): MetricRow {
  const queuesOf = ({ rxQueues, txQueues }: PortSnapshot): readonly QueueSnapshot[] =>
    way === "rx" ? rxQueues : txQueues;
  return {
    name: `pollmode_${way}_queue_${stem}`,
    type: "counter",
    labels: ["port", "queue"],
    help,
    read: ({ snapshot }) =>
      snapshot.ports.flatMap((one) =>
        queuesOf(one).map((queue, k): Sample => [{ port: one.name, queue: k }, queue[counter]]),
      ),
  };
}

function lcore(
  stem: string,
  type: MetricRow["type"],
  help: string,
  value: (lcore: LcoreSnapshot) => number,
): MetricRow {
  const read = ({ snapshot }: Reading) =>
    snapshot.lcores.map((one): Sample => [{ lcore: one.lcore }, value(one)]);
  return { name: `pollmode_lcore_${stem}`, type, labels: ["lcore"], help, read };
}

function own(
  name: string,
  type: MetricRow["type"],
  help: string,
  value: (reading: Reading) => number,
): MetricRow {
  return { name, type, labels: [], help, read: (reading) => [[{}, value(reading)]] };
}

function lcores(
  { snapshot }: Reading,
  sample: (lcore: LcoreSnapshot) => [Labels, number | undefined],
): Sample[] {
  return snapshot.lcores.map(sample).filter((one): one is [Labels, number] => one[1] !== undefined);
}

function totals({ lcores }: Reading, { lcore }: LcoreSnapshot): LcoreTotals | undefined {
  return lcores.get(lcore);
}

function cpuLabels({ numa }: Reading, { lcore, cpus }: LcoreSnapshot): Labels {
  return { cpu: cpus.join(","), numa: numa.get(lcore) ?? 0, lcore };
}

function faults({ name, rxQueues, txQueues }: PortSnapshot): Sample[] {
  const of = (way: string, queues: readonly QueueSnapshot[]) =>
    queues.flatMap(({ fault }, queue): Sample[] => (fault ? [[{ port: name, way, queue, fault }, 1]] : []));
  return [...of("rx", rxQueues), ...of("tx", txQueues)];
}

function dropped({ id, name, stats }: PortSnapshot, lcores: readonly LcoreSnapshot[]): Sample[] {
  const streams = lcores.flatMap(({ streams }) => streams);
  const causes = {
    rx_missed: stats.rxMissed,
    rx_errors: stats.rxErrors,
    rx_nombuf: stats.rxNoMbuf,
    by_mode: streams.reduce((sum, { rx, byMode }) => (rx?.port === id ? sum + byMode : sum), 0),
    tx_errors: stats.txErrors,
    tx_full: streams.reduce((sum, { tx, txDropped }) => (tx?.port === id ? sum + txDropped : sum), 0),
  };
  return Object.entries(causes).map(([cause, value]) => [{ port: name, cause }, value]);
}

/** The queues' are metrics of their own. */
function ownXstats({ name: port, xstats }: PortSnapshot): Sample[] {
  return Object.entries(xstats)
    .filter(([name]) => !/^[rt]x_q\d+_/.test(name))
    .map(([name, value]) => [{ port, name }, value]);
}
