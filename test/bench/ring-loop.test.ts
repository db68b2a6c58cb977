// The ring loop: all engines do the same, and the check that says so can fail.
import { execFileSync } from "node:child_process";
import t from "tap";
import { heldMbufs, resetArena } from "../../bench/ring-loop/arena.ts";
import { checkEngines, exercise } from "../../bench/ring-loop/check.ts";
import { appNames, type Bench, type Engine, loadBench } from "../../bench/ring-loop/engines.ts";
import { At, Queue } from "../../bench/ring-loop/layout.ts";
import { median } from "../../bench/ring-loop/median.ts";

function compilerMissing(): string | undefined {
  try {
    execFileSync("cc", ["--version"], { stdio: "ignore" });
    return undefined;
  } catch {
    return "there is no C compiler (cc)";
  }
}

const missing = compilerMissing();
const bench = missing ? undefined : loadBench();

t.test("all engines process the same packets and lose no buffer", { skip: missing ?? false }, async (t) => {
  t.ok(checkEngines(bench!) > 100_000, "packets were compared");
  const few = bench!.engines.map((engine) => exercise(bench!, engine, "none", 1600));
  t.ok(few[0]!.received > few[0]!.sent, "the transmit ring was full at times");
});

t.test("the check finds what is wrong", { skip: missing ?? false }, async (t) => {
  const [c, wasm] = bench!.engines as [Engine, Engine];
  const spoiled = (drain: Engine["drain"]): Bench => ({
    ...bench!,
    engines: [c, { ...wasm, name: "spoiled", drain }],
  });
  const { u32 } = bench!;
  const loses = spoiled((batch, app) => {
    const count = (At.QUEUE + Queue.FREE_COUNT) >>> 2;
    if (u32[count]! > 0) u32[count]!--;
    return wasm.drain(batch, app);
  });
  t.throws(() => checkEngines(loses), { code: "RING_LOOP_WRONG" });
  const forgetsToSwap = spoiled((batch) => wasm.drain(batch, 0));
  t.throws(() => checkEngines(forgetsToSwap), { code: "RING_LOOP_WRONG", message: /touch|macswap/ });
});

t.test("every round's packets are timed", { skip: missing ?? false }, async (t) => {
  resetArena(u32Of(bench), 1600);
  for (const engine of bench!.engines) {
    const { ns, packets } = engine.timeRounds(10, 480, 32, 0);
    t.equal(packets, 4800, engine.name);
    t.ok(ns > 0);
    t.equal(engine.timeRounds(10, 0, 32, 0).packets, 0, "and none in an empty round");
  }
  t.equal(heldMbufs(u32Of(bench)).length, 1600);
});

function u32Of(loaded: Bench | undefined): Uint32Array {
  return loaded!.u32;
}

t.test("median", async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  t.same(appNames, ["none", "touch", "macswap"]);
});
