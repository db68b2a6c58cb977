// Applications at which somebody looks: bursts, packets and ages at their own queues; nothing where nobody asked.
import t, { type Test } from "tap";
import type { AppLaunch } from "../../src/engine/launch.ts";
import { readLatency, readStreams } from "../../src/forward/counters.ts";
import { drainVerbose } from "../../src/forward/verbose.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { until } from "../acceptance/support.ts";
import { AppFolder } from "./app-files.ts";

t.setTimeout(60_000);

/** Sends itself 8 frames of 80 bytes again and again, the first of which it stamps. */
const looping = `import type { AppFactory } from "pollmode";
const factory: AppFactory = ({ queues, pkts, options, rxBurst, txBurst, alloc, free, setLength, stamp }) => {
  const [queue] = queues;
  const stamped = options as Int32Array;
  let alone = true;
  return () => {
    if (alone && alloc(8) === 8) {
      for (let k = 0; k < 8; k++) setLength(pkts[k]!, 80);
      alone = false;
    } else if (rxBurst(queue!, 32) === 0) return 0;
    stamped[stamp(pkts[0]!) ? 1 : 0]!++;
    free(8 - txBurst(queue!, 8));
    return 8;
  };
};
export default factory;
`;

const loopingAssembly = `
import { Mbuf, alloc, burst, cache, r32, rxBurst, rxQueue, stamp, txBurst, txQueue, w32 } from "pollmode";

let alone: bool = true;

export function poll(): u32 {
  const pkts: u32 = burst();
  if (alone && alloc(cache(), pkts, 8) == 8) {
    alone = false;
    for (let k: u32 = 0; k < 8; k++) {
      w32(r32(pkts + (k << 2)) + Mbuf.DATA_LEN, 80);
      w32(r32(pkts + (k << 2)) + Mbuf.PKT_LEN, 80);
    }
  } else if (rxBurst(rxQueue(0), pkts, 32) == 0) return 0;
  stamp(r32(pkts));
  txBurst(txQueue(0), pkts, 8);
  return 8;
}
`;

async function loop(t: Test, app: string, watch: Partial<AppLaunch>): Promise<void> {
  await using pm = await Pollmode.start({ lcores: "0", noHuge: true, vdev: ["net_ring0"] });
  const port = pm.port(0);
  await port.configure();
  await port.start();
  const stamped = new Int32Array(new SharedArrayBuffer(8));
  await pm.run({ lcore: 0, app, queues: [port], options: stamped, ...watch });
  await until("packets", () => port.stats().rxPackets > 8000);
  await pm.stop(0);
  const { packets, missed } = drainVerbose(pm.arena, pm.lcores.all);
  const [stream] = readStreams(pm.arena, pm.lcores.byId(0));
  const bursts = port.stats().rxPackets / 8;
  const what = JSON.stringify(watch);
  t.equal(stream?.rxPackets, what === "{}" ? undefined : 8 * bursts, `${what}: counted`);
  t.equal(stream?.rxBursts?.[8], watch.recordBursts ? bursts : undefined, `${what}: bursts`);
  t.equal(packets.length > 0 && missed > 0, watch.verbose === 3, `${what}: packets to be shown`);
  const ages = readLatency(pm.arena, pm.lcores.byId(0)).reduce((sum, count) => sum + count, 0);
  t.equal(ages, watch.latency ? bursts : 0, `${what}: ages`);
  if (app.endsWith(".ts") && !app.endsWith(".as.ts")) {
    t.same([...stamped], watch.latency ? [0, bursts + 1] : [bursts + 1, 0], `${what}: stamps`);
  }
}

t.test("in TypeScript", async (t) => {
  const app = new AppFolder(t).write("loop.ts", looping);
  for (const watch of [{}, { latency: true }, { recordBursts: true }, { verbose: 3 }])
    await loop(t, app, watch);
  await using pm = await Pollmode.start({ lcores: "0", noHuge: true, vdev: ["net_ring0"] });
  await pm.port(0).configure();
  const wrong = pm.run({ lcore: 0, app, queues: [pm.port(0)], verbose: -1 });
  await t.rejects(wrong, { code: "FORWARD_OPTION", message: /verbose level -1/ });
  t.equal(pm.lcores.byId(0).status().state, "waiting");
});

t.test("in AssemblyScript", async (t) => {
  const app = new AppFolder(t).write("loop.as.ts", loopingAssembly);
  await loop(t, app, { latency: true, recordBursts: true });
});
