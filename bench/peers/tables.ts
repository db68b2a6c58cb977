// The results as tables, for the terminal and for docs/benchmarks.md, which has everything else around them.
import { formatMachine, type Machine } from "../machine.ts";
import { number, table } from "../markdown.ts";
import type { RingLoopResult } from "../ring-loop/measure.ts";
import type { RowResult } from "./measure.ts";

export interface PeersResult {
  readonly machine: Machine;
  readonly rows: readonly RowResult[];
  readonly ringLoop: RingLoopResult | undefined;
  /** What could not be measured, and why. */
  readonly missing: readonly string[];
}

/** Markdown: it reads as well on a terminal. */
export function formatResult({ machine, rows, ringLoop, missing }: PeersResult): string {
  const parts = ["```", formatMachine(machine), "```"].join("\n");
  const tables = [parts];
  for (const group of new Set(rows.map((row) => row.group ?? "virtio-user")))
    tables.push(
      rowTable(
        group,
        rows.filter((row) => (row.group ?? "virtio-user") === group),
      ),
    );
  if (ringLoop) tables.push(ringTable(ringLoop));
  if (missing.length > 0) tables.push(missing.map((text) => `- Not measured: ${text}`).join("\n"));
  return tables.join("\n\n");
}

function rowTable(group: string, rows: readonly RowResult[]): string {
  return table(
    [group, "pollmode Mpps", "DPDK Mpps", "ratio", "pollmode ns", "DPDK ns", "ratio", "seconds", "left out"],
    rows.map(({ title, pollmode, dpdk, rateRatio, busyRatio }) => [
      title,
      number(pollmode.mpps),
      number(dpdk.mpps),
      `**${number(rateRatio)}**`,
      number(pollmode.busyNs) + (pollmode.busyDisturbed ? " ~" : ""),
      number(dpdk.busyNs) + (dpdk.busyDisturbed ? " ~" : ""),
      `**${number(busyRatio)}**`,
      `${pollmode.windows} / ${dpdk.windows}`,
      `${pollmode.near} / ${dpdk.near}`,
    ]),
  );
}

function ringTable({ rows, batch }: RingLoopResult): string {
  const apps = [...new Set(rows.map((row) => row.app))];
  const engines = [...new Set(rows.map((row) => row.engine))];
  const cell = (engine: string, app: string) => {
    const row = rows.find((candidate) => candidate.engine === engine && candidate.app === app);
    return row ? `${number(row.nsPerPacket)} (${number(row.ratioToC)})` : "-";
  };
  return table(
    [`ring loop, batch ${batch}, ns/packet (to C)`, ...apps],
    engines.map((engine) => [engine, ...apps.map((app) => cell(engine, app))]),
  );
}
