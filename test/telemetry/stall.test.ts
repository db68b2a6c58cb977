import t from "tap";
import { StallWatch } from "../../src/telemetry/stall.ts";

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

t.test("a blocked event loop is seen, once", async (t) => {
  const watch = new StallWatch();
  t.teardown(() => watch.close());
  await pause(60);
  watch.take();
  block(150);
  t.ok(watch.read().maxMs > 120, "before the loop turns");
  await pause(40);
  t.ok(watch.read().maxMs > 120, `${watch.read().maxMs} ms`);
  const { maxMs, p99Ms } = watch.take();
  t.ok(maxMs < 5000 && p99Ms <= maxMs, `${maxMs} ms`);
  t.ok(watch.read().maxMs < 50, "taken");
  block(100);
  t.ok(watch.take().maxMs > 80, "right after it was taken");
});
