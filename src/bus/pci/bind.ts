// Gives a device to another kernel driver, by `driver_override`: that way no other device of its model is touched, as
// it would be by `new_id`.
//
//   driver_override = NAME   NAME may have it, though it does not know it, and nobody else
//   OLD/unbind               the old driver lets go
//   NAME/bind                NAME probes it; the write fails with the probe's own errno
//   driver_override = ""     whoever unbinds it later gives it back to its usual driver
//
// Only for drivers of user space is it set: any other driver takes by it what it cannot drive, and says nothing.
// A step that fails puts everything back as it was before.
import { PollmodeError } from "../../errors.ts";
import type { System } from "../vfio/system.ts";
import { bindCommand, bindWithoutIommuCommand, unbindCommand } from "./commands.ts";
import { refuseWhileOpen } from "./holders.ts";
import { KernelModules } from "./modules.ts";
import { type PciDevice, readPciDevice } from "./scan.ts";
import { devicePath, driverPath, Sysfs } from "./sysfs.ts";

/** Drivers that take any device, to hand it to user space or to keep others from it. */
export const takesAny = (driver: string) =>
  /^(vfio-pci|.*[-_]vfio[-_]pci|uio_pci_generic|igb_uio|pci-stub|pci-pf-stub)$/.test(driver);

/** How a device was bound before something was changed. Plain data: it may be kept in a file. */
export interface Binding {
  readonly address: string;
  readonly driver: string | undefined;
  readonly driverOverride: string | undefined;
}

export interface BindOptions {
  readonly sysfs?: Sysfs;
  /** Loads the module of a driver that is not there (modprobe); throws if it cannot. Without it: PCI_DRIVER_MISSING. */
  readonly loadModule?: (name: string) => void;
  readonly modules?: KernelModules;
  /** Where /dev and /proc are. */
  readonly system?: System;
}

/**
 * Gives the device to `driver`, and returns how it was before. To have it already is a success that changes nothing.
 * Errors: PCI_UNKNOWN, PCI_DRIVER_MISSING, PCI_IN_USE, PCI_HAS_VFS (nothing was changed); PCI_BIND (all is as it was),
 * PCI_NOT_RESTORED (it is not; the message says how it is).
 */
export function bindDriver(address: string, driver: string, options: BindOptions = {}): Binding {
  const { sysfs = new Sysfs() } = options;
  const device = readPciDevice(address, sysfs);
  if (device.driver === driver) return bindingOf(device);
  refuseWhileOpen(device, sysfs, options.system);
  refuseWithVfs(device, `bound to ${driver}`);
  needDriver(device, driver, sysfs, options);
  return change(device, `cannot be bound to ${driver}`, sysfs, () => {
    setOverride(device.address, takesAny(driver) ? driver : undefined, sysfs);
    unbind(device.address, sysfs);
    bind(device, driver, sysfs);
    setOverride(device.address, undefined, sysfs);
  });
}

/**
 * Takes the device from its driver, and returns how it was before. To have none is a success. Errors: as of bindDriver.
 */
export function unbindDriver(address: string, options: BindOptions = {}): Binding {
  const { sysfs = new Sysfs() } = options;
  const device = readPciDevice(address, sysfs);
  if (device.driver !== undefined) {
    refuseWhileOpen(device, sysfs, options.system);
    refuseWithVfs(device, "unbound");
  }
  return change(device, "cannot be unbound", sysfs, () => {
    unbind(device.address, sysfs);
    setOverride(device.address, undefined, sysfs);
  });
}

/** Makes a device bound as it was before bindDriver or unbindDriver. Errors: as of bindDriver. */
export function restoreDriver(before: Binding, options: BindOptions = {}): void {
  const { sysfs = new Sysfs() } = options;
  const device = readPciDevice(before.address, sysfs);
  if (device.driver !== before.driver) {
    refuseWhileOpen(device, sysfs, options.system);
    refuseWithVfs(device, "restored");
    if (before.driver !== undefined) needDriver(device, before.driver, sysfs, options);
  }
  change(device, `cannot be given back to ${before.driver ?? "no driver"}`, sysfs, () =>
    putBack(before, sysfs),
  );
}

export function bindingOf({ address, driver, driverOverride }: PciDevice): Binding {
  return { address, driver, driverOverride };
}

/** Does the steps; if one fails, undoes those that were done, and says so. Returns how it was before. */
function change(device: PciDevice, what: string, sysfs: Sysfs, steps: () => void): Binding {
  const before = bindingOf(device);
  try {
    steps();
    return before;
  } catch (cause) {
    const { message, fix } = described(cause);
    const failed = `${device.address} ${what}: ${message}`;
    try {
      putBack(before, sysfs);
    } catch (error) {
      const how = `it had ${named(before)}, and has ${now(device.address, sysfs)} now`;
      const text = `${failed}; it could not be put back: ${how}: ${described(error).message}`;
      const commands = `${fix}; then, as root: ${putBackCommands(before, sysfs)}`;
      throw new PollmodeError("PCI_NOT_RESTORED", text, commands, { cause });
    }
    throw new PollmodeError("PCI_BIND", `${failed}; it is back as it was, with ${named(before)}`, fix, {
      cause,
    });
  }
}

/** Driver and override for people. */
function named({ driver = "no driver", driverOverride }: Omit<Binding, "address">): string {
  return driverOverride === undefined ? driver : `${driver} with driver_override ${driverOverride}`;
}

function now(address: string, sysfs: Sysfs): string {
  try {
    return named(readPciDevice(address, sysfs));
  } catch (error) {
    return described(error).message;
  }
}

/**
 * By the state that there is, so that it does after any step. The old driver had the device, so it may be forced on it:
 * the override by which it came may have been cleared since.
 */
function putBack(before: Binding, sysfs: Sysfs): void {
  const now = readPciDevice(before.address, sysfs);
  const change = now.driver !== before.driver;
  if (change) setOverride(now.address, before.driver, sysfs);
  if (change && now.driver !== undefined) unbind(now.address, sysfs);
  if (change && before.driver !== undefined) bind(now, before.driver, sysfs);
  setOverride(now.address, before.driverOverride, sysfs);
}

/** For a shell, once what hindered the library is out of the way. */
function putBackCommands({ address, driver, driverOverride = "" }: Binding, sysfs: Sysfs): string {
  const tool = driver === undefined ? unbindCommand(address) : bindCommand(driver, address);
  const override = `echo ${driverOverride} > /sys/bus/pci/devices/${address}/driver_override`;
  // the tool leaves a device alone that has its driver, and no override where it had to change that
  if (sysfs.linkName(devicePath(address, "driver")) === driver) return override;
  return driverOverride === "" ? tool : `${tool}; ${override}`;
}

/** Writes only what differs: a step that failed has nothing to undo. */
function setOverride(address: string, driver: string | undefined, sysfs: Sysfs): void {
  const path = devicePath(address, "driver_override");
  const text = sysfs.readOptional(path);
  if (text === undefined) return; // a kernel before 3.16
  const now = text === "" || text === "(null)" ? undefined : text;
  if (now !== driver) sysfs.write(path, driver ?? "\n");
}

function unbind(address: string, sysfs: Sysfs): void {
  const driver = sysfs.linkName(devicePath(address, "driver"));
  if (driver === undefined) return;
  sysfs.write(driverPath(driver, "unbind"), address);
  const left = sysfs.linkName(devicePath(address, "driver"));
  if (left === undefined || sysfs.isDryRun) return;
  throw new PollmodeError("PCI_BIND", `${left} still has it`, "the kernel's log says why: dmesg | tail");
}

/** Few drivers forbid binding by hand (suppress_bind_attrs); drivers_probe then finds them, but hides why it fails. */
function bind(device: PciDevice, driver: string, sysfs: Sysfs): void {
  const path = driverPath(driver, "bind");
  try {
    sysfs.write(sysfs.exists(path) ? path : "bus/pci/drivers_probe", device.address);
  } catch (cause) {
    if (!(cause instanceof PollmodeError)) throw cause;
    throw new PollmodeError(cause.code, cause.message, probeFix(device, driver, cause, sysfs), { cause });
  }
  const has = sysfs.linkName(devicePath(device.address, "driver"));
  if (has === driver || sysfs.isDryRun) return;
  const message = `${driver} did not take it${has === undefined ? "" : `, ${has} has it`}`;
  throw new PollmodeError("PCI_BIND", message, "the kernel's log says why: dmesg | tail");
}

const noIommu = (driver: string, address: string) =>
  "turn the IOMMU on: VT-d or AMD-Vi in the firmware, and intel_iommu=on on Intel's kernel command line; or do " +
  `without, trusting the device with all memory, as root: ${bindWithoutIommuCommand(driver, address)}`;

/** What the drivers' probe functions return, by vfio_pci_core_register_device and __probe of uio_pci_generic. */
function probeFix(device: PciDevice, driver: string, { code, fix }: PollmodeError, sysfs: Sysfs): string {
  const isVfio = driver.includes("vfio");
  if (isVfio && code === "EINVAL" && device.iommuGroup === undefined) return noIommu(driver, device.address);
  if (isVfio && code === "EINVAL" && device.class >> 16 === 0x06) {
    return "bind the devices behind the bridge, not the bridge";
  }
  if (driver === "uio_pci_generic" && code === "ENODEV") {
    return "its INTx line cannot be masked, or it has none and the kernel is old: use vfio-pci or igb_uio";
  }
  if (code === "ENODEV") {
    const known = new KernelModules(sysfs).candidates(device.modalias);
    return `${driver} does not know this device: use ${[...known, "vfio-pci"].join(" or ")}`;
  }
  if (code === "EBUSY")
    return "another device of its IOMMU group, or one of its functions, is in use: stop that first";
  return fix;
}

/** Loads a driver that is not there, if `options` have a way. Throws PCI_DRIVER_MISSING, and what loading throws. */
export function needDriver(device: PciDevice, driver: string, sysfs: Sysfs, options: BindOptions): void {
  if (sysfs.exists(driverPath(driver))) return;
  const { loadModule, modules = new KernelModules(sysfs) } = options;
  const isMissing = modules.state(driver) === "missing";
  if (loadModule && !isMissing) {
    loadModule(driver);
    if (sysfs.exists(driverPath(driver)) || sysfs.isDryRun) return;
  }
  const message = `${device.address} cannot be bound to ${driver}: the kernel has no such PCI driver loaded`;
  throw new PollmodeError(
    "PCI_DRIVER_MISSING",
    message,
    isMissing ? installFix(driver) : `as root: modprobe ${driver}`,
  );
}

/** Modules that this kernel has not got at all. */
function installFix(driver: string): string {
  if (driver === "igb_uio")
    return "it is not part of Linux: apt install dpdk-kmods-dkms, then modprobe igb_uio";
  return `this kernel has no module ${driver}: correct the name, or install it; vfio-pci is in most kernels`;
}

/** Throws PCI_HAS_VFS: they would vanish, with whatever uses them. */
export function refuseWithVfs({ address, sriov }: PciDevice, what: string): void {
  if (!sriov || sriov.numVfs === 0) return;
  const message = `${address} cannot be ${what}: it has ${sriov.numVfs} virtual functions, which would go`;
  const fix = `as root, take them away first: pollmode sriov remove ${address}`;
  throw new PollmodeError("PCI_HAS_VFS", message, fix);
}

function described(error: unknown): { message: string; fix: string } {
  return error instanceof PollmodeError ? error : { message: String(error), fix: "report a bug of pollmode" };
}
