// Virtual functions made with their drivers, and that a fault at any step leaves everything as it was.
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { bindDriver } from "../../src/bus/pci/bind.ts";
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import { setNumVfs } from "../../src/bus/pci/sriov.ts";
import { Sysfs } from "../../src/bus/pci/sysfs.ts";
import type { LinkState } from "../../src/devices/link-state.ts";
import { type Change, Machine } from "../../src/devices/machine.ts";
import { createVfs, removeVfs, sriovStatus } from "../../src/devices/sriov.ts";
import { setVf } from "../../src/devices/vf-settings.ts";
import { FakeSysfs } from "../support/fake-sysfs.ts";
import { FakeVfs } from "../support/fake-vfs.ts";

type Test = { teardown(done: () => void): unknown };

const pf = "0000:04:00.0";
const vfsOf = (count: number) => Array.from({ length: count }, (_, k) => `0000:05:1${k >> 2}.${(k & 3) * 2}`);
const enableSriov = "module/vfio_pci/parameters/enable_sriov";

/** Whose driver forgets what was set of virtual functions when they go. */
class PfSysfs extends FakeSysfs {
  control: FakeVfs | undefined;

  protected override store(path: string, value: string): void {
    super.store(path, value);
    if (path.endsWith("sriov_numvfs")) this.control?.reset(Number(value));
  }
}

function fake(t: Test, driver = "igb"): PfSysfs {
  const sysfs = new PfSysfs(t);
  sysfs
    .addDriver("igb", { ids: ["8086:10c9"], hasSriov: true })
    .addDriver("igbvf", { ids: ["8086:10ca"] })
    .addDriver("vfio-pci", { hasSriov: true })
    .addDevice(pf, { device: 0x10c9, totalVfs: 7, driver, interfaces: driver === "igb" ? ["eth1"] : [] });
  sysfs.put(enableSriov, "N\n");
  return sysfs;
}

const machineOf = (sysfs: FakeSysfs) => new Machine({ root: sysfs.root, sysfs, env: {} });

/** Everything that is changed, as text. */
const stateOf = (sysfs: FakeSysfs) => ({ ...sysfs.state(), enable: sysfs.read(enableSriov) });

t.test("from none to some, with a driver, and to none again", async (t) => {
  const sysfs = fake(t);
  const machine = machineOf(sysfs);
  t.same(await createVfs(machine, "04:00.0", { count: 2, driver: "vfio-pci" }), {
    vfs: vfsOf(2),
    tokenIsHeld: false,
  });
  for (const vf of vfsOf(2)) t.equal(sysfs.state()[vf], "driver=vfio-pci override=undefined");
  t.match(sysfs.state()[pf], /vfs=2 autoprobe=1/);
  const probes = sysfs.writes.filter(({ path }) => path.includes("igbvf"));
  t.same(probes, [], "the kernel's driver has not had them in between");
  t.equal(sysfs.read(enableSriov), "N", "which is vfio-pci's matter");
  sysfs.writes.length = 0;
  await createVfs(machine, pf, { count: 2, driver: "vfio-pci" });
  t.same(sysfs.writes, [], "they are there");
  await createVfs(machine, pf, { count: 2, driver: "igbvf" });
  t.equal(sysfs.state()[vfsOf(1)[0]!], "driver=igbvf override=undefined", "rebound, not made anew");
  await removeVfs(machine, pf);
  t.same(Object.keys(sysfs.state()), [pf]);
  await createVfs(machine, pf, { count: 1 });
  t.equal(sysfs.state()[vfsOf(1)[0]!], "driver=igbvf override=undefined", "whichever the kernel finds");
});

t.test("an administrator's sriov_drivers_autoprobe=0 stays", async (t) => {
  const sysfs = fake(t);
  sysfs.write(`bus/pci/devices/${pf}/sriov_drivers_autoprobe`, "0");
  await createVfs(machineOf(sysfs), pf, { count: 1, driver: "igbvf" });
  t.match(sysfs.state()[pf], /autoprobe=0/);
  const start = stateOf(sysfs);
  sysfs.failWrites(/igbvf\/unbind/, "EIO");
  await t.rejects(createVfs(machineOf(sysfs), pf, { count: 1, driver: "vfio-pci" }), {
    code: "SRIOV_FAILED",
  });
  t.same(stateOf(sysfs), start);
});

t.test("a fault at each step: as before, with drivers and settings", async (t) => {
  const faults: [RegExp, string | undefined][] = [
    [/sriov_drivers_autoprobe/, "0"],
    [/sriov_drivers_autoprobe/, "1"],
    [/sriov_numvfs/, "0"],
    [/sriov_numvfs/, "4"],
    [/10\.0\/driver_override/, "vfio-pci"],
    [/10\.6\/driver_override/, "vfio-pci"],
    [/10\.6\/driver_override/, "\n"],
    [/vfio-pci\/bind/, vfsOf(4)[3]],
  ];
  for (const [path, value] of faults) {
    const sysfs = fake(t);
    const [machine, control] = [machineOf(sysfs), new FakeVfs(2)];
    await setNumVfs(pf, 2, { sysfs });
    bindDriver(vfsOf(2)[1]!, "vfio-pci", { sysfs });
    setVf(
      machine,
      pf,
      1,
      { mac: "02:00:00:00:00:07", vlan: { id: 5, qos: 1, protocol: "802.1ad" } },
      control,
    );
    const [start, settings] = [stateOf(sysfs), control.read()];
    sysfs.control = control;
    sysfs.failWrites(path, "EIO", value, 1);
    const what = `${path} ${value?.trim()}`;
    await t.rejects(
      createVfs(machine, pf, { count: 4, driver: "vfio-pci", control }),
      { code: "SRIOV_FAILED" },
      what,
    );
    t.same(stateOf(sysfs), start, what);
    t.same(control.read(), settings, `${what}: settings`);
  }
});

t.test("with as many as there are: those bound before the fault get their drivers back", async (t) => {
  for (const [path, value] of [
    [/10\.2\/driver_override/, "vfio-pci"],
    [/igbvf\/unbind/, vfsOf(2)[1]],
    [/vfio-pci\/bind/, vfsOf(2)[1]],
  ] as const) {
    const sysfs = fake(t);
    await setNumVfs(pf, 2, { sysfs });
    const start = stateOf(sysfs);
    sysfs.failWrites(path, "EIO", value, 1);
    const error = { code: "SRIOV_FAILED", message: /it has 2 virtual functions, as before/ };
    await t.rejects(createVfs(machineOf(sysfs), pf, { count: 2, driver: "vfio-pci" }), error, path.source);
    t.same(stateOf(sysfs), start, path.source);
  }
});

t.test("they cannot be put back: it says so", async (t) => {
  const sysfs = fake(t);
  await setNumVfs(pf, 1, { sysfs });
  sysfs.failWrites(/vfio-pci\/bind/, "EIO").failWrites(/sriov_numvfs/, "EIO", "1");
  await t.rejects(createVfs(machineOf(sysfs), pf, { count: 2, driver: "vfio-pci" }), {
    code: "SRIOV_NOT_RESTORED",
    message: /vfio-pci.*could not be undone/,
    fix: /pollmode sriov list/,
  });
});

t.test("a driver that is nowhere, or a module that cannot be loaded", async (t) => {
  const sysfs = fake(t);
  const start = stateOf(sysfs);
  const error = { code: "PCI_DRIVER_MISSING" };
  await t.rejects(createVfs(machineOf(sysfs), pf, { count: 1, driver: "nosuch" }), error);
  mkdirSync(join(sysfs.root, "lib/modules/6.1/"), { recursive: true });
  mkdirSync(join(sysfs.root, "proc/sys/kernel"), { recursive: true });
  writeFileSync(join(sysfs.root, "proc/sys/kernel/osrelease"), "6.1\n");
  writeFileSync(join(sysfs.root, "lib/modules/6.1/modules.dep"), "kernel/x/igb_uio.ko:\n");
  const ran: string[] = [];
  const run = (command: readonly string[]) => {
    ran.push(command.join(" "));
    sysfs.addDriver("igb_uio");
    return "";
  };
  await createVfs(new Machine({ root: sysfs.root, sysfs, run }), pf, { count: 0, driver: "igb_uio" });
  t.same(ran, ["modprobe igb_uio"]);
  t.same(stateOf(sysfs), start);
});

t.test("the physical function is on vfio-pci", async (t) => {
  const sysfs = fake(t, "vfio-pci");
  const machine = machineOf(sysfs);
  const start = stateOf(sysfs);
  sysfs.failWrites(/vfio-pci\/bind/, "EIO");
  await t.rejects(createVfs(machine, pf, { count: 1, driver: "vfio-pci" }), { code: "SRIOV_FAILED" });
  t.same(stateOf(sysfs), start, "enable_sriov, too");
  sysfs.faults.length = 0;
  const warnings: string[] = [];
  await createVfs(machine, pf, { count: 1, driver: "vfio-pci", warn: (text) => warnings.push(text) });
  t.equal(sysfs.read(enableSriov), "Y");
  t.match(warnings, [/enable_sriov=Y/]);
  const token = "14d63f20-8445-11ea-8900-1f9ce7d5650d";
  // there is no /dev/vfio here: the token is set before anything is made
  const before = stateOf(sysfs);
  await t.rejects(createVfs(machine, pf, { count: 2, driver: "vfio-pci", vfToken: token }), {
    code: /^VFIO_NO_/,
  });
  t.same(stateOf(sysfs), before);
  const byIgb = createVfs(machineOf(fake(t)), pf, { count: 1, vfToken: token });
  await t.rejects(byIgb, {
    code: "OPTION_VALUE",
    message: /has igb/,
    fix: /pollmode devbind --bind vfio-pci 0000:04/,
  });
});

/** One virtual function with an interface that has an address. */
async function inUse(t: Test): Promise<{ sysfs: FakeSysfs; links: LinkState }> {
  const sysfs = fake(t);
  const [vf] = await setNumVfs(pf, 1, { sysfs });
  sysfs.put(`devices/pci0000:00/${vf}/net/eth5/address`, "52:54:00:00:00:05\n");
  const link = { index: 5, name: "eth5", flags: 3, operState: "up", carrier: true, hasXdp: false };
  const address = { index: 5, family: 4, address: "10.0.0.1", prefixLength: 24 } as const;
  return { sysfs, links: { links: [link], addresses: [address], routes: [] } };
}

t.test("virtual functions in use are taken away by force alone", async (t) => {
  const { sysfs, links } = await inUse(t);
  const machine = machineOf(sysfs);
  const start = stateOf(sysfs);
  const refused = {
    code: "DEVICE_IN_USE",
    message: /0000:05:10.0 cannot be taken away.*eth5 has the address 10.0.0.1/,
  };
  await t.rejects(removeVfs(machine, pf, { links }), refused);
  await t.rejects(createVfs(machine, pf, { count: 2, links }), refused);
  await t.rejects(createVfs(machine, pf, { count: 1, driver: "vfio-pci", links }), refused);
  t.same(stateOf(sysfs), start);
  await createVfs(machine, pf, { count: 1, driver: "igbvf", links });
  t.same(stateOf(sysfs), start, "what stays as it is may be in use");
  const broken: string[] = [];
  await removeVfs(machine, pf, { links, force: true, warn: (text) => broken.push(text) });
  t.match(broken, [/eth5 has the address/]);
  t.same(Object.keys(sysfs.state()), [pf]);
});

t.test("what a program has open stays, by force too: the kernel would wait for the program", async (t) => {
  const sysfs = fake(t);
  const machine = machineOf(sysfs);
  await createVfs(machine, pf, { count: 1, driver: "vfio-pci" });
  const [vf] = vfsOf(1);
  sysfs.link(`devices/pci0000:00/${vf}/iommu_group`, "kernel/iommu_groups/9");
  mkdirSync(join(sysfs.root, "proc/42/fd"), { recursive: true });
  writeFileSync(join(sysfs.root, "proc/42/comm"), "qemu\n");
  symlinkSync(join(sysfs.root, "dev/vfio/9"), join(sysfs.root, "proc/42/fd/3"));
  const start = stateOf(sysfs);
  const refused = { code: "PCI_IN_USE", message: /qemu \(process 42\)/ };
  await t.rejects(removeVfs(machine, pf, { force: true }), refused);
  await t.rejects(createVfs(machine, pf, { count: 2, force: true }), refused);
  t.same(stateOf(sysfs), start);
});

t.test("what it shows", async (t) => {
  const sysfs = fake(t).addDevice("0000:00:03.0");
  const [machine, control] = [machineOf(sysfs), new FakeVfs(2)];
  t.equal(sriovStatus(machine, readPciDevice("0000:00:03.0", sysfs), control), undefined);
  await createVfs(machine, pf, { count: 2, driver: "vfio-pci", control });
  t.match(sriovStatus(machine, readPciDevice(pf, sysfs), control), {
    address: pf,
    driver: "igb",
    interfaces: ["eth1"],
    totalVfs: 7,
    vfs: vfsOf(2).map((address, index) => ({
      index,
      address,
      driver: "vfio-pci",
      settings: FakeVfs.initial,
    })),
  });
});

t.test("a dry run: each write, with the addresses that they will have", async (t) => {
  const sysfs = fake(t, "vfio-pci");
  sysfs.put(`devices/pci0000:00/${pf}/sriov_offset`, "384\n");
  sysfs.put(`devices/pci0000:00/${pf}/sriov_stride`, "2\n");
  const start = stateOf(sysfs);
  const shown: string[] = [];
  const record = (change: Change) => {
    if (change.kind === "write")
      shown.push(`${change.path.split("/").slice(-2).join("/")} ${change.value.trim()}`);
  };
  const dry = new Sysfs(sysfs.root, (write) => record({ kind: "write", ...write }));
  const vfToken = "14d63f20-8445-11ea-8900-1f9ce7d5650d";
  const machine = new Machine({ root: sysfs.root, sysfs: dry, record });
  t.same((await createVfs(machine, pf, { count: 2, driver: "vfio-pci", vfToken })).vfs, vfsOf(2));
  t.same(shown, [
    "parameters/enable_sriov Y",
    `${pf}/sriov_drivers_autoprobe 0`,
    `${pf}/sriov_numvfs 2`,
    `${pf}/sriov_drivers_autoprobe 1`,
    "0000:05:10.0/driver_override vfio-pci",
    "vfio-pci/bind 0000:05:10.0",
    "0000:05:10.0/driver_override ",
    "0000:05:10.2/driver_override vfio-pci",
    "vfio-pci/bind 0000:05:10.2",
    "0000:05:10.2/driver_override ",
  ]);
  t.same(stateOf(sysfs), start);
});
