// The 82576's virtual function in the lab: its PF is driven by the kernel's igb, the other end of the wire by the
// kernel's e1000e or by pollmode. Frames both ways, everything that is asked through the mailbox, a PF that goes down,
// comes back and is reset; then virtual functions of a PF on vfio-pci.
import { fileURLToPath } from "node:url";
import t from "tap";
import { Lab, labBed } from "../../beds/lab/lab.ts";
import type { AuditSettings } from "../../lab/guest/audit.ts";
import {
  endKernelPeer,
  floodPing,
  guestEnd,
  guestRun,
  guestStart,
  kernelPeer,
  lastJson,
  shell,
  type UserDriver,
} from "../../lab/support.ts";
import type { StepResult, VfStep } from "./guest/vf-steps.ts";

const missing = labBed.missing() ?? false;
t.setTimeout(900_000);

const million = 1_000_000;
const sysfs = "/sys/bus/pci/devices";
const nics = [{ model: "igb" }, { model: "e1000e" }] as const;
const mac = (last: number) => [0x02, 0, 0, 0, 0, last];

type Tap = Pick<typeof t, "test" | "same" | "ok" | "equal" | "not" | "match" | "comment">;

/** Has the kernel's igb make two virtual functions; returns its interface, and their addresses. */
async function makeVfs(lab: Lab, pf: string): Promise<{ name: string; vf: string }> {
  await lab.bind(pf, "igb");
  const name = (await shell(lab, `ls ${sysfs}/${pf}/net`)).trim();
  await shell(lab, `echo 0 > ${sysfs}/${pf}/sriov_drivers_autoprobe; ip link set ${name} up`);
  await lab.writeFile(`${sysfs}/${pf}/sriov_numvfs`, "2");
  const vf = (await shell(lab, `basename $(readlink ${sysfs}/${pf}/virtfn0)`)).trim();
  return { name, vf };
}

async function guestNode<T>(lab: Lab, name: string, argument: string): Promise<T> {
  const program = fileURLToPath(new URL(`./guest/${name}.js`, import.meta.url));
  const { code, stdout, stderr } = await lab.node(program, [argument], { timeoutMs: 120_000 });
  if (code === 0) return lastJson<T>(stdout);
  throw new Error(`${name}: exit code ${code}\n${stderr}${stdout}\n${(await lab.dmesg()).slice(-1500)}`);
}

/** Runs steps on a VF; each result with its step. */
async function steps(lab: Lab, vf: string, list: VfStep[]): Promise<[string, StepResult][]> {
  type Report = { results: StepResult[]; pool: string[] };
  const { results, pool } = await guestNode<Report>(
    lab,
    "vf-steps",
    JSON.stringify({ nics: [vf], steps: list }),
  );
  if (pool.length > 0) throw new Error(`mbufs are lost: ${pool}`);
  return results.map((result, k) => [JSON.stringify(list[k]), result]);
}

/** Every step went well. */
function allWell(t: Tap, results: [string, StepResult][]): void {
  for (const [step, { code, message }] of results) t.equal(code, undefined, `${step} ${message ?? ""}`);
}

interface EchoReport {
  stats: { rxPackets: number; txPackets: number }[];
  queues: Record<string, number>[];
  links: boolean[];
  sleeps: number;
}

async function ping(t: Tap, lab: Lab, vf: string, peer: string): Promise<void> {
  await kernelPeer(lab, peer, "e1000e", "10.77.0.1/24");
  const echo = await guestStart(lab, "echo", { nics: [vf] });
  t.same(await floodPing(lab, "10.77.0.2", 5000), { sent: 5000, received: 5000 });
  t.same(await floodPing(lab, "10.77.0.2", 500, 1472), { sent: 500, received: 500 });
  const { stats, queues } = await guestEnd<EchoReport>(echo);
  t.ok(stats[0]!.rxPackets >= 5500 && stats[0]!.txPackets >= 5500);
  t.equal(queues[0]!.VFGPRC, stats[0]!.rxPackets, "the VF's own counter says so, too");
  t.equal(queues[0]!.VFGPTC, stats[0]!.txPackets);
  await endKernelPeer(lab);
}

/** Frames of 8 KiB in chains of mbufs, and an lcore that sleeps until the VF's interrupt wakes it. */
async function jumboAndSleep(t: Tap, lab: Lab, vf: string, peer: string): Promise<void> {
  const name = await kernelPeer(lab, peer, "e1000e", "10.77.0.1/24");
  await shell(lab, `ip netns exec peer ip link set ${name} mtu 9000`);
  const settings = { nics: [vf], mtu: 9000, rxInterrupt: true, config: { rxInterrupts: true } };
  const echo = await guestStart(lab, "echo", settings);
  const script = `ip netns exec peer ping -q -c 20 -i 0.05 -s 8000 -M do -W 2 10.77.0.2`;
  t.match(await shell(lab, script), /20 received/);
  t.same(await floodPing(lab, "10.77.0.2", 500, 8000), { sent: 500, received: 500 });
  const { sleeps } = await guestEnd<EchoReport>(echo);
  t.ok(sleeps >= 10, `slept ${sleeps} times`);
  await endKernelPeer(lab);
}

async function audit(t: Tap, lab: Lab, vf: string, peer: string, driver: UserDriver = "vfio-pci") {
  await lab.bind(peer, driver);
  const total = million;
  const settings: AuditSettings = { nics: [vf, peer], total, sizeMin: 60, sizeMax: 1514, window: 400 };
  type Report = { flows: object[]; faults: object[]; pool: string[]; seconds: number };
  const { flows, faults, pool, seconds } = await guestRun<Report>(lab, "audit", settings, 280_000);
  const perfect = { sent: total, received: total, lost: 0, late: 0, changed: 0 };
  t.same(flows, [perfect, perfect]);
  t.same([faults, pool], [[], []]);
  t.comment(`${total} frames each way in ${seconds.toFixed(1)} s`);
}

/** What the NIC's own switch carries, by the second transmit queue of each. */
async function pair(t: Tap, lab: Lab, pf: string, vf: string): Promise<void> {
  const other = (await shell(lab, `basename $(readlink ${sysfs}/${pf}/virtfn1)`)).trim();
  await lab.bind(other, "vfio-pci");
  const total = million / 10;
  type Report = { flows: object[]; pool: string[] };
  const argument = JSON.stringify({ nics: [vf, other], total });
  const { flows, pool } = await guestNode<Report>(lab, "vf-pair", argument);
  const perfect = { sent: total, received: total, lost: 0, late: 0, changed: 0 };
  t.same(flows, [perfect, perfect]);
  t.same(pool, []);
  await lab.bind(other, "none");
}

async function mailbox(t: Tap, lab: Lab, vf: string, name: string): Promise<void> {
  const show = `ip link show ${name} | grep 'vf 0'`;
  const granted = await steps(lab, vf, [
    ["setMac", mac(1)],
    ["shell", `${show} | grep 02:00:00:00:00:01`],
    ["addMac", mac(2)],
    ["addMac", mac(3)],
    ["removeMac", mac(2)],
    ["setMulticast", [[1, 0, 0x5e, 0, 0, 1]]],
    ["setAllMulticast", true],
    ["setVlan", 100, true],
    ["setVlan", 100, false],
    ["setMtu", 9000],
    ["setVlanFilter", true],
    ["mac"],
  ]);
  allWell(t, granted);
  t.same(granted.at(-1)![1].value, mac(1));
  const refused = await steps(lab, vf, [
    ["setPromiscuous", true],
    ["setVlanFilter", false],
    ["shell", `ip link set ${name} vf 0 mac 02:00:00:00:00:09`],
    ["setMac", mac(1)],
    ["shell", `ip link set ${name} vf 0 trust on`],
    ["setMac", mac(1)],
    ["shell", `ip link set ${name} vf 0 vlan 77`],
    ["setVlan", 5, true],
    ["shell", `ip link set ${name} vf 0 vlan 0 trust off`],
  ]);
  const errors = refused.map(([, result]) => result);
  t.match(errors[0], { code: "VF_REFUSED", message: new RegExp(`${name} refuses its VF 0 the promiscuous`) });
  t.match(errors[1], { code: "NOT_SUPPORTED" });
  t.match(errors[3], {
    code: "VF_REFUSED",
    fix: new RegExp(`^ip link set ${name} vf 0 mac 02:00:00:00:00:01`),
  });
  t.equal(errors[5]!.code, undefined, "the fix mends it");
  t.match(errors[7], { code: "VF_REFUSED", message: /VLAN 5/, fix: new RegExp(`${name} vf 0 vlan 0`) });
}

async function comesAndGoes(t: Tap, lab: Lab, vf: string, name: string): Promise<void> {
  const results = await steps(lab, vf, [
    ["setVlan", 100, true],
    ["links"],
    ["shell", `ip link set ${name} down`],
    ["link", false],
    ["setVlan", 101, true],
    ["shell", `ip link set ${name} up`],
    ["link", true],
    ["setVlan", 101, true],
    ["links"],
    ["shell", `ip link set ${name} mtu 2000`], // resets the PF
    ["link", false],
    ["link", true],
    ["links"],
    ["xstats"],
  ]);
  const values = results.map(([, result]) => result);
  t.match(values[4], { code: "VF_PF_DOWN", fix: `ip link set ${name} up` });
  allWell(
    t,
    results.filter((_, k) => k !== 4),
  );
  t.same(values[8]!.value, { links: [false, true], errors: [] });
  const { links, errors } = values[12]!.value as { links: boolean[]; errors: string[] };
  t.same([links[0], links.at(-1), errors], [false, true, []]);
  t.ok((values[13]!.value as Record<string, number>).pf_resets! >= 2);
}

async function pfDown(t: Tap, lab: Lab, vf: string, name: string): Promise<void> {
  await shell(lab, `ip link set ${name} down`);
  const program = fileURLToPath(new URL("./guest/vf-steps.js", import.meta.url));
  const { code, stderr } = await lab.node(program, [JSON.stringify({ nics: [vf], steps: [] })]);
  t.not(code, 0);
  t.match(stderr, /VF_PF_DOWN/);
  await shell(lab, `ip link set ${name} up`);
}

/** Ping goes on after the PF was reset under it. */
async function pingAcrossReset(t: Tap, lab: Lab, vf: string, peer: string, name: string): Promise<void> {
  await kernelPeer(lab, peer, "e1000e", "10.77.0.1/24");
  const echo = await guestStart(lab, "echo", { nics: [vf] });
  t.same(await floodPing(lab, "10.77.0.2", 200), { sent: 200, received: 200 });
  await shell(lab, `ip link set ${name} down; sleep 0.5; ip link set ${name} up; sleep 5`);
  t.same(await floodPing(lab, "10.77.0.2", 2000), { sent: 2000, received: 2000 });
  const { links } = await guestEnd<EchoReport>(echo);
  t.same(links, [false, true, false], "and down at the end");
  await endKernelPeer(lab);
}

t.test("with an IOMMU, the PF on the kernel's igb", { skip: missing }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [...nics] });
  const [pf, peer] = lab.nics.map(({ address }) => address) as [string, string];
  const { name, vf } = await makeVfs(lab, pf);
  await lab.bind(vf, "vfio-pci");
  await t.test("the kernel pings the VF", (t) => ping(t, lab, vf, peer));
  await t.test("jumbo frames, and receive interrupts", (t) => jumboAndSleep(t, lab, vf, peer));
  await t.test("a million frames each way, VF and e1000e", (t) => audit(t, lab, vf, peer));
  await t.test("two virtual functions to each other", (t) => pair(t, lab, pf, vf));
  await t.test("the mailbox: granted and refused", (t) => mailbox(t, lab, vf, name));
  await t.test("the PF goes down, comes back, and is reset", (t) => comesAndGoes(t, lab, vf, name));
  await t.test("the PF is down when the VF is opened", (t) => pfDown(t, lab, vf, name));
  await t.test("ping across a reset of the PF", (t) => pingAcrossReset(t, lab, vf, peer, name));
  await t.test("the kernel's igbvf takes the VF back", async (t) => {
    await kernelPeer(lab, vf, "igbvf", "10.77.0.3/24");
    await endKernelPeer(lab);
    await lab.bind(vf, "none");
    t.pass("it has a link");
  });
  await t.test("the virtual functions are removed, and the PF is the kernel's as before", async (t) => {
    await lab.writeFile(`${sysfs}/${pf}/sriov_numvfs`, "0");
    t.equal((await shell(lab, `ls -d ${sysfs}/${pf}/virtfn* 2> /dev/null || true`)).trim(), "");
    await shell(lab, `ip link set ${name} up`);
  });
});

t.test("with an IOMMU, the PF on vfio-pci", { skip: missing }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [...nics] });
  const pf = lab.nics[0]!.address;
  await shell(lab, "modprobe vfio-pci enable_sriov=1");
  await lab.bind(pf, "vfio-pci");
  type Caught = { error: { code: string } };
  type Report = {
    vfs: string[];
    refusals: Caught[];
    status: number;
    isPfAway: boolean;
    inUse: string;
    unserved: { code: string; fix: string };
    withVfs: { code: string; fix: string };
    left: string[];
  };
  const report = await guestNode<Report>(lab, "vf-token", pf);
  t.equal(report.vfs.length, 2);
  t.same(
    report.refusals.map(({ error }) => error.code),
    ["VFIO_TOKEN_MISSING", "VFIO_TOKEN_WRONG"],
  );
  t.not(report.status, 0, "the VF's registers answer");
  t.not(report.status, 0xffff_ffff);
  t.ok(report.isPfAway, "no program serves as its PF's driver");
  t.equal(report.inUse, "PCI_IN_USE", "they are not taken from under a program");
  t.match(report.unserved, { code: "VF_PF_DOWN", fix: `bind ${pf} to igb: on vfio-pci it does not` });
  t.match(report.withVfs, { code: "PF_HAS_VFS", fix: /^as root: pollmode sriov remove 0000/ });
  t.same(report.left, []);
  await lab.bind(pf, "igb");
  t.match(await shell(lab, `ls ${sysfs}/${pf}/net`), /\w/, "the kernel takes the PF back");
});

t.test("without an IOMMU", { skip: missing }, async (t) => {
  await labBed.setup();
  await using lab = await Lab.boot({ nics: [...nics], iommu: false });
  const [pf, peer] = lab.nics.map(({ address }) => address) as [string, string];
  const { vf } = await makeVfs(lab, pf);
  for (const driver of ["vfio-pci", "uio_pci_generic", "igb_uio"] as const) {
    await lab.bind(vf, driver);
    await t.test(`${driver}: the kernel pings the VF`, (t) => ping(t, lab, vf, peer));
    await t.test(`${driver}: a million frames each way`, (t) => audit(t, lab, vf, peer, driver));
    await lab.bind(peer, "none");
  }
});
