// observe and permit in the lab: an engine on a real VFIO group is seen with its memory and its interrupts; an ordinary
// user drives a NIC after `permit`, by the real udev and the real PAM.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { Lab, type LabProcess, labBed } from "../beds/lab/lab.ts";
import { endKernelPeer, floodPing, kernelPeer, lastJson, shell } from "../lab/support.ts";

t.setTimeout(300_000);
const skip = labBed.missing() ?? false;
const module = (path: string) => fileURLToPath(new URL(`../../src/${path}`, import.meta.url));
const pollmode = module("cli/pollmode.js");
const [e1000e, igb] = ["0000:00:03.0", "0000:00:04.0"];
const MIB = 2 ** 20;

interface Report {
  units: { kind: string; name: string }[];
  devices: {
    address: string;
    nodes: string[];
    heldBy: number[];
    vectors: { name: string; kind: string; count: number; perSecond?: number }[];
  }[];
  holders: { pid: number; user: string; nodes: string[]; lockedBytes: number }[];
  seesAllHolders: boolean;
  engines: { pid: number; filePrefix: string; dmaBytes: number; dmaMappings: number; ports: string[] }[];
  iommu: { missing?: { why: string } };
}

const boot = async () => {
  await labBed.setup();
  return Lab.boot({ nics: [{ model: "e1000e" }, { model: "igb" }] });
};
const lab = skip ? (undefined as unknown as Lab) : await boot();
if (!skip) t.teardown(() => lab[Symbol.asyncDispose]());

async function observed(...argv: string[]): Promise<Report> {
  const { code, stdout, stderr } = await lab.node(pollmode, ["observe", "--json", ...argv]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Report;
}

/** Answers pings on a NIC, asleep while there are none. */
async function startEngine(): Promise<LabProcess> {
  const eal = ["-l", "0-1", "-m", "64", "-a", e1000e, "--file-prefix", "observed"];
  const app = ["--forward-mode=icmpecho", "--rx-interrupt", "--auto-start"];
  const engine = lab.startNode(pollmode, ["testpmd", ...eal, "--", ...app]);
  await engine.waitFor(/Press enter to exit/i);
  return engine;
}

t.test("an engine on a NIC", { skip }, async (t) => {
  await kernelPeer(lab, igb, "igb", "10.77.0.1/24");
  await lab.bind(e1000e, "vfio-pci");
  const engine = await startEngine();
  await using _ = { [Symbol.asyncDispose]: () => engine.kill() };

  await t.test("its pid, node, memory, mappings", async (t) => {
    const { units, devices, holders, engines, iommu, seesAllHolders } = await observed();
    const node = devices[0]!.nodes[0]!;
    t.match(node, /^\/dev\/vfio\/\d+$/);
    t.match(units, [{ kind: "Intel VT-d", name: "dmar0" }]);
    t.match(devices, [{ address: e1000e, heldBy: [engine.pid] }]);
    t.match(holders, [{ pid: engine.pid, user: "root", nodes: [node, "/dev/vfio/vfio"] }]);
    t.ok(holders[0]!.lockedBytes >= 64 * MIB, `${holders[0]!.lockedBytes} bytes are locked`);
    const mapped = { filePrefix: "observed", dmaBytes: 64 * MIB, dmaMappings: 1, ports: [e1000e] };
    t.match(engines, [{ pid: engine.pid, ...mapped }], "as it says itself");
    t.equal(seesAllHolders, true);
    t.match(iommu.missing, { why: /CONFIG_INTEL_IOMMU_DEBUGFS/ }, "Debian's kernel is built without");
  });

  await t.test("its interrupts", async (t) => {
    const watch = lab.startNode(pollmode, ["observe", "--json", "--watch", "1", e1000e]);
    await watch.waitFor(/\n/);
    t.same(await floodPing(lab, "10.77.0.2", 300), { sent: 300, received: 300 });
    const before = watch.stdout.length;
    await watch.waitFor(new RegExp(`^.{${before},}\\n`, "s"));
    watch.signal("SIGINT");
    t.equal((await watch.exited).code, 0);
    const reports = watch.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Report);
    const vectors = reports.map(({ devices }) =>
      devices[0]!.vectors.filter(({ name }) => /^vfio-msix\[\d\]/.test(name)),
    );
    const counts = vectors.map((list) => list.reduce((sum, { count }) => sum + count, 0));
    t.ok(counts.at(-1)! > counts[0]!, `they grow: ${counts}`);
    const rates = vectors.flat().map(({ perSecond = 0 }) => perSecond);
    t.ok(
      rates.some((rate) => rate > 0),
      `rates: ${rates}`,
    );
    t.same(
      vectors[0]?.every(({ kind }) => kind === "msix"),
      true,
    );
  });

  await t.test("on a terminal, in place, until q", async (t) => {
    const watch = lab.startNode(pollmode, ["observe", "--watch"], { terminal: true });
    await watch.waitFor(/q ends/);
    watch.write("q");
    t.equal((await watch.exited).code, 0);
    t.match(watch.stdout, /\x1b\[\?2026h\x1b\[H.*0000:00:03\.0.*\x1b\[\?25h/s);
  });

  await t.test("another user sees less, and is told so", async (t) => {
    const { code, stdout } = await lab.node(pollmode, ["observe"], { user: 65534 });
    t.equal(code, 0);
    t.match(stdout, "programs of other users are not shown: run it as root");
    t.match(stdout, "not to be seen: debugfs is for root alone");
    t.match(stdout, /^0000:00:03\.0 +vfio-pci .* not known$/m);
  });

  engine.signal("SIGTERM");
  await engine.exited;
  await endKernelPeer(lab);
  t.match(await observed(), { holders: [], engines: [], devices: [{ heldBy: [] }] });
});

t.test("counters of perf count", { skip }, async (t) => {
  const [counters, machine] = [module("devices/perf-counters.js"), module("devices/machine.js")];
  // the IOMMU in the lab has none; the kernel's own `msr` is asked in the same way
  const script = `
    const { PerfCounters } = await import(${JSON.stringify(counters)});
    const { Machine } = await import(${JSON.stringify(machine)});
    const open = new PerfCounters(new Machine(), { units: /^msr$/, events: ["tsc"] });
    const before = open.read();
    await new Promise((resolve) => setTimeout(resolve, 50));
    console.log(JSON.stringify({ before, after: open.read(), missing: open.missing }));
    open.close();`;
  const { stdout, stderr } = await lab.exec([process.execPath, "--input-type=module", "-e", script]);
  const { before, after } = lastJson<{ before: { count: number }[]; after: { count: number }[] }>(
    stdout || stderr,
  );
  t.match([before, after], [[{ unit: "msr", event: "tsc" }], [{ unit: "msr", event: "tsc" }]]);
  t.ok(after[0]!.count > before[0]!.count, `${before[0]?.count}, then ${after[0]?.count}`);
});

/** Everything of a node that permit is about. */
const owner = async (path: string) => (await shell(lab, `stat -c '%U %G %a' ${path}`)).trim();
const permitted = async (t: Test, ...argv: string[]) => {
  const { code, stdout, stderr } = await lab.node(pollmode, ["permit", ...argv]);
  t.equal(code, 0, stderr);
  return stdout;
};
/** As at a login: PAM sets the limits. And as in a pod of Kubernetes: the NIC is named by its resource. */
const asTester = (...argv: string[]) => {
  const line = ["env", `PCIDEVICE_EXAMPLE_COM_NIC=${e1000e}`, process.execPath, pollmode, ...argv].join(" ");
  return lab.exec(["su", "tester", "-s", "/bin/bash", "-c", `ulimit -l; exec ${line}`]);
};

t.test("an ordinary user drives a NIC", { skip }, async (t) => {
  const users = "echo tester:x:1234:1234::/tmp:/bin/sh >> /etc/passwd; echo tester:x:1234: >> /etc/group";
  await shell(lab, `${users}; echo 'tester:*:19000:0:99999:7:::' >> /etc/shadow`);
  const groupOf = async (address: string) =>
    (await shell(lab, `basename $(readlink /sys/bus/pci/devices/${address}/iommu_group)`)).trim();
  const node = `/dev/vfio/${await groupOf(e1000e)}`;
  const rxPps = [
    "rx-pps",
    "-a",
    "pcidevice:example.com/nic",
    "-m",
    "64",
    "-l",
    "1",
    "--seconds",
    "1",
    "--json",
  ];

  const refused = await asTester(...rxPps);
  t.match(refused, { code: 1, stderr: /may not open \/dev\/vfio\/\d/ });

  await t.test("without a udev that runs: at once", async (t) => {
    const stdout = await permitted(t, "tester", e1000e, "--memory", "256");
    t.match(stdout, `${node} is tester's`);
    t.equal(await owner(node), "tester root 600");
    const { code, stdout: out, stderr } = await asTester(...rxPps);
    t.equal(code, 0, stderr);
    t.match(out, /^262144\n/, "the limit that PAM sets at login");
    t.match(lastJson(out), { packets: Number });
    await permitted(t, "tester", "--remove");
    t.equal(await owner(node), "root root 600");
    t.equal((await lab.exec(["ls", "/etc/security/limits.d/pollmode-user-tester.conf"])).code, 2);
  });

  await t.test("by udev's rule: whenever the node appears", async (t) => {
    await shell(lab, "mkdir -p /run/udev; /lib/systemd/systemd-udevd --daemon && udevadm control --ping");
    await lab.bind(e1000e, "none");
    t.match(await permitted(t, "tester", e1000e), `${e1000e} is given as soon as`);
    for (const nic of [e1000e, igb]) await lab.bind(nic, "vfio-pci");
    await shell(lab, "udevadm settle");
    t.equal(await owner(node), "tester root 660", "when the device is bound");
    t.match(await owner(`/dev/vfio/${await groupOf(igb)}`), /^root root/, "another group's stays root's");
    t.match(await owner("/dev/vfio/vfio"), /666$/);
    t.match(await permitted(t, "tester", igb), `/dev/vfio/${await groupOf(igb)} is tester's`);
    await lab.bind(e1000e, "uio_pci_generic");
    await shell(lab, "udevadm settle");
    const folder = `/sys/bus/pci/devices/${e1000e}`;
    t.equal(await owner("/dev/uio0"), "tester root 660");
    t.equal(await owner(`${folder}/resource0`), "tester root 600");
    await permitted(t, "tester", "--remove");
    const given = await Promise.all(["/dev/uio0", `${folder}/resource0`, `${folder}/config`].map(owner));
    t.same(given, ["root root 600", "root root 600", "root root 644"]);
  });

  await t.test("udev finds nothing wrong with the rule", async (t) => {
    await permitted(t, "@tester");
    const test = await lab.exec("udevadm test $(udevadm info -q path -n /dev/uio0) 2>&1");
    t.match(test.stdout, "72-pollmode-group-tester.rules");
    t.notMatch(test.stdout, /72-pollmode-group-tester\.rules:\d+ (?!(GROUP|MODE|OWNER|RUN))/);
    t.equal(await owner("/dev/uio0"), "root tester 660");
    t.notMatch(readFileSync("/etc/passwd", "utf8"), "tester:x:1234", "all of it was in the guest");
  });
});
