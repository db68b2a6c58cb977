// Which kernel interface a PCI function is opened through, and what is said of one that has none.
import t from "tap";
import { PciBus, preferredIovaMode } from "../../src/bus/open.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { IovaMap } from "../../src/memory/iova.ts";
import { FakeSysfs } from "../support/fake-sysfs.ts";
import { address, type FakeUio, fakeUio } from "./uio/fake-uio.ts";

function busOf(fake: FakeUio, warn: (text: string) => void = () => {}): PciBus {
  return new PciBus({ ...fake, warn });
}

t.test("a UIO driver's device, by its short address too", async (t) => {
  for (const driver of ["uio_pci_generic", "igb_uio"]) {
    const fake = fakeUio(t, { driver });
    const bus = busOf(fake, (text) => t.fail(text));
    t.match(bus.open("00:03.0"), { address, access: driver });
    t.throws(() => bus.open(address), { code: "UIO_BUSY" });
    bus.close();
    bus.open(address).close();
    bus.close();
    bus.close();
    bus.open(address);
    bus.close();
  }
});

t.test("memory that is not pinned is said once", async (t) => {
  const fake = fakeUio(t);
  const warnings: string[] = [];
  const unpinned = new PollmodeError("EPERM", "io_uring_setup(1 entry): EPERM", "allow io_uring");
  const iova = { ...fake.iova, unpinned } as IovaMap;
  const bus = busOf({ ...fake, iova }, (text) => void warnings.push(text));
  bus.open(address).close();
  bus.open(address).close();
  t.equal(warnings.length, 1);
  t.match(warnings[0], /^0000:00:03.0: its memory is not pinned: io_uring_setup.*Mend: allow io_uring$/);
});

t.test("a VFIO driver's device goes to VFIO", async (t) => {
  for (const driver of ["vfio-pci", "mlx5-vfio-pci"]) {
    const fake = fakeUio(t);
    fake.sysfs.addDriver("mlx5-vfio-pci").addDevice("0000:01:00.0", { driver, group: 3 });
    t.throws(() => busOf(fake).open("01:00.0"), { code: "VFIO_NO_NODE" });
  }
});

t.test("the kernel's own driver: who uses it, and the commands that take it away", async (t) => {
  const fake = fakeUio(t, { driver: "e1000e", interfaces: ["eth5"] });
  fake.sysfs.put("class/net/eth5/flags", "0x1003\n");
  const bind = (driver: string) => `pollmode devbind -b ${driver} ${address}`;
  const message = "0000:00:03.0 is in use by the kernel: its driver e1000e has it, as network interface eth5";
  t.throws(() => busOf(fake).open(address), {
    code: "PCI_KERNEL_DRIVER",
    message: `${message} (it is up)`,
    fix: `if nothing needs that interface, as root: ${bind("uio_pci_generic")}`,
  });
  fake.sysfs.put("class/net/eth5/flags", "0x1002\n");
  fake.sysfs.put("class/iommu/dmar0/name", "");
  t.throws(() => busOf(fake).open(address), { message, fix: new RegExp(`as root: ${bind("vfio-pci")}$`) });
});

t.test("no driver at all; one that has refused", async (t) => {
  const fake = fakeUio(t);
  fake.sysfs.addDevice("0000:02:00.0");
  t.throws(() => busOf(fake).open("02:00.0"), {
    code: "PCI_NO_DRIVER",
    message: /^0000:02:00.0 has no driver/,
    fix: "as root: pollmode devbind -b uio_pci_generic 0000:02:00.0",
  });
  fake.sysfs.addDevice("0000:02:00.1", { override: "uio_pci_generic" });
  t.throws(() => busOf(fake).open("02:00.1"), {
    code: "UIO_REFUSED",
    message: "0000:02:00.1: its driver_override is uio_pci_generic, and uio_pci_generic has not taken it",
    fix: /use igb_uio, as root: pollmode devbind -b igb_uio \S+; or .*: pollmode devbind -b uio_pci_generic \S+$/,
  });
  const bare = { ...fake, sysfs: new FakeSysfs(t) };
  bare.sysfs.addDevice("0000:02:00.1", { override: "igb_uio" });
  const system = Object.assign(Object.create(fake.system), { sysfs: bare.sysfs });
  t.throws(() => busOf({ ...fake, system }).open("02:00.1"), {
    code: "UIO_MODULE",
    message: "0000:02:00.1: the kernel module igb_uio is not loaded",
    fix: /pollmode devbind -b igb_uio 0000:02:00.1$/,
  });
});

t.test("no such device, no such address", async (t) => {
  const fake = fakeUio(t);
  fake.sysfs.addDevice("0000:00:1f.0", { class: 0x060100 });
  t.throws(() => busOf(fake).open("00:19.0"), {
    code: "PCI_UNKNOWN",
    message: "0000:00:19.0: this machine has no such PCI device",
    fix: "use one of this machine's NICs: 0000:00:03.0 (8086:10d3, uio_pci_generic)",
  });
  t.throws(() => busOf(fake).open("eth0"), { code: "PCI_ADDRESS" });
});

t.test("addresses: physical where a device has no IOMMU", async (t) => {
  const fake = fakeUio(t);
  const { sysfs, system } = fake;
  sysfs.addDevice("0000:01:00.0", { driver: "vfio-pci", group: 1 });
  sysfs.addDevice("0000:02:00.0", { driver: "vfio-pci", group: 2 });
  sysfs.put("kernel/iommu_groups/2/name", "vfio-noiommu\n");
  const mode = (...addresses: string[]) => preferredIovaMode(addresses, system);
  t.equal(mode(), "va");
  t.equal(mode("01:00.0"), "va");
  t.equal(mode("01:00.0", address), "pa", "UIO");
  t.equal(mode("01:00.0", "0000:02:00.0"), "pa", "VFIO without an IOMMU");
  t.throws(() => mode("03:00.0"), { code: "PCI_UNKNOWN" });
});
