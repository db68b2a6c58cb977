// The results as tables, for the terminal and for docs/benchmarks.md, which has everything else around them.
import { PollmodeError } from "../../src/errors.ts";
import { formatMachine, type Machine } from "../machine.ts";
import type { RingLoopResult } from "../ring-loop/measure.ts";
import type { RowResult } from "./measure.ts";

export interface PeersResult {
  readonly machine: Machine;
  readonly rows: readonly RowResult[];
  readonly ringLoop: RingLoopResult | undefined;
  /** What could not be measured, and why. */
  readonly missing: readonly string[];
}

const begin = "<!-- results: written by npm run bench:peers -- --write -->";
const end = "<!-- end of results -->";

/** Markdown: it reads as well on a terminal. */
export function formatResult({ machine, rows, ringLoop, missing }: PeersResult): string {
  const parts = ["```", formatMachine(machine), "```"].join("\n");
  const tables = [parts];
  if (rows.length > 0) tables.push(rowTable(rows));
  if (ringLoop) tables.push(ringTable(ringLoop));
  if (missing.length > 0) tables.push(missing.map((text) => `- Not measured: ${text}`).join("\n"));
  return tables.join("\n\n");
}

function rowTable(rows: readonly RowResult[]): string {
  return table(
    [
      "virtio-user",
      "pollmode Mpps",
      "DPDK Mpps",
      "ratio",
      "pollmode ns",
      "DPDK ns",
      "ratio",
      "seconds",
      "left out",
    ],
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

function number(value: number | null): string {
  return value === null ? "-" : value.toFixed(2);
}

/** A Markdown table whose columns are aligned in its text, too. */
function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const widths = head.map((title, at) => Math.max(title.length, ...body.map((cells) => cells[at]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join(" | ")} |`;
  const rule = widths.map((width, at) => (at === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [line(head), line(rule), ...body.map(line)].join("\n");
}

/** The document with its results replaced by these. */
export function replaceResults(document: string, results: string, path: string): string {
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from) {
    const message = `${path} has no place for results`;
    throw new PollmodeError("NO_RESULTS_PLACE", message, `put the lines "${begin}" and "${end}" into it`);
  }
  return `${document.slice(0, from + begin.length)}\n\n${results}\n\n${document.slice(to)}`;
}
