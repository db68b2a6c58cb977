// Completions that are written while they are read: nothing of an entry may be older than the byte that hands it over.
// Compilers may move plain loads, so it is tried: a worker is the device, as fast as it can.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import t from "tap";
import { Mbuf } from "../../../src/hot/layout.ts";
import { onEngines } from "../../support/engines.ts";
import { lengthOf, type Race } from "./racing-device.ts";
import { Mlx5Pair } from "./rings.ts";

const FRAMES = 200_000;

t.setTimeout(120_000);

onEngines("a device that never waits", { mbufs: 900, dataRoom: 1024 }, async (t, rig) => {
  const pair = new Mlx5Pair(rig, { size: 256 });
  const { rcq: cq, records } = pair.at;
  const race: Race = {
    memory: rig.arena.memory,
    cq,
    cqRecord: records,
    rqRecord: records + 128,
    entries: 256,
    frames: FRAMES,
  };
  const worker = new Worker(new URL("./racing-device.js", import.meta.url), { workerData: race });
  const done = once(worker, "message");
  await once(worker, "online");
  let [got, wrong] = [0, 0];
  for (const end = Date.now() + 60_000; got < FRAMES && wrong === 0 && Date.now() < end; ) {
    for (let k = 0; k < 100; k++) {
      const packets = rig.receive(pair.rxq, 64);
      for (const mbuf of packets) if (rig.word(mbuf + Mbuf.PKT_LEN) !== lengthOf(got++)) wrong++;
      rig.free(packets);
    }
    if (!pair.rx.block.running) break;
  }
  t.equal(wrong, 0, "lengths");
  t.equal(got, FRAMES);
  if (got === FRAMES) await done;
  await worker.terminate();
  pair.end(t);
});
