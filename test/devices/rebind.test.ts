// Giving devices to other drivers: what is refused, what is done, and that a fault at any change leaves all as it was.
import { mkdirSync, symlinkSync } from "node:fs";
import t from "tap";
import { type PciDevice, readPciDevice } from "../../src/bus/pci/scan.ts";
import { type ChangeReport, changeDrivers, type DriverChange, driverName } from "../../src/devices/rebind.ts";
import { FakeMachine } from "../support/fake-machine.ts";

type Test = { teardown(done: () => void): unknown };
type Tap = Pick<typeof t, "teardown" | "match" | "ok" | "same" | "equal">;

const nic = "0000:00:03.0";
const peer = "0000:00:03.1";
const lone = "0000:00:05.0";
const RUN = "/run/pollmode/bindings.json";

/** Two functions and a bridge in group 7, a NIC alone in group 8. */
function machineOf(t: Test): FakeMachine {
  const machine = FakeMachine.make(t);
  machine.kernel
    .addDriver("e1000e", { ids: ["8086:10d3"] })
    .addDriver("vfio-pci")
    .addDriver("uio_pci_generic")
    .addDriver("pcieport")
    .addDevice("0000:00:02.0", { class: 0x060400, driver: "pcieport", group: 7 })
    .addDevice(nic, { driver: "e1000e", group: 7 })
    .addDevice(peer, { driver: "e1000e", group: 7 })
    .addDevice(lone, { driver: "e1000e", group: 8 });
  return machine;
}

type Options = Omit<Partial<DriverChange>, "devices">;

async function change(machine: FakeMachine, names: string[], options: Options = {}): Promise<ChangeReport> {
  const devices = names.map((name): PciDevice => readPciDevice(name, machine.sysfs));
  return changeDrivers(machine, { driver: "vfio-pci", ...options, devices });
}

const results = ({ outcomes }: ChangeReport) => outcomes.map(({ address, result }) => `${address} ${result}`);
const bound = (state: Record<string, string>, ...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, state[name]?.replace(/ override.*/, "")]));

t.test("to vfio-pci and to none, with what it was noted", async (t) => {
  const machine = machineOf(t);
  const start = machine.state();
  const report = await change(machine, [lone]);
  t.match(report, {
    outcomes: [
      { address: lone, before: "e1000e", after: "vfio-pci", result: "changed", node: "/dev/vfio/8" },
    ],
    warnings: [],
  });
  t.equal(machine.state()[lone], "driver=vfio-pci override=undefined");
  t.match(JSON.parse(machine.readText(RUN)!).bindings, [{ address: lone, driver: "e1000e" }]);
  const again = await change(machine, [lone]);
  t.same(results(again), [`${lone} unchanged`]);
  const none = await change(machine, [lone], { driver: undefined });
  t.match(none.outcomes, [{ before: "vfio-pci", after: undefined, result: "changed", node: undefined }]);
  await change(machine, [lone], { driver: "e1000e" });
  t.same(machine.state(), start, "by name to what it was: nothing is left to remember");
});

t.test("a module that is not loaded", async (t) => {
  const machine = machineOf(t);
  machine.put("/lib/modules/6.1.0/modules.dep", "extra/igb_uio.ko:\n");
  await change(machine, [lone], { driver: "igb_uio" });
  t.ok(machine.log.changes.includes("modprobe igb_uio"));
  t.equal(machine.state()[lone], "driver=igb_uio override=undefined");
  const start = machine.state();
  await t.rejects(change(machine, [nic], { driver: "vfoi-pci" }), { code: "PCI_DRIVER_MISSING" });
  machine.put("/lib/modules/6.1.0/modules.dep", "extra/pci-stub.ko:\n");
  machine.failFromNow(0);
  await t.rejects(change(machine, [nic], { driver: "pci-stub" }), {
    code: "COMMAND_FAILED",
    message: /modprobe/,
  });
  t.same(machine.state(), start);
});

t.test("names of drivers", async (t) => {
  const machine = machineOf(t);
  t.equal(driverName(machine, "vfio_pci"), "vfio-pci");
  t.equal(driverName(machine, "uio-pci-generic"), "uio_pci_generic");
  t.equal(driverName(machine, "igb_uio"), "igb_uio", "not loaded: as it is");
  machine.kernel.put("class/net/eth0/address", "52:54:00:00:00:01");
  for (const name of ["0000:00:03.0", "00:03.0", "eth0", "a/b", "", "0000:00:03.*"]) {
    t.throws(() => driverName(machine, name), { code: "OPTION_VALUE", fix: /driver first/ }, name);
  }
});

t.test("a fault at each change of a bind, an unbind and a change of owner", async (t) => {
  const owner = { uid: 1000, gid: 100 };
  const cases: [what: string, names: string[], options: Options][] = [
    ["bind", [lone], {}],
    ["bind with an owner", [lone], { owner }],
    ["bind to UIO with an owner", [lone], { driver: "uio_pci_generic", owner }],
    ["unbind", [lone], { driver: undefined }],
    ["bind a group", [nic], { wholeGroup: true }],
    ["bind a group with an owner", [nic], { wholeGroup: true, owner }],
    ["unbind a group", [nic], { wholeGroup: true, driver: undefined }],
  ];
  for (const [what, names, options] of cases) {
    const sound = machineOf(t);
    const { outcomes } = await change(sound, names, options);
    t.ok(
      outcomes.some(({ result }) => result === "changed"),
      what,
    );
    const count = sound.log.changes.length;
    t.ok(count >= 3, `${what}: ${count} changes`);
    for (let at = 0; at < count; at++) await faultAt(t, at, what, names, options, sound.log.changes[at]!);
  }
});

async function faultAt(t: Tap, at: number, what: string, names: string[], options: Options, step: string) {
  const machine = machineOf(t);
  const start = machine.state();
  machine.failFromNow(at);
  let report: ChangeReport | undefined;
  try {
    report = await change(machine, names, options);
  } catch (error) {
    t.match(error, { code: "COMMAND_FAILED" }, `${what}: nothing but the journal fails as a whole`);
    t.match(step, /^file \/run/);
  }
  const name = `${what}: change ${at}, ${step}`;
  if (step.startsWith("file /var/lib")) {
    t.ok(
      report?.outcomes.every(({ result }) => result === "changed"),
      `${name}: goes on`,
    );
    t.match(report?.warnings, [/nothing of it after a reboot/]);
    return;
  }
  t.same(machine.state(), start, name);
  for (const { result, error } of report?.outcomes ?? []) {
    t.equal(result, "failed", name);
    t.match(error, { code: "PCI_BIND", message: /back as it was/ }, name);
  }
}

t.test("the owner of a node that others of the group use is put back", async (t) => {
  const machine = machineOf(t);
  await change(machine, [nic], { owner: { uid: 7, gid: undefined } });
  const start = machine.state();
  t.match(start["vfio/7"], /^7:/);
  machine.kernel.addDriver("vfio-pci", { probeErrno: "EBUSY" });
  const report = await change(machine, [nic, peer], { wholeGroup: true, owner: { uid: 8, gid: 8 } });
  t.match(report.outcomes, [{ result: "failed" }, { result: "failed", error: { message: /EBUSY/ } }]);
  t.same(machine.state(), start);
});

t.test("owner: user alone, group alone; of a device that is bound already", async (t) => {
  const machine = machineOf(t);
  await change(machine, [lone], { owner: { uid: 5, gid: undefined } });
  await change(machine, [lone], { owner: { uid: undefined, gid: 6 } });
  t.same(
    machine.log.changes.filter((text) => text.startsWith("chown")),
    ["chown 5 /dev/vfio/8", "chown :6 /dev/vfio/8"],
  );
  t.equal(
    machine.log.changes.some((text) => text.startsWith("udevadm")),
    false,
    "there is no udev",
  );
  machine.put("/run/udev/control", "");
  await change(machine, [lone], { owner: { uid: 5, gid: 5 } });
  t.match(machine.log.changes.at(-2), /^udevadm settle/, "udev's rules come first");
});

t.test("several devices: one fails, the others are done", async (t) => {
  const machine = machineOf(t);
  machine.kernel.failWrites(/vfio-pci\/bind/, "EIO", peer);
  const start = machine.state();
  const report = await change(machine, [nic, peer, lone]);
  t.same(results(report), [`${nic} changed`, `${peer} failed`, `${lone} changed`]);
  t.match(report.outcomes[1]?.error, { code: "PCI_BIND", message: /it is back as it was, with e1000e/ });
  t.equal(machine.state()[peer], start[peer]);
});

t.test("the rest of the IOMMU group", async (t) => {
  const machine = machineOf(t);
  const alone = await change(machine, [nic]);
  t.match(alone.warnings, [/group 7.*0000:00:03\.1 \(e1000e\); --group/]);
  t.notMatch(alone.warnings, [/02\.0/], "bridges are in nobody's way");
  const whole = await change(machine, [peer, nic], { wholeGroup: true });
  t.same(results(whole), [`${nic} unchanged`, `${peer} changed`]);
  t.same(whole.warnings, []);
  t.same(bound(machine.state(), "0000:00:02.0"), { "0000:00:02.0": "driver=pcieport" });
  const both = machineOf(t);
  t.same((await change(both, [nic, peer])).warnings, [], "named one by one");
});

t.test("a device in use is refused, and then nothing is done", async (t) => {
  const machine = machineOf(t);
  machine.kernel.put(`devices/pci0000:00/${peer}/net/eth1/address`, "52:54:00:00:00:01");
  const link = { index: 2, name: "eth1", flags: 3, operState: "up", carrier: true, hasXdp: false };
  const address = { index: 2, family: 4, address: "10.0.0.1", prefixLength: 24 };
  machine.put("/netlink.json", JSON.stringify({ links: [link], addresses: [address], routes: [] }));
  const start = machine.state();
  const report = await change(machine, [nic, peer]);
  t.same(results(report), [`${nic} skipped`, `${peer} refused`]);
  t.match(report.outcomes[1]?.error, {
    code: "DEVICE_IN_USE",
    message: /0000:00:03\.1 cannot be bound to vfio-pci, it is in use: eth1 has the address 10\.0\.0\.1\/24/,
  });
  t.same(machine.state(), start);
  const group = await change(machine, [nic], { wholeGroup: true });
  t.same(results(group), [`${nic} skipped`, `${peer} refused`], "nor with its group");
  t.same(results(await change(machine, [peer], { driver: "e1000e" })), [`${peer} unchanged`], "it may stay");
  const forced = await change(machine, [nic, peer], { force: true });
  t.same(results(forced), [`${nic} changed`, `${peer} changed`]);
  t.match(forced.warnings, [/0000:00:03\.1: --force breaks that eth1 has the address 10\.0\.0\.1\/24/]);
});

t.test("the commands that take an interface out of use", async (t) => {
  const machine = machineOf(t);
  machine.kernel.put(`devices/pci0000:00/${peer}/net/eth1/address`, "52:54:00:00:00:01");
  const eth1 = { index: 2, name: "eth1", flags: 3, operState: "up", carrier: true, hasXdp: false };
  const br0 = {
    index: 3,
    name: "br0",
    kind: "bridge",
    flags: 3,
    operState: "up",
    carrier: true,
    hasXdp: false,
  };
  const address = { index: 2, family: 4, address: "10.0.0.1", prefixLength: 24 };
  const route = {
    family: 6,
    destination: "::",
    prefixLength: 0,
    table: 254,
    isOfKernel: false,
    hops: [{ index: 2 }],
  };
  const fixOf = async (state: object) => {
    machine.put("/netlink.json", JSON.stringify(state));
    return (await change(machine, [peer])).outcomes[0]?.error?.fix;
  };
  t.equal(
    await fixOf({ links: [eth1], addresses: [address], routes: [route] }),
    "take it out of use first (ip address flush dev eth1; ip route flush dev eth1); --force breaks it",
  );
  t.equal(
    await fixOf({ links: [{ ...eth1, master: 3 }, br0], addresses: [{ ...address, index: 3 }], routes: [] }),
    "take it out of use first (ip link set eth1 nomaster); --force breaks it",
  );
});

t.test("bridges are left to their driver", async (t) => {
  const machine = machineOf(t);
  const start = machine.state();
  const bridge = "0000:00:02.0";
  const report = await change(machine, [bridge]);
  t.match(report.outcomes, [{ result: "refused", error: { code: "DEVICE_IS_BRIDGE", fix: /pcieport/ } }]);
  t.match((await change(machine, [bridge], { driver: undefined })).outcomes, [{ result: "refused" }]);
  t.same(machine.state(), start);
  t.same(results(await change(machine, [bridge], { driver: undefined, force: true })), [`${bridge} changed`]);
});

t.test("bifurcated NICs are left to their driver", async (t) => {
  const machine = machineOf(t);
  machine.kernel
    .addDriver("mlx5_core", { ids: ["15b3:1019"] })
    .addDevice("0000:3d:00.0", { vendor: 0x15b3, device: 0x1019, driver: "mlx5_core", group: 9 });
  const report = await change(machine, ["0000:3d:00.0"]);
  t.match(report.outcomes[0]?.error, {
    code: "DEVICE_BIFURCATED",
    message: /mlx5_core shares it with programs/,
    fix: /rdma-core.*mlx5_ib.*-a 0000:3d:00\.0; --force/,
  });
  const forced = await change(machine, ["0000:3d:00.0"], { force: true });
  t.same(results(forced), ["0000:3d:00.0 changed"]);
  t.match(forced.warnings, [/mlx5_core, which shares it/]);
});

t.test("neither open devices nor virtual functions are taken, --force or not", async (t) => {
  const machine = machineOf(t);
  await change(machine, [lone]);
  mkdirSync(machine.path("/proc/42/fd"), { recursive: true });
  machine.put("/proc/42/comm", "testpmd\n");
  symlinkSync(machine.path("/dev/vfio/8"), machine.path("/proc/42/fd/3"));
  const open = await change(machine, [lone], { driver: "e1000e", force: true });
  t.match(open.outcomes, [
    { result: "refused", error: { code: "PCI_IN_USE", message: /testpmd \(process 42\)/ } },
  ]);
  machine.kernel
    .addDriver("igb", { ids: ["8086:10c9"], hasSriov: true })
    .addDevice("0000:04:00.0", { device: 0x10c9, driver: "igb", totalVfs: 7, group: 9 });
  machine.sysfs.write("bus/pci/devices/0000:04:00.0/sriov_numvfs", "2");
  const pf = await change(machine, ["0000:04:00.0"], { force: true });
  t.match(pf.outcomes, [{ result: "refused", error: { code: "PCI_HAS_VFS" } }]);
});

t.test("disks that are in use", async (t) => {
  const machine = machineOf(t);
  const ahci = "0000:00:1f.2";
  machine.kernel.addDriver("ahci").addDevice(ahci, { class: 0x010601, driver: "ahci", group: 7 });
  const partition = `devices/pci0000:00/${ahci}/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1`;
  machine.kernel.put(`${partition}/dev`, "8:1\n");
  machine.kernel.link("class/block/sda1", partition);
  machine.put("/proc/self/mountinfo", "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n");
  const report = await change(machine, [nic], { wholeGroup: true });
  t.match(
    report.outcomes.find(({ address }) => address === ahci),
    {
      result: "refused",
      error: { code: "DEVICE_IN_USE", message: /\/dev\/sda1 is mounted on \// },
    },
  );
  machine.put("/proc/self/mountinfo", "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sdb rw\n");
  const nvme = "0000:00:1f.3";
  machine.kernel.addDriver("nvme").addDevice(nvme, { class: 0x010802, driver: "nvme", group: 9 });
  machine.kernel.put(`devices/pci0000:00/${nvme}/nvme/nvme0/nvme0c0n1/dev`, "259:0\n");
  machine.kernel.put("devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p2/holders/dm-0", "");
  machine.kernel.link(
    "class/block/nvme0n1p2",
    "devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p2",
  );
  const multipath = await change(machine, [nvme]);
  t.match(multipath.outcomes[0]?.error, { message: /dm-0 stands on \/dev\/nvme0n1p2/ });
  t.match(results(await change(machine, [nic], { wholeGroup: true })), [/changed/, /changed/, /changed/]);
});

t.test("without an IOMMU", async (t) => {
  const bare = "0000:00:06.0";
  const make = () => {
    const machine = machineOf(t);
    machine.kernel.addDevice(bare, { driver: "e1000e" });
    return machine;
  };
  const machine = make();
  const start = machine.state();
  await t.rejects(change(machine, [bare]), { code: "VFIO_NO_IOMMU", fix: /--noiommu-mode/ });
  t.same(machine.state(), start);
  const owner = { uid: 1000, gid: 1000 };
  const report = await change(machine, [bare], { noIommuMode: true, owner });
  t.match(report, {
    outcomes: [{ result: "changed", node: "/dev/vfio/noiommu-0" }],
    warnings: [/all of memory/],
  });
  t.match(machine.state(), { noIommu: "Y", "vfio/noiommu-0": "1000:1000" });
  t.same(
    (await change(make(), [lone], { noIommuMode: true })).warnings,
    [],
    "where there is one, it stays off",
  );
  const count = machine.log.changes.length;
  for (let at = 0; at < count; at++) {
    const faulty = make();
    const before = faulty.state();
    faulty.failFromNow(at);
    const step = machine.log.changes[at]!;
    const done = await change(faulty, [bare], { noIommuMode: true, owner }).catch(() => undefined);
    if (step.startsWith("file /var/lib")) t.match(done?.outcomes, [{ result: "changed" }]);
    else t.same(faulty.state(), before, `change ${at}, ${step}`);
  }
  const old = make();
  old.kernel.drop("module/vfio/parameters/enable_unsafe_noiommu_mode");
  await t.rejects(change(old, [bare], { noIommuMode: true }), {
    code: "VFIO_NO_IOMMU",
    fix: /CONFIG_VFIO_NOIOMMU/,
  });
});

t.test("a node that does not appear", async (t) => {
  const machine = machineOf(t);
  const start = machine.state();
  machine.kernel.addDriver("igb_uio"); // its devices get no node here
  const report = await change(machine, [lone], { driver: "igb_uio", owner: { uid: 1, gid: 1 } });
  t.match(report.outcomes, [
    { result: "failed", error: { code: "PCI_BIND", message: /not there after 5000 ms/ } },
  ]);
  t.same(machine.state(), start);
});

t.test("the device goes meanwhile", async (t) => {
  const machine = machineOf(t);
  const gone = readPciDevice(lone, machine.sysfs);
  machine.kernel.removeDevice(lone);
  await t.rejects(changeDrivers(machine, { devices: [gone], driver: "vfio-pci" }), { code: "PCI_UNKNOWN" });
});
