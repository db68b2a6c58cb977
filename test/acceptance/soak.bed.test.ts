// Full rate over vhost-user with everything that reads statistics at work: snapshots, a terminal's view, a Prometheus
// scraper and a page. Packets add up, the process does not grow, and the main thread is never held up.
//
//   frontend (lcore 1): txonly ──▶ backend (lcore 0): io ──▶ frontend: rxonly
//
// 20 seconds; POLLMODE_SOAK_SECONDS=1800 for half an hour.
import { EventEmitter } from "node:events";
import t, { type Test } from "tap";
import { LiveView } from "../../src/cli/testpmd/live-view.ts";
import { Lcore } from "../../src/hot/layout.ts";
import type { Pollmode } from "../../src/pollmode.ts";
import { serveTelemetry } from "../../src/telemetry/http.ts";
import { rates } from "../../src/telemetry/rates.ts";
import { type Snapshot, takeSnapshot } from "../../src/telemetry/snapshot.ts";
import { growth, ownStalls, TICK_MS, takeSize, watchStalls } from "../support/soak.ts";
import { connectPair, disconnectPair, type Pair, startEngine } from "./pair.ts";
import { pause, temporaryFolder } from "./support.ts";

const seconds = Number(process.env.POLLMODE_SOAK_SECONDS ?? 20);
t.setTimeout((seconds + 60) * 1000);

/** Of the time; caches and compiled code are there then. */
const WARM_SHARE = 0.25;

/** What people and scrapers do all the time, once a second. */
async function readAll(pm: Pollmode, url: string, until: () => boolean): Promise<number> {
  const terminal = { isTTY: true, columns: 120, rows: 50, write: () => true };
  const view = new LiveView(pm, Object.assign(new EventEmitter(), terminal));
  let before: Snapshot | undefined;
  let rounds = 0;
  for (; !until(); rounds++) {
    const snapshot = takeSnapshot(pm);
    const { ports } = rates(before, snapshot);
    before = snapshot;
    view.show(ports.map(({ id, rx }) => `port ${id}: Rx-pps ${rx.pps}`).join("\n"));
    for (const path of ["metrics", "api/snapshot", ""]) {
      const answer = await fetch(`${url}${path}`);
      if (!answer.ok) throw new Error(`/${path}: ${answer.status}`);
      await answer.text();
    }
    await pause(1000);
  }
  view.end();
  return rounds;
}

async function startTraffic(pm: Pollmode, { backend, frontend }: Pair): Promise<void> {
  const there = { port: backend, queue: 0 };
  const here = { port: frontend, queue: 0 };
  await pm.forward(0, [{ mode: "io", rx: there, tx: there }]);
  await pm.forward(1, [
    { mode: "rxonly", rx: here },
    { mode: "txonly", tx: here },
  ]);
}

/** No more is sent; what is under way arrives. */
async function drain(pm: Pollmode, { frontend }: Pair): Promise<void> {
  await pm.stop(1);
  await pm.forward(1, [{ mode: "rxonly", rx: { port: frontend, queue: 0 } }]);
  for (let seen = -1; seen !== frontend.stats().rxPackets; ) {
    seen = frontend.stats().rxPackets;
    await pause(100);
  }
  await pm.stop(1);
  await pm.stop(0);
}

function addUp(t: Test, pm: Pollmode): void {
  const { ports, lcores } = takeSnapshot(pm);
  const [back, front] = ports.map(({ stats }) => stats);
  const [stream] = lcores[0]!.streams;
  t.comment(`sent ${front!.txPackets}, came back ${front!.rxPackets}, dropped ${stream!.txDropped}`);
  t.ok(front!.txPackets > seconds * 50_000, "many packets");
  t.equal(front!.txPackets, back!.rxPackets + back!.rxErrors, "frontend to backend");
  t.equal(
    back!.rxPackets,
    back!.txPackets + stream!.txDropped + stream!.byMode,
    "through the backend's lcore",
  );
  t.equal(back!.txPackets, front!.rxPackets + front!.rxErrors, "backend to frontend");
  t.equal(lcores[0]!.packets, back!.rxPackets, "as the lcore counted");
  t.same({ ...pm.port(0).faults(), ...pm.port(1).faults() }, {}, "no queue stopped itself");
}

t.test(`${seconds} seconds at full rate`, async (t) => {
  await using pm = await startEngine("wasm");
  const pair = await connectPair(pm, temporaryFolder(t), {
    packed: true,
    mergeable: true,
    inOrder: true,
    queues: 1,
  });
  const server = await serveTelemetry(pm, { port: 0 });
  await startTraffic(pm, pair);
  let over = false;
  const reading = readAll(pm, server.url, () => over);
  await pause(seconds * WARM_SHARE * 1000);
  const warm = takeSize();
  await pause(2 * TICK_MS); // what collecting garbage took is not the engine's
  const watch = watchStalls(new Set(pm.lcores.all.map((lcore) => lcore.get(Lcore.TID))));
  await pause(seconds * (1 - WARM_SHARE) * 1000);
  over = true;
  watch.end();
  const rounds = await reading;
  const end = takeSize();
  await drain(pm, pair);
  await server.close();

  addUp(t, pm);
  t.ok(rounds > seconds / 4, `${rounds} rounds of reading`);
  t.comment(
    `heap ${warm.heapMib.toFixed(1)}, ${end.heapMib.toFixed(1)} MiB; RSS ${warm.rssMib}, ${end.rssMib} MiB`,
  );
  t.same(growth(warm, end), [], "memory is flat; no descriptor, mapping or thread was left over");
  for (const { lateMs, ownMs } of watch.stalls) {
    t.comment(`event loop late by ${lateMs.toFixed(0)} ms, ${ownMs.toFixed(0)} ms for a reason of its own`);
  }
  t.same(ownStalls(watch.stalls), [], "the main thread is never held up");
  await disconnectPair(pm, pair);
  t.same(pm.pool.audit([]), [], "every mbuf is back");
});
