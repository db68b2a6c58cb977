// Binding drivers: what is written in which order, and that a fault at any step leaves the device as it was.
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type BindOptions, bindDriver, restoreDriver, unbindDriver } from "../../../src/bus/pci/bind.ts";
import { KernelModules } from "../../../src/bus/pci/modules.ts";
import { Sysfs } from "../../../src/bus/pci/sysfs.ts";
import { System } from "../../../src/bus/vfio/system.ts";
import { describeError } from "../../../src/errors.ts";
import { FakeSysfs } from "../../support/fake-sysfs.ts";

const nic = "0000:00:03.0";
const other = "0000:00:04.0";
type Test = { teardown(done: () => void): unknown };

/** Two NICs of one model with their kernel driver, and vfio-pci. */
function machine(t: Test): FakeSysfs {
  return new FakeSysfs(t)
    .addDriver("e1000e", { ids: ["8086:10d3"] })
    .addDriver("vfio-pci")
    .addDriver("uio_pci_generic")
    .addDevice(nic, { driver: "e1000e", group: 7 })
    .addDevice(other, { driver: "e1000e", group: 8 });
}

const written = (sysfs: FakeSysfs) =>
  sysfs.writes.map(({ path, value }) => `${path} ${JSON.stringify(value)}`);
const quiet = (sysfs: FakeSysfs): BindOptions => ({
  sysfs,
  modules: new KernelModules(sysfs, "/nonexistent"),
});

const steps = [
  `bus/pci/devices/${nic}/driver_override "vfio-pci"`,
  `bus/pci/drivers/e1000e/unbind "${nic}"`,
  `bus/pci/drivers/vfio-pci/bind "${nic}"`,
  `bus/pci/devices/${nic}/driver_override "\\n"`,
];

t.test("from the kernel's driver to vfio-pci and back", async (t) => {
  const sysfs = machine(t);
  const start = sysfs.state();
  const before = bindDriver("00:03.0", "vfio-pci", { sysfs });
  t.same(before, { address: nic, driver: "e1000e", driverOverride: undefined });
  t.same(written(sysfs), steps);
  t.same(
    sysfs.state(),
    { ...start, [nic]: "driver=vfio-pci override=undefined" },
    "the other NIC keeps its driver",
  );
  restoreDriver(before, { sysfs });
  t.same(sysfs.state(), start);
});

t.test("already bound: nothing is written", async (t) => {
  const sysfs = machine(t);
  bindDriver(nic, "e1000e", { sysfs });
  t.same(sysfs.writes, []);
});

t.test("from no driver, and back to none", async (t) => {
  const sysfs = machine(t).addDevice("0000:00:05.0");
  const start = sysfs.state();
  const before = bindDriver("0000:00:05.0", "vfio-pci", { sysfs });
  t.same(before.driver, undefined);
  restoreDriver(before, { sysfs });
  t.same(sysfs.state(), start);
});

t.test("unbinding, and then the kernel's driver takes it by itself", async (t) => {
  const sysfs = machine(t).addDevice("0000:00:05.0", { driver: "vfio-pci", override: "vfio-pci" });
  const before = unbindDriver("0000:00:05.0", { sysfs });
  t.same(before, { address: "0000:00:05.0", driver: "vfio-pci", driverOverride: "vfio-pci" });
  t.equal(sysfs.state()["0000:00:05.0"], "driver=undefined override=undefined");
  t.same(sysfs.writes.at(-1), { path: "bus/pci/devices/0000:00:05.0/driver_override", value: "\n" });
  sysfs.write("bus/pci/drivers_probe", "0000:00:05.0");
  t.equal(sysfs.state()["0000:00:05.0"], "driver=e1000e override=undefined");
  restoreDriver(before, { sysfs });
  t.equal(sysfs.state()["0000:00:05.0"], "driver=vfio-pci override=vfio-pci", "the override too");
  unbindDriver(other, { sysfs });
  sysfs.writes.length = 0;
  unbindDriver(other, { sysfs });
  t.same(sysfs.writes, [], "nothing to unbind");
});

t.test("a fault at each step of bind", async (t) => {
  for (const [at, step] of steps.entries()) {
    const [path, value] = step.split(" ");
    for (const errno of ["EACCES", "EIO"]) {
      const sysfs = machine(t).failWrites(new RegExp(`${path}$`), errno, JSON.parse(value!), 1);
      const start = sysfs.state();
      t.throws(() => bindDriver(nic, "vfio-pci", { sysfs }), {
        code: "PCI_BIND",
        message: new RegExp(
          `^${nic} cannot be bound to vfio-pci: write\\(.*${path}, .*\\): ${errno}.*; it is back as it was`,
        ),
        fix: errno === "EACCES" ? /run as root/ : /dmesg/,
      });
      t.same(sysfs.state(), start, `step ${at}, ${errno}`);
    }
  }
});

t.test("a fault that stays, at each step of bind", async (t) => {
  for (const [at, step] of steps.slice(0, 3).entries()) {
    const [path, value] = step.split(" ");
    const sysfs = machine(t).failWrites(new RegExp(`${path}$`), "EIO", JSON.parse(value!));
    const start = sysfs.state();
    t.throws(() => bindDriver(nic, "vfio-pci", { sysfs }), { code: "PCI_BIND" });
    t.same(sysfs.state(), start, `step ${at}`);
  }
  const sysfs = machine(t).failWrites(/driver_override/, "EIO", "\n");
  t.throws(() => bindDriver(nic, "vfio-pci", { sysfs }), {
    code: "PCI_NOT_RESTORED",
    message: /it had e1000e, and has e1000e with driver_override e1000e now/,
    fix: /echo +> .*driver_override$/,
  });
});

t.test("a fault at each step of unbind and of restore", async (t) => {
  const bound = (): FakeSysfs =>
    machine(t).addDevice("0000:00:05.0", { driver: "vfio-pci", override: "vfio-pci" });
  for (const fault of [/vfio-pci\/unbind/, /driver_override/]) {
    const sysfs = bound().failWrites(fault, "EPERM", fault.source.includes("override") ? "\n" : undefined);
    const start = sysfs.state();
    t.throws(() => unbindDriver("0000:00:05.0", { sysfs }), { code: "PCI_BIND" });
    t.same(sysfs.state(), start, `${fault}`);
  }
  for (const fault of [/driver_override/, /vfio-pci\/unbind/, /e1000e\/bind/]) {
    const sysfs = machine(t);
    const before = bindDriver(nic, "vfio-pci", { sysfs });
    const start = sysfs.state();
    sysfs.failWrites(fault, "EPERM");
    t.throws(() => restoreDriver(before, { sysfs }), {
      code: "PCI_BIND",
      message: /cannot be given back to e1000e/,
    });
    t.same(sysfs.state(), start, `${fault}`);
  }
});

t.test("the old driver cannot be put back: it says how the device is, and what to do", async (t) => {
  const sysfs = machine(t).failWrites(/drivers\/.*\/bind/, "EIO");
  t.throws(() => bindDriver(nic, "vfio-pci", { sysfs }), {
    code: "PCI_NOT_RESTORED",
    message:
      /^0000:00:03.0 cannot be bound to vfio-pci: .*put back: it had e1000e, and has no driver with driver_/,
    fix: new RegExp(`; then, as root: pollmode devbind -b e1000e ${nic}$`),
  });
});

t.test("a probe that fails: the reason by driver and errno", async (t) => {
  const fails = (driver: string, probeErrno: string, device: object) => {
    const sysfs = new FakeSysfs(t)
      .addDriver("e1000e", { ids: ["8086:10d3"] })
      .addDriver(driver, { probeErrno })
      .addDevice(nic, { driver: "e1000e", ...device });
    const start = sysfs.state();
    try {
      bindDriver(nic, driver, { sysfs });
    } catch (error) {
      t.same(sysfs.state(), start);
      return describeError(error);
    }
    return "bound";
  };
  t.match(
    fails("vfio-pci", "EINVAL", {}),
    /EINVAL.*\n.*turn the IOMMU on.* as root: pollmode devbind --noiommu-mode -b vfio-pci 0000/s,
  );
  t.match(fails("vfio-pci", "EINVAL", { group: 1, class: 0x060400 }), /not the bridge/);
  t.match(fails("vfio-pci", "EINVAL", { group: 1 }), /dmesg/);
  t.match(fails("vfio-pci", "EBUSY", { group: 1 }), /is in use/);
  t.match(fails("uio_pci_generic", "ENODEV", {}), /INTx/);
  t.match(
    fails("igb", "EIO", {}),
    /igb\/bind.*ENODEV.*\n.*igb does not know this device/s,
    "which it is not forced on",
  );
});

t.test("a driver that hides its bind file is found by drivers_probe", async (t) => {
  const sysfs = machine(t).addDriver("pci-stub", { hidesBind: true });
  bindDriver(nic, "pci-stub", { sysfs });
  t.equal(sysfs.state()[nic], "driver=pci-stub override=undefined");
  const failing = machine(t).addDriver("pci-stub", { hidesBind: true, probeErrno: "EINVAL" });
  const start = failing.state();
  t.throws(() => bindDriver(nic, "pci-stub", { sysfs: failing }), {
    code: "PCI_BIND",
    message: /pci-stub did not take it/,
  });
  t.same(failing.state(), start);
});

t.test("a driver that is not there", async (t) => {
  const sysfs = machine(t);
  const bind = (driver: string, options: BindOptions) => () => bindDriver(nic, driver, options);
  t.throws(bind("igb_uio", quiet(sysfs)), { code: "PCI_DRIVER_MISSING", fix: /dpdk-kmods-dkms/ });
  t.throws(bind("vfoi-pci", quiet(sysfs)), { code: "PCI_DRIVER_MISSING", fix: /no module vfoi-pci/ });
  const folder = join(sysfs.root, "lib");
  mkdirSync(folder);
  writeFileSync(join(folder, "modules.dep"), "extra/igb_uio.ko:\n");
  const modules = new KernelModules(sysfs, folder);
  t.throws(bind("igb_uio", { sysfs, modules }), {
    code: "PCI_DRIVER_MISSING",
    fix: "as root: modprobe igb_uio",
  });
  t.throws(
    bind("igb_uio", { sysfs, modules, loadModule: () => {} }),
    { code: "PCI_DRIVER_MISSING" },
    "still not there",
  );
  const refuses = () => {
    throw new Error("modprobe: no");
  };
  t.throws(bind("igb_uio", { sysfs, modules, loadModule: refuses }), { message: "modprobe: no" });
  t.same(sysfs.writes, [], "nothing was changed");
  const loaded: string[] = [];
  const loadModule = (name: string) => {
    loaded.push(name);
    sysfs.addDriver(name);
  };
  bindDriver(nic, "igb_uio", { sysfs, modules, loadModule });
  t.same(loaded, ["igb_uio"]);
  t.equal(sysfs.state()[nic], "driver=igb_uio override=undefined");
});

t.test("a device that a program has open is not taken from it", async (t) => {
  const sysfs = machine(t)
    .addDevice("0000:00:05.0", { driver: "vfio-pci", group: 9 })
    .addDevice("0000:00:06.0", { driver: "uio_pci_generic", uio: "uio2" })
    .addDevice("0000:00:07.0", { driver: "vfio-pci", group: 10, vfioDevice: "vfio4" });
  const [dev, proc] = [join(sysfs.root, "dev"), join(sysfs.root, "proc")];
  mkdirSync(join(proc, "42/fd"), { recursive: true });
  writeFileSync(join(proc, "42/comm"), "testpmd\n");
  const nodes = ["vfio/9", "uio2", "vfio/devices/vfio4"];
  for (const [fd, node] of nodes.entries()) symlinkSync(join(dev, node), join(proc, `42/fd/${fd}`));
  const options = { sysfs, system: new System(sysfs, dev, proc) };
  for (const address of ["0000:00:05.0", "0000:00:06.0", "0000:00:07.0"]) {
    const wanted = { code: "PCI_IN_USE", message: /testpmd \(process 42\)/, fix: /stop it/ };
    t.throws(() => bindDriver(address, "e1000e", options), wanted);
    t.throws(() => unbindDriver(address, options), wanted);
  }
  t.same(sysfs.writes, []);
  bindDriver(nic, "vfio-pci", options);
  bindDriver(nic, "e1000e", options);
});

t.test("a physical function keeps its driver while it has virtual functions", async (t) => {
  const pf = "0000:04:00.0";
  const sysfs = machine(t)
    .addDriver("igb", { ids: ["8086:10c9"], hasSriov: true })
    .addDevice(pf, { device: 0x10c9, driver: "igb", totalVfs: 7 });
  sysfs.write(`bus/pci/devices/${pf}/sriov_numvfs`, "2");
  sysfs.writes.length = 0;
  const wanted = {
    code: "PCI_HAS_VFS",
    message: /2 virtual functions/,
    fix: /: pollmode sriov remove 0000:/,
  };
  t.throws(() => bindDriver(pf, "vfio-pci", { sysfs }), wanted);
  t.throws(() => unbindDriver(pf, { sysfs }), wanted);
  t.same(sysfs.writes, []);
});

t.test("the device goes meanwhile", async (t) => {
  const sysfs = machine(t);
  t.throws(() => bindDriver("0000:00:09.0", "vfio-pci", { sysfs }), { code: "PCI_UNKNOWN" });
  class Vanishing extends FakeSysfs {
    protected override store(path: string, value: string): void {
      super.store(path, value);
      if (path.endsWith("/unbind")) this.removeDevice(nic);
    }
  }
  const vanishing = new Vanishing(t)
    .addDriver("e1000e", { ids: ["8086:10d3"] })
    .addDriver("vfio-pci")
    .addDevice(nic, { driver: "e1000e" });
  t.throws(() => bindDriver(nic, "vfio-pci", { sysfs: vanishing }), {
    code: "PCI_NOT_RESTORED",
    message: /no such PCI device/,
  });
});

t.test("a dry run shows the writes of the real one, and does none", async (t) => {
  const sysfs = machine(t);
  const start = sysfs.state();
  const shown: string[] = [];
  const dry = () => {
    shown.length = 0;
    return new Sysfs(sysfs.root, ({ path, value }) => {
      shown.push(`${path.slice(sysfs.root.length + 1)} ${JSON.stringify(value)}`);
    });
  };
  bindDriver(nic, "vfio-pci", { sysfs: dry() });
  t.same(shown, steps);
  unbindDriver(nic, { sysfs: dry() });
  t.same(shown, [`bus/pci/drivers/e1000e/unbind "${nic}"`]);
  t.same(sysfs.state(), start);
});
