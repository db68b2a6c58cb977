// Gives devices to another driver, or to none: what `pollmode devbind` does. In this order, so that whatever fails
// leaves each device as it was:
//
//   look     which devices, with --group the rest of their IOMMU groups; what forbids it (refuse.ts) ends it here
//   prepare  the driver's module, no-IOMMU mode
//   note     how they are bound now (journal.ts), before the first write
//   bind     one after the other (src/bus/pci/bind.ts), and the node to its owner; a group as a whole or not at all
//   settle   what is as it was is forgotten again
//
// A device that fails is put back, and the next one is tried, as users of dpdk-devbind.py are used to.
import { bindDriver, needDriver, restoreDriver, unbindDriver } from "../bus/pci/bind.ts";
import { type PciDevice, readPciDevice } from "../bus/pci/scan.ts";
import { driverPath } from "../bus/pci/sysfs.ts";
import { isVfioDriver } from "../bus/vfio/drivers.ts";
import { PollmodeError } from "../errors.ts";
import { type IommuGroup, iommuGroupOf } from "./groups.ts";
import { BindingJournal } from "./journal.ts";
import { readLinkState } from "./link-state.ts";
import type { Machine } from "./machine.ts";
import { NoIommuMode } from "./no-iommu.ts";
import { giveNode, hasNode, nodeOf, type Owner, spelled } from "./owner.ts";
import { type Refusal, refusalOf } from "./refuse.ts";

export interface DriverChange {
  readonly devices: readonly PciDevice[];
  /** As driverName gives it; undefined: none shall have them. */
  readonly driver: string | undefined;
  /** Take them though they are in use. */
  readonly force?: boolean;
  /** With each device, all others of its IOMMU group but bridges. */
  readonly wholeGroup?: boolean;
  /** Turn VFIO's no-IOMMU mode on if a device has no IOMMU. */
  readonly noIommuMode?: boolean;
  /** Of the device's node in /dev. */
  readonly owner?: Owner | undefined;
  /** Told what is being done. */
  readonly progress?: (text: string) => void;
}

export interface Outcome {
  readonly address: string;
  /** Its driver before and now; of a dry run, what it would be. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** `skipped`: another one was refused, and so nothing was done. `gone`: it is not there any more. */
  readonly result: "changed" | "unchanged" | "failed" | "refused" | "skipped" | "gone";
  /** Its node in /dev, for programs to open. */
  readonly node: string | undefined;
  readonly error: PollmodeError | undefined;
}

export interface ChangeReport {
  /** In the order of the devices. */
  readonly outcomes: readonly Outcome[];
  readonly warnings: readonly string[];
}

/** One device after the other, or a whole group. */
type Unit = readonly PciDevice[];

/**
 * Errors of single devices are in their outcomes. Throws, and has changed nothing: PCI_UNKNOWN, PCI_DRIVER_MISSING,
 * VFIO_NO_IOMMU, WRITE_FAILED, BINDINGS_LOCKED, COMMAND_FAILED and COMMAND_MISSING (of modprobe).
 */
export async function changeDrivers(machine: Machine, change: DriverChange): Promise<ChangeReport> {
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const journal = await BindingJournal.open(machine, warn);
  try {
    const devices = change.devices.map(({ address }) => readPciDevice(address, machine.sysfs));
    const units = change.wholeGroup ? wholeGroups(machine, devices, warn) : devices.map((device) => [device]);
    const wanted = units.flat().filter(({ driver }) => driver !== change.driver);
    const refusals = await refuse(machine, wanted, change, warn);
    if (refusals.length > 0) return { outcomes: refused(units.flat(), refusals), warnings };
    const noIommu = prepare(machine, wanted, change, warn);
    const outcomes: Outcome[] = [];
    try {
      journal.remember(wanted);
      for (const unit of units) {
        change.progress?.(
          `${unit.map(({ address }) => address).join(", ")}: to ${change.driver ?? "no driver"}`,
        );
        outcomes.push(...(await changeUnit(machine, unit, change)));
      }
    } finally {
      if (!outcomes.some(({ result }) => result === "changed")) noIommu?.undo();
    }
    settle(machine, journal, wanted);
    if (!change.wholeGroup) warnOfGroups(machine, outcomes, change, warn);
    return { outcomes, warnings };
  } finally {
    journal.close();
  }
}

/**
 * The kernel's spelling of a driver: `vfio_pci` is the module, vfio-pci the driver. Throws OPTION_VALUE where `name` is
 * an address or an interface, as it is when the driver was forgotten.
 */
export function driverName({ sysfs }: Machine, name: string): string {
  if (!/^[\w.-]+$/.test(name) || sysfs.exists(`class/net/${name}`)) {
    const fix = "give the driver first, then the devices: -b vfio-pci 0000:01:00.0";
    throw new PollmodeError("OPTION_VALUE", `"${name}" is no driver's name`, fix);
  }
  if (sysfs.exists(driverPath(name))) return name;
  const plain = (text: string) => text.replaceAll("-", "_");
  const loaded = sysfs.list("bus/pci/drivers").find((driver) => plain(driver) === plain(name));
  if (loaded !== undefined) return loaded;
  return name === "vfio_pci" ? "vfio-pci" : name;
}

/** Devices of one group are one unit, where the first of them stands. */
function wholeGroups(machine: Machine, devices: readonly PciDevice[], warn: (text: string) => void): Unit[] {
  const units = new Map<number | string, Unit>();
  for (const device of devices) {
    const group = iommuGroupOf(machine, device);
    if (!group) warn(`${device.address} is in no IOMMU group: it is bound alone`);
    const members = group ? membersOf(group) : [];
    const isMember = members.some(({ address }) => address === device.address);
    if (isMember) units.set(group!.number, members);
    else units.set(device.address, [device]);
  }
  return [...units.values()];
}

/** Bridges stay: vfio-pci takes none, and their driver does no DMA. So do host bridges and such without any driver. */
function membersOf(group: IommuGroup): PciDevice[] {
  return group.devices.flatMap(({ pci, node }) => {
    const isPassive = pci?.driver === undefined && (pci?.class ?? 0) >>> 16 === 0x06;
    return pci && !node?.isBridge && !isPassive ? [pci] : [];
  });
}

async function refuse(
  machine: Machine,
  devices: readonly PciDevice[],
  { driver, force = false }: DriverChange,
  warn: (text: string) => void,
): Promise<Refusal[]> {
  const what = driver === undefined ? "unbound" : `bound to ${driver}`;
  const links = readLinkState(machine);
  const refusals: Refusal[] = [];
  for (const device of devices) {
    const refusal = await refusalOf(machine, device, { force, what, links, warn });
    if (refusal) refusals.push(refusal);
  }
  return refusals;
}

export function refused(devices: readonly PciDevice[], refusals: readonly Refusal[]): Outcome[] {
  return devices.map(({ address, driver }) => {
    const error = refusals.find((refusal) => refusal.address === address)?.error;
    const result = error ? "refused" : "skipped";
    return { address, before: driver, after: driver, result, node: undefined, error };
  });
}

/** What all of them need. */
function prepare(
  machine: Machine,
  wanted: readonly PciDevice[],
  { driver, noIommuMode = false }: DriverChange,
  warn: (text: string) => void,
): NoIommuMode | undefined {
  const [first] = wanted;
  if (driver === undefined || !first) return undefined;
  loadDriver(machine, first, driver);
  if (!isVfioDriver(driver)) return undefined;
  const bare = wanted.find(({ iommuGroup }) => iommuGroup === undefined);
  return bare && NoIommuMode.turnOn(machine, bare.address, noIommuMode, warn);
}

/** Errors: PCI_DRIVER_MISSING; COMMAND_FAILED and COMMAND_MISSING of modprobe. */
export function loadDriver(machine: Machine, device: PciDevice, driver: string): void {
  const { sysfs, modules } = machine;
  needDriver(device, driver, sysfs, { modules, loadModule: (name) => machine.loadModule(name) });
}

/** By loadDriver, for all; a dry run has only said so, and finds it missing again. */
export const loadedBefore = (): void => {};

/** All of it, or nothing. */
async function changeUnit(machine: Machine, unit: Unit, change: DriverChange): Promise<Outcome[]> {
  const { sysfs, system, modules, isDryRun } = machine;
  const { driver, owner } = change;
  const options = { sysfs, system, modules, loadModule: loadedBefore };
  const undo: (() => void)[] = [];
  let failing = unit[0]!;
  try {
    for (const device of unit) {
      failing = device;
      if (device.driver === driver) continue;
      const { address } = device;
      const before =
        driver === undefined ? unbindDriver(address, options) : bindDriver(address, driver, options);
      undo.push(() => restoreDriver(before, options));
    }
    for (const device of owner && driver !== undefined && hasNode(driver) ? unit : []) {
      failing = device;
      if (isDryRun) showOwner(machine, device, driver!, owner!);
      else undo.push(await giveNode(machine, device.address, owner!));
    }
  } catch (error) {
    const told = rollBack(undo, error, failing.address);
    return unit.map((device) => outcomeOf(machine, device, device.driver, "failed", told));
  }
  return unit.map((device) =>
    outcomeOf(machine, device, driver, device.driver === driver ? "unchanged" : "changed"),
  );
}

/** The error of a step, and what became of the steps before it. Throws again what is a bug. */
function rollBack(undo: readonly (() => void)[], error: unknown, address: string): PollmodeError {
  const failures: string[] = [];
  for (const step of [...undo].reverse()) {
    try {
      step();
    } catch (cause) {
      failures.push(cause instanceof Error ? cause.message : String(cause));
    }
  }
  if (!(error instanceof PollmodeError)) throw error;
  if (undo.length === 0 || (error.code === "PCI_NOT_RESTORED" && failures.length === 0)) return error;
  const message = error.message.startsWith(address) ? error.message : `${address}: ${error.message}`;
  if (failures.length > 0) {
    const text = `${message}; what was done before could not be undone: ${failures.join("; ")}`;
    return new PollmodeError("PCI_NOT_RESTORED", text, error.fix, { cause: error });
  }
  return new PollmodeError("PCI_BIND", `${message}; all is back as it was`, error.fix, { cause: error });
}

/** Of a dry run: the numbers of some nodes are made up when the device is bound. */
function showOwner(machine: Machine, device: PciDevice, driver: string, owner: Owner): void {
  const unknown = isVfioDriver(driver) ? "/dev/vfio/noiommu-N" : "/dev/uioN";
  machine.run(["chown", spelled(owner), nodeOf(machine, { ...device, driver }) ?? unknown]);
}

function outcomeOf(
  machine: Machine,
  { address, driver: before }: PciDevice,
  wanted: string | undefined,
  result: Outcome["result"],
  error?: PollmodeError,
): Outcome {
  const now = readNow(machine, address);
  const after = machine.isDryRun ? wanted : now?.driver;
  return { address, before, after, result, node: now && nodeOf(machine, { ...now, driver: after }), error };
}

/** Undefined if it has gone. */
export function readNow(machine: Machine, address: string): PciDevice | undefined {
  try {
    return readPciDevice(address, machine.sysfs);
  } catch (error) {
    if (error instanceof PollmodeError && error.code === "PCI_UNKNOWN") return undefined;
    throw error;
  }
}

/** A dry run has changed nothing, and yet not put back anything. */
function settle(machine: Machine, journal: BindingJournal, devices: readonly PciDevice[]): void {
  if (machine.isDryRun) return;
  journal.settle(devices.flatMap(({ address }) => readNow(machine, address) ?? []));
}

/** VFIO gives nobody a group of which the kernel drives a part. */
function warnOfGroups(
  machine: Machine,
  outcomes: readonly Outcome[],
  { driver }: DriverChange,
  warn: (text: string) => void,
): void {
  if (driver === undefined || !isVfioDriver(driver)) return;
  const bound = outcomes.filter(({ result }) => result === "changed" || result === "unchanged");
  const seen = new Set<number>();
  for (const { address } of bound) {
    const device = readNow(machine, address);
    const group = device && iommuGroupOf(machine, device);
    if (!group || seen.has(group.number)) continue;
    seen.add(group.number);
    const inTheWay = group.devices.filter((other) => {
      return other.isInTheWay && !bound.some((own) => own.address === other.address);
    });
    if (inTheWay.length === 0) continue;
    const names = inTheWay.map((other) => `${other.address} (${other.driver})`).join(", ");
    warn(
      `${address}: programs cannot open its IOMMU group ${group.number} as long as the kernel drives others of it: ` +
        `${names}; --group binds them as well`,
    );
  }
}
