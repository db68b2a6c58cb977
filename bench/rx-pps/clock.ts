// What looking at the clock costs. The poll loop times each poll of every 64th round, so every time it records holds
// one look at the clock and the recording of it: for a poll that takes 10 ns that is most of what is seen.
import { setTimeout as pause } from "node:timers/promises";
import { Lcore } from "../../src/hot/layout.ts";
import type { LcoreControl } from "../../src/lcore/lcores.ts";
import type { Pollmode } from "../../src/pollmode.ts";
import { difference, readLcore } from "../../src/telemetry/counters.ts";
import { toHdr } from "../../src/telemetry/histogram.ts";

/** Long enough for the loop to be compiled well, and for some hundred clocked rounds. */
const CALIBRATION_MS = 50;
/** Fewer looks than these (10 clocked rounds) say nothing: the lcore was put off its CPU. Then it gets more time. */
const LOOKS_MIN = 2560;
const ATTEMPTS = 20;

/**
 * Lets an lcore that waits run its real loop with nothing to poll: what its histogram then shows is the clock. The
 * median, for the mean would count the times that the lcore was put off its CPU.
 */
export async function clockCost(engine: Pollmode, lcore: LcoreControl): Promise<number> {
  lcore.set(Lcore.STREAMS, 0);
  await engine.lcores.launch(lcore, { kind: "streams" });
  await pause(CALIBRATION_MS);
  const before = readLcore(engine.arena, lcore.block);
  const looksSince = async () => {
    await pause(CALIBRATION_MS);
    return toHdr(difference(readLcore(engine.arena, lcore.block), before).pollTimes);
  };
  let looks = await looksSince();
  for (let k = 1; k < ATTEMPTS && looks.totalCount < LOOKS_MIN; k++) looks = await looksSince();
  await engine.lcores.stop(lcore);
  return looks.getValueAtPercentile(50);
}
