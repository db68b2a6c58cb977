// Modes on running lcores: ages across threads, packets that wait when an lcore is stopped, packets shown.
import t from "tap";
import { readLatency, readStreams } from "../../src/forward/counters.ts";
import { drainVerbose } from "../../src/forward/verbose.ts";
import type { EngineName } from "../../src/hot/engine.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { toHdr } from "../../src/telemetry/histogram.ts";
import { until } from "../acceptance/support.ts";

t.setTimeout(120_000);

async function start(engine: EngineName): Promise<Pollmode> {
  const pm = await Pollmode.start({ lcores: "0-1", noHuge: true, vdev: ["net_ring0", "net_null0"], engine });
  for (const port of pm.ports) {
    await port.configure({ rxQueues: 1, txQueues: 1 });
    await port.start();
  }
  return pm;
}

for (const engine of ["wasm", "ts"] as const) {
  t.test(`${engine}: a stamp of one lcore is read by another on the same clock`, async (t) => {
    await using pm = await start(engine);
    const end = { port: pm.port(0), queue: 0 };
    const [sender, receiver] = [pm.lcores.byId(0), pm.lcores.byId(1)];
    await pm.forward(1, [{ mode: "rxonly", rx: end, latency: true }]);
    await pm.forward(0, [{ mode: "txonly", tx: end, stamp: true }], { burst: 4 });
    const count = () => readLatency(pm.arena, receiver).reduce((sum, one) => sum + one, 0);
    await until("1000 stamps", () => count() > 1000);
    await pm.stop(0);
    await pm.stop(1);
    const ages = toHdr(readLatency(pm.arena, receiver));
    // clocks of different origins would be off by the time since the workers began, or negative: 0
    t.ok(ages.getValueAtPercentile(50) > 50, `half are below ${ages.getValueAtPercentile(50)} ns`);
    t.ok(ages.getValueAtPercentile(50) < 50e6);
    const [sent] = readStreams(pm.arena, sender);
    const [received] = readStreams(pm.arena, receiver);
    t.ok(
      sent!.txPackets >= received!.rxPackets && received!.rxPackets > 1000,
      "counters stay when it has stopped",
    );
  });

  t.test(`${engine}: packets that wait in a FIFO come back when the lcore is stopped`, async (t) => {
    await using pm = await start(engine);
    const end = { port: pm.port(1), queue: 0 };
    const noisy = { bufferPackets: 3000 };
    await pm.forward(0, [{ mode: "noisy", rx: end, tx: end, noisy }]);
    await until("a full FIFO", () => pm.port(1).stats().txPackets > 10_000);
    await pm.stop(0);
    t.same(pm.pool.audit([]), []);
    await t.rejects(pm.forward(0, [{ mode: "noisy", rx: end, tx: end, noisy: { reads: 1 } }]), {
      code: "FORWARD_OPTION",
    });
  });

  t.test(`${engine}: shown packets`, async (t) => {
    await using pm = await start(engine);
    const end = { port: pm.port(1), queue: 0 };
    await pm.forward(0, [{ mode: "io", rx: end, tx: end, verbose: 3 }]);
    let seen = 0;
    await until("packets to show", () => {
      const { packets, missed } = drainVerbose(pm.arena, pm.lcores.all);
      for (const packet of packets)
        if (packet.length !== 64 || packet.port !== 1) t.fail(JSON.stringify(packet));
      seen += packets.length;
      return seen > 2000 && missed > 0;
    });
    await pm.stop(0);
    t.ok(seen > 2000);
  });
}
