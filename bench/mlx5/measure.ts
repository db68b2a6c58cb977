// Rates of the contenders, one after the other, forwards and backwards in turn, on one and the same emulated port.
import { setTimeout as pause } from "node:timers/promises";
import { describeError, PollmodeError } from "../../src/errors.ts";
import { Host } from "../../test/softmlx5/verify/host.ts";
import { Guard } from "../peers/guard.ts";
import { median } from "../ring-loop/median.ts";
import { type Contender, type Cpus, contenders, quit, startContender } from "./contenders.ts";
import type { Workload } from "./workloads.ts";

export interface Settings {
  readonly cpus: Cpus;
  /** Path of the C program that is made of verbs/. */
  readonly verbs: string;
  readonly reps: number;
  /** Windows of a run that are to count, one a second. */
  readonly seconds: number;
  /** A window with more foreign CPU time or more steal than this does not count; percent of one CPU. */
  readonly foreignPctMax: number;
  readonly say: (text: string) => void;
}

interface Rate {
  readonly contender: string;
  /** Median of all windows that count; null if none does. */
  readonly mpps: number | null;
  readonly windows: number;
  readonly dropped: number;
}

export interface WorkResult {
  readonly name: string;
  readonly title: string;
  readonly rates: readonly Rate[];
  /** What failed, and how. */
  readonly missing: readonly string[];
}

const windowMs = 1000;
/** Code is optimised by then, and the rings have filled. */
const warmupMs = 1500;
/** A run that is disturbed goes on for up to so many times its seconds. */
const patience = 2;

interface Windows {
  readonly pps: number[];
  dropped: number;
}

export async function measureWork(work: Workload, settings: Settings): Promise<WorkResult> {
  await using host = await Host.create({ ports: [{ wire: work.wire }], lossless: true });
  const windows = new Map<Contender, Windows>(contenders.map((one) => [one, { pps: [], dropped: 0 }]));
  const missing = new Map<Contender, string>();
  for (let rep = 0; rep < settings.reps; rep++) {
    const order = contenders.filter((one) => !missing.has(one));
    for (const contender of rep % 2 === 0 ? order : order.reverse()) {
      try {
        await measureRun(contender, work, host, settings, windows.get(contender)!);
      } catch (error) {
        missing.set(contender, `${work.name}, ${contender.name}: ${describeError(error).split("\n")[0]}`);
      }
    }
  }
  const rates = contenders.map((contender) => {
    const { pps, dropped } = windows.get(contender)!;
    const mpps = pps.length > 0 ? median(pps) / 1e6 : null;
    return { contender: contender.name, mpps, windows: pps.length, dropped };
  });
  return { name: work.name, title: work.title, rates, missing: [...missing.values()] };
}

async function measureRun(
  contender: Contender,
  work: Workload,
  host: Host,
  settings: Settings,
  into: Windows,
): Promise<void> {
  const { seconds, foreignPctMax, say } = settings;
  await using child = await startContender(contender, host, work, settings);
  await pause(warmupMs);
  const guard = new Guard([child.pid ?? 0]);
  const counted: number[] = [];
  let dropped = 0;
  let last = await read(host, work);
  while (counted.length < seconds && counted.length + dropped < patience * seconds) {
    await pause(windowMs);
    if (child.status) throw child.error("ended too early");
    const now = await read(host, work);
    const pps = (1000 * (now.packets - last.packets)) / (now.ms - last.ms);
    last = now;
    if (pps === 0) throw child.error("moves no packets");
    const { foreignPct, stealPct } = guard.next();
    if (Math.max(foreignPct, stealPct) > foreignPctMax) dropped++;
    else counted.push(pps);
  }
  await quit(child);
  const rate = counted.length > 0 ? `${(median(counted) / 1e6).toFixed(2)} Mpps` : "no quiet second";
  say(`${work.name} ${contender.name}: ${rate}, ${counted.length} s counted, ${dropped} dropped`);
  into.pps.push(...counted);
  into.dropped += dropped;
}

/** The device's own counter, and when it was read. */
async function read(host: Host, { meter }: Workload): Promise<{ ms: number; packets: number }> {
  const counters = await host.counters();
  const packets = counters[meter];
  if (packets !== undefined) return { ms: performance.now(), packets };
  const message = `the device has no counter ${meter}: ${Object.keys(counters).join(", ")}`;
  throw new PollmodeError("PEER_SILENT", message, "compare bench/mlx5/workloads.ts and test/softmlx5");
}
