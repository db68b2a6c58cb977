// Our frontend against our backend, both engines: every frame comes once, in order and unchanged, and every mbuf comes
// back. Chains and mergeable buffers carry frames larger than an mbuf.
import t, { type Test } from "tap";
import type { EngineName } from "../../src/hot/engine.ts";
import type { Pollmode } from "../../src/pollmode.ts";
import {
  caseTitle,
  connectPair,
  disconnectPair,
  exchange,
  type PairCase,
  pairCases,
  startEngine,
} from "./pair.ts";
import { temporaryFolder } from "./support.ts";

t.setTimeout(120_000);
const folder = temporaryFolder(t);
/** In each configuration, over both directions and all queues. */
const framesEach = 20_000;

async function tryCase(t: Test, pm: Pollmode, kind: PairCase, extra: string, window: number): Promise<void> {
  const pair = await connectPair(pm, folder, kind, extra);
  const total = framesEach / 2 / kind.queues;
  // without mergeable buffers a frame must fit the one mbuf that the frontend has posted
  const toFrontend = { sizeMin: 64, sizeMax: kind.mergeable ? 9000 : 2048, window, total };
  const toBackend = { sizeMin: 64, sizeMax: 9000, window, total };
  const run = await exchange(pm, pair, toFrontend, toBackend);
  for (const [way, flows] of Object.entries({ "to frontend": run.toFrontend, "to backend": run.toBackend })) {
    flows.forEach((flow, queue) => {
      t.same(flow.result(), flow.perfect, `${way}, queue ${queue}: ${total} frames`);
    });
  }
  t.same({ ...pair.backend.faults(), ...pair.frontend.faults() }, {}, "no queue stopped itself");
  await disconnectPair(pm, pair);
  t.same(pm.pool.audit([]), [], "every mbuf is back");
  for (const flow of [...run.toFrontend, ...run.toBackend]) flow.free();
}

for (const engine of ["wasm", "ts"] satisfies EngineName[]) {
  t.test(`engine ${engine}`, async (t) => {
    await using pm = await startEngine(engine);
    for (const kind of pairCases) {
      await t.test(caseTitle(kind), (t) => tryCase(t, pm, kind, "", 256));
    }
  });

  t.test(`engine ${engine}, rings of 64 that are full most of the time`, async (t) => {
    await using pm = await startEngine(engine);
    const kinds = pairCases.filter(({ queues, inOrder }) => queues === 1 && !inOrder);
    for (const kind of kinds) {
      await t.test(caseTitle(kind), (t) => tryCase(t, pm, kind, ",queue_size=64", 512));
    }
  });
}
