// What the soak measures, and when it has failed: apart from the soak, so that a test can show that each of its
// criteria fails (soak.test.ts).
import { readdirSync, readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Holdings, holdings } from "../acceptance/leaks.ts";

/** What an event loop may be late by, for reasons of its own. */
const STALL_MS_MAX = 50;
export const TICK_MS = 10;
const HEAP_MIB_GROWTH_MAX = 4;
/** V8's young generation alone breathes by half of it. */
const RSS_MIB_GROWTH_MAX = 32;
/** V8's heap pages come and go. */
const MAPS_GROWTH_MAX = 40;

/** ms that a thread ran, and was ready to run while others had the CPUs (Documentation/scheduler/sched-stats). */
interface Account {
  readonly ran: number;
  readonly waited: number;
}

/** Each thread of this process at one time. */
export interface Sample {
  readonly nowMs: number;
  readonly threads: ReadonlyMap<number, Account>;
}

function takeSample(): Sample {
  const threads = new Map<number, Account>();
  for (const id of readdirSync("/proc/self/task").map(Number)) {
    try {
      const [ran, waited] = readFileSync(`/proc/self/task/${id}/schedstat`, "utf8").split(" ").map(Number);
      threads.set(id, { ran: ran! / 1e6, waited: waited! / 1e6 });
    } catch {
      // it has ended meanwhile
    }
  }
  return { nowMs: performance.now(), threads };
}

export interface Stall {
  readonly lateMs: number;
  /** Of it: the main thread ran, or slept for another reason than that a helper of its had no CPU. */
  readonly ownMs: number;
}

/** Which threads the samples are of. */
export interface Threads {
  readonly main: number;
  readonly lcores: ReadonlySet<number>;
}

/**
 * How late the second of two samples is, which were to be taken TICK_MS apart; undefined where it is late by no more
 * than it may be. With as many polling lcores as CPUs the main thread has to wait for one, and so do V8's helpers,
 * which it waits for when garbage is collected: that is the system's delay, and no stall of ours.
 */
export function stallBetween(before: Sample, after: Sample, { main, lcores }: Threads): Stall | undefined {
  const gapMs = after.nowMs - before.nowMs;
  const lateMs = gapMs - TICK_MS;
  if (lateMs <= STALL_MS_MAX) return undefined;
  const since = (id: number, what: keyof Account) =>
    after.threads.get(id)![what] - (before.threads.get(id)?.[what] ?? 0);
  const helpers = [...after.threads.keys()].filter((id) => id !== main && !lcores.has(id));
  const helperWaited = Math.max(0, ...helpers.map((id) => since(id, "waited")));
  const [ran, waited] = [since(main, "ran"), since(main, "waited")];
  return { lateMs, ownMs: ran + Math.max(0, gapMs - ran - waited - helperWaited) };
}

/** The stalls that the main thread itself is to blame for. */
export function ownStalls(stalls: readonly Stall[]): Stall[] {
  return stalls.filter(({ ownMs }) => ownMs > STALL_MS_MAX);
}

/** Notes where the event loop is late, until end(). */
export function watchStalls(lcores: ReadonlySet<number>): { stalls: Stall[]; end(): void } {
  const stalls: Stall[] = [];
  const threads = { main: process.pid, lcores };
  let before = takeSample();
  const timer = setInterval(() => {
    const after = takeSample();
    const stall = stallBetween(before, after, threads);
    if (stall) stalls.push(stall);
    before = after;
  }, TICK_MS);
  return { stalls, end: () => clearInterval(timer) };
}

export interface Size extends Holdings {
  readonly heapMib: number;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Of this process, without what is garbage. */
export function takeSize(): Size {
  collectGarbage();
  collectGarbage();
  return { ...holdings(), heapMib: process.memoryUsage().heapUsed / 2 ** 20 };
}

/** What has grown by more than it may between two sizes, in words; nothing: memory is flat, and nothing is kept. */
export function growth(warm: Size, end: Size): string[] {
  const limits: Partial<Record<keyof Size, number>> = {
    heapMib: HEAP_MIB_GROWTH_MAX,
    rssMib: RSS_MIB_GROWTH_MAX,
    maps: MAPS_GROWTH_MAX,
  };
  return (Object.keys(warm) as (keyof Size)[])
    .filter((what) => {
      const limit = limits[what];
      // descriptors, threads, pages laid over the arena: as many as before
      return limit === undefined ? end[what] !== warm[what] : end[what] - warm[what] >= limit;
    })
    .map((what) => `${what}: ${round(warm[what])}, then ${round(end[what])}`);
}

const round = (value: number) => Math.round(value * 10) / 10;
