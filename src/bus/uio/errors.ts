// What stands in UIO's way, found out from the system, and the commands that mend it.
import { PollmodeError } from "../../errors.ts";
import { bindCommand, rebindCommand, unbindCommand } from "../pci/commands.ts";
import { lockdownFix } from "../pci/lockdown.ts";
import { KernelModules } from "../pci/modules.ts";
import type { PciDevice } from "../pci/scan.ts";
import type { Sysfs } from "../pci/sysfs.ts";
import type { Process } from "../vfio/system.ts";

export const UIO_DRIVERS = ["uio_pci_generic", "igb_uio"] as const;
export type UioDriver = (typeof UIO_DRIVERS)[number];

export function isUioDriver(driver: string | undefined): driver is UioDriver {
  return UIO_DRIVERS.some((name) => name === driver);
}

/** Why UIO has not got the device: `driver_override` says which driver is meant to have it. */
export function notBound(device: PciDevice, sysfs: Sysfs): PollmodeError {
  const { address, driver, driverOverride } = device;
  const wanted = isUioDriver(driverOverride) ? driverOverride : "uio_pci_generic";
  const state = new KernelModules(sysfs).state(wanted);
  if (state !== "loaded") {
    const install = state === "missing" && wanted === "igb_uio" ? "apt-get install dpdk-kmods-dkms; " : "";
    const message = `${address}: the kernel module ${wanted} is not loaded`;
    return new PollmodeError("UIO_MODULE", message, `as root: ${install}${bindCommand(wanted, address)}`);
  }
  if (driver === undefined && wanted === driverOverride) return refused(device, wanted);
  const has = driver === undefined ? "no driver" : `the driver ${driver}`;
  const message = `${address} has ${has}, not uio_pci_generic or igb_uio`;
  return new PollmodeError("UIO_NOT_BOUND", message, `as root: ${bindCommand(wanted, address)}`);
}

/** Nothing more is known: the kernel hides why a probe fails that drivers_probe has asked for. */
function refused(device: PciDevice, driver: UioDriver): PollmodeError {
  const { address } = device;
  const message = `${address}: its driver_override is ${driver}, and ${driver} has not taken it`;
  const again = `if it was never asked to, as root: ${bindCommand(driver, address)}`;
  const other = driver === "igb_uio" ? "vfio-pci" : "igb_uio";
  const fix =
    `dmesg | tail may say why (uio_pci_generic takes devices alone whose INTx can be masked; virtual functions have ` +
    `none); then use ${other}, as root: ${bindCommand(other, address)}; or ${again}`;
  return new PollmodeError("UIO_REFUSED", message, fix);
}

/** UIO maps nothing for the device: behind an IOMMU that translates, all of its DMA would be stopped. */
export function behindIommu(device: PciDevice, type: string): PollmodeError {
  const { address, iommuGroup: group, driver } = device;
  const message =
    `${address}: an IOMMU translates this device's addresses (IOMMU group ${group} has the type ${type}, not ` +
    "identity), and through UIO nothing is mapped there: its DMA would be stopped";
  const fix =
    `use VFIO, as root: ${bindCommand("vfio-pci", address)}; or let the IOMMU pass it through, by iommu=pt on the ` +
    `kernel's command line; or until the next boot, as root: ${passThrough(address, driver, group)}`;
  return new PollmodeError("UIO_IOMMU", message, fix);
}

/** The kernel changes a group's type while no driver has its device. */
export function passThrough(address: string, driver: string | undefined, group: number | undefined): string {
  const identity = `echo identity > /sys/kernel/iommu_groups/${group}/type`;
  return `${unbindCommand(address)}; ${identity}; ${bindCommand(driver ?? "uio_pci_generic", address)}`;
}

export function wantsPhysical(address: string, mode: string): PollmodeError {
  const message = `${address}: through UIO a device takes physical addresses, and --iova-mode is ${mode}`;
  return new PollmodeError("UIO_IOVA", message, "--iova-mode pa, as root and with hugepages");
}

/** `lacking`: what this user would need, each as it is to be read after "no". */
export function notAllowed(address: string, user: string, lacking: readonly string[]): PollmodeError {
  const message = `${address}: user ${user} has no ${lacking.join(", no ")}`;
  const fix = "run as root: UIO is for root alone; behind an IOMMU, vfio-pci is for any user";
  return new PollmodeError("UIO_PERMISSION", message, fix);
}

export function noNode(address: string, node: string, name: string): PollmodeError {
  const message = `${address}: there is no ${node}`;
  const fix =
    `as root: mknod ${node} c $(tr : ' ' < /sys/class/uio/${name}/dev); ` +
    `in a container give it in: docker run --device ${node}`;
  return new PollmodeError("UIO_NO_NODE", message, fix);
}

/** The driver has the device, and yet sysfs names no uioN of it. */
export function noName({ address, driver }: PciDevice): PollmodeError {
  const message = `${address}: ${driver} has it, but /sys/bus/pci/devices/${address}/uio names no device`;
  const again = rebindCommand(driver ?? "uio_pci_generic", address);
  return new PollmodeError("UIO_NO_NODE", message, `as root: ${again}`);
}

/** `holders`: processes that have `node` open, as far as this user may see. */
export function inUse(address: string, node: string, holders: readonly Process[]): PollmodeError {
  if (holders.some(({ pid }) => pid === process.pid)) {
    const message = `${address} is open already, by this program itself`;
    return new PollmodeError("UIO_BUSY", message, "name it once, or close it first");
  }
  const names = holders.map(({ pid, name }) => `${name} (process ${pid})`).join(", ");
  const message = `${address}: ${node} is in use by ${names || "a process that cannot be seen from here"}`;
  const fix = names === "" ? `find it, as root of the host: fuser -v ${node}; then stop it` : "stop it";
  return new PollmodeError("UIO_BUSY", message, fix);
}

/** LOCKDOWN_PCI_ACCESS: nobody writes configuration space or maps a BAR, which UIO does both. */
export function lockedDown(address: string, mode: string): PollmodeError {
  const message = `${address}: kernel lockdown (${mode}) lets nobody drive a device through UIO, not even root`;
  return new PollmodeError("UIO_LOCKDOWN", message, lockdownFix);
}
