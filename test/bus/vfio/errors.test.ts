// What stands in VFIO's way is found out from sysfs, /dev and /proc, made up here, and named with its fix.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { readPciDevice } from "../../../src/bus/pci/scan.ts";
import {
  cannotOpen,
  dmaEntryLimit,
  findGroup,
  iovaNotUsable,
  memlock,
  noRawIo,
  notViable,
  tokenMissing,
  tokenWrong,
} from "../../../src/bus/vfio/errors.ts";
import { System } from "../../../src/bus/vfio/system.ts";
import { MIB } from "../../../src/limits.ts";
import { FakeSysfs } from "../../support/fake-sysfs.ts";

const NIC = "0000:01:00.0";

/** A made-up machine: a sysfs, and folders for /dev and /proc. */
class Machine {
  readonly sysfs: FakeSysfs;
  readonly dev: string;
  readonly proc: string;
  readonly system: System;

  constructor(t: Test) {
    this.sysfs = new FakeSysfs(t);
    const folder = mkdtempSync(join(tmpdir(), "pollmode-vfio-"));
    t.teardown(() => rmSync(folder, { recursive: true }));
    this.dev = join(folder, "dev");
    this.proc = join(folder, "proc");
    this.system = new System(this.sysfs, this.dev, this.proc);
  }

  file(path: string, text = ""): this {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return this;
  }

  nodes(...names: string[]): this {
    for (const name of names) this.file(join(this.dev, "vfio", name));
    return this;
  }

  iommu(): this {
    this.sysfs.put("class/iommu/dmar0/name", "");
    return this;
  }

  find() {
    return findGroup(readPciDevice(NIC, this.sysfs), this.system);
  }
}

const bind = `pollmode devbind -b vfio-pci ${NIC}`;

t.test("a device that can be opened: its group", async (t) => {
  const machine = new Machine(t).iommu().nodes("vfio", "7");
  machine.sysfs.addDriver("vfio-pci").addDevice(NIC, { driver: "vfio-pci", group: 7 });
  t.same(machine.find(), { number: 7, noIommu: false });
  t.equal(machine.system.groupNode(machine.find()), join(machine.dev, "vfio/7"));
  machine.sysfs.put("kernel/iommu_groups/7/name", "vfio-noiommu\n");
  machine.nodes("noiommu-7");
  t.same(machine.find(), { number: 7, noIommu: true });
});

t.test("a variant of vfio-pci, made for one device, does as well", async (t) => {
  const machine = new Machine(t).iommu().nodes("vfio", "0");
  machine.sysfs.addDriver("mlx5-vfio-pci").addDevice(NIC, { driver: "mlx5-vfio-pci", group: 0 });
  t.same(machine.find(), { number: 0, noIommu: false });
});

t.test("what is missing, in the order in which it is mended", async (t) => {
  const machine = new Machine(t);
  machine.sysfs.addDriver("igb").addDevice(NIC, { driver: "igb" });
  t.throws(() => machine.find(), {
    code: "VFIO_NO_IOMMU",
    message: `${NIC}: this machine has no IOMMU, or it is off, and VFIO works behind one`,
    fix: new RegExp(
      `intel_iommu=on .* pollmode doctor ${NIC}\\); .* as root: pollmode devbind --noiommu-mode -b vfio-pci ${NIC}$`,
    ),
  });
  machine.iommu();
  t.throws(() => machine.find(), {
    code: "VFIO_MODULE",
    message: `${NIC}: the kernel module vfio-pci is not loaded (the device has the driver igb)`,
    fix: `as root: ${bind}`,
  });
  machine.sysfs.addDriver("vfio-pci");
  t.throws(() => machine.find(), {
    code: "VFIO_NOT_BOUND",
    message: `${NIC} has the driver igb, not vfio-pci`,
    fix: `as root: ${bind}`,
  });
  machine.sysfs.removeDevice(NIC);
  machine.sysfs.addDevice(NIC);
  t.throws(() => machine.find(), {
    code: "VFIO_NOT_BOUND",
    message: `${NIC} has no driver, not vfio-pci`,
    fix: `as root: ${bind}`,
  });
  machine.sysfs.removeDevice(NIC);
  machine.sysfs.addDevice(NIC, { driver: "vfio-pci" });
  t.throws(() => machine.find(), {
    code: "VFIO_NO_IOMMU",
    message: `${NIC} has no IOMMU group`,
    fix: /as root: pollmode devbind -u \S+; pollmode devbind --noiommu-mode /,
  });
  machine.sysfs.removeDevice(NIC);
  machine.sysfs.addDevice(NIC, { driver: "vfio-pci", group: 3 });
  const node = (name: string) => join(machine.dev, "vfio", name);
  t.throws(() => machine.find(), {
    code: "VFIO_NO_NODE",
    message: `${NIC}: there is no ${node("vfio")}`,
    fix: /modprobe vfio-pci; in a container .* --device \/dev\/vfio\/vfio$/,
  });
  machine.nodes("vfio");
  t.throws(() => machine.find(), { code: "VFIO_NO_NODE", message: `${NIC}: there is no ${node("3")}` });
  machine.nodes("3");
  t.same(machine.find(), { number: 3, noIommu: false });
});

t.test("no-IOMMU mode is on already: then only the driver is missing", async (t) => {
  const machine = new Machine(t);
  machine.sysfs.addDriver("vfio-pci").addDevice(NIC);
  machine.sysfs.put("module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
  t.throws(() => machine.find(), { code: "VFIO_NOT_BOUND" });
  machine.sysfs.put("module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
  t.throws(() => machine.find(), { code: "VFIO_NO_IOMMU" });
});

t.test("a group that others spoil", async (t) => {
  const { sysfs, system } = new Machine(t);
  for (const name of ["vfio-pci", "pcieport", "pci-stub", "igb", "xhci_hcd"]) sysfs.addDriver(name);
  sysfs.addDevice(NIC, { driver: "vfio-pci", group: 4 });
  sysfs.addDevice("0000:00:1c.0", { driver: "pcieport", group: 4 });
  sysfs.addDevice("0000:01:00.1", { driver: "igb", group: 4 });
  sysfs.addDevice("0000:01:00.2", { driver: "xhci_hcd", group: 4 });
  sysfs.addDevice("0000:01:00.3", { driver: "pci-stub", group: 4 });
  sysfs.addDevice("0000:01:00.4", { group: 4 });
  sysfs.addDevice("0000:02:00.0", { driver: "igb", group: 5 });
  const { code, message, fix } = notViable(NIC, 4, system);
  t.equal(code, "VFIO_GROUP_NOT_VIABLE");
  t.equal(
    message,
    `${NIC}: IOMMU group 4 is not viable, the kernel drives others of it: ` +
      "0000:01:00.1 (driver igb), 0000:01:00.2 (driver xhci_hcd)",
  );
  const others = "0000:01:00.1 0000:01:00.2";
  t.equal(
    fix,
    "see what they are: pollmode groups 4; then, as root, give them to vfio-pci: " +
      `pollmode devbind -b vfio-pci ${others}; or to nobody: pollmode devbind -u ${others}`,
  );
  t.notMatch(fix, "0000:00:1c.0", "a bridge's driver is no obstacle");
});

t.test("a node that cannot be opened", async (t) => {
  const machine = new Machine(t);
  const { system } = machine;
  const node = "/dev/vfio/3";
  const error = (code: string, at = node) => cannotOpen(at, code, NIC, system);
  t.match(error("ENOENT"), { code: "VFIO_NO_NODE", fix: /--device \/dev\/vfio\/3$/ });
  t.match(error("EACCES"), {
    code: "VFIO_PERMISSION",
    message: `${NIC}: user ${system.userName} may not open /dev/vfio/3`,
    fix: `as root: chown ${system.userName} /dev/vfio/3`,
  });
  t.match(error("EPERM"), {
    code: "VFIO_PERMISSION",
    fix: "docker run --device /dev/vfio/vfio --device /dev/vfio/3",
  });
  t.match(error("EPERM", "/dev/vfio/noiommu-0"), { code: "VFIO_NOIOMMU_RIGHTS", fix: /^run as root/ });
  t.match(noRawIo(NIC, "/dev/vfio/noiommu-0"), { code: "VFIO_NOIOMMU_RIGHTS", message: /CAP_SYS_RAWIO/ });
  t.match(error("EMFILE"), { code: "EMFILE", message: `${NIC}: open(/dev/vfio/3): EMFILE` });

  t.match(error("EBUSY"), {
    code: "VFIO_BUSY",
    message: `${NIC}: /dev/vfio/3 is in use by a process of another user`,
    fix: "find it, as root: fuser -v /dev/vfio/3; then stop it",
  });
  for (const [pid, name, target] of [
    ["41", "dpdk-testpmd", node],
    ["42", "other", "/dev/vfio/30"],
    ["43", "qemu", node],
  ] as const) {
    machine.file(join(machine.proc, pid, "comm"), `${name}\n`);
    mkdirSync(join(machine.proc, pid, "fd"));
    symlinkSync("/dev/null", join(machine.proc, pid, "fd/0"));
    symlinkSync(target, join(machine.proc, pid, "fd/7"));
  }
  const own = join(machine.proc, `${process.pid}`);
  mkdirSync(join(own, "fd"), { recursive: true });
  symlinkSync("/dev/vfio/9", join(own, "fd/7"));
  t.match(error("EBUSY", "/dev/vfio/9"), { message: `${NIC}: /dev/vfio/9 is in use by this process itself` });
  machine.file(join(machine.proc, "44/comm"), "hidden\n"); // another user's: no fd folder to be seen
  t.match(error("EBUSY"), {
    message: `${NIC}: /dev/vfio/3 is in use by dpdk-testpmd (process 41), qemu (process 43)`,
    fix: "stop it",
  });
});

t.test("locked memory: limit, what is locked, and who is not bound by it", async (t) => {
  const machine = new Machine(t);
  const { proc, system } = machine;
  const limits = (soft: string) => {
    const line = `Max locked memory         ${soft}              67108864             bytes     \n`;
    machine.file(join(proc, "self/limits"), `Limit                     Soft Limit\n${line}`);
  };
  const status = (locked: number, caps: string) =>
    machine.file(join(proc, "self/status"), `VmLck:\t    ${locked} kB\nCapEff:\t${caps}\n`);
  limits("8388608");
  status(2048, "0000000000000000");
  t.same(system.lockedMemory, { limitBytes: 8 * MIB, lockedBytes: 2 * MIB });
  t.equal(system.canRawIo, false);
  status(0, "0000000000004000");
  t.same(system.lockedMemory, { limitBytes: Infinity, lockedBytes: 0 }, "CAP_IPC_LOCK");
  status(0, "0000000000020000");
  t.equal(system.canRawIo, true, "CAP_SYS_RAWIO");
  t.equal(system.lockedMemory.limitBytes, 8 * MIB);
  limits("unlimited");
  t.equal(system.lockedMemory.limitBytes, Infinity);
  t.same(new Machine(t).system.lockedMemory, { limitBytes: Infinity, lockedBytes: 0 }, "without /proc");

  const error = memlock("zone dma", 64 * MIB, { limitBytes: 8 * MIB, lockedBytes: 2 * MIB + 1 }, "ann");
  t.match(error, {
    code: "VFIO_MEMLOCK",
    message:
      /^zone dma: RLIMIT_MEMLOCK is 8192 KiB, 67585 KiB are needed \(65536 to map, 2048\.\d+ locked already\)$/,
    fix: /^ulimit -l 67585 .* echo 'ann - memlock 67585' .* LimitMEMLOCK=67585K; or ask for less memory: -m$/,
  });
});

t.test("mappings and tokens", async (t) => {
  t.match(dmaEntryLimit("zone dma", 100_000, 65_535), {
    code: "VFIO_DMA_ENTRY_LIMIT",
    message: "zone dma: 100000 DMA mappings are needed, the container may have 65535 more",
    fix: "as root, before the start: echo 200000 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
  });
  const ranges = [
    { start: 0n, end: 0xfedf_ffffn },
    { start: 0xfef0_0000n, end: 0x7f_ffff_ffffn },
  ];
  t.match(iovaNotUsable("zone dma", 0xfee0_0000n, 64 * MIB, ranges), {
    code: "VFIO_IOVA_RANGE",
    message:
      "zone dma: IOVAs 0xfee00000 … 0x102dfffff touch what the IOMMU reserves or does not have; " +
      "usable: 0x0 … 0xfedfffff, 0xfef00000 … 0x7fffffffff",
    fix: /-m 32\)/,
  });
  t.match(tokenMissing("0000:01:10.0", NIC), {
    code: "VFIO_TOKEN_MISSING",
    message: `0000:01:10.0 wants a VF token, for ${NIC} is bound to vfio-pci and may be another's`,
    fix: /--vfio-vf-token UUID/,
  });
  t.match(tokenWrong("0000:01:10.0", "x", NIC), {
    code: "VFIO_TOKEN_WRONG",
    message: /VF token x is not the one/,
  });
});
