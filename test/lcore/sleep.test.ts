// Lcores that sleep on virtqueues, at both ends of one socket: single frames wake them at once, load is polled, and a
// peer that comes again wakes them, too. A lost wake would show as a wait of up to SLEEP_MS_MAX, so waits are measured.
import { join } from "node:path";
import t, { type Test } from "tap";
import { drainInterrupt, waitInterrupts } from "../../src/bus/interrupt.ts";
import type { Port } from "../../src/ethdev/port.ts";
import type { EngineName } from "../../src/hot/engine.ts";
import { close, eventfd } from "../../src/libc/libc.ts";
import { SLEEP_MS_MAX } from "../../src/limits.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { PacketStream } from "../../src/streams/packets.ts";
import { Flow, finished, temporaryFolder, until } from "../acceptance/support.ts";
import { median, sleepsAgain } from "./sleepers.ts";

t.setTimeout(120_000);
const folder = temporaryFolder(t);
const rxInterrupt = true;

interface Rig {
  pm: Pollmode;
  /** Lcore 0 sleeps here and sends frames back. */
  ours: Port;
  /** Frames are sent and awaited here. */
  peer: Port;
}

let sockets = 0;

async function open(pm: Pollmode, devargs: string): Promise<Port> {
  const port = await pm.attach(devargs);
  await port.configure({ rxQueues: 1, txQueues: 1, rxInterrupts: true });
  await port.start();
  return port;
}

/** Both ends of a socket. `ours`: which of them sleeps. */
async function openPair(pm: Pollmode, ours: "backend" | "frontend", packed: boolean): Promise<Rig> {
  const path = join(folder, `${sockets++}.sock`);
  const backend = await open(pm, `net_vhost0,iface=${path}`);
  const frontend = await open(pm, `net_virtio_user0,path=${path},packed_vq=${packed ? 1 : 0}`);
  await until("the link", () => backend.link().up && frontend.link().up);
  return ours === "backend" ? { pm, ours: backend, peer: frontend } : { pm, ours: frontend, peer: backend };
}

function echo({ pm, ours: port }: Rig): Promise<void> {
  return pm.forward(0, [{ mode: "io", rx: { port, queue: 0 }, tx: { port, queue: 0 } }], { rxInterrupt });
}

/** Single frames with pauses, each of which finds the other lcore asleep: milliseconds until each is back. */
async function roundTrips({ pm, peer }: Rig, count: number): Promise<number[]> {
  const lcore = pm.lcores.byId(0);
  const times: number[] = [];
  await using stream = await PacketStream.open(pm, { lcore: 1, port: peer });
  const frames = stream[Symbol.asyncIterator]();
  let slept = lcore.status().sleeps;
  for (let k = 0; k < count; k++) {
    slept = await sleepsAgain(lcore, slept);
    const start = performance.now();
    await stream.send(new Uint8Array(60).fill(k));
    const { value } = await frames.next();
    if (value?.[0] !== k) throw new Error(`frame ${k} came back as ${value}`);
    times.push(performance.now() - start);
  }
  return times;
}

function atOnce(t: Test, what: string, times: readonly number[]): void {
  const ms = median(times);
  t.ok(ms < SLEEP_MS_MAX / 4, `${what}: ${ms.toFixed(2)} ms, at most ${Math.max(...times).toFixed(2)} ms`);
}

/** Under load nobody sleeps, and nothing is lost; afterwards it sleeps again. */
async function load(t: Test, { pm, ours, peer }: Rig): Promise<void> {
  const flow = new Flow(pm, { sizeMin: 60, sizeMax: 200, window: 256, total: 30_000 });
  await pm.forward(0, [flow.checker(ours, 0)], { rxInterrupt });
  await pm.forward(1, [flow.sender(peer, 0)]);
  t.ok(await finished([flow]));
  t.same(flow.result(), flow.perfect);
  flow.free();
  await sleepsAgain(pm.lcores.byId(0));
  for (const lcore of [0, 1]) await pm.stop(lcore);
}

/** The lcore is stopped while it sleeps. */
async function stopped(t: Test, rig: Rig): Promise<void> {
  const times: number[] = [];
  for (let k = 0; k < 5; k++) {
    await echo(rig);
    await sleepsAgain(rig.pm.lcores.byId(0));
    const start = performance.now();
    await rig.pm.stop(0);
    times.push(performance.now() - start);
  }
  atOnce(t, "stopped", times);
}

/** One end goes while the lcore sleeps, and comes again. */
async function restarted(t: Test, rig: Rig, end: "ours" | "peer"): Promise<void> {
  const { pm, ours, peer } = rig;
  const lcore = pm.lcores.byId(0);
  await sleepsAgain(lcore);
  await rig[end].stop();
  await until("the end of the link", () => !ours.link().up && !peer.link().up);
  await sleepsAgain(lcore);
  await rig[end].start();
  await until("the link", () => ours.link().up && peer.link().up);
  atOnce(t, `after ${end === "ours" ? "our" : "the peer's"} stop and start`, await roundTrips(rig, 5));
}

t.test("a queue that runs again wakes whoever fell asleep before, and could not arm it", async (t) => {
  await using pm = await Pollmode.start({ lcores: "0", noHuge: true });
  const { ours, peer } = await openPair(pm, "backend", false);
  const wakeFd = eventfd();
  const fired = (port: Port) => waitInterrupts([port.rxInterrupt(0)], wakeFd, 0).map(drainInterrupt);
  const both = () => [ours, peer].map(fired);
  t.same(both(), [[true], [true]]);
  t.same(both(), [[], []]);
  await peer.stop();
  await until("the end of the link", () => !ours.link().up && !peer.link().up);
  t.same(both(), [[], []]);
  await peer.start();
  await until("the link", () => ours.link().up && peer.link().up);
  t.same(both(), [[true], [true]]);
  close(wakeFd);
});

t.test("ports that cannot, and ports that were not asked to", async (t) => {
  await using pm = await Pollmode.start({ lcores: "0", noHuge: true });
  const dumb = await pm.attach("net_null0");
  const asked = dumb.configure({ rxQueues: 1, txQueues: 1, rxInterrupts: true });
  await t.rejects(asked, { code: "NOT_SUPPORTED", message: /net_null0.*net_null has no receive interrupts/ });
  const port = await pm.attach(`net_vhost0,iface=${join(folder, "unasked.sock")}`);
  await port.configure();
  await port.start();
  const expected = { code: "NOT_SUPPORTED", message: /net_vhost0: receive queue 0/, fix: /rxInterrupts/ };
  await t.rejects(pm.forward(0, [{ mode: "count", rx: { port, queue: 0 } }], { rxInterrupt }), expected);
  await pm.forward(0, [{ mode: "count", rx: { port, queue: 0 } }]);
});

for (const [engine, ours, packed] of [
  ["wasm", "backend", false],
  ["wasm", "backend", true],
  ["wasm", "frontend", false],
  ["wasm", "frontend", true],
  ["ts", "backend", true],
  ["ts", "frontend", false],
] as [EngineName, "backend" | "frontend", boolean][]) {
  t.test(`${engine}, ${ours}, ${packed ? "packed" : "split"}`, async (t) => {
    await using pm = await Pollmode.start({ lcores: "0-1", noHuge: true, engine });
    const rig = await openPair(pm, ours, packed);
    await load(t, rig);
    await stopped(t, rig);
    await echo(rig);
    atOnce(t, "single frames", await roundTrips(rig, 15));
    await restarted(t, rig, "ours");
    await restarted(t, rig, "peer");
    await pm.stop(0);
    for (const port of [rig.ours, rig.peer]) await port.close();
    t.same(pm.pool.audit([]), [], "every mbuf is back");
  });
}
