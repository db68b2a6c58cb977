// What --stats-period adds below testpmd's blocks on a terminal: a line for each port, queue and lcore.
import { dropCauses, droppedRate } from "../../telemetry/causes.ts";
import { byPowerOfTwo, type Times, timesOf } from "../../telemetry/histogram.ts";
import type { LcoreRates, PortDrops, PortRates, QueueRates, Rates } from "../../telemetry/rates.ts";
import type { LcoreSnapshot, Snapshot } from "../../telemetry/snapshot.ts";
import { count, percent, rate, rateOr0, time } from "../../telemetry/units.ts";

interface Column {
  readonly title: string;
  readonly left?: boolean;
  /** Where the terminal is too narrow, 1 is left out first, then 2, … */
  readonly drop?: number;
}

const portColumns: readonly Column[] = [
  { title: "Port", left: true },
  { title: "Rx-pps" },
  { title: "Rx-bps", drop: 2 },
  { title: "Tx-pps" },
  { title: "Tx-bps", drop: 3 },
  { title: "Dropped" },
  { title: "by", left: true, drop: 1 },
];

const lcoreColumns: readonly Column[] = [
  { title: "lcore", left: true },
  { title: "CPU", drop: 5 },
  { title: "State", left: true, drop: 4 },
  { title: "Busy" },
  { title: "pps" },
  { title: "Burst" },
  { title: "Empty", drop: 3 },
  { title: "Poll 50/99/max", drop: 2 },
  { title: "Latency 50/99/99.9/max", drop: 1 },
];

/** Lines of at most `width` characters: ports and queues, lcores, bursts, memory. */
export function liveTables(snapshot: Snapshot, rates: Rates, width: number): string[] {
  const { pool } = snapshot;
  const lcores = rates.lcores.map((one, k) => lcoreRow(one, snapshot.lcores[k]!));
  const withTimes = rates.lcores.some(({ counters }) => timesOf(counters.latency));
  const columns = withTimes ? lcoreColumns : lcoreColumns.slice(0, -1);
  return [
    ...table(portColumns, rates.ports.flatMap(portRows), width),
    "",
    ...table(
      columns,
      lcores.map((row) => row.slice(0, columns.length)),
      width,
    ),
    ...rates.lcores.flatMap(burstLines),
    "",
    `mbufs in use: ${count(pool.inUse)} of ${count(pool.count)}`,
  ].map((line) => cut(line, width));
}

function portRows(port: PortRates): string[][] {
  const { rxQueues, txQueues, drops } = port;
  const by = Object.entries(dropCauses).flatMap(([cause, words]) => {
    const value = drops[cause as keyof PortDrops];
    return value > 0 ? [`${words} ${rate(value, "/s")}`] : [];
  });
  const row = [`${port.id}`, ...ways(port.rx, port.tx), rateOr0(droppedRate(drops), "/s"), by.join(", ")];
  const several = Math.max(rxQueues.length, txQueues.length);
  if (several < 2) return [row];
  const queues = Array.from({ length: several }, (_, k) => {
    const [rx, tx] = [rxQueues[k], txQueues[k]];
    return [`  q${k}`, ...ways(rx, tx), rateOr0((rx?.dropped ?? 0) + (tx?.dropped ?? 0), "/s"), ""];
  });
  return [row, ...queues];
}

type Way = Pick<QueueRates, "pps" | "bps">;

function ways(rx: Way | undefined, tx: Way | undefined): string[] {
  return [rx, tx].flatMap((way) => (way ? [rateOr0(way.pps, "pps"), rateOr0(way.bps, "bit/s")] : ["-", "-"]));
}

function lcoreRow(one: LcoreRates, { cpus, state }: LcoreSnapshot): string[] {
  const { pollTimes, latency } = one.counters;
  const poll = timesOf(pollTimes);
  const age = timesOf(latency);
  const list = (times: Times, names: readonly (keyof Times)[]) =>
    names.map((name) => time(times[name])).join(" / ");
  return [
    `${one.lcore}`,
    cpus.join(","),
    state,
    one.busyShare === undefined ? "-" : percent(one.busyShare),
    rateOr0(one.pps, "pps"),
    one.burst > 0 ? one.burst.toFixed(1) : "-",
    one.polls > 0 ? percent(one.emptyShare) : "-",
    poll ? list(poll, ["p50", "p99", "max"]) : "-",
    age ? list(age, ["p50", "p99", "p999", "max"]) : "-",
  ];
}

/** Shares of the polls that brought packets, by how many. */
function burstLines({ lcore, counters }: LcoreRates): string[] {
  const sizes = byPowerOfTwo(counters.bursts);
  const all = sizes.reduce((sum, polls) => sum + polls, 0);
  if (all === 0) return [];
  const parts = sizes.flatMap((polls, k) => {
    const [from, to] = [2 ** k, 2 ** (k + 1) - 1];
    const size = k === 0 || k === sizes.length - 1 ? `${from}` : `${from}-${to}`;
    return polls > 0 ? [`${size}: ${percent(polls / all)}`] : [];
  });
  return [`bursts of lcore ${lcore}: ${parts.join("   ")}`];
}

/** Columns as wide as their texts, two spaces apart. Where that is too wide, columns are left out. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): string[] {
  const all = [columns.map(({ title }) => title), ...rows];
  const widths = columns.map((_, k) => Math.max(...all.map((row) => row[k]!.length)));
  const total = widths.reduce((sum, one) => sum + one + 2, -2);
  if (total > width) {
    const last = Math.min(...columns.map(({ drop }) => drop ?? Number.POSITIVE_INFINITY));
    const keep = (_: unknown, k: number) => columns[k]!.drop !== last;
    if (last < Number.POSITIVE_INFINITY) {
      return table(
        columns.filter(keep),
        rows.map((row) => row.filter(keep)),
        width,
      );
    }
  }
  return all.map((row) => {
    const texts = row.map((text, k) =>
      columns[k]!.left ? text.padEnd(widths[k]!) : text.padStart(widths[k]!),
    );
    return texts.join("  ").trimEnd();
  });
}

function cut(line: string, width: number): string {
  return line.length <= width ? line : `${line.slice(0, Math.max(0, width - 1))}…`;
}
