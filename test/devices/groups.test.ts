// IOMMU groups and PCI topology of recorded machines: which groups are viable and why not, and why devices share one.
import { readFileSync } from "node:fs";
import t from "tap";
import { readPciDevice, scanPci } from "../../src/bus/pci/scan.ts";
import { iommuGroupOf, iommuGroups } from "../../src/devices/groups.ts";
import { readPciNode } from "../../src/devices/topology.ts";
import { RecordedMachine, recordedNames } from "../support/recorded-machine.ts";

const groupOf = (machine: RecordedMachine, number: number) =>
  iommuGroups(machine.machine()).find((group) => group.number === number)!;

t.test(
  "each recorded machine: the groups that its sysfs has, and every device of a group in one",
  async (t) => {
    t.ok(recordedNames.length >= 6);
    for (const name of recordedNames) {
      const machine = new RecordedMachine(t, name).machine();
      const groups = iommuGroups(machine);
      t.same(
        groups.map(({ number }) => `${number}`),
        machine.list("/sys/kernel/iommu_groups").sort((a, b) => Number(a) - Number(b)),
        name,
      );
      for (const device of scanPci(machine.sysfs)) {
        const members = groups.filter(({ devices }) =>
          devices.some(({ address }) => address === device.address),
        );
        t.same(
          members.map(({ number }) => number),
          device.iommuGroup === undefined ? [] : [device.iommuGroup],
          `${name}: ${device.address}`,
        );
        t.same(iommuGroupOf(machine, device), members[0]);
      }
    }
  },
);

t.test(
  "a root port without ACS: five devices share a group, and one with its kernel's driver keeps it",
  async (t) => {
    const recorded = new RecordedMachine(t, "desktop-shared-group");
    const group = groupOf(recorded, 1);
    t.match(group, { type: "DMA-FQ", noIommu: false, viable: false, warnings: [] });
    t.same(
      group.devices.map(({ address, driver, isInTheWay }) => [address, driver, isInTheWay]),
      [
        ["0000:00:01.0", "pcieport", false],
        ["0000:00:01.1", "pcieport", false],
        ["0000:01:00.0", "vfio-pci", false],
        ["0000:01:00.1", "ixgbe", true],
        ["0000:02:00.0", "xhci_hcd", true],
      ],
    );
    t.same(
      group.bridges.map(({ address }) => address),
      ["0000:00:01.0", "0000:00:01.1"],
    );
    t.same(group.why, [
      "0000:01:00.1 is driven by the kernel (ixgbe)",
      "0000:02:00.0 is driven by the kernel (xhci_hcd)",
    ]);
    t.match(group.sharedBecause, [
      /^0000:00:01\.0 \(root port\) has no ACS: /,
      /^0000:00:01\.1 \(root port\) has no ACS: /,
      /^0000:00:01\.0, 0000:00:01\.1 are functions of one device that has no ACS: /,
    ]);
    t.equal(group.sharedBecause.length, 3, "the NIC's own functions have ACS, and are no cause");
    recorded.bind("0000:01:00.1", "vfio-pci").bind("0000:02:00.0", undefined);
    t.match(groupOf(recorded, 1), { viable: true, why: [] }, "VFIO and no driver are fine, and pcieport is");
  },
);

t.test("drivers that leave a group alone, and those that do not", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group");
  recorded.bind("0000:02:00.0", undefined);
  const viable = (driver: string) => groupOf(recorded.bind("0000:01:00.1", driver), 1).viable;
  for (const driver of ["vfio-pci", "pci-stub", "mlx5_vfio_pci", "hisi-acc-vfio-pci"])
    t.equal(viable(driver), true, driver);
  for (const driver of ["ixgbe", "uio_pci_generic", "igb_uio", "vfio-pci-core"])
    t.equal(viable(driver), false, driver);
});

t.test("a bridge's driver: only pcieport is harmless, and any was before Linux 5.19", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group");
  recorded.bind("0000:04:00.0", undefined).bind("0000:04:01.0", "vfio-pci").bind("0000:03:00.0", "shpchp");
  t.match(groupOf(recorded, 12), { viable: false, why: ["0000:03:00.0 is driven by the kernel (shpchp)"] });
  const viable = (release: string) =>
    groupOf(recorded.put("/proc/sys/kernel/osrelease", `${release}\n`), 12).viable;
  t.same(["5.19.0-rc1", "6.1.0-28-amd64", "unknown"].map(viable), [false, false, false]);
  t.same(["5.18.19", "5.10.0-30-amd64", "4.19.0"].map(viable), [true, true, true]);
  recorded.bind("0000:04:00.0", "r8169");
  t.equal(viable("5.10.0-30-amd64"), false, "devices are as they are now");
});

t.test("conventional PCI behind a bridge", async (t) => {
  const group = groupOf(new RecordedMachine(t, "desktop-shared-group"), 12);
  t.same(
    group.devices.map(({ address, node }) => [address, node?.kind]),
    [
      ["0000:03:00.0", "PCI bridge"],
      ["0000:04:00.0", "PCI device"],
      ["0000:04:01.0", "PCI device"],
    ],
  );
  t.match(group.sharedBecause, [/^0000:03:00\.0 \(PCI bridge\) speaks for all that is below it/]);
  t.equal(group.viable, false);
});

t.test("functions of a chipset: only the functions are the cause", async (t) => {
  const group = groupOf(new RecordedMachine(t, "desktop-shared-group"), 8);
  t.match(group.sharedBecause, [
    /^0000:00:1f\.0, 0000:00:1f\.2, 0000:00:1f\.4, 0000:00:1f\.6 are functions of one/,
  ]);
  t.equal(group.sharedBecause.length, 1);
});

t.test("an ordinary user sees no ACS, and is told so", async (t) => {
  const group = groupOf(new RecordedMachine(t, "desktop-shared-group", { asUser: true }), 1);
  t.match(group.sharedBecause, [
    /^0000:00:01\.0 \(bridge\) does not keep apart what is below it: whether it lacks ACS, only root sees/,
    /^0000:00:01\.1 \(bridge\) does not keep apart/,
    /0000:00:01\.0, 0000:00:01\.1 are functions of one device that may lack ACS/,
    /0000:01:00\.0, 0000:01:00\.1 are functions of one device that may lack ACS/,
  ]);
  t.equal(group.viable, false, "which takes no rights");
});

t.test("a port whose ACS is partly off", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group");
  const folder = "/sys/devices/pci0000:00/0000:00:01.0";
  const image = readFileSync(`${recorded.root}${folder}/config`);
  image.writeUInt32LE(0x0001_000d, 0x100);
  image.writeUInt16LE(0x1f, 0x104);
  image.writeUInt16LE(0x11, 0x106);
  recorded.put(`${folder}/config`, image);
  t.match(groupOf(recorded, 1).sharedBecause, [
    /0000:00:01\.0 \(root port\) has ACS, with P2P Request Redirect, P2P Completion Redirect off/,
  ]);
  image.writeUInt16LE(0x01, 0x104);
  recorded.put(`${folder}/config`, image);
  const node = readPciNode(readPciDevice("00:01.0", recorded.machine().sysfs), recorded.machine().sysfs);
  t.match(node, { acs: "enabled", acsLacks: [] }, "what it cannot be told, it does by itself");
});

t.test("what the kernel decided counts for more than what configuration space says", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-shared-group");
  const isolates = (address: string, number: number) =>
    groupOf(recorded, number).devices.find((device) => device.address === address)?.isolates;
  t.equal(isolates("0000:00:01.0", 1), false);
  t.equal(isolates("0000:03:00.0", 12), false, "conventional PCI");
  t.equal(isolates("0000:01:00.0", 1), undefined, "no bridge");
  const config = "/sys/devices/pci0000:00/0000:00:01.0/config";
  const image = readFileSync(`${recorded.root}${config}`);
  image.writeUInt32LE(0x0001_000d, 0x100);
  image.writeUInt16LE(0x1d, 0x104);
  image.writeUInt16LE(0x1d, 0x106);
  recorded.put(config, image);
  t.match(groupOf(recorded, 1).sharedBecause, [
    /^0000:00:01\.0 \(root port\) has ACS, which the kernel does not rely on, or found off when it made/,
    /^0000:00:01\.1 \(root port\) has no ACS: /,
  ]);
  // a chip of which the kernel knows that it isolates without: what is below it has groups of its own
  for (const [address, group] of [["0000:01:00.0", 30] as const, ["0000:01:00.1", 31] as const]) {
    const folder = `/sys/devices/pci0000:00/0000:00:01.0/${address}`;
    recorded
      .drop(`${folder}/iommu_group`)
      .link(`${folder}/iommu_group`, `/sys/kernel/iommu_groups/${group}`)
      .drop(`/sys/kernel/iommu_groups/1/devices/${address}`)
      .link(`/sys/kernel/iommu_groups/${group}/devices/${address}`, folder);
  }
  t.equal(isolates("0000:00:01.0", 1), true);
  t.notMatch(groupOf(recorded, 1).sharedBecause.join("\n"), /^0000:00:01\.0 \(root port\)/m);
});

t.test("below a bridge that does not isolate the kernel looked no further", async (t) => {
  const group = groupOf(new RecordedMachine(t, "desktop-shared-group", { asUser: true }), 1);
  const besides = group.sharedBecause.filter((text) =>
    /^besides, unless the kernel knows better: /.test(text),
  );
  t.match(besides, [/0000:01:00\.0, 0000:01:00\.1 are functions of one device that may lack ACS/]);
  t.equal(group.sharedBecause.length, 4);
});

t.test("separate groups, and what the nodes are: a switch, ports, functions", async (t) => {
  const machine = new RecordedMachine(t, "server-connectx5").machine();
  const node = (address: string) => readPciNode(readPciDevice(address, machine.sysfs), machine.sysfs);
  const above = ["0000:3a:00.0", "0000:3b:00.0", "0000:3c:08.0"];
  t.match(node("3a:00.0"), { kind: "root port", isBridge: true, acs: "enabled", above: [] });
  t.match(node("3b:00.0"), { kind: "switch upstream port", acs: "not needed", above: ["0000:3a:00.0"] });
  t.match(node("3c:08.0"), { kind: "switch downstream port", acs: "enabled", above: above.slice(0, 2) });
  t.match(node("3d:00.0"), { kind: "endpoint", isMultiFunction: true, acs: "enabled", above });
  t.match(node("01:00.0"), { kind: "endpoint", isMultiFunction: false, acs: "not needed" });
  for (const group of iommuGroups(machine)) t.same([group.devices.length, group.sharedBecause], [1, []]);
});

t.test("a virtual function's own IDs read as all ones: it is no device that went", async (t) => {
  const machine = new RecordedMachine(t, "server-82599").machine();
  const node = readPciNode(readPciDevice("03:10.0", machine.sysfs), machine.sysfs);
  t.match(node, { kind: "endpoint", acs: "not needed", above: ["0000:00:02.0"] });
});

t.test("a device that went, or sleeps too deeply, is unknown", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599");
  const { sysfs } = recorded.machine();
  const device = readPciDevice("82:00.0", sysfs);
  recorded.put("/sys/bus/pci/devices/0000:82:00.0/config", Buffer.alloc(4096, 0xff));
  t.match(readPciNode(device, sysfs), { kind: "device", acs: "unknown" });
  recorded.drop("/sys/bus/pci/devices/0000:82:00.0/config");
  t.match(readPciNode(device, sysfs), { kind: "device", acs: "unknown" });
});

t.test("reserved regions, and the firmware's own", async (t) => {
  const recorded = new RecordedMachine(t, "server-82599");
  const group = groupOf(recorded, 20);
  t.same(group.reservedRegions, [
    { start: 0x792c9000n, end: 0x792e8fffn, type: "direct-relaxable" },
    { start: 0xfee00000n, end: 0xfeefffffn, type: "msi" },
  ]);
  t.same(group.warnings, [], "which the kernel lets go");
  recorded.put(
    "/sys/kernel/iommu_groups/20/reserved_regions",
    "0x00000000792c9000 0x00000000792e8fff direct\n",
  );
  t.match(groupOf(recorded, 20).warnings, [/the firmware wants 0x792c9000…0x792e8fff mapped/]);
});

t.test("VFIO's own groups, devices of other buses, a device that goes meanwhile", async (t) => {
  const recorded = new RecordedMachine(t, "desktop-no-iommu");
  t.same(iommuGroups(recorded.machine()), []);
  recorded
    .bind("0000:02:00.0", "vfio-pci")
    .link("/sys/devices/pci0000:00/0000:00:02.0/0000:02:00.0/iommu_group", "/sys/kernel/iommu_groups/0")
    .link(
      "/sys/kernel/iommu_groups/0/devices/0000:02:00.0",
      "/sys/devices/pci0000:00/0000:00:02.0/0000:02:00.0",
    )
    .put("/sys/kernel/iommu_groups/0/name", "vfio-noiommu\n")
    .put("/sys/devices/platform/AMDI0095:00/uevent", "")
    .link("/sys/devices/platform/AMDI0095:00/driver", "/sys/bus/platform/drivers/amd_gpio")
    .link("/sys/kernel/iommu_groups/1/devices/AMDI0095:00", "/sys/devices/platform/AMDI0095:00")
    .link("/sys/kernel/iommu_groups/1/devices/0000:09:00.0", "/sys/devices/pci0000:00/0000:09:00.0");
  const [own, other] = iommuGroups(recorded.machine());
  t.match(own, { number: 0, noIommu: true, viable: true, devices: [{ address: "0000:02:00.0" }] });
  t.match(other, { viable: false, why: ["AMDI0095:00 is driven by the kernel (amd_gpio)"] });
  t.equal(other?.devices.length, 1);
});
