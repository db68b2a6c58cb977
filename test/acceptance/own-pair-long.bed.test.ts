// Ten million numbered frames between our frontend and our backend, over all ways that a ring can be. It needs no
// privileges, but the machine for itself: hence among the tests that run one at a time.
import t from "tap";
import { caseTitle, connectPair, disconnectPair, exchange, pairCases, startEngine } from "./pair.ts";
import { temporaryFolder } from "./support.ts";

t.setTimeout(280_000);
const folder = temporaryFolder(t);
/**
 * In each configuration: frames of 64 to 300 bytes, and frames of all sizes. Both directions and all queues
 * together.
 */
const smallEach = 600_000;
const largeEach = 40_000;
const window = 256;

t.test("wasm", async (t) => {
  await using pm = await startEngine("wasm");
  let all = 0;
  for (const kind of pairCases) {
    await t.test(caseTitle(kind), async (t) => {
      const pair = await connectPair(pm, folder, kind);
      const largest = kind.mergeable ? 9000 : 2048;
      let frames = 0;
      let seconds = 0;
      for (const { each, up, down } of [
        { each: smallEach, up: 300, down: 300 },
        { each: largeEach, up: 9000, down: largest },
      ]) {
        const common = { sizeMin: 64, window, total: each / 2 / kind.queues };
        const run = await exchange(pm, pair, { ...common, sizeMax: down }, { ...common, sizeMax: up });
        for (const flow of [...run.toFrontend, ...run.toBackend]) {
          t.same(flow.result(), flow.perfect);
          frames += flow.received;
          flow.free();
        }
        seconds += run.seconds;
      }
      await disconnectPair(pm, pair);
      t.same(pm.pool.audit([]), [], "every mbuf is back");
      t.comment(`${caseTitle(kind)}: ${frames} frames in ${seconds.toFixed(1)} s`);
      all += frames;
    });
  }
  t.ok(all >= 10_000_000, `${all} frames in all`);
});
