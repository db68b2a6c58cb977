// Putting back what was bound before: in this boot, after a reboot, with devices that went, with a fault at any change.
import { rmSync } from "node:fs";
import t from "tap";
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import { BindingJournal } from "../../src/devices/journal.ts";
import { changeDrivers } from "../../src/devices/rebind.ts";
import { restoreDrivers } from "../../src/devices/restore.ts";
import { FakeMachine } from "../support/fake-machine.ts";

type Test = { teardown(done: () => void): unknown };

const nic = "0000:00:03.0";
const held = "0000:00:04.0";
const idle = "0000:00:05.0";
const RUN = "/run/pollmode/bindings.json";

/** A NIC of the kernel's, one that was forced on vfio-pci, one that nobody has. */
function machineOf(t: Test): FakeMachine {
  const machine = FakeMachine.make(t);
  machine.kernel
    .addDriver("e1000e", { ids: ["8086:10d3"] })
    .addDriver("vfio-pci")
    .addDriver("uio_pci_generic")
    .addDevice(nic, { driver: "e1000e", group: 7 })
    .addDevice(held, { driver: "vfio-pci", override: "vfio-pci", group: 8 })
    .addDevice(idle, { group: 9 });
  return machine;
}

function bind(machine: FakeMachine, driver: string | undefined, ...names: string[]) {
  const devices = names.map((name) => readPciDevice(name, machine.sysfs));
  return changeDrivers(machine, { devices, driver });
}

function reboot(machine: FakeMachine): void {
  machine.remove(RUN);
  machine.put("/proc/sys/kernel/random/boot_id", `${Math.random()}\n`);
}

const results = (report: { outcomes: readonly { address: string; result: string }[] }) =>
  report.outcomes.map(({ address, result }) => `${address} ${result}`);

t.test("in this boot: driver, driver_override, and to have none", async (t) => {
  const machine = machineOf(t);
  const start = machine.state();
  await bind(machine, "uio_pci_generic", nic, held, idle);
  await bind(machine, undefined, nic);
  await bind(machine, "vfio-pci", nic);
  const report = await restoreDrivers(machine);
  t.match(report, {
    outcomes: [
      { address: nic, before: "vfio-pci", after: "e1000e", result: "changed", node: undefined },
      { address: held, before: "uio_pci_generic", after: "vfio-pci", result: "changed", node: "/dev/vfio/8" },
      { address: idle, before: "uio_pci_generic", after: undefined, result: "changed" },
    ],
    warnings: [],
  });
  t.same(machine.state(), start);
  t.same((await restoreDrivers(machine)).outcomes, [], "and is forgotten");
});

t.test("devices that are named", async (t) => {
  const machine = machineOf(t);
  await bind(machine, "uio_pci_generic", nic, idle);
  t.same(results(await restoreDrivers(machine, { words: [idle] })), [`${idle} changed`]);
  t.equal(machine.state()[nic], "driver=uio_pci_generic override=undefined");
  await t.rejects(restoreDrivers(machine, { words: [nic, held] }), {
    code: "BINDING_UNKNOWN",
    message: /what 0000:00:04\.0 was bound to/,
    fix: /pollmode devbind -b DRIVER 0000:00:04\.0/,
  });
  t.equal(machine.state()[nic], "driver=uio_pci_generic override=undefined", "nothing is done by halves");
});

t.test("by the interface that it had, or a pattern", async (t) => {
  const machine = machineOf(t);
  machine.kernel.put(`devices/pci0000:00/${nic}/net/eth7/address`, "52:54:00:00:00:01");
  await bind(machine, "uio_pci_generic", nic, idle);
  rmSync(machine.kernel.path(`devices/pci0000:00/${nic}/net`), { recursive: true });
  t.same(results(await restoreDrivers(machine, { words: ["eth7"] })), [`${nic} changed`]);
  t.same(
    results(await restoreDrivers(machine, { words: ["00:0[345].*", idle] })),
    [`${idle} changed`],
    "what of it is known",
  );
  await t.rejects(restoreDrivers(machine, { words: ["eth7"] }), { code: "DEVICE_UNKNOWN" });
});

t.test("somebody else has put it back", async (t) => {
  const machine = machineOf(t);
  await bind(machine, "vfio-pci", nic);
  machine.sysfs.write("bus/pci/drivers/vfio-pci/unbind", nic);
  machine.sysfs.write("bus/pci/drivers_probe", nic);
  t.same(results(await restoreDrivers(machine)), [`${nic} unchanged`]);
  t.notOk(machine.exists(RUN));
});

t.test("after a reboot", async (t) => {
  const machine = machineOf(t);
  await bind(machine, "uio_pci_generic", nic, held, idle);
  reboot(machine);
  // the kernel has its drivers again, and something has bound the first one anew
  for (const address of [held, idle]) machine.sysfs.write("bus/pci/drivers/uio_pci_generic/unbind", address);
  machine.sysfs.write("bus/pci/drivers/e1000e/bind", idle);
  const report = await restoreDrivers(machine);
  t.same(results(report), [`${nic} changed`, `${held} changed`, `${idle} unchanged`]);
  t.match(machine.state(), {
    [nic]: "driver=e1000e override=undefined",
    [held]: "driver=vfio-pci override=undefined",
    [idle]: "driver=e1000e override=undefined",
  });
  t.equal(machine.state()[held], "driver=vfio-pci override=undefined", "an override is of its boot");
  t.same((await restoreDrivers(machine)).outcomes, []);
});

t.test("bound anew at each boot: the kernel's driver is still known", async (t) => {
  const machine = machineOf(t);
  await bind(machine, "vfio-pci", nic);
  reboot(machine);
  await bind(machine, "uio_pci_generic", nic); // it came up with vfio-pci
  await restoreDrivers(machine);
  t.equal(machine.state()[nic], "driver=e1000e override=undefined");
});

t.test("devices that have gone, or are others now", async (t) => {
  const machine = machineOf(t);
  await bind(machine, "uio_pci_generic", nic, idle);
  machine.kernel.removeDevice(nic);
  machine.kernel.removeDevice(idle);
  machine.kernel.addDevice(idle, { device: 0x10c9, driver: "vfio-pci", group: 10 });
  const report = await restoreDrivers(machine);
  t.same(results(report), [`${nic} gone`, `${idle} unchanged`]);
  t.match(report.warnings, [/03\.0 is not there any more/, /05\.0 is another device now, it was 8086:10d3/]);
  t.equal(machine.state()[idle], "driver=vfio-pci override=undefined");
  t.notOk(machine.exists(RUN));
});

t.test("a device in use is refused, and then nothing is done", async (t) => {
  const machine = machineOf(t);
  await bind(machine, "vfio-pci", nic);
  await bind(machine, "e1000e", idle);
  machine.kernel.put(`devices/pci0000:00/${idle}/net/eth1/address`, "52:54:00:00:00:01");
  const link = { index: 2, name: "eth1", flags: 3, operState: "up", carrier: true, hasXdp: false };
  const address = { index: 2, family: 6, address: "2001:db8::1", prefixLength: 64 };
  machine.put("/netlink.json", JSON.stringify({ links: [link], addresses: [address], routes: [] }));
  const start = machine.state();
  const report = await restoreDrivers(machine);
  t.same(results(report), [`${nic} skipped`, `${idle} refused`]);
  t.match(report.outcomes[1], {
    error: { code: "DEVICE_IN_USE", message: /cannot be unbound.*2001:db8::1\/64/ },
  });
  t.same(machine.state(), start);
  const forced = await restoreDrivers(machine, { force: true });
  t.same(results(forced), [`${nic} changed`, `${idle} changed`]);
});

t.test("a process that was killed in the middle of a bind", async (t) => {
  const sound = machineOf(t);
  await bind(sound, "vfio-pci", nic);
  const writes = [...sound.kernel.writes];
  t.equal(writes.length, 4);
  for (let done = 1; done <= writes.length; done++) {
    const machine = machineOf(t);
    const start = machine.state();
    const journal = await BindingJournal.open(machine, () => {});
    journal.remember([readPciDevice(nic, machine.sysfs)]);
    journal.close();
    for (const { path, value } of writes.slice(0, done)) machine.sysfs.write(path, value);
    t.same(results(await restoreDrivers(machine)), [`${nic} changed`]);
    t.same(machine.state(), start, `after ${done} of its writes`);
  }
});

t.test("a fault at each change", async (t) => {
  const make = async () => {
    const machine = machineOf(t);
    await bind(machine, "uio_pci_generic", nic, held);
    return machine;
  };
  const sound = await make();
  const first = sound.log.changes.length;
  await restoreDrivers(sound);
  const steps = sound.log.changes.slice(first);
  t.ok(steps.length >= 8, `${steps.length} changes`);
  for (const [at, step] of steps.entries()) {
    const machine = await make();
    const start = machine.state();
    machine.failFromNow(at);
    const report = await restoreDrivers(machine);
    const name = `change ${at}, ${step}`;
    if (step.startsWith("remove")) {
      t.same(results(report), [`${nic} changed`, `${held} changed`], name);
      t.match(report.warnings, [/will find again what is put back already/], name);
      t.match(
        results(await restoreDrivers(machine)),
        [/unchanged/, /unchanged/],
        `${name}: nothing is done twice`,
      );
      continue;
    }
    const failed = report.outcomes.filter(({ result }) => result === "failed");
    t.equal(failed.length, 1, name);
    const { address, error } = failed[0]!;
    t.match(error, { code: "PCI_BIND", message: /back as it was/ }, name);
    t.equal(machine.state()[address], start[address], name);
    t.same(results(await restoreDrivers(machine)), [`${address} changed`], `${name}: it is still remembered`);
  }
});
