// What has which device: the sections of dpdk-devbind.py's status as data. A section holds the devices of one kind, by
// whether a driver for user space, a driver of the kernel, or none has them.
import { PciIds } from "../bus/pci/ids.ts";
import { type PciDevice, scanPci } from "../bus/pci/scan.ts";
import { type DeviceGroup, isOfGroup } from "./device-groups.ts";
import { deviceUse, type Use } from "./in-use.ts";
import { readLinkState } from "./link-state.ts";
import type { Machine } from "./machine.ts";

/** The drivers that DPDK calls its own; in this order status names them. */
const USER_DRIVERS = ["igb_uio", "vfio-pci", "uio_pci_generic"];

export interface ListedDevice {
  readonly address: string;
  /** As lspci has it: "Device" if the system's pci.ids does not know it. */
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly driver: string | undefined;
  /** Modules that could have it, and loaded drivers for user space; without the one that has it. */
  readonly unused: readonly string[];
  readonly interfaces: readonly string[];
  readonly numaNode: number | undefined;
  readonly iommuGroup: number | undefined;
  /** What the system uses its interfaces for: it is *Active* if there is anything. */
  readonly use: readonly Use[];
}

export interface GroupStatus {
  readonly group: string;
  readonly title: string;
  /** Each by address. */
  readonly userSpace: readonly ListedDevice[];
  readonly kernel: readonly ListedDevice[];
  readonly other: readonly ListedDevice[];
}

/** Of the devices in `only`, or of all. */
export async function deviceStatus(
  machine: Machine,
  groups: readonly DeviceGroup[],
  only: readonly PciDevice[] = scanPci(machine.sysfs),
): Promise<GroupStatus[]> {
  const drivers = loadedUserDrivers(machine);
  const [ids, links] = [new PciIds(), readLinkState(machine)];
  const sections: GroupStatus[] = [];
  for (const group of groups) {
    const devices: ListedDevice[] = [];
    for (const device of only.filter((device) => isOfGroup(device, group))) {
      devices.push({
        ...describe(device, machine, drivers, ids),
        use: await deviceUse(machine, device, links),
      });
    }
    const isUser = ({ driver }: ListedDevice) => driver !== undefined && drivers.includes(driver);
    sections.push({
      group: group.name,
      title: group.title,
      userSpace: devices.filter(isUser),
      kernel: devices.filter((device) => device.driver !== undefined && !isUser(device)),
      other: devices.filter(({ driver }) => driver === undefined),
    });
  }
  return sections;
}

/** Devices that drivers for user space have: what `dpdk` stands for on dpdk-devbind.py's command line. */
export function userSpaceDevices(machine: Machine): PciDevice[] {
  const drivers = loadedUserDrivers(machine);
  return scanPci(machine.sysfs).filter(({ driver }) => driver !== undefined && drivers.includes(driver));
}

function loadedUserDrivers({ modules }: Machine): string[] {
  return USER_DRIVERS.filter((driver) => modules.state(driver) === "loaded");
}

function describe(
  device: PciDevice,
  { modules }: Machine,
  drivers: readonly string[],
  ids: PciIds,
): Omit<ListedDevice, "use"> {
  const { address, vendor, device: id, driver, interfaces, numaNode, iommuGroup } = device;
  const fitting = new Set([...modules.candidates(device.modalias), ...drivers]);
  return {
    address,
    name: ids.device(vendor, id) ?? "Device",
    vendorId: vendor,
    deviceId: id,
    driver,
    unused: [...fitting].filter((module) => module !== driver),
    interfaces,
    numaNode,
    iommuGroup,
  };
}
