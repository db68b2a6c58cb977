// What observe finds on machines made of files: holders, interrupts, tables, and what it says where there is nothing.
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import { parseInterrupts } from "../../src/devices/interrupts.ts";
import { observe, withRates } from "../../src/devices/observe.ts";
import { findCounters } from "../../src/devices/perf-counters.ts";
import { RecordedMachine } from "../support/recorded-machine.ts";

const vf = "0000:03:10.2";
const debugfs = "debugfs /sys/kernel/debug debugfs rw,nosuid,nodev,noexec,relatime 0 0\n";

interface Program {
  readonly comm: string;
  readonly uid: number;
  readonly files: readonly string[];
  readonly lockedKib?: number;
  readonly limit?: string;
  readonly cmdline?: string;
}

function addProgram(recorded: RecordedMachine, pid: number, program: Program): void {
  const { comm, uid, files, lockedKib = 0, limit = "unlimited", cmdline = "" } = program;
  const ids = `${uid}\t${uid}\t${uid}\t${uid}`;
  recorded
    .put(`/proc/${pid}/comm`, `${comm}\n`)
    .put(`/proc/${pid}/cmdline`, cmdline.replaceAll(" ", "\0"))
    .put(
      `/proc/${pid}/status`,
      `Name:\t${comm}\nUid:\t${ids}\nVmLck:\t   ${lockedKib} kB\nVmPin:\t       0 kB\n`,
    )
    .put(
      `/proc/${pid}/limits`,
      `Max locked memory         ${limit}              ${limit}              bytes     \n`,
    );
  const folder = join(recorded.root, "proc", `${pid}`, "fd");
  mkdirSync(folder, { recursive: true });
  for (const [fd, target] of files.entries()) symlinkSync(target, join(folder, `${fd}`));
}

t.test("who holds what, and what it locks", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599").put(
    "/etc/passwd",
    "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/:/bin/sh\n",
  );
  addProgram(recorded, 4711, {
    comm: "node",
    uid: 1000,
    files: ["/dev/null", "/dev/vfio/33", "/dev/vfio/vfio", "/dev/vfio/vfio", "anon_inode:[vfio-device]"],
    lockedKib: 65_536,
    limit: "4294967296",
    cmdline: "node /srv/pollmode.js rx-pps -a 03:10.2",
  });
  addProgram(recorded, 80, { comm: "bash", uid: 0, files: ["/dev/tty", "/dev/vfiox"] });
  addProgram(recorded, 99, { comm: "qemu", uid: 4242, files: ["/dev/vfio/34"] });
  const { holders, devices, units, seesAllHolders } = observe(recorded.machine());
  t.same(holders, [
    {
      pid: 99,
      name: "qemu",
      command: "qemu",
      user: "4242",
      nodes: ["/dev/vfio/34"],
      lockedBytes: 0,
      pinnedBytes: 0,
      lockLimitBytes: undefined,
    },
    {
      pid: 4711,
      name: "node",
      command: "node /srv/pollmode.js rx-pps -a 03:10.2",
      user: "alice",
      nodes: ["/dev/vfio/33", "/dev/vfio/vfio"],
      lockedBytes: 64 * 2 ** 20,
      pinnedBytes: 0,
      lockLimitBytes: 2 ** 32,
    },
  ]);
  t.ok(seesAllHolders);
  t.match(units, [
    { name: "dmar0", kind: "Intel VT-d", domains: { used: Number, max: Number } },
    { name: "dmar1", kind: "Intel VT-d" },
  ]);
  t.match(devices, [
    {
      address: vf,
      driver: "vfio-pci",
      group: 33,
      domainType: "DMA-FQ",
      nodes: ["/dev/vfio/33"],
      heldBy: [4711],
    },
  ]);
  t.equal(devices.length, 1, "others have their kernel driver");
  const one = [readPciDevice("0000:03:00.1", recorded.machine().sysfs)];
  t.match(observe(recorded.machine(), { devices: one }), {
    devices: [{ heldBy: [], nodes: [] }],
    holders: [],
  });
});

const interrupts = `            CPU0       CPU2       CPU3
   0:         30          0          0  IR-IO-APIC    2-edge      timer
  16:          5          0          7  IR-IO-APIC   16-fasteoi   ehci_hcd:usb1, uio_pci_generic
  42:          0 4294967290          2  IR-PCI-MSI 524288-edge      vfio-msix[0](0000:03:10.2)
  43:          0          0          9  IR-PCI-MSIX-0000:03:10.2    1-edge      vfio-msix[1](0000:03:10.2)
  44:          0          0          0  IR-PCI-MSI 524290-edge
  45:          1          0          0     GICv3  27 Level     arch_timer
 NMI:          1          2          3   Non-maskable interrupts
 ERR:          0
`;

t.test("/proc/interrupts", async (t) => {
  const lines = parseInterrupts(interrupts);
  t.same(
    lines.map(({ irq }) => irq),
    [0, 16, 42, 43, 44, 45],
  );
  t.same(lines[2], {
    irq: 42,
    cpus: { 2: 4294967290, 3: 2 },
    count: 4294967292,
    names: ["vfio-msix[0](0000:03:10.2)"],
  });
  t.same(lines[1]?.names, ["ehci_hcd:usb1", "uio_pci_generic"]);
  t.same(lines[4]?.names, [], "nobody has asked for it");
  t.same(lines[5]?.names, ["arch_timer"]);
  t.same(parseInterrupts(""), []);
});

t.test("a device's vectors, and their rates", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599").put("/proc/interrupts", interrupts);
  for (const irq of [42, 43, 44]) recorded.put(`/sys/bus/pci/devices/${vf}/msi_irqs/${irq}`, "msix\n");
  const before = observe(recorded.machine());
  t.match(before.devices[0]?.vectors, [
    { irq: 42, kind: "msix", name: "vfio-msix[0](0000:03:10.2)", count: 4294967292, isShared: false },
    { irq: 43, kind: "msix", count: 9, cpus: { 3: 9 } },
    { irq: 44, kind: "msix", name: "", count: 0 },
  ]);
  recorded.put(
    "/proc/interrupts",
    interrupts.replace("4294967290          2", "4294967295         97").replace(" 9  IR", " 4  IR"),
  );
  const after = observe(recorded.machine());
  const rated = withRates({ ...before, timeMs: after.timeMs - 2000 }, after);
  const rates = rated.devices[0]?.vectors.map(({ perSecond }) => perSecond);
  t.same(rates, [50, undefined, 0], "what counts less than before was set up anew");
});

t.test("INTx, which may be shared", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599").bind("0000:03:00.1", "uio_pci_generic");
  recorded.put("/proc/interrupts", interrupts).put("/sys/bus/pci/devices/0000:03:00.1/irq", "16\n");
  recorded.put("/sys/bus/pci/devices/0000:03:00.1/uio/uio3/name", "uio_pci_generic\n");
  addProgram(recorded, 7, { comm: "dpdk-testpmd", uid: 0, files: ["/dev/uio3"] });
  const device = observe(recorded.machine()).devices.find(({ address }) => address === "0000:03:00.1");
  t.match(device, {
    nodes: ["/dev/uio3"],
    heldBy: [7],
    vectors: [{ irq: 16, kind: "intx", count: 12, isShared: true, name: "ehci_hcd:usb1, uio_pci_generic" }],
  });
});

const table = `IOMMU dmar0: Root Table Address: 0x103027000
B.D.F\tRoot_entry\t\t\t\tContext_entry\t\t\t\tPASID\tPASID_table_entry
03:10.2\t0x0000000000000000:0x000000010303e001\t0x0000000000000902:0x000000010303f001\t-1    \t0x0:0x0:0x0
03:00.0\t0x0000000000000000:0x000000010303e001\t0x0000000000000102:0x000000010303e005\t-1    \t0x0:0x0:0x0
`;
const pages = (device: string) => `Device ${device} @0x10303f000
IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE
0x0000000100000 |\t0x0000000000000000\t0x00000001017f9003\t0x00000001017fa003\t0x0000000120000083\t0x0000000000000000
0x0000000100200 |\t0x0000000000000000\t0x00000001017f9003\t0x00000001017fa003\t0x0000000120200083\t0x0000000000000000
`;

t.test("Intel's tables, of both ages of Linux", async (t) => {
  const intel = "/sys/kernel/debug/iommu/intel";
  const mapped = [{ device: vf, pasid: undefined, pageTable: "0x10303f000", entries: 2, bytes: 4 * 2 ** 20 }];
  for (const file of [`${intel}/domain_translation_struct`, `${intel}/${vf}/domain_translation_struct`]) {
    const recorded = new RecordedMachine(t, "server-82599").put(`${intel}/dmar_translation_struct`, table);
    recorded.put(file, file.includes(vf) ? pages(vf) : `${pages("0000:00:02.0")}\n${pages(vf)}`);
    t.same(observe(recorded.machine()).iommu.pageTables, [], "not walked unless asked for");
    const { iommu } = observe(recorded.machine(), { pageTables: true });
    t.equal(iommu.missing, undefined);
    t.match(iommu.devices, [
      { device: vf, unit: "dmar0", domain: 9, mode: "translated", pageTable: "0x10303f000" },
    ]);
    t.equal(iommu.devices.length, 1, "of the devices that are observed");
    t.same(iommu.pageTables, mapped);
  }
});

t.test("AMD's tables", async (t) => {
  const amd = "/sys/kernel/debug/iommu/amd";
  const recorded = new RecordedMachine(t, "server-82599")
    .put(`${amd}/iommu00/cmdbuf`, "CMD Buffer Head Offset:1 Tail Offset:1\n")
    .put(
      `${amd}/devtbl`,
      `${vf} 0000000000000000 20000001373b8013 0000000000000038 6000000114d7b603 iommu0\n`,
    );
  const { iommu } = observe(recorded.machine(), { pageTables: true });
  t.match(iommu.devices, [{ device: vf, domain: 56, mode: "translated" }]);
  t.same(iommu.queues, [{ unit: "iommu00", waiting: 0 }]);
});

t.test("why there are no tables", async (t) => {
  const missing = (recorded: RecordedMachine) => observe(recorded.machine()).iommu.missing;
  const server = () => new RecordedMachine(t, "server-82599");
  t.match(missing(server()), {
    why: "debugfs is not mounted",
    fix: "mount -t debugfs debugfs /sys/kernel/debug",
  });
  t.match(missing(server().put("/proc/mounts", debugfs)), { why: /without CONFIG_INTEL_IOMMU_DEBUGFS/ });
  const locked = server().put("/proc/mounts", debugfs);
  locked.put("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
  t.match(missing(locked), { why: /lockdown/ });
  t.match(missing(new RecordedMachine(t, "desktop-no-iommu")), { why: /no IOMMU/, fix: /VT-d/ });
});

t.test("counters of perf", async (t) => {
  const dmar = "/sys/bus/event_source/devices/dmar1";
  const recorded = new RecordedMachine(t, "server-82599")
    .put(`${dmar}/type`, "23\n")
    .put(`${dmar}/cpumask`, "4\n")
    .put(`${dmar}/format/event`, "config:0-27\n")
    .put(`${dmar}/format/event_group`, "config:28-31\n")
    .put(`${dmar}/format/filter_domain`, "config1:32-47\n")
    .put(`${dmar}/events/iotlb_hit`, "event_group=0x3,event=0x002\n")
    .put(`${dmar}/events/of_domain`, "event_group=0x3,event=0x001,filter_domain=5\n")
    .put("/sys/bus/event_source/devices/cpu/type", "4\n");
  const wanted = { units: /^dmar\d+$/, events: ["iotlb_hit", "iotlb_lookup", "of_domain"] };
  t.same(findCounters(recorded.machine(), wanted), [
    {
      unit: "dmar1",
      event: "iotlb_hit",
      cpu: 4,
      perf: { type: 23, config: 0x30000002n, config1: 0n, config2: 0n },
    },
    {
      unit: "dmar1",
      event: "of_domain",
      cpu: 4,
      perf: { type: 23, config: 0x30000001n, config1: 5n << 32n, config2: 0n },
    },
  ]);
});
