// net_af_packet on veth pairs: numbered frames, pings, VLANs, fanout, what goes wrong, and what is left behind.
import { spawnSync } from "node:child_process";
import { writeSync } from "node:fs";
import t, { type Test } from "tap";
import { PacketSocket } from "../../../pmd/af_packet/socket.ts";
import { NetInterface } from "../../../src/bus/netdev/interface.ts";
import type { PollmodeOptions } from "../../../src/engine/options.ts";
import type { PollmodeError } from "../../../src/errors.ts";
import type { Port } from "../../../src/ethdev/port.ts";
import type { EngineName } from "../../../src/hot/engine.ts";
import { Pollmode } from "../../../src/pollmode.ts";
import { holdings } from "../../acceptance/leaks.ts";
import { Flow, finished, pause, until } from "../../acceptance/support.ts";
import { run } from "../../beds/command.ts";
import { interfaceName, Netns, netnsBed, Veth } from "../../beds/netns.ts";

t.setTimeout(120_000);
const missing = netnsBed.missing();
const skip = missing ?? false;
if (!missing) await netnsBed.setup();

const [a, b] = [interfaceName("a"), interfaceName("b")];

function engine(options: PollmodeOptions = {}): Promise<Pollmode> {
  return Pollmode.start({ lcores: "0@0,1@1", noHuge: true, memoryMib: 96, ...options });
}

let ports = 0;
async function open(pm: Pollmode, name: string, extra = "", queues = 1): Promise<Port> {
  const port = await pm.attach(`net_af_packet${ports++},iface=${name},qpairs=${queues}${extra}`);
  await port.configure({ rxQueues: queues, txQueues: queues });
  await port.start();
  return port;
}

async function echo(pm: Pollmode, port: Port): Promise<void> {
  await pm.forward(
    0,
    port.rxQueues.map((_, queue) => ({ mode: "icmpecho", rx: { port, queue }, tx: { port, queue } })),
  );
}

/**
 * Pings; returns how many replies came in time. All are counted where the port answers: ping itself leaves when twice
 * the longest round trip is over, which a machine that is busy elsewhere may exceed.
 */
async function ping(netns: Netns, count: number, to: string): Promise<number> {
  const output = await netns.exec("ping", ["-c", `${count}`, "-i", "0.002", "-q", to]).catch(String);
  return Number(/(\d+) received/.exec(output)?.[1]);
}

interface Wire {
  kind: EngineName;
  total: number;
  sizeMax: number;
  mtu: number;
  extra: string;
}

/** Numbered frames both ways between two ports at the ends of a veth pair; none is lost, for each side waits. */
async function exchange(t: Test, { kind, total, sizeMax, mtu, extra }: Wire): Promise<void> {
  await using _veth = await Veth.create({ name: a }, { name: b }, { mtu });
  await using pm = await engine({ engine: kind });
  const [left, right] = [await open(pm, a, extra), await open(pm, b, extra)];
  const options = { sizeMin: 60, sizeMax, window: 256, total };
  const [there, back] = [new Flow(pm, options), new Flow(pm, options)];
  const start = performance.now();
  await pm.forward(0, [there.sender(left, 0), back.checker(left, 0)]);
  await pm.forward(1, [back.sender(right, 0), there.checker(right, 0)]);
  await finished([there, back]);
  const seconds = (performance.now() - start) / 1000;
  for (const lcore of [0, 1]) await pm.stop(lcore);
  t.same(there.result(), there.perfect, `${total} frames there`);
  t.same(back.result(), back.perfect, `${total} frames back`);
  t.comment(`${Math.round((2 * total) / seconds / 1000)} thousand frames/s both ways together`);
  for (const port of [left, right]) {
    t.same(port.faults(), {});
    t.equal(port.stats().rxMissed, 0);
    await port.close();
  }
  t.same(pm.pool.audit([]), [], "every mbuf is back");
}

const wires: [title: string, wire: Wire][] = [
  [
    "a million short frames",
    { kind: "wasm", total: 500_000, sizeMax: 60, mtu: 1500, extra: ",framecnt=1024" },
  ],
  [
    "short frames past the qdisc",
    { kind: "wasm", total: 100_000, sizeMax: 60, mtu: 1500, extra: ",qdisc_bypass=1" },
  ],
  [
    "60 to 1514 bytes, small blocks",
    { kind: "wasm", total: 50_000, sizeMax: 1514, mtu: 1500, extra: ",framesz=1680,blocksz=8192" },
  ],
  ["60 to 9000 bytes in chains", { kind: "wasm", total: 50_000, sizeMax: 9000, mtu: 9000, extra: "" }],
  ["60 to 9000 bytes, TypeScript", { kind: "ts", total: 20_000, sizeMax: 9000, mtu: 9000, extra: "" }],
];
for (const [title, wire] of wires) {
  t.test(`numbered frames: ${title}`, { skip }, (t) => exchange(t, wire));
}

t.test("1,000 pings from another network namespace", { skip }, async (t) => {
  await using netns = await Netns.create();
  await using _veth = await Veth.create({ name: a }, { name: b, netns, address: "198.18.1.1/24" });
  await using pm = await engine();
  const port = await open(pm, a);
  await echo(pm, port);
  t.ok((await ping(netns, 1000, "198.18.1.2")) > 900);
  await until("1,000 answers", () => port.stats().txPackets >= 1000);
  await pm.stop(0);
});

t.test("VLAN tags: in the frame, or taken off", { skip }, async (t) => {
  await using _veth = await Veth.create({ name: a }, { name: b });
  await using pm = await engine();
  const left = await open(pm, a);
  const right = await pm.attach(`net_af_packet${ports++},iface=${b}`);
  await right.configure({ rxQueues: 1, txQueues: 1, offloads: ["vlanStrip"] });
  await right.start();
  await pm.forward(0, [{ mode: "macswap", rx: { port: left, queue: 0 }, tx: { port: left, queue: 0 } }]);
  await pm.forward(1, [{ mode: "rxonly", rx: { port: right, queue: 0 } }]);
  const frame = new Uint8Array(1518);
  frame.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0x60, 0x07, 0x88, 0xb5]);
  const send20 = () => {
    const socket = new PacketSocket("a test");
    try {
      socket.bindForSending(new NetInterface("a test", b).index);
      for (let k = 0; k < 20; k++) writeSync(socket.fd, frame);
    } finally {
      socket.close();
    }
  };
  send20();
  await until("all frames back", () => right.stats().rxPackets === 20);
  t.equal(left.stats().rxBytes, 20 * 1518, "the kernel takes tags off; they were put back");
  t.equal(left.stats().txBytes, 20 * 1518, "the longest frame may have a tag besides");
  t.equal(right.stats().rxBytes, 20 * 1514, "and taken off as an offload");
  await right.setVlanStrip(false);
  send20();
  await until("all frames back", () => right.stats().rxPackets === 40);
  t.equal(right.stats().rxBytes, 20 * (1514 + 1518), "until that is turned off, while it runs");
  for (const lcore of [0, 1]) await pm.stop(lcore);
});

for (const mode of ["hash", "lb"]) {
  t.test(`two queues, fanout_mode=${mode}`, { skip }, async (t) => {
    await using netns = await Netns.create();
    await using _veth = await Veth.create({ name: a }, { name: b, netns, address: "198.18.1.1/24" });
    await using pm = await engine();
    const port = await open(pm, a, `,fanout_mode=${mode}`, 2);
    await echo(pm, port);
    const each = Array.from({ length: 16 }, (_, k) => {
      return ping(netns, 20, `198.18.1.${k + 2}`);
    });
    for (const received of await Promise.all(each)) t.ok(received > 10);
    await until("all answers", () => port.stats().txPackets >= 16 * 20);
    const { rx_q0_packets: first, rx_q1_packets: second } = port.xstats();
    t.ok(first! > 20 && second! > 20, `${first} and ${second} packets`);
    await pm.stop(0);
  });
}

t.test("checksums that the kernel left out are filled in", { skip }, async (t) => {
  await using netns = await Netns.create();
  const end = { name: b, netns, address: "198.18.1.1/24" };
  await using veth = await Veth.create({ name: a }, end);
  await veth.at(end, "ethtool", ["-K", b, "tx", "on"]);
  await netns.ip(`neigh add 198.18.1.2 lladdr 02:00:00:00:00:02 dev ${b}`);
  await using pm = await engine();
  const port = await open(pm, a);
  await pm.forward(0, [{ mode: "csum", rx: { port, queue: 0 }, tx: { port, queue: 0 } }]);
  await netns.exec("bash", ["-c", "for k in 1 2 3 4 5; do echo words > /dev/udp/198.18.1.2/9; done"]);
  await until("5 packets", () => port.stats().rxPackets >= 5);
  t.equal(port.xstats().rx_q0_checksum_completed, 5);
  await pm.stop(0);
});

t.test("frames longer than a slot are dropped and counted", { skip }, async (t) => {
  await using _veth = await Veth.create({ name: a }, { name: b }, { mtu: 9000 });
  await using pm = await engine();
  const [left, right] = [await open(pm, a), await open(pm, b, ",framesz=2048")];
  const flow = new Flow(pm, { sizeMin: 60, sizeMax: 9000, window: 64, total: 64 });
  await pm.forward(0, [flow.sender(left, 0)]);
  await pm.forward(1, [{ mode: "rxonly", rx: { port: right, queue: 0 } }]);
  await until("64 frames", () => right.stats().rxPackets + right.stats().rxErrors >= 64);
  t.ok(right.stats().rxErrors > 30);
  t.equal(right.stats().rxErrors, right.xstats().rx_q0_truncated);
  t.rejects(right.setMtu(9000), { code: "MTU" }, "its slots are too short for that");
  for (const lcore of [0, 1]) await pm.stop(lcore);
});

t.test("the interface goes down and up, and is deleted while frames flow", { skip }, async (t) => {
  await using veth = await Veth.create({ name: a }, { name: b });
  await using pm = await engine();
  const errors: PollmodeError[] = [];
  const links: boolean[] = [];
  const [left, right] = [await open(pm, a), await open(pm, b)];
  left.on("error", (error) => errors.push(error));
  right.on("error", (error) => errors.push(error));
  left.on("link", ({ up }) => links.push(up));
  await pm.forward(0, [{ mode: "txonly", tx: { port: left, queue: 0 } }]);
  await pm.forward(1, [{ mode: "rxonly", rx: { port: right, queue: 0 } }]);
  await until("frames", () => right.stats().rxPackets > 1000);
  await run("ip", ["link", "set", a, "down"]);
  await until("the link down", () => !left.link().up);
  await run("ip", ["link", "set", a, "up"]);
  await until("the link up", () => left.link().up);
  const before = right.stats().rxPackets;
  await until("frames again", () => right.stats().rxPackets > before + 1000);
  t.same(links, [false, true]);
  await veth.close();
  await until("both errors", () => errors.length === 2);
  t.same(new Set(errors.map(({ code }) => code)), new Set(["INTERFACE_GONE"]));
  t.equal(pm.lcores.all[0]?.status().state, "running", "the lcores go on");
  for (const lcore of [0, 1]) await pm.stop(lcore);
  await left.stop();
  await t.rejects(left.start(), { code: "INTERFACE_UNKNOWN" });
  await using _again = await Veth.create({ name: a }, { name: b });
  await left.start();
  t.ok(left.link().up, "a new interface of the old name");
});

t.test("settings of the interface", { skip }, async (t) => {
  await using _veth = await Veth.create({ name: a }, { name: b });
  await using pm = await engine();
  const port = await open(pm, a);
  const show = async () => JSON.parse(await run("ip", ["-d", "-j", "link", "show", a]))[0];
  t.same(Buffer.from(port.mac).toString("hex"), (await show()).address.replaceAll(":", ""));
  await port.setMac(Uint8Array.of(2, 0, 0, 0, 0, 9));
  t.equal((await show()).address, "02:00:00:00:00:09");
  await port.setMtu(1400);
  t.equal((await show()).mtu, 1400);
  await t.rejects(port.setMtu(20), { code: "EINVAL" });
  for (const on of [true, true, false]) {
    await port.setPromiscuous(on);
    await port.setAllMulticast(on);
    t.same([(await show()).promiscuity, (await show()).allmulti], [on ? 1 : 0, on ? 1 : 0]);
  }
  await port.setMulticast([Uint8Array.of(1, 0, 0x5e, 0, 0, 9)]);
  t.match(await run("ip", ["maddr", "show", "dev", a]), "01:00:5e:00:00:09");
  await port.setMulticast([]);
  t.notMatch(await run("ip", ["maddr", "show", "dev", a]), "01:00:5e:00:00:09");
  await port.setLink(false);
  await until("the link down", () => !port.link().up);
  await port.stop();
  await t.rejects(port.start(), { code: "INTERFACE_DOWN", fix: `ip link set dev ${a} up` });
});

t.test("what cannot be", { skip }, async (t) => {
  await using _veth = await Veth.create({ name: a }, { name: b });
  await using pm = await engine();
  const attach = (args: string) => pm.attach(`net_af_packet${ports++},${args}`);
  await t.rejects(attach("iface=nosuchif0"), { code: "INTERFACE_UNKNOWN" });
  await t.rejects(attach("qpairs=2"), { code: "DEVARGS_MISSING" });
  await t.rejects(attach("iface=an-interface-with-a-name"), { code: "DEVARGS_VALUE" });
  await t.rejects(attach(`iface=${a},framesz=100000`), { code: "DEVARGS_VALUE" });
  await t.rejects(attach(`iface=${a},framesz=2050`), { code: "DEVARGS_VALUE", fix: "give framesz=2064" });
  await t.rejects(attach(`iface=${a},blocksz=5000`), { code: "DEVARGS_VALUE", fix: "give blocksz=8192" });
  await t.rejects(attach(`iface=${a},framesz=8192,blocksz=4096`), { code: "DEVARGS_VALUE" });
  await t.rejects(attach(`iface=${a},fanout_mode=cbpf`), { code: "DEVARGS_VALUE" });
  const large = await attach(`iface=${a},framecnt=1000000`);
  await large.configure();
  await t.rejects(large.start(), { code: /OUT_OF_MEMORY|PACKET_RING/ });
  await large.close();
});

t.test("without the right to", { skip }, (t) => {
  const module = new URL("../../../src/pollmode.js", import.meta.url).href;
  const script = `import { Pollmode } from ${JSON.stringify(module)};
    const pm = await Pollmode.start({ noHuge: true });
    await pm.attach("net_af_packet0,iface=lo").catch((error) => console.log(error.code, error.fix));
    await pm.close();`;
  const node = [process.execPath, "--input-type=module", "-e", script];
  const { stdout } = spawnSync("setpriv", ["--bounding-set", "-net_raw,-net_admin", "--", ...node], {
    timeout: 20_000,
    encoding: "utf8",
  });
  t.match(stdout, /^EPERM .*setcap cap_net/);
  t.end();
});

t.test("50 starts and stops leave nothing behind", { skip }, async (t) => {
  await using _veth = await Veth.create({ name: a }, { name: b });
  await using pm = await engine();
  const port = await pm.attach(`net_af_packet${ports++},iface=${a},qpairs=2`);
  await port.configure({ rxQueues: 2, txQueues: 2 });
  const cycle = async () => {
    await port.start();
    await pm.forward(0, [{ mode: "txonly", tx: { port, queue: 0 } }]);
    await pause(2);
    await pm.stop(0);
    await port.stop();
  };
  for (let k = 0; k < 5; k++) await cycle();
  const before = holdings();
  for (let k = 0; k < 50; k++) await cycle();
  const after = holdings();
  t.equal(after.fds, before.fds, "files");
  t.ok(after.maps <= before.maps + 5, `mappings: ${before.maps}, then ${after.maps}`);
  t.same(pm.pool.audit([]), []);
});
