// net_tap with the kernel at the other end.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import t from "tap";
import type { PollmodeError } from "../../../src/errors.ts";
import type { Port } from "../../../src/ethdev/port.ts";
import { Pollmode } from "../../../src/pollmode.ts";
import { holdings } from "../../acceptance/leaks.ts";
import { pause, until } from "../../acceptance/support.ts";
import { run } from "../../beds/command.ts";
import { interfaceName, netnsBed } from "../../beds/netns.ts";

t.setTimeout(120_000);
const missing = netnsBed.missing();
const skip = missing ?? false;
if (!missing) await netnsBed.setup();

const name = interfaceName("t");
const interfaces = () => readdirSync("/sys/class/net");

async function open(pm: Pollmode, extra = "", queues = 1): Promise<Port> {
  const port = await pm.attach(`net_tap0,iface=${name}${extra}`);
  await port.configure({ rxQueues: queues, txQueues: queues });
  await port.start();
  await until("the link up", () => port.link().up);
  return port;
}

/**
 * Pings; returns how many replies came in time. All are counted where the port answers: ping itself leaves when twice
 * the longest round trip is over, which a machine that is busy elsewhere may exceed.
 */
async function ping(count: number, to: string, ...extra: string[]): Promise<number> {
  const output = await run("ping", ["-c", `${count}`, "-i", "0.002", "-q", ...extra, to]).catch(String);
  return Number(/(\d+) received/.exec(output)?.[1]);
}

async function echo(pm: Pollmode, port: Port): Promise<void> {
  await pm.forward(
    0,
    port.rxQueues.map((_, queue) => ({ mode: "icmpecho", rx: { port, queue }, tx: { port, queue } })),
  );
}

const start = () => Pollmode.start({ noHuge: true });

t.test("1,000 pings, and long ones in chains", { skip }, async (t) => {
  await using pm = await start();
  const port = await open(pm, ",mac=fixed");
  t.equal(Buffer.from(port.mac).toString("hex"), "006474617000");
  await run("ip", ["addr", "add", "198.19.1.1/24", "dev", name]);
  await echo(pm, port);
  t.ok((await ping(1000, "198.19.1.2")) > 900);
  await until("1,000 answers", () => port.stats().txPackets >= 1000);
  await port.setMtu(9000);
  for (const size of ["18", "1472", "1473", "2006", "2007", "8972"]) {
    const before = port.stats().txPackets;
    t.ok((await ping(20, "198.19.1.2", "-M", "do", "-s", size)) > 10, `${size} bytes`);
    await until("20 answers", () => port.stats().txPackets >= before + 20);
  }
  await pm.stop(0);
  await port.close();
  t.same(pm.pool.audit([]), []);
  t.notOk(interfaces().includes(name), "gone with the port");
});

t.test("two queues; addresses outlive a stop", { skip }, async (t) => {
  await using pm = await start();
  const port = await open(pm, "", 2);
  await run("ip", ["addr", "add", "198.19.1.1/24", "dev", name]);
  await echo(pm, port);
  const pings = async () => {
    const each = Array.from({ length: 16 }, (_, k) => {
      return ping(20, `198.19.1.${k + 2}`);
    });
    for (const received of await Promise.all(each)) t.ok(received > 10);
    await until("all answers", () => port.stats().txPackets >= 16 * 20);
  };
  await pings();
  const { rx_q0_packets: first, rx_q1_packets: second } = port.xstats();
  t.ok(first! > 20 && second! > 20, `${first} and ${second} packets`);
  await pm.stop(0);
  await port.stop();
  await until("the link down", () => !port.link().up);
  await port.configure();
  await port.start();
  await until("the link up", () => port.link().up);
  await echo(pm, port);
  await pings();
  await pm.stop(0);
});

t.test("settings", { skip }, async (t) => {
  await using pm = await start();
  const port = await open(pm, ",mac=02:00:00:00:00:07");
  const show = async () => JSON.parse(await run("ip", ["-d", "-j", "link", "show", name]))[0];
  t.equal((await show()).address, "02:00:00:00:00:07");
  await port.setMac(Uint8Array.of(2, 0, 0, 0, 0, 8));
  t.equal((await show()).address, "02:00:00:00:00:08");
  await port.setMtu(1400);
  t.equal((await show()).mtu, 1400);
  await t.rejects(port.setMtu(20), { code: "EINVAL" });
  await port.setPromiscuous(true);
  t.ok((await show()).flags.includes("PROMISC"));
  await port.setPromiscuous(false);
  t.notOk((await show()).flags.includes("PROMISC"));
  await port.setLink(false);
  await until("the link down", () => !port.link().up);
  await port.setLink(true);
  await until("the link up", () => port.link().up);
});

t.test("deleted while it runs, and made again", { skip }, async (t) => {
  await using pm = await start();
  const port = await open(pm);
  const errors: PollmodeError[] = [];
  port.on("error", (error) => errors.push(error));
  await pm.forward(0, [{ mode: "txonly", tx: { port, queue: 0 } }]);
  await until("frames", () => port.stats().txPackets > 100);
  await run("ip", ["link", "delete", name]);
  await until("the error", () => errors.length > 0);
  t.same(
    errors.map(({ code }) => code),
    ["INTERFACE_GONE"],
  );
  t.notOk(port.link().up);
  t.equal(pm.lcores.all[0]?.status().state, "running");
  await pm.stop(0);
  await port.stop();
  await port.start();
  t.ok(interfaces().includes(name));
});

t.test("what cannot be; persist", { skip }, async (t) => {
  await using pm = await start();
  const attach = (args: string) => pm.attach(`net_tap5,${args}`);
  await t.rejects(attach("iface=lo"), { code: "TAP_NAME" });
  await t.rejects(attach("iface=an-interface-with-a-name"), { code: "DEVARGS_VALUE" });
  await t.rejects(attach("mac=01:00:00:00:00:00"), { code: "DEVARGS_VALUE" });
  await t.rejects(attach("remote=eth9"), { code: "NOT_SUPPORTED" });
  await run("ip", ["tuntap", "add", "dev", name, "mode", "tap"]);
  await t.rejects(attach(`iface=${name}`), { code: "TAP_NAME" }, "one without multi_queue");
  await run("ip", ["link", "delete", name]);
  const port = await attach(`iface=${name},persist`);
  await port.close();
  t.ok(interfaces().includes(name), "it stays");
  const again = await attach(`iface=${name}`);
  await again.close();
  await run("ip", ["link", "delete", name]);
  const unnamed = await pm.attach("net_tap6");
  await unnamed.configure();
  t.ok(interfaces().some((one) => /^dtap\d+$/.test(one)));
});

t.test("it ends with its process, however that ends", { skip }, (t) => {
  const module = new URL("../../../src/pollmode.js", import.meta.url).href;
  const script = `import { Pollmode } from ${JSON.stringify(module)};
    const pm = await Pollmode.start({ noHuge: true });
    await pm.attach("net_tap0,iface=${name}");
    process.kill(process.pid, "SIGKILL");`;
  spawnSync(process.execPath, ["--input-type=module", "-e", script], { timeout: 20_000 });
  t.notOk(interfaces().includes(name));
  t.end();
});

t.test("without the right to", { skip }, (t) => {
  const module = new URL("../../../src/pollmode.js", import.meta.url).href;
  const script = `import { Pollmode } from ${JSON.stringify(module)};
    const pm = await Pollmode.start({ noHuge: true });
    await pm.attach("net_tap0,iface=${name}").catch((error) => console.log(error.code, error.fix));
    await pm.close();`;
  const node = [process.execPath, "--input-type=module", "-e", script];
  const { stdout } = spawnSync("setpriv", ["--bounding-set", "-net_raw,-net_admin", "--", ...node], {
    timeout: 20_000,
    encoding: "utf8",
  });
  t.match(stdout, /^TAP_PERMISSION .*setcap cap_net/);
  t.end();
});

t.test("50 starts and stops leave nothing behind", { skip }, async (t) => {
  await using pm = await start();
  const port = await pm.attach(`net_tap0,iface=${name}`);
  await port.configure({ rxQueues: 2, txQueues: 2 });
  const cycle = async () => {
    await port.start();
    await pm.forward(0, [{ mode: "txonly", tx: { port, queue: 1 } }]);
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
