// Times the engines in turn and puts them beside C.

import { resetArena } from "./arena.ts";
import { checkEngines } from "./check.ts";
import { type AppName, appNames, apps, type Engine, loadBench } from "./engines.ts";
import { type App, Buffers } from "./layout.ts";
import { median } from "./median.ts";

export const batchSize = 32;
/** Frames the device delivers before the clock starts: nearly a ring full, fifteen batches. */
const roundFrames = 480;
/** A slice, some half a millisecond: one that an interrupt or another process hits is an outlier of its sample. */
const sliceRounds = 200;
const warmupSlices = 40;

export interface RingLoopOptions {
  /** Times that each engine gets its turn. */
  readonly reps: number;
  /** Slices a turn; their median is the turn's figure. */
  readonly slices: number;
}

export interface RingLoopRow {
  readonly app: AppName;
  readonly engine: string;
  /** Median of all turns. */
  readonly nsPerPacket: number;
  /** Median over the turns of this engine's time by C's in the same turn. */
  readonly ratioToC: number;
}

export interface RingLoopResult {
  readonly batch: number;
  /** Packets that went through each engine and the checking device before the timing. */
  readonly packetsChecked: number;
  readonly rows: readonly RingLoopRow[];
}

export function measureRingLoop(options: RingLoopOptions): RingLoopResult {
  const bench = loadBench();
  const packetsChecked = checkEngines(bench);
  const turns = new Map<string, number[]>();
  resetArena(bench.u32, Buffers.COUNT_MAX);
  for (let rep = -1; rep < options.reps; rep++) {
    for (const app of appNames) {
      // every other time backwards, so that no engine always follows the same one
      const order = rep % 2 === 0 ? bench.engines : [...bench.engines].reverse();
      for (const engine of order) {
        const ns = takeTurn(engine, apps[app], rep < 0 ? warmupSlices : options.slices);
        if (rep < 0) continue; // V8's optimising compilers have seen each loop
        const key = `${app} ${engine.name}`;
        turns.set(key, [...(turns.get(key) ?? []), ns]);
      }
    }
  }
  const rows = appNames.flatMap((app) =>
    bench.engines.map(({ name }) => {
      const own = turns.get(`${app} ${name}`)!;
      const c = turns.get(`${app} c`)!;
      return {
        app,
        engine: name,
        nsPerPacket: median(own),
        ratioToC: median(own.map((ns, at) => ns / c[at]!)),
      };
    }),
  );
  return { batch: batchSize, packetsChecked, rows };
}

/**
 * Median time a packet over `slices` slices. What a round without packets costs is taken off: two readings of the
 * clock and the poll that finds nothing, which a loop that runs for ever has not, and which differ between engines.
 */
function takeTurn(engine: Engine, app: App, slices: number): number {
  const many = <T>(take: () => T) => Array.from({ length: slices }, take);
  const empty = median(many(() => engine.timeRounds(sliceRounds, 0, batchSize, app).ns));
  const slice = () => {
    const { ns, packets } = engine.timeRounds(sliceRounds, roundFrames, batchSize, app);
    return (ns - empty) / packets;
  };
  return median(many(slice));
}
