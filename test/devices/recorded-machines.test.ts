// The recorded machines agree with themselves, as sysfs does: configuration space with attributes, links both ways.
import { realpathSync } from "node:fs";
import t, { type Test } from "tap";
import { parsePciAddress } from "../../src/bus/pci/address.ts";
import { readConfigImage } from "../../src/bus/pci/config-file.ts";
import { parseConfigSpace } from "../../src/bus/pci/config-space.ts";
import { PCI_VENDOR_ID } from "../../src/bus/pci/registers.ts";
import { type PciDevice, scanPci } from "../../src/bus/pci/scan.ts";
import { readLinkState } from "../../src/devices/link-state.ts";
import type { Machine } from "../../src/devices/machine.ts";
import { readPciNode } from "../../src/devices/topology.ts";
import { RecordedMachine, recordedNames } from "../support/recorded-machine.ts";

function checkConfig(t: Test, device: PciDevice, { sysfs }: Machine): void {
  const { address, vendor, device: id, resources, sriov, physicalFunction } = device;
  const image = readConfigImage(address, sysfs);
  if (physicalFunction !== undefined) {
    t.equal(
      image.readUInt32LE(PCI_VENDOR_ID),
      0xffff_ffff,
      `${address}: a virtual function has no ID of its own`,
    );
    image.writeUInt16LE(vendor, PCI_VENDOR_ID);
  }
  const space = parseConfigSpace(image);
  const isExpress = space.capabilities.some((capability) => capability.id === 0x10);
  t.equal(image.length, isExpress ? 4096 : 256, `${address}: PCI Express has 4096 bytes`);
  t.match(space, { vendor, class: device.class, isComplete: true });
  if (physicalFunction === undefined) t.equal(space.device, id);
  const bars = resources.map(({ index }) => index);
  if (space.msix)
    t.ok(bars.includes(space.msix.tableBar), `${address}: the vectors' table is in a BAR that it has`);
  if (sriov) t.ok(space.sriov!.totalVfs >= sriov.totalVfs && space.sriov!.numVfs === sriov.numVfs, address);
}

function checkBridges(t: Test, device: PciDevice, { sysfs }: Machine): void {
  const { above } = readPciNode(device, sysfs);
  const parent = above.at(-1);
  if (parent === undefined) return;
  const image = readConfigImage(parent, sysfs);
  const bus = parsePciAddress(device.address)!.bus;
  t.ok(
    bus >= image.readUInt8(0x19) && bus <= image.readUInt8(0x1a),
    `${device.address} is on a bus of ${parent}`,
  );
}

for (const name of recordedNames) {
  t.test(name, async (t) => {
    const machine = new RecordedMachine(t, name).machine();
    const devices = scanPci(machine.sysfs);
    t.ok(devices.length > 3);
    for (const device of devices) {
      const { address, driver, interfaces, physicalFunction, sriov } = device;
      checkConfig(t, device, machine);
      checkBridges(t, device, machine);
      const own = realpathSync(machine.path(`/sys/bus/pci/devices/${address}`));
      if (driver !== undefined) {
        t.equal(realpathSync(machine.path(`/sys/bus/pci/drivers/${driver}/${address}`)), own);
      }
      for (const face of interfaces) {
        t.ok(realpathSync(machine.path(`/sys/class/net/${face}`)).startsWith(`${own}/`), face);
      }
      if (physicalFunction !== undefined) {
        const pf = devices.find((other) => other.address === physicalFunction);
        t.ok(pf?.sriov?.vfs.includes(address), `${physicalFunction} knows ${address}`);
      }
      if (sriov) t.equal(sriov.vfs.length, sriov.numVfs, address);
    }
    const state = readLinkState(machine)!;
    for (const { name: face, index } of state.links.filter(({ name }) => name !== "lo")) {
      t.equal(machine.readText(`/sys/class/net/${face}/ifindex`), `${index}\n`, face);
    }
    t.same(
      state.links.filter(({ kind, name }) => kind === undefined && name !== "lo").map(({ name }) => name),
      devices.flatMap(({ interfaces }) => interfaces),
    );
  });
}
