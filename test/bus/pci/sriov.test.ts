// Virtual functions made and removed, and that a fault at any step leaves as many as there were, bound as before.
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { bindDriver } from "../../../src/bus/pci/bind.ts";
import { setNumVfs } from "../../../src/bus/pci/sriov.ts";
import { Sysfs } from "../../../src/bus/pci/sysfs.ts";
import { System } from "../../../src/bus/vfio/system.ts";
import { type FakeDriver, FakeSysfs } from "../../support/fake-sysfs.ts";

const pf = "0000:04:00.0";
type Test = { teardown(done: () => void): unknown };

function machine(t: Test, driver: string | undefined = "igb", igb: FakeDriver = {}): FakeSysfs {
  return new FakeSysfs(t)
    .addDriver("igb", { ids: ["8086:10c9"], hasSriov: true, ...igb })
    .addDriver("igbvf", { ids: ["8086:10ca"] })
    .addDriver("vfio-pci")
    .addDevice(pf, { device: 0x10c9, totalVfs: 7, ...(driver && { driver }) });
}

const numbers = (sysfs: FakeSysfs) =>
  sysfs.writes.filter(({ path }) => path.includes("sriov")).map(({ value }) => value);

t.test("from none to some, to another number, to none", async (t) => {
  const sysfs = machine(t);
  t.same(await setNumVfs("04:00.0", 3, { sysfs }), ["0000:05:10.0", "0000:05:10.2", "0000:05:10.4"]);
  t.same(numbers(sysfs), ["3"]);
  t.equal(sysfs.state()["0000:05:10.2"], "driver=igbvf override=undefined");
  t.same(await setNumVfs(pf, 3, { sysfs }), ["0000:05:10.0", "0000:05:10.2", "0000:05:10.4"]);
  t.same(numbers(sysfs), ["3"], "they are there already");
  t.same(await setNumVfs(pf, 1, { sysfs }), ["0000:05:10.0"]);
  t.same(numbers(sysfs), ["3", "0", "1"], "to none first");
  t.same(await setNumVfs(pf, 0, { sysfs }), []);
  t.same(Object.keys(sysfs.state()), [pf]);
});

t.test("without looking for drivers, and autoprobe as it was afterwards", async (t) => {
  const sysfs = machine(t);
  const [vf] = await setNumVfs(pf, 1, { sysfs, autoprobe: false });
  t.equal(sysfs.state()[vf!], "driver=undefined override=undefined");
  t.match(sysfs.state()[pf], /autoprobe=1/);
  await setNumVfs(pf, 0, { sysfs });
  sysfs.writes.length = 0;
  await setNumVfs(pf, 1, { sysfs, autoprobe: true });
  t.same(numbers(sysfs), ["1"], "as it stands already");
});

t.test("what cannot be", async (t) => {
  const sysfs = machine(t).addDevice("0000:00:03.0");
  await t.rejects(setNumVfs("0000:00:09.0", 1, { sysfs }), { code: "PCI_UNKNOWN" });
  await t.rejects(setNumVfs("0000:00:03.0", 1, { sysfs }), { code: "SRIOV_UNSUPPORTED", fix: /firmware/ });
  for (const count of [8, -1, 1.5, Number.NaN]) {
    await t.rejects(setNumVfs(pf, count, { sysfs }), { code: "SRIOV_COUNT", message: /0 to 7/ });
  }
  t.same(sysfs.writes, []);
  const [vf] = await setNumVfs(pf, 1, { sysfs });
  await t.rejects(setNumVfs(vf!, 1, { sysfs }), { code: "SRIOV_UNSUPPORTED", fix: /0000:04:00.0/ });
});

t.test("drivers that make none", async (t) => {
  const fails = async (driver: string | undefined, fix: RegExp) => {
    const sysfs = machine(t, driver, { hasSriov: false });
    if (driver === undefined) sysfs.write("bus/pci/drivers/igb/unbind", pf);
    const start = sysfs.state();
    await t.rejects(setNumVfs(pf, 2, { sysfs }), {
      code: "SRIOV_FAILED",
      message:
        /^0000:04:00.0 cannot be given 2 virtual functions: write\(.*sriov_numvfs, "2"\): ENOENT.* it has 0, as before/,
      fix,
    });
    t.same(sysfs.state(), start);
  };
  await fails("vfio-pci", /before Linux 5.7: bind 0000:04:00.0 to its own driver/);
  await fails("igb", /igb makes none/);
  await fails(undefined, /bind 0000:04:00.0 to a driver first/);
});

t.test("errno by errno", async (t) => {
  for (const [errno, fix] of [
    ["ENOMEM", /pci=realloc/],
    ["EBUSY", /virtual machines/],
    ["EACCES", /run as root/],
  ] as const) {
    const sysfs = machine(t).failWrites(/sriov_numvfs/, errno, "2");
    await t.rejects(setNumVfs(pf, 2, { sysfs }), { code: "SRIOV_FAILED", fix });
  }
});

t.test("a fault at each step: as many as before, bound as before", async (t) => {
  const faults: [RegExp, string | undefined][] = [
    [/sriov_drivers_autoprobe/, "0"],
    [/sriov_numvfs/, "0"],
    [/sriov_numvfs/, "4"],
  ];
  for (const [path, value] of faults) {
    const sysfs = machine(t);
    const [first] = await setNumVfs(pf, 2, { sysfs });
    bindDriver(first!, "vfio-pci", { sysfs });
    const start = sysfs.state();
    sysfs.failWrites(path, "EIO", value);
    await t.rejects(setNumVfs(pf, 4, { sysfs, autoprobe: false }), {
      code: "SRIOV_FAILED",
      message: /it has 2, as before/,
    });
    t.same(sysfs.state(), start, `${path} ${value}`);
  }
});

t.test("they cannot be put back: it says how many there are", async (t) => {
  const sysfs = machine(t);
  await setNumVfs(pf, 2, { sysfs });
  sysfs.failWrites(/sriov_numvfs/, "EIO", "4").failWrites(/sriov_numvfs/, "EIO", "2");
  await t.rejects(setNumVfs(pf, 4, { sysfs }), {
    code: "SRIOV_NOT_RESTORED",
    message: /it had 2, has 0 now/,
    fix: /then, as root: pollmode sriov create 0000:04:00.0 --count 2$/,
  });
});

t.test("a virtual function that a program has open stays", async (t) => {
  const sysfs = machine(t);
  const [vf] = await setNumVfs(pf, 1, { sysfs });
  sysfs.link(`devices/pci0000:00/${vf}/iommu_group`, "kernel/iommu_groups/9");
  bindDriver(vf!, "vfio-pci", { sysfs });
  const [dev, proc] = [join(sysfs.root, "dev"), join(sysfs.root, "proc")];
  mkdirSync(join(proc, "42/fd"), { recursive: true });
  writeFileSync(join(proc, "42/comm"), "qemu\n");
  symlinkSync(join(dev, "vfio/9"), join(proc, "42/fd/3"));
  const system = new System(sysfs, dev, proc);
  const start = sysfs.state();
  await t.rejects(setNumVfs(pf, 0, { sysfs, system }), {
    code: "PCI_IN_USE",
    message: /qemu \(process 42\)/,
  });
  t.same(sysfs.state(), start);
});

t.test("vfio-pci with enable_sriov off: the device tool turns it on", async (t) => {
  const sysfs = machine(t, "vfio-pci", { hasSriov: false });
  sysfs.put("module/vfio_pci/parameters/enable_sriov", "N\n");
  const fix = "as root: pollmode sriov create 0000:04:00.0 --count 2";
  await t.rejects(setNumVfs(pf, 2, { sysfs }), { code: "SRIOV_FAILED", fix });
});

t.test("while the kernel makes them, this thread goes on", async (t) => {
  const sysfs = machine(t);
  let make = () => {};
  sysfs.asideUntil = new Promise((done) => {
    make = done;
  });
  let isDone = false;
  const made = setNumVfs(pf, 2, { sysfs }).finally(() => {
    isDone = true;
  });
  for (let k = 0; k < 3; k++) await new Promise(setImmediate);
  t.notOk(isDone);
  t.match(sysfs.state()[pf], /vfs=0/);
  make();
  t.equal((await made).length, 2);
});

t.test("a dry run", async (t) => {
  const sysfs = machine(t);
  await setNumVfs(pf, 2, { sysfs });
  const shown: string[] = [];
  const dry = new Sysfs(sysfs.root, ({ path, value }) => shown.push(`${path.split("/").at(-1)} ${value}`));
  t.same(await setNumVfs(pf, 4, { sysfs: dry, autoprobe: false }), []);
  t.same(shown, [
    "sriov_drivers_autoprobe 0",
    "sriov_numvfs 0",
    "sriov_numvfs 4",
    "sriov_drivers_autoprobe 1",
  ]);
  t.match(sysfs.state()[pf], /vfs=2 autoprobe=1/);
});
