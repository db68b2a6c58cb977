// testpmd and the kernel's own stacks, beside what testpmd-netns has: ping of any address, TAP interfaces that lie in
// other namespaces than testpmd, and a vhost-user socket between two testpmd.
//
//   left (10.88.0.1) -- veth -- testpmd in a namespace of its own -- veth -- right (10.88.0.2)
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { threadCpus } from "../../src/libc/libc.ts";
import type { OwnedProcess } from "../beds/child.ts";
import { Netns, netnsBed, Veth } from "../beds/netns.ts";

t.setTimeout(0); // the runner has the deadline
const missing = netnsBed.missing() ?? false;
const cli = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));
const cpus = threadCpus();
const leftIp = "10.88.0.1";
const rightIp = "10.88.0.2";
const readyTimeoutMs = 20_000;
const exitGraceMs = 10_000;

/** Two namespaces, and one between them in which the forwarder runs. */
class Scene implements AsyncDisposable {
  readonly left: Netns;
  readonly middle: Netns;
  readonly right: Netns;

  private constructor(left: Netns, middle: Netns, right: Netns) {
    this.left = left;
    this.middle = middle;
    this.right = right;
  }

  static async create(): Promise<Scene> {
    return new Scene(await Netns.create(), await Netns.create(), await Netns.create());
  }

  /** Cables from the outer namespaces to m0 and m1 in the middle. */
  async wire(): Promise<void> {
    const end = (netns: Netns, ip: string) => ({ name: "eth0", netns, address: `${ip}/24` });
    await Veth.create(end(this.left, leftIp), { name: "m0", netns: this.middle });
    await Veth.create(end(this.right, rightIp), { name: "m1", netns: this.middle });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const netns of [this.left, this.middle, this.right]) await netns.close();
  }
}

let prefixes = 0;

/** A testpmd that forwards, until its stdin ends. */
async function testpmd(netns: Netns, vdevs: string[], app: string[], cpu = -1): Promise<OwnedProcess> {
  const lcores = `0@${cpus[0]},1@${cpus.at(cpu)}`;
  const eal = [
    "--lcores",
    lcores,
    "--no-huge",
    "--no-pci",
    "--file-prefix",
    `ns${process.pid}-${prefixes++}`,
  ];
  const args = [cli, "testpmd", ...eal, ...vdevs.map((vdev) => `--vdev=${vdev}`), "--", ...app];
  const child = netns.spawn("testpmd", process.execPath, args);
  await child.waitFor(/Press enter to exit/, readyTimeoutMs);
  return child;
}

type Tap = Pick<typeof t, "equal" | "match">;

async function end(t: Tap, child: OwnedProcess): Promise<void> {
  child.write("\n");
  const { code } = await child.endWithin(exitGraceMs);
  t.equal(code, 0, "exit code");
  t.match(child.stdout, /Accumulated forward statistics for all ports/);
}

/** Floods `count` pings; how many were answered. */
async function ping(from: Netns, to: string, count: number, bytes = 56): Promise<number> {
  const words = ["-q", "-f", "-c", `${count}`, "-s", `${bytes}`, "-W", "2", to];
  const stdout = await from.exec("ping", words, { timeoutMs: 120_000 });
  return Number(/(\d+) received/.exec(stdout)?.[1]);
}

const ports = ["net_af_packet0,iface=m0", "net_af_packet1,iface=m1"];

t.test("icmpecho answers the kernel's ARP and ping, for any address", { skip: missing }, async (t) => {
  await netnsBed.setup();
  await using scene = await Scene.create();
  await scene.wire();
  const child = await testpmd(scene.middle, [ports[0]!], ["--forward-mode=icmpecho"]);
  t.equal(await ping(scene.left, "10.88.0.77", 5000), 5000);
  t.equal(await ping(scene.left, "10.88.0.78", 500, 1472), 500);
  await end(t, child);
});

t.test("TAP interfaces that were moved into other namespaces", { skip: missing }, async (t) => {
  await netnsBed.setup();
  await using scene = await Scene.create();
  const { left, middle, right } = scene;
  const child = await testpmd(middle, ["net_tap0,iface=t0", "net_tap1,iface=t1"], ["--forward-mode=io"]);
  for (const [device, netns, ip] of [["t0", left, leftIp] as const, ["t1", right, rightIp] as const]) {
    await middle.ip(`link set ${device} netns ${netns.name}`);
    await netns.address(device, `${ip}/24`);
  }
  t.equal(await ping(left, rightIp, 5000), 5000);
  await end(t, child);
});

t.test("through two testpmd and a vhost-user socket between them", { skip: missing }, async (t) => {
  await netnsBed.setup();
  await using scene = await Scene.create();
  await scene.wire();
  const { left, middle } = scene;
  const folder = mkdtempSync(join(tmpdir(), "pollmode-ns-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socket = join(folder, "vhost.sock");
  const backend = await testpmd(middle, [ports[0]!, `net_vhost0,iface=${socket}`], [], 0);
  const frontend = await testpmd(middle, [ports[1]!, `net_virtio_user0,path=${socket}`], []);
  t.equal(await ping(left, rightIp, 5000), 5000);
  await end(t, frontend);
  await end(t, backend);
});
