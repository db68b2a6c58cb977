// Run by restart.test.ts with --expose-gc: starts and stops engines, or the ports of one, 100 times, and prints what
// the process held along the way as JSON.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EngineName } from "../../src/hot/engine.ts";
import { type Holdings, holdings } from "./leaks.ts";
import { connectPair, disconnectPair, exchange, type PairCase, startEngine } from "./pair.ts";
import { pause, until } from "./support.ts";

const [, , what, engine] = process.argv as [string, string, "engines" | "ports", EngineName];
const kind: PairCase = { packed: false, mergeable: true, inOrder: true, queues: 1 };
const flow = { sizeMin: 64, sizeMax: 1518, window: 256, total: 2_000 };
const times = 100;
const folder = mkdtempSync(join(tmpdir(), "pollmode-restart-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const samples: Holdings[] = [];
const faults: string[] = [];

async function sample(): Promise<void> {
  await pause(20); // what closes asynchronously closes
  samples.push(holdings());
}

async function engines(): Promise<void> {
  for (let k = 0; k < times; k++) {
    const pm = await startEngine(engine);
    const pair = await connectPair(pm, folder, { ...kind, packed: k % 2 === 1 });
    const run = await exchange(pm, pair, flow, flow);
    if (!run.complete) faults.push(`round ${k}: not all frames came`);
    await disconnectPair(pm, pair);
    faults.push(...pm.pool.audit([]));
    await pm.close();
    if (k % 10 === 9) await sample();
  }
}

async function ports(): Promise<void> {
  const pm = await startEngine(engine);
  const pair = await connectPair(pm, folder, kind);
  const used = () => [pm.private.usedBytes, pm.dma.usedBytes].join();
  let before = "";
  for (let k = 0; k < times; k++) {
    const run = await exchange(pm, pair, flow, flow);
    if (!run.complete) faults.push(`round ${k}: not all frames came`);
    for (const flow of [...run.toFrontend, ...run.toBackend]) flow.free();
    // first one end is stopped first, then the other
    const order = k % 2 ? [pair.backend, pair.frontend] : [pair.frontend, pair.backend];
    for (const port of order) await port.stop();
    faults.push(...pm.pool.audit([]));
    if (k === 0) before = used();
    else if (used() !== before) faults.push(`round ${k}: zones use ${used()}, at first ${before}`);
    await pair.backend.start();
    await pair.frontend.start();
    await until("the link", () => pair.backend.link().up && pair.frontend.link().up);
    if (k % 10 === 9) await sample();
  }
  await pm.close();
}

await (what === "engines" ? engines() : ports());
console.log(JSON.stringify({ samples, faults }));
