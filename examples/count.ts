import { setTimeout } from "node:timers/promises";
import { isMainThread } from "node:worker_threads";
import { type AppContext, type AppPoll, Pollmode } from "pollmode";

// The application, on its lcore: called for ever, takes a burst, reads each frame, gives the buffers back.
export default function count({ queues, options, pkts, u8, data, rxBurst, free }: AppContext): AppPoll {
  const broadcasts = options as Uint32Array;
  return () => {
    const n = rxBurst(queues[0]!, 32);
    for (let k = 0; k < n; k++) if (u8[data(pkts[k]!)] === 0xff) broadcasts[0]!++;
    free(n);
    return n;
  };
}

if (isMainThread) {
  await using engine = await Pollmode.start({ lcores: "0", noHuge: true, vdev: ["net_null0,size=64"] });
  const port = engine.port(0);
  await port.configure({ rxQueues: 1, txQueues: 1 });
  await port.start();
  const broadcasts = new Uint32Array(new SharedArrayBuffer(4));
  await engine.run({ lcore: 0, app: import.meta.url, queues: [port], options: broadcasts });
  await setTimeout(1000);
  console.log(`${port.stats().rxPackets} packets in a second, ${broadcasts[0]} broadcasts`);
}
