// The contention guard: how much CPU time others used while a second was measured. On a machine with two CPUs both of
// which poll, whatever else runs takes time from what is measured; such a second does not count, whoever's it was.
import { readFileSync } from "node:fs";

/** USER_HZ, in which Linux on x86-64 reports CPU time. */
const TICK_MS = 10;

export interface Contention {
  /** CPU time of processes that are no part of the bench, and time the hypervisor took; percent of one CPU. */
  readonly foreignPct: number;
  readonly stealPct: number;
}

interface Reading {
  readonly ms: number;
  readonly busyTicks: number;
  readonly stealTicks: number;
  readonly ownTicks: number;
}

export class Guard {
  readonly #pids: readonly number[];
  #last: Reading;

  /** `pids`: the processes of the bench, beside this one. */
  constructor(pids: readonly number[]) {
    this.#pids = [...pids, process.pid];
    this.#last = this.#read();
  }

  /** The contention since the last call, or since the beginning. */
  next(): Contention {
    const now = this.#read();
    const last = this.#last;
    this.#last = now;
    const percent = (ticks: number) => (100 * ticks * TICK_MS) / (now.ms - last.ms);
    const foreign = now.busyTicks - last.busyTicks - (now.ownTicks - last.ownTicks);
    return { foreignPct: percent(foreign), stealPct: percent(now.stealTicks - last.stealTicks) };
  }

  #read(): Reading {
    const { busyTicks, stealTicks } = parseCpuTicks(readFileSync("/proc/stat", "utf8"));
    const ownTicks = this.#pids.reduce((sum, pid) => sum + processTicks(pid), 0);
    return { ms: performance.now(), busyTicks, stealTicks, ownTicks };
  }
}

/** The first line of /proc/stat: all CPUs together. Idle, or waiting for a disk, is not busy. */
export function parseCpuTicks(stat: string): Pick<Reading, "busyTicks" | "stealTicks"> {
  const fields = stat.slice(0, stat.indexOf("\n")).trim().split(/\s+/).slice(1).map(Number);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = fields;
  return { busyTicks: user + nice + system + irq + softirq, stealTicks: steal };
}

/** CPU time of all threads of a process; 0 when it is gone. */
function processTicks(pid: number): number {
  try {
    return parseProcessTicks(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return 0;
  }
}

/** utime + stime. The name in parentheses before them may hold anything. */
export function parseProcessTicks(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
