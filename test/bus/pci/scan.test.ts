// What is read of a device: whole ones, odd ones, ones that go while they are looked at, and this machine's own.
import { existsSync } from "node:fs";
import t from "tap";
import { readPciDevice, scanPci } from "../../../src/bus/pci/scan.ts";
import { Sysfs } from "../../../src/bus/pci/sysfs.ts";
import { FakeSysfs, zeroBar } from "../../support/fake-sysfs.ts";

const pf = "0000:04:00.0";

t.test("an 82574L with its kernel driver", async (t) => {
  const sysfs = new FakeSysfs(t).addDriver("e1000e").addDevice("0000:00:03.0", {
    subsystem: [0x8086, 0xa01f],
    driver: "e1000e",
    group: 7,
    numaNode: 1,
    interfaces: ["eno1"],
    resource: [
      "0x00000000febc0000 0x00000000febdffff 0x0000000000040200",
      "0x00000000feb80000 0x00000000febbffff 0x0000000000040200",
      "0x000000000000c040 0x000000000000c05f 0x0000000000040101",
      "0x00000000febe0000 0x00000000febe3fff 0x0000000000040200",
      zeroBar,
      zeroBar,
      "0x00000000feb40000 0x00000000feb7ffff 0x0000000000046200",
    ],
  });
  const { resources, modalias, ...device } = readPciDevice("00:03.0", sysfs);
  t.same(device, {
    address: "0000:00:03.0",
    vendor: 0x8086,
    device: 0x10d3,
    subsystemVendor: 0x8086,
    subsystemDevice: 0xa01f,
    class: 0x020000,
    revision: 0,
    driver: "e1000e",
    driverOverride: undefined,
    iommuGroup: 7,
    numaNode: 1,
    interfaces: ["eno1"],
    sriov: undefined,
    physicalFunction: undefined,
    uio: undefined,
    vfioDevice: undefined,
  });
  t.match(modalias, /^pci:v00008086d000010D3/);
  const memory = { kind: "memory", is64Bit: false, isPrefetchable: false, isAssigned: true };
  t.same(resources, [
    { index: 0, start: 0xfebc0000n, bytes: 0x20000, ...memory },
    { index: 1, start: 0xfeb80000n, bytes: 0x40000, ...memory },
    { index: 2, start: 0xc040n, bytes: 0x20, ...memory, kind: "io" },
    { index: 3, start: 0xfebe0000n, bytes: 0x4000, ...memory },
  ]);
});

t.test("64-bit BARs above 4 GiB, and one that has no address", async (t) => {
  const sysfs = new FakeSysfs(t).addDevice(pf, {
    resource: [
      "0x0000380000000000 0x00003800007fffff 0x000000000014220c",
      zeroBar,
      "0x0000000000000000 0x0000000000003fff 0x0000000020100200",
      zeroBar,
    ],
  });
  t.same(readPciDevice(pf, sysfs).resources, [
    {
      index: 0,
      start: 0x380000000000n,
      bytes: 0x800000,
      kind: "memory",
      is64Bit: true,
      isPrefetchable: true,
      isAssigned: true,
    },
    {
      index: 2,
      start: 0n,
      bytes: 0x4000,
      kind: "memory",
      is64Bit: true,
      isPrefetchable: false,
      isAssigned: false,
    },
  ]);
});

t.test("a PF with more than ten VFs, in their order", async (t) => {
  const sysfs = new FakeSysfs(t)
    .addDriver("igb", { ids: ["8086:10c9"], hasSriov: true })
    .addDriver("igbvf", { ids: ["8086:10ca"] })
    .addDevice(pf, { device: 0x10c9, driver: "igb", totalVfs: 16 });
  t.same(readPciDevice(pf, sysfs).sriov, { totalVfs: 16, numVfs: 0, vfs: [] });
  sysfs.write(`bus/pci/devices/${pf}/sriov_numvfs`, "12");
  const { sriov } = readPciDevice(pf, sysfs);
  t.equal(sriov?.numVfs, 12);
  t.same(
    sriov?.vfs,
    Array.from({ length: 12 }, (_, k) => sysfs.vfAddress(pf, k)),
    "virtfn2 before virtfn10",
  );
  const vf = readPciDevice("0000:05:10.0", sysfs);
  t.equal(vf.physicalFunction, pf);
  t.equal(vf.driver, "igbvf");
  t.equal(scanPci(sysfs).length, 13);
});

t.test("odd devices: nothing but what every one has", async (t) => {
  const sysfs = new FakeSysfs(t).addDevice(pf);
  for (const attribute of ["modalias", "driver_override", "numa_node", "resource"]) {
    sysfs.drop(`devices/pci0000:00/${pf}/${attribute}`);
  }
  const device = readPciDevice(pf, sysfs);
  t.equal(device.modalias, "");
  t.equal(device.driverOverride, undefined);
  t.equal(device.numaNode, undefined);
  t.equal(device.iommuGroup, undefined);
  t.equal(device.driver, undefined);
  t.same(device.resources, []);
  t.same(device.interfaces, []);
});

t.test("UIO, VFIO, virtio and overrides", async (t) => {
  const sysfs = new FakeSysfs(t)
    .addDriver("igb_uio")
    .addDriver("vfio-pci")
    .addDevice("0000:00:03.0", { driver: "igb_uio", uio: "uio12" })
    .addDevice("0000:00:04.0", { driver: "vfio-pci", vfioDevice: "vfio3", override: "vfio-pci" })
    .addDevice("0000:00:05.0", { override: "" })
    .addDevice("0000:00:06.0");
  sysfs.put("devices/pci0000:00/0000:00:06.0/virtio2/net/eth7/address", "");
  const [uio, vfio, cleared, virtio] = scanPci(sysfs);
  t.equal(uio?.uio, "uio12");
  t.equal(vfio?.vfioDevice, "vfio3");
  t.equal(vfio?.driverOverride, "vfio-pci");
  t.equal(cleared?.driverOverride, undefined, "cleared by a zero byte");
  t.same(virtio?.interfaces, ["eth7"]);
});

t.test("a device goes while it is looked at", async (t) => {
  const sysfs = new FakeSysfs(t).addDevice("0000:00:03.0").addDevice("0000:00:04.0");
  const vanish = (path: string) => {
    if (!path.endsWith("0000:00:03.0/class")) return;
    sysfs.beforeRead = undefined;
    sysfs.removeDevice("0000:00:03.0");
  };
  sysfs.beforeRead = vanish;
  t.same(
    scanPci(sysfs).map(({ address }) => address),
    ["0000:00:04.0"],
  );
  sysfs.addDevice("0000:00:03.0");
  sysfs.beforeRead = vanish;
  t.throws(() => readPciDevice("0000:00:03.0", sysfs), { code: "PCI_UNKNOWN" });
});

t.test("what is no device, and what is no sysfs", async (t) => {
  const sysfs = new FakeSysfs(t).addDevice("0000:00:03.0");
  t.throws(() => readPciDevice("0000:00:04.0", sysfs), {
    code: "PCI_UNKNOWN",
    message: "0000:00:04.0: this machine has no such PCI device",
    fix: `ls ${sysfs.root}/bus/pci/devices shows those it has`,
  });
  t.throws(() => readPciDevice("eth0", sysfs), { code: "PCI_ADDRESS" });
  sysfs.put("devices/pci0000:00/0000:00:03.0/vendor", "Intel\n");
  t.throws(() => scanPci(sysfs), { code: "SYSFS_VALUE", message: /vendor holds "Intel"/ });
  t.same(scanPci(new Sysfs("/nonexistent")), []);
});

const real = { skip: !existsSync("/sys/bus/pci/devices") && "this machine has no /sys/bus/pci" };

t.test("this machine's own devices", real, async (t) => {
  const devices = scanPci();
  for (const device of devices) {
    t.match(device.address, /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/);
    t.ok(device.vendor > 0 && device.vendor <= 0xffff, `${device.address}: vendor`);
    t.ok(device.resources.every(({ bytes }) => bytes > 0));
    t.same(readPciDevice(device.address), device);
  }
  t.pass(`${devices.length} devices`);
});
