// First every engine has to move the same packets in the same way and lose no buffer, with a device that delivers in
// fits and starts; then the engines are timed in turn and put beside C.
import { PollmodeError } from "../../../src/errors.ts";
import { median } from "../../ring-loop/median.ts";
import { type Bench, type Engine, loadEngines } from "./engines.ts";
import { Device } from "./flags.ts";
import { type Kind, kinds, Rings } from "./rings.ts";

const batchSize = 32;
/** Frames the device delivers before the clock starts: nearly a ring full, twelve batches. */
const roundFrames = 384;
/** A slice, some half a millisecond: one that an interrupt or another process hits is an outlier of its sample. */
const sliceRounds = 200;
const warmupSlices = 40;
const checkedSteps = 1500;
const checkedBatches = [1, 7, 32, 64];

export interface LoopOptions {
  /** Times that each engine gets its turn. */
  readonly reps: number;
  /** Slices a turn; their median is the turn's figure. */
  readonly slices: number;
}

interface LoopRow {
  readonly kind: Kind;
  readonly engine: string;
  /** Median of all turns. */
  readonly nsPerPacket: number;
  /** Median over the turns of this engine's time by C's in the same turn. */
  readonly ratioToC: number;
}

export interface LoopResult {
  readonly batch: number;
  /** Packets that went through each engine and the checking device before the timing. */
  readonly packetsChecked: number;
  readonly rows: readonly LoopRow[];
}

export function measureLoop(options: LoopOptions): LoopResult {
  const rings = new Rings();
  const bench = loadEngines(rings);
  const packetsChecked = checkEngines(rings, bench);
  const rows = (Object.keys(kinds) as Kind[]).flatMap((kind) => measureKind(rings, bench, kind, options));
  return { batch: batchSize, packetsChecked, rows };
}

/** Throws if an engine loses or damages a packet, or does anything that the C does not. Returns packets compared. */
export function checkEngines(rings: Rings, bench: Bench): number {
  let compared = 0;
  for (const kind of Object.keys(kinds) as Kind[]) {
    const outcomes = bench.engines.map((engine) => exercise(rings, bench, engine, kind));
    outcomes.forEach((outcome, at) => {
      compared += outcome.sent;
      const same = JSON.stringify(outcome) === JSON.stringify(outcomes[0]);
      if (same && outcome.wrong === 0 && outcome.faults.length === 0 && outcome.sent > 0) return;
      const message = `mlx5 loop "${bench.engines[at]!.name}", ${kind}: ${JSON.stringify(outcome)}`;
      const wanted = JSON.stringify({ ...outcomes[0]!, wrong: 0, faults: [] });
      const fix = `it should be ${wanted}: compare bench/mlx5/loop/loop.c and pmd/mlx5`;
      throw new PollmodeError("MLX5_LOOP_WRONG", message, fix);
    });
  }
  return compared;
}

interface Outcome {
  readonly received: number;
  readonly sent: number;
  readonly wrong: number;
  readonly digest: number;
  readonly faults: readonly string[];
}

function exercise(rings: Rings, bench: Bench, engine: Engine, kind: Kind): Outcome {
  rings.reset(kind);
  let state = 1;
  const below = (end: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % end;
  };
  let received = 0;
  for (let step = 0; step < checkedSteps; step++) {
    bench.stepChecked(below(200), 512);
    received += engine.drain(checkedBatches[below(checkedBatches.length)]!);
  }
  bench.stepChecked(0, 512);
  const [sent, wrong, digest] = [Device.SENT, Device.WRONG, Device.DIGEST].map((word) => rings.of(word));
  return { received, sent: sent!, wrong: wrong!, digest: digest!, faults: rings.faults() };
}

function measureKind(rings: Rings, bench: Bench, kind: Kind, { reps, slices }: LoopOptions): LoopRow[] {
  const turns = new Map<Engine, number[]>(bench.engines.map((engine) => [engine, []]));
  rings.reset(kind);
  for (let rep = -1; rep < reps; rep++) {
    // every other time backwards, so that no engine always follows the same one
    const order = rep % 2 === 0 ? bench.engines : [...bench.engines].reverse();
    for (const engine of order) {
      const ns = takeTurn(engine, rep < 0 ? warmupSlices : slices);
      if (rep >= 0) turns.get(engine)!.push(ns); // before that V8's optimising compilers see each loop
    }
  }
  const c = turns.get(bench.engines[0]!)!;
  return bench.engines.map((engine) => {
    const own = turns.get(engine)!;
    const ratioToC = median(own.map((ns, at) => ns / c[at]!));
    return { kind, engine: engine.name, nsPerPacket: median(own), ratioToC };
  });
}

/**
 * Median time a packet over `slices` slices. What a round without packets costs is taken off: two readings of the
 * clock and the poll that finds nothing, which a loop that runs for ever has not, and which differ between engines.
 */
function takeTurn(engine: Engine, slices: number): number {
  const many = <T>(take: () => T) => Array.from({ length: slices }, take);
  const empty = median(many(() => engine.timeRounds(sliceRounds, 0, batchSize).ns));
  const slice = () => {
    const { ns, packets } = engine.timeRounds(sliceRounds, roundFrames, batchSize);
    return (ns - empty) / packets;
  };
  return median(many(slice));
}
