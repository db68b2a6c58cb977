// Rows without a backend of their own to meter them: pollmode and DPDK take turns at the same work, run by run.
import { describeError } from "../../src/errors.ts";
import { median } from "../ring-loop/median.ts";
import type { Contention } from "./guard.ts";
import type { RowResult, Run, Settings, Side } from "./measure.ts";

export type Who = "pollmode" | "dpdk";

/** A row as options and tables name it, and one run of one of the two. */
export interface Turns {
  readonly name: string;
  readonly title: string;
  /** The driver. */
  readonly group: string;
  run(who: Who): Promise<Run>;
  summarize(runs: readonly Run[]): Side;
}

/** Ours, theirs, theirs, ours, … */
export async function takeTurns(row: Turns, { reps, say }: Settings): Promise<RowResult> {
  const runs: Record<Who, Run[]> = { pollmode: [], dpdk: [] };
  for (let rep = 0; rep < reps; rep++) {
    for (const who of rep % 2 === 0 ? (["pollmode", "dpdk"] as const) : (["dpdk", "pollmode"] as const)) {
      const run = await row.run(who);
      runs[who].push(run);
      say(`${row.name} ${who}: ${describeRun(run)}`);
    }
  }
  const [pollmode, dpdk] = [row.summarize(runs.pollmode), row.summarize(runs.dpdk)];
  const ratio = (a: number | null, b: number | null) => (a && b ? a / b : null);
  const [rateRatio, busyRatio] = [ratio(pollmode.mpps, dpdk.mpps), ratio(pollmode.busyNs, dpdk.busyNs)];
  return { name: row.name, title: row.title, group: row.group, pollmode, dpdk, rateRatio, busyRatio };
}

function describeRun({ windows, busyNs, foreignPct }: Run): string {
  const mpps = windows.length > 0 ? (median(windows) / 1e6).toFixed(2) : "no";
  const busy = busyNs === null ? "" : `, ${busyNs.toFixed(1)} ns busy`;
  return `${mpps} Mpps${busy}, others used ${foreignPct.toFixed(1)} % of a CPU`;
}

/** Measures what is wanted of `rows`. One that fails does not take the others with it. */
export async function measureEach<Named extends { readonly name: string }>(
  rows: readonly Named[],
  wanted: ReadonlySet<string>,
  measure: (row: Named) => Promise<RowResult>,
  { results, missing }: { results: RowResult[]; missing: string[] },
): Promise<void> {
  for (const row of rows) {
    if (!wanted.has(row.name)) continue;
    try {
      results.push(await measure(row));
    } catch (error) {
      missing.push(`${row.name}: ${describeError(error).split("\n")[0]}`);
    }
  }
}

/** A run in which others were at work counts for nothing. */
export function counted(
  pps: readonly number[],
  { foreignPct, stealPct }: Contention,
  limit: number,
  busyNs: number | null = null,
): Run {
  const quiet = Math.max(foreignPct, stealPct) <= limit;
  return { windows: quiet ? pps : [], dropped: quiet ? 0 : pps.length, foreignPct, busyNs };
}

/** Medians of what counts, where each works on one CPU alone: how near the CPUs are does not matter. */
export function summarizeAlone(runs: readonly Run[]): Side {
  const windows = runs.flatMap((run) => run.windows);
  const dropped = runs.reduce((sum, run) => sum + run.dropped, 0);
  const mpps = windows.length > 0 ? median(windows) / 1e6 : null;
  return { mpps, busyNs: null, busyDisturbed: false, windows: windows.length, near: 0, dropped };
}
