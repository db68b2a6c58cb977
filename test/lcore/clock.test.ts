// All threads count from the same origin.
import { Worker } from "node:worker_threads";
import t from "tap";
import { commonClock, monotonicMs } from "../../src/lcore/clock.ts";

const source = `
  const { parentPort, workerData } = require("node:worker_threads");
  import(workerData.module).then(({ commonClock }) => {
    const clock = commonClock(workerData.origin);
    parentPort.on("message", () => parentPort.postMessage(clock()));
    parentPort.postMessage("ready");
  });
`;

t.test("a worker's time lies between two of this thread's", async (t) => {
  const origin = monotonicMs() - 1000;
  const clock = commonClock(origin);
  t.ok(clock() >= 1000 && clock() < 5000, "it counts from the origin");
  await new Promise((later) => setTimeout(later, 50));
  const module = new URL("../../src/lcore/clock.js", import.meta.url).href;
  const worker = new Worker(source, { eval: true, workerData: { module, origin } });
  const next = () => new Promise<unknown>((got) => worker.once("message", got));
  t.equal(await next(), "ready");
  for (let k = 0; k < 20; k++) {
    const before = clock();
    worker.postMessage("time");
    const there = (await next()) as number;
    const after = clock();
    t.ok(before - 0.01 < there && there < after + 0.01, `${before} ${there} ${after}`);
  }
  await worker.terminate();
});
