// Before anything is timed: every engine has to process the same packets in the same way and lose no buffer, with a
// device that delivers in fits and starts and stops sending now and then, so that the transmit ring and the pool both
// come to their ends.
import { PollmodeError } from "../../src/errors.ts";
import { Mbuf } from "../../src/hot/layout.ts";
import { heldMbufs, resetArena } from "./arena.ts";
import { type AppName, appNames, apps, type Bench, type Engine } from "./engines.ts";
import { App, At, Device, Queue } from "./layout.ts";

/** Small enough to run dry while the device does not send, and large enough to fill the transmit ring. */
const poolSizes = [700, 1600] as const;
const steps = 4000;
const batches = [1, 7, 32, 64] as const;

export interface Outcome {
  readonly received: number;
  readonly sent: number;
  /** Sent packets whose content, length or order was not as it should be. */
  readonly wrong: number;
  /** mbufs that are in no ring and not free, or in two places. */
  readonly lost: number;
  /** Order and number of all sent packets, and what "touch" has read. */
  readonly digest: number;
  readonly sum: number;
}

/** Runs one engine against the checking device. `random` makes the same sequence for each. */
export function exercise(bench: Bench, engine: Engine, appName: AppName, mbufs: number): Outcome {
  const { nic, u32 } = bench;
  const app = apps[appName];
  const random = generator(mbufs);
  resetArena(u32, mbufs);
  let received = 0;
  for (let step = 0; step < steps; step++) {
    const sendMax = random() % 64 < 48 ? random() % 600 : 0;
    nic.stepChecked(random() % 480, sendMax, app === App.MACSWAP);
    received += engine.drain(batches[random() % batches.length]!, app);
  }
  nic.stepChecked(0, 1024, app === App.MACSWAP);
  const word = (at: number) => u32[at >>> 2]!;
  const held = new Set(heldMbufs(u32));
  const all = Array.from({ length: mbufs }, (_, k) => At.MBUFS + k * Mbuf.BYTES);
  return {
    received,
    sent: word(At.DEVICE + Device.SENT),
    wrong: word(At.DEVICE + Device.WRONG),
    lost: all.filter((mbuf) => !held.has(mbuf)).length + Math.abs(heldMbufs(u32).length - mbufs),
    digest: word(At.DEVICE + Device.DIGEST),
    sum: word(At.QUEUE + Queue.SUM),
  };
}

/** Throws if an engine loses or damages a packet, or does anything that the C does not. Returns packets compared. */
export function checkEngines(bench: Bench): number {
  let compared = 0;
  for (const mbufs of poolSizes) {
    for (const app of appNames) {
      const outcomes = bench.engines.map((engine) => exercise(bench, engine, app, mbufs));
      outcomes.forEach((outcome, at) => {
        const { received, sent, wrong, lost } = outcome;
        const same = JSON.stringify(outcome) === JSON.stringify(outcomes[0]);
        compared += sent;
        if (same && wrong === 0 && lost === 0 && sent > 0 && sent <= received) return;
        const message = `ring loop "${bench.engines[at]!.name}", ${app}, ${mbufs} mbufs: ${JSON.stringify(outcome)}`;
        const wanted = JSON.stringify({ ...outcomes[0]!, wrong: 0, lost: 0 });
        const fix = `it should be ${wanted}: compare ring.ts and loop.c`;
        throw new PollmodeError("RING_LOOP_WRONG", message, fix);
      });
    }
  }
  return compared;
}

/** Numbers that look random and are the same each time (xorshift32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
