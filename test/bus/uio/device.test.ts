// A UIO device over files: the order in which things are done to it, and what keeps it from being opened.
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import t from "tap";
import { devicePath } from "../../../src/bus/pci/sysfs.ts";
import { UioDevice } from "../../../src/bus/uio/device.ts";
import type { IovaMap } from "../../../src/memory/iova.ts";
import { address, type FakeUio, fakeUio } from "./fake-uio.ts";

const MEMORY = 0x2;
const MASTER = 0x4;
const INTX_DISABLE = 0x400;

const open = (fake: FakeUio) => UioDevice.open(address, fake);

/** The fd by which this process has a file open. */
function fdOf(path: string): number | undefined {
  const found = readdirSync("/proc/self/fd").find((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false; // readdir's own
    }
  });
  return found === undefined ? undefined : Number(found);
}

t.test("opened, it is quiet; closed, all is given back", async (t) => {
  const fake = fakeUio(t);
  const commands: number[] = [];
  const reset = devicePath(address, "reset");
  const write = fake.sysfs.write.bind(fake.sysfs);
  fake.sysfs.write = (path, value) => {
    if (path === reset) {
      if (commands.length === 0) t.equal(fdOf(fake.node()), undefined, "reset before /dev/uio0 is opened");
      commands.push(fake.command());
    }
    write(path, value);
  };
  let closed = 0;
  const device = UioDevice.open(address, { ...fake, onClose: () => closed++ });
  fake.sysfs.write = write;
  t.same(commands, [0], "and after bus mastering was taken from it");
  t.equal(fake.command(), MEMORY | INTX_DISABLE);
  t.match(device, { address, vendor: 0x8086, device: 0x10d3, access: "uio_pci_generic" });
  t.same(device.vectors, { msix: 0, msi: 0, intx: 1 });
  device.setBusMaster(true);
  t.equal(fake.command(), MEMORY | INTX_DISABLE | MASTER);
  const bar = device.mapBar(0);
  t.equal(bar, device.mapBar(0));
  t.equal(bar.bytes, 0x20000);
  fake.arena.u32[bar.offset >>> 2] = 0x1234;
  const registers = () => readFileSync(fake.sysfs.path(devicePath(address, "resource0"))).readUInt32LE(0);
  t.equal(registers(), 0x1234);
  t.equal(device.readConfig(0, 4), 0x10d38086);
  device.writeConfig(0x3c, 1, 0xab);
  t.equal(device.readConfig(0x3c, 1), 0xab);
  device.close();
  device.close();
  t.equal(closed, 1);
  t.equal(fake.sysfs.writes.filter(({ path }) => path === reset).length, 2, "it was reset");
  t.equal(fake.command() & (MASTER | INTX_DISABLE), INTX_DISABLE);
  t.equal(fake.arena.u32[bar.offset >>> 2], 0, "nothing is left mapped");
  t.equal(fdOf(fake.node()), undefined);
  open(fake).close();
});

t.test("/dev/uioN has a higher fd than the memory, be lower ones free", async (t) => {
  const below = Array.from({ length: 8 }, () => openSync("/dev/null", "r"));
  const fake = fakeUio(t);
  for (const fd of below) closeSync(fd);
  const device = open(fake);
  t.ok(fdOf(fake.node())! > fake.dma.fd!, `${fdOf(fake.node())} > ${fake.dma.fd}`);
  device.close();
  t.equal(fdOf(fake.node()), undefined);
});

t.test("a device without a reset, or whose reset fails", async (t) => {
  const fake = fakeUio(t);
  const device = open(fake);
  t.equal(device.reset(), true);
  fake.sysfs.failWrites(/reset$/, "ENOTTY");
  t.equal(device.reset(), false);
  fake.sysfs.drop(`devices/pci0000:00/${address}/reset`);
  t.equal(device.reset(), false);
  device.close();
});

t.test("interrupts: one vector, of the driver's choice", async (t) => {
  const generic = fakeUio(t);
  const device = open(generic);
  const [line] = device.enableInterrupts("intx", 1);
  t.equal(generic.command() & INTX_DISABLE, 0);
  t.match(line, { readBytes: 4, rearm: { by: "config-command" } });
  device.disableInterrupts();
  t.equal(generic.command() & INTX_DISABLE, INTX_DISABLE);
  t.throws(() => device.enableInterrupts("msix", 1), {
    code: "INTERRUPT_VECTORS",
    message: "0000:00:03.0: 1 vectors of msix, uio_pci_generic gives one of intx",
    fix: /igb_uio/,
  });
  t.throws(() => device.enableInterrupts("intx", 2), { code: "INTERRUPT_VECTORS" });
  device.close();

  const igb = fakeUio(t, { driver: "igb_uio" });
  igb.sysfs.put(`devices/pci0000:00/${address}/msi_irqs/28`, "msix\n");
  const other = open(igb);
  t.same(other.vectors, { msix: 1, msi: 0, intx: 0 });
  t.match(other.enableInterrupts("msix", 1), [{ readBytes: 4, rearm: undefined }]);
  t.throws(() => other.enableInterrupts("intx", 1), { code: "INTERRUPT_VECTORS", fix: /intr_mode=msix/ });
  other.close();

  const legacy = fakeUio(t, { driver: "igb_uio" });
  const third = open(legacy);
  const [shared] = third.enableInterrupts("intx", 1);
  t.same(shared!.rearm, { by: "uio-write", fd: shared!.fd });
  third.close();
});

t.test("in use: a lock of our own, and others' fds", async (t) => {
  const fake = fakeUio(t);
  const device = open(fake);
  const before = fake.command();
  t.throws(() => open(fake), {
    code: "UIO_BUSY",
    message: /is in use by a process that cannot be seen from here$/,
    fix: /fuser -v/,
  });
  fake.addProcess(process.pid, "node", fake.node());
  t.throws(() => open(fake), {
    code: "UIO_BUSY",
    message: "0000:00:03.0 is open already, by this program itself",
  });
  t.equal(fake.command(), before, "whoever has it notices nothing");
  device.close();

  const other = fakeUio(t);
  other.addProcess(4711, "dpdk-testpmd", other.node());
  t.throws(() => open(other), {
    code: "UIO_BUSY",
    message: /uio0 is in use by dpdk-testpmd \(process 4711\)$/,
    fix: "stop it",
  });
  t.equal(other.command(), MASTER, "whoever has it notices nothing");
});

t.test("an IOMMU that translates; one that passes through", async (t) => {
  for (const type of ["DMA", "DMA-FQ", "blocked"]) {
    const fake = fakeUio(t, { group: 5 });
    fake.sysfs.put("kernel/iommu_groups/5/type", `${type}\n`);
    t.throws(() => open(fake), {
      code: "UIO_IOMMU",
      message: new RegExp(`IOMMU group 5 has the type ${type}, not identity`),
      fix: /iommu=pt.* pollmode devbind -u \S+; echo identity > \S+_groups\/5\/type; pollmode devbind -b /,
    });
    t.equal(fdOf(fake.node()), undefined);
  }
  const passed = fakeUio(t, { group: 5 });
  passed.sysfs.put("kernel/iommu_groups/5/type", "identity\n");
  open(passed).close();
});

t.test("what else keeps it from being opened", async (t) => {
  const refuses = (fake: FakeUio, error: { code: string; message?: RegExp | string; fix?: RegExp }) => {
    t.throws(() => open(fake), error);
    t.equal(fdOf(fake.node()), undefined);
  };
  const virtual = fakeUio(t);
  refuses({ ...virtual, iova: { mode: "va" } as IovaMap }, { code: "UIO_IOVA", fix: /--iova-mode pa/ });
  refuses(fakeUio(t, {}, "0000000000000000"), {
    code: "UIO_PERMISSION",
    message: /^0000:00:03.0: user \S+ has no physical addresses in \/proc\/self\/pagemap \(CAP_SYS_ADMIN\)$/,
  });
  const locked = fakeUio(t);
  locked.sysfs.put("kernel/security/lockdown", "none [integrity] confidentiality\n");
  refuses(locked, { code: "UIO_LOCKDOWN", message: /kernel lockdown \(integrity\)/ });
  const free = fakeUio(t);
  free.sysfs.put("kernel/security/lockdown", "[none] integrity confidentiality\n");
  open(free).close();
  const gone = fakeUio(t);
  rmSync(gone.node());
  refuses(gone, { code: "UIO_NO_NODE", message: /there is no .*uio0$/, fix: /mknod/ });
  refuses(fakeUio(t, { uio: "" }), {
    code: "UIO_NO_NODE",
    message: /uio names no device$/,
    fix: /^as root: pollmode devbind -u \S+; pollmode devbind -b uio_pci_generic \S+$/,
  });
  refuses(fakeUio(t, { driver: "e1000e" }), {
    code: "UIO_NOT_BOUND",
    message: "0000:00:03.0 has the driver e1000e, not uio_pci_generic or igb_uio",
    fix: /^as root: pollmode devbind -b uio_pci_generic 0000:00:03.0$/,
  });
});

t.test("a step of closing that fails stops no other", async (t) => {
  const fake = fakeUio(t);
  const device = open(fake);
  device.setBusMaster(true);
  fake.sysfs.failWrites(/reset$/, "EACCES");
  t.throws(() => device.close(), { code: "EACCES" });
  t.equal(fake.command() & MASTER, 0);
  t.equal(fdOf(fake.node()), undefined);
});
