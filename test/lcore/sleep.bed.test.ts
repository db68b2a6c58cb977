// Lcores that sleep on the kernel's interfaces and on virtqueues, one lcore on both: pings with pauses wake them at
// once. A lost wake would show as a wait of up to SLEEP_MS_MAX, 100 ms on the average.
//
//   netns: ping - TAP | net_tap0 - lcore 0 - net_virtio_user0 | net_vhost0 - lcore 1, which answers
//   netns: ping - veth | veth - net_af_packet0 - lcore 0, which answers
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Port } from "../../src/ethdev/port.ts";
import { SLEEP_MS_MAX } from "../../src/limits.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { pause, temporaryFolder, until } from "../acceptance/support.ts";
import { run } from "../beds/command.ts";
import { interfaceName, Netns, netnsBed, Veth } from "../beds/netns.ts";
import { cpuMs, median, sleepsAgain } from "./sleepers.ts";

t.setTimeout(120_000);
const missing = netnsBed.missing();
const skip = missing ?? false;
if (!missing) await netnsBed.setup();
const folder = temporaryFolder(t);
const rxInterrupt = true;
const far = "198.19.1.2";

async function open(pm: Pollmode, devargs: string, queues = 1): Promise<Port> {
  const port = await pm.attach(devargs);
  await port.configure({ rxQueues: queues, txQueues: queues, rxInterrupts: true });
  await port.start();
  return port;
}

/**
 * Pings with pauses, each of which finds the lcores asleep. All are counted at the port that answers: ping itself
 * leaves before the last one has come, if that takes much longer than the others.
 */
async function trickle(t: Test, netns: Netns, port: Port, count = 25): Promise<void> {
  await netns.exec("ping", ["-q", "-c", "3", "-i", "0.2", "-W", "10", far]); // addresses are asked for
  const before = port.stats().txPackets;
  const text = await netns.exec("ping", ["-c", `${count}`, "-i", "0.03", "-W", "10", far]);
  const times = [...text.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms));
  await until("all answers", () => port.stats().txPackets >= before + count);
  t.ok(times.length >= count - 1 && median(times) < SLEEP_MS_MAX / 4, `answers after ${times.join(", ")} ms`);
}

/** For a second nothing comes: lcores sleep nearly all of the time, and are not woken over and over. */
async function idle(t: Test, pm: Pollmode, what: string): Promise<void> {
  const lcores = pm.lcores.all;
  for (const lcore of lcores) await sleepsAgain(lcore);
  const before = lcores.map((lcore) => ({ cpu: cpuMs(lcore), sleeps: lcore.status().sleeps }));
  await pause(1000);
  lcores.forEach((lcore, k) => {
    const cpu = cpuMs(lcore) - before[k]!.cpu;
    const sleeps = lcore.status().sleeps - before[k]!.sleeps;
    t.ok(cpu < 300, `${what}: lcore ${lcore.id} takes ${cpu} ms of a second`);
    t.ok(sleeps < 30, `${what}: lcore ${lcore.id} sleeps ${sleeps} times`);
  });
}

const ends = (rx: Port, tx: Port, queue = 0) => ({ rx: { port: rx, queue }, tx: { port: tx, queue } });

t.test("net_tap and net_virtio_user on one lcore, net_vhost on another", { skip }, async (t) => {
  await using netns = await Netns.create();
  await using pm = await Pollmode.start({ lcores: "0-1", noHuge: true });
  const name = interfaceName("s");
  const path = join(folder, "pair.sock");
  const vhost = await open(pm, `net_vhost0,iface=${path}`);
  const virtio = await open(pm, `net_virtio_user0,path=${path}`);
  const tap = await open(pm, `net_tap0,iface=${name}`);
  await run("ip", ["link", "set", name, "netns", netns.name]);
  await netns.address(name, "198.19.1.1/24");
  const gate = [ends(tap, virtio), ends(virtio, tap)].map((both) => ({ mode: "io" as const, ...both }));
  await pm.forward(0, gate, { rxInterrupt });
  await pm.forward(1, [{ mode: "icmpecho", ...ends(vhost, vhost) }], { rxInterrupt });
  await trickle(t, netns, vhost);
  await idle(t, pm, "idle");
  const before = vhost.stats().txPackets;
  await netns.exec("ping", ["-q", "-f", "-c", "3000", far]).catch(String);
  await until("3,000 answers to a flood", () => vhost.stats().txPackets >= before + 3000);
  await sleepsAgain(pm.lcores.byId(0));
  await vhost.stop();
  await until("the end of the link", () => !virtio.link().up);
  await idle(t, pm, "without the backend");
  await vhost.start();
  await until("the link", () => virtio.link().up);
  await trickle(t, netns, vhost, 10);
  tap.on("error", () => {});
  await netns.ip(`link delete ${name}`);
  await idle(t, pm, "without the TAP");
  for (const lcore of [0, 1]) await pm.stop(lcore);
  for (const port of [tap, virtio, vhost]) await port.close();
  t.same(pm.pool.audit([]), [], "every mbuf is back");
});

t.test("net_af_packet, two queues", { skip }, async (t) => {
  await using netns = await Netns.create();
  const name = interfaceName("s");
  await using _veth = await Veth.create({ name }, { name: "far", netns, address: "198.19.1.1/24" });
  await using pm = await Pollmode.start({ noHuge: true });
  const port = await open(pm, `net_af_packet0,iface=${name},qpairs=2`, 2);
  const streams = [0, 1].map((queue) => ({ mode: "icmpecho" as const, ...ends(port, port, queue) }));
  await pm.forward(0, streams, { rxInterrupt });
  await trickle(t, netns, port);
  await idle(t, pm, "idle");
  await port.setLink(false);
  await idle(t, pm, "with the interface down");
  await port.setLink(true);
  await until("the link", () => port.link().up);
  await sleepsAgain(pm.lcores.byId(0));
  await port.stop();
  await sleepsAgain(pm.lcores.byId(0));
  await port.start(); // with other sockets, which the lcore that sleeps never heard of
  await trickle(t, netns, port, 10);
  const before = port.stats().txPackets;
  await netns.exec("ping", ["-q", "-f", "-c", "3000", far]).catch(String);
  await until("3,000 answers to a flood", () => port.stats().txPackets >= before + 3000);
  await pm.stop(0);
  await port.close();
  t.same(pm.pool.audit([]), [], "every mbuf is back");
});
