// What looking at the clock costs. The poll loop times each poll of every 64th round, so every time it records holds
// one look at the clock and the recording of it: for a poll that takes 10 ns that is most of what is seen.
import { setTimeout as pause } from "node:timers/promises";
import { Lcore } from "../../src/hot/layout.ts";
import type { LcoreControl } from "../../src/lcore/lcores.ts";
import type { Pollmode } from "../../src/pollmode.ts";
import { difference, readLcore } from "../../src/telemetry/counters.ts";
import { toHdr } from "../../src/telemetry/histogram.ts";

/** Long enough for some hundred clocked rounds, and for the loop to be compiled well. */
const CALIBRATION_MS = 100;

/**
 * Lets an lcore that waits run its real loop with nothing to poll: what its histogram then shows is the clock. The
 * median, for the mean would count the times that the lcore was put off its CPU.
 */
export async function clockCost(engine: Pollmode, lcore: LcoreControl): Promise<number> {
  lcore.set(Lcore.STREAMS, 0);
  await engine.lcores.launch(lcore, { kind: "streams" });
  await pause(CALIBRATION_MS / 2);
  const before = readLcore(engine.arena, lcore.block);
  await pause(CALIBRATION_MS / 2);
  const after = readLcore(engine.arena, lcore.block);
  await engine.lcores.stop(lcore);
  return toHdr(difference(after, before).pollTimes).getValueAtPercentile(50);
}
