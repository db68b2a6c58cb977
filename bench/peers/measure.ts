// One row: both frontends in turn against one backend, second by second as the backend counts them, so that one meter
// serves both; seconds in which others used the CPUs do not count.
import { setTimeout as pause } from "node:timers/promises";
import { PollmodeError } from "../../src/errors.ts";
import { Testpmd } from "../../test/beds/dpdk.ts";
import { median } from "../ring-loop/median.ts";
import {
  type Cpus,
  lcores,
  type StartFrontend,
  startDpdk,
  startPollmode,
  testpmdMib,
  testpmdOptions,
} from "./frontends.ts";
import { Guard } from "./guard.ts";
import type { Row } from "./rows.ts";

export interface Settings {
  readonly cpus: Cpus;
  readonly reps: number;
  /** Windows of a run that are to count, one a second. */
  readonly seconds: number;
  /** A window with more foreign CPU time or more steal than this does not count; percent of one CPU. */
  readonly foreignPctMax: number;
  readonly say: (text: string) => void;
}

/** One start of one frontend. */
export interface Run {
  /** Packets a second in each window that counts. */
  readonly windows: readonly number[];
  readonly dropped: number;
  /** The median window's. */
  readonly foreignPct: number;
  readonly busyNs: number | null;
}

export interface Side {
  readonly mpps: number | null;
  readonly busyNs: number | null;
  /** No run was free of contention from beginning to end, so the busy time holds that of others too. */
  readonly busyDisturbed: boolean;
  readonly windows: number;
  /** Runs left out by withoutNearSpells. */
  readonly near: number;
  readonly dropped: number;
}

export interface RowResult {
  readonly name: string;
  readonly title: string;
  /** The driver, where it is not net_virtio_user. */
  readonly group?: string;
  readonly pollmode: Side;
  readonly dpdk: Side;
  /** pollmode by DPDK: above 1 is faster. */
  readonly rateRatio: number | null;
  /** pollmode by DPDK: below 1 is cheaper. */
  readonly busyRatio: number | null;
}

const lookMs = 100;
/** A run this much faster than the slowest was made while the CPUs were near each other; runs alike differ by 10 %. */
const nearRatio = 1.3;
/** A run that is disturbed goes on for up to so many times its seconds. */
const patience = 2;
const connectTimeoutMs = 20_000;
const blockTimeoutMs = 10_000;

const frontends: Record<"pollmode" | "dpdk", StartFrontend> = { pollmode: startPollmode, dpdk: startDpdk };

export function startBackend(mode: Row["backend"], socket: string, { backend }: Cpus): Promise<Testpmd> {
  const memory = ["-m", `${testpmdMib}`];
  return Testpmd.start({
    eal: [
      "--lcores",
      lcores(backend, backend),
      "--no-pci",
      ...memory,
      `--vdev=net_vhost0,iface=${socket},queues=1`,
    ],
    app: [...testpmdOptions, `--forward-mode=${mode}`, "--stats-period", "1"],
  });
}

export async function measureRow(
  row: Row,
  backend: Testpmd,
  socket: string,
  settings: Settings,
): Promise<RowResult> {
  const runs: Record<keyof typeof frontends, Run[]> = { pollmode: [], dpdk: [] };
  for (let rep = 0; rep < settings.reps; rep++) {
    for (const who of rep % 2 === 0 ? (["pollmode", "dpdk"] as const) : (["dpdk", "pollmode"] as const)) {
      const run = await measureRun(frontends[who], row, backend, socket, settings);
      runs[who].push(run);
      settings.say(`${row.name} ${who}: ${describeRun(run)}`);
    }
  }
  const [pollmode, dpdk] = [summarize(runs.pollmode), summarize(runs.dpdk)];
  return {
    name: row.name,
    title: row.title,
    pollmode,
    dpdk,
    rateRatio: ratio(pollmode.mpps, dpdk.mpps),
    busyRatio: ratio(pollmode.busyNs, dpdk.busyNs),
  };
}

async function measureRun(
  start: StartFrontend,
  row: Row,
  backend: Testpmd,
  socket: string,
  settings: Settings,
): Promise<Run> {
  const frontend = await start(row, socket, settings.cpus);
  const windows: number[] = [];
  const foreign: number[] = [];
  let dropped = 0;
  const next = () => nextBlock(backend, row.meter, () => frontend.check());
  try {
    const deadline = performance.now() + connectTimeoutMs;
    while ((await next()) === 0) {
      if (performance.now() < deadline) continue;
      const message = `${row.name}: no packets after ${connectTimeoutMs / 1000} s`;
      throw new PollmodeError("PEER_SILENT", message, "run it by hand, with the backend beside it");
    }
    await next(); // compilers and caches warm up
    const guard = new Guard([frontend.pid, backend.pid ?? 0]);
    while (windows.length < settings.seconds && windows.length + dropped < patience * settings.seconds) {
      const pps = await next();
      const { foreignPct, stealPct } = guard.next();
      foreign.push(foreignPct);
      if (Math.max(foreignPct, stealPct) > settings.foreignPctMax) dropped++;
      else windows.push(pps);
    }
  } catch (error) {
    await frontend.finish().catch(() => {}); // what went wrong first is what matters
    throw error;
  }
  return { windows, dropped, foreignPct: median(foreign), busyNs: await frontend.finish() };
}

function describeRun({ windows, dropped, foreignPct, busyNs }: Run): string {
  const rate = windows.length > 0 ? `${(median(windows) / 1e6).toFixed(2)} Mpps` : "no quiet second";
  const busy = busyNs === null ? "" : `, ${busyNs.toFixed(1)} ns busy`;
  const others = `others used ${foreignPct.toFixed(1)} % of a CPU`;
  return `${rate}${busy}, ${windows.length} s counted, ${dropped} dropped, ${others}`;
}

/** Waits for the backend's next block of statistics and returns the rate in it. */
async function nextBlock(backend: Testpmd, meter: Row["meter"], check: () => void): Promise<number> {
  const seen = backend.samples.length;
  const deadline = performance.now() + blockTimeoutMs;
  for (;;) {
    await pause(lookMs);
    check();
    const { samples } = backend;
    if (samples.length > seen) return samples.at(-1)![0]![meter];
    if (performance.now() < deadline) continue;
    const line = backend.output.trimEnd().split("\n").at(-1) ?? "";
    const message = `the backend has printed nothing for ${blockTimeoutMs / 1000} s; its last line: ${line}`;
    throw new PollmodeError("BACKEND_SILENT", message, "see that nothing else keeps it from its CPU");
  }
}

/**
 * The runs without those far above the slowest. A host may put a virtual machine's two CPUs onto one core for a while:
 * cache lines then change hands for next to nothing, either frontend is half as fast again, and a median over both
 * kinds of runs says only how many there were of each.
 */
export function withoutNearSpells(runs: readonly Run[]): Run[] {
  const measured = runs.filter(({ windows }) => windows.length > 0);
  const clean = measured.filter(({ dropped }) => dropped === 0); // a disturbed run's rate is no measure for the others
  const rates = (clean.length > 0 ? clean : measured).map(({ windows }) => median(windows));
  const limit = nearRatio * Math.min(...rates);
  return runs.filter(({ windows }) => windows.length === 0 || median(windows) <= limit);
}

/** Medians over all windows that count, and over the runs' busy times: those of undisturbed runs, if there are any. */
export function summarize(all: readonly Run[]): Side {
  const runs = withoutNearSpells(all);
  const windows = runs.flatMap((run) => run.windows);
  const dropped = runs.reduce((sum, run) => sum + run.dropped, 0);
  const busy = (some: readonly Run[]) => some.map((run) => run.busyNs).filter((ns) => ns !== null);
  const clean = busy(runs.filter((run) => run.dropped === 0));
  const times = clean.length > 0 ? clean : busy(runs);
  return {
    mpps: windows.length > 0 ? median(windows) / 1e6 : null,
    busyNs: times.length > 0 ? median(times) : null,
    busyDisturbed: clean.length === 0 && times.length > 0,
    windows: windows.length,
    near: all.length - runs.length,
    dropped,
  };
}

function ratio(a: number | null, b: number | null): number | null {
  return a === null || b === null || b === 0 ? null : a / b;
}
