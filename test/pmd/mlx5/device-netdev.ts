// What a port does to the kernel's interface of its NIC, and what it makes of changes there: an interface of the name
// and address that the emulator's tree shows. It runs on the software ConnectX in a network namespace of its own:
// device.bed.test.ts starts it.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import t, { type Test } from "tap";
import type { PollmodeError } from "../../../src/errors.ts";
import { LoopPort } from "./loop-port.ts";

const [name, mac] = process.argv.slice(2) as [string, string];
/** The port's function is physical or virtual, as the tree has it; none: no interface is in sight, as in containers. */
type Kind = "pf" | "vf" | "none";
function testOf(kind: Kind, title: string, work: (t: Test) => Promise<void>): void {
  if (process.argv[4] === kind) void t.test(title, work);
}

/** Not on the emulator. */
function ip(words: string): string {
  const env = { ...process.env, LD_PRELOAD: "" };
  return execFileSync("ip", words.split(" "), { env, encoding: "utf8" });
}
const shown = (netdev = name) => JSON.parse(ip(`-d -j link show ${netdev}`))[0] as Record<string, unknown>;

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + 3000; !holds(); await pause(5)) {
    if (performance.now() > end) throw new Error(`in vain waited for ${what}`);
  }
}

if (process.argv[4] !== "none") {
  ip(`link add ${name} address ${mac} type veth peer name peer0`); // not every kernel has dummy interfaces
  ip(`link set ${name} up`);
}

testOf("pf", "MTU: the interface gets a larger one, never a smaller one", async (t) => {
  await using port = await LoopPort.open(`host-if=${name}`);
  await port.start();
  const { device } = port;
  await device.setMtu!(2000);
  t.equal(shown().mtu, 2000);
  await device.setMtu!(1000);
  t.equal(shown().mtu, 2000);
  t.same(port.errors, []);
  ip(`link set ${name} mtu 9000`);
  await until("the error", () => port.errors.length > 0);
  t.match(port.errors[0], { code: "MTU", message: /9000/, fix: /stop and start/ });
  await device.stop();
  await port.restart();
  await device.setMtu!(9000);
  t.equal(port.errors.length, 1, "said once, and mended by a start");
  ip(`link set ${name} mtu 1500`);
});

testOf("pf", "link, and an interface that is down", async (t) => {
  await using port = await LoopPort.open(`host-if=${name}`);
  await port.start();
  t.same(port.warnings, []);
  await port.device.setLink!(false);
  t.notOk((shown().flags as string[]).includes("UP"));
  await port.device.stop();
  await port.restart();
  t.match(port.warnings, [new RegExp(`${name} is down.*ip link set dev ${name} up`)]);
  await port.device.setLink!(true);
  t.ok((shown().flags as string[]).includes("UP"));
});

testOf("vf", "a virtual function's interface is told what the port listens to", async (t) => {
  {
    await using port = await LoopPort.open(`host-if=${name}`);
    const { device } = port;
    await port.start();
    await device.setMulticast!([Uint8Array.of(1, 0, 0x5e, 0, 0, 7)]);
    t.match(ip(`maddr show dev ${name}`), /01:00:5e:00:00:07/);
    await device.setMulticast!([]);
    t.notMatch(ip(`maddr show dev ${name}`), /01:00:5e:00:00:07/);
    await device.setPromiscuous!(true);
    t.equal(shown().promiscuity, 1);
    await device.setAllMulticast!(true);
    t.equal(shown().allmulti, 1);
    await device.setPromiscuous!(false);
    t.equal(shown().promiscuity, 0);
    await device.stop();
    t.equal(shown().allmulti, 0, "a stopped port listens to nothing");
    await port.restart();
    t.equal(shown().allmulti, 1);
  }
  t.equal(shown().allmulti, 0);
});

testOf("pf", "a physical function's is left alone", async (t) => {
  await using port = await LoopPort.open(`host-if=${name}`);
  await port.start();
  await port.device.setPromiscuous!(true);
  t.equal(shown().promiscuity, 0);
});

testOf("pf", "renamed, and gone", async (t) => {
  await using port = await LoopPort.open(`host-if=${name}`);
  await port.start();
  ip(`link set ${name} down`);
  ip(`link set ${name} name renamed0`);
  ip("link set renamed0 up");
  await pause(50);
  t.same(port.errors, []);
  await port.device.setMtu!(1600);
  t.equal(shown("renamed0").mtu, 1600);
  ip("link delete renamed0");
  await until("the error", () => port.errors.length > 0);
  t.match(port.errors, [{ code: "INTERFACE_GONE", message: /renamed0/ }]);
  t.equal(port.device.link().up, true, "the RDMA device has its port yet");
  const frame = Buffer.alloc(60, 1);
  frame.set(port.device.mac);
  t.equal(port.pass(frame).length, 1, "frames go on");
  const wrong = await port.device.setMtu!(2500).catch((error: PollmodeError) => error.code);
  t.match(String(wrong), /^MTU$|^ENODEV$/);
});

testOf(
  "none",
  "no interface in sight: the address is that of the device's first GID, or given",
  async (t) => {
    {
      await using port = await LoopPort.open("ibdev=mlx5_0");
      await port.start();
      const { device } = port;
      t.equal(Buffer.from(device.mac).toString("hex"), mac.replaceAll(":", ""));
      t.equal(device.setLink, undefined);
      const frame = Buffer.alloc(60, 1);
      frame.set(device.mac);
      t.equal(port.pass(frame).length, 1);
      t.same(port.warnings, []);
    }
    const gid = `${process.env.SYSFS_PATH}/class/infiniband/mlx5_0/ports/1/gids/0`;
    writeFileSync(gid, "0000:0000:0000:0000:0000:0000:0000:0000");
    await t.rejects(LoopPort.open("ibdev=mlx5_0"), { code: "RDMA_NO_MAC", fix: /mac=/ });
    await using given = await LoopPort.open("ibdev=mlx5_0,mac=02:00:00:00:00:07");
    await given.start();
    t.equal(given.device.mac[5], 7);
  },
);
