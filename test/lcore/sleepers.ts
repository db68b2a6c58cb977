// What tests ask of an lcore that may sleep (--rx-interrupt).
import { readFileSync } from "node:fs";
import { Lcore } from "../../src/hot/layout.ts";
import type { LcoreControl } from "../../src/lcore/lcores.ts";
import { until } from "../acceptance/support.ts";

/** Waits until it has fallen asleep once more than `before` times; returns how often it has. */
export async function sleepsAgain(lcore: LcoreControl, before = lcore.status().sleeps): Promise<number> {
  await until(`lcore ${lcore.id} sleeps`, () => lcore.status().sleeps > before);
  return lcore.status().sleeps;
}

/** CPU time that its thread has taken, ms: utime and stime of proc(5), in ticks of 10 ms. */
export function cpuMs(lcore: LcoreControl): number {
  const stat = readFileSync(`/proc/self/task/${lcore.get(Lcore.TID)}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
