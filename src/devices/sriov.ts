// Virtual functions from the outside: made, bound, given a VF token, listed and removed. What fails at any step is
// undone step by step, backwards:
//
//   enable_sriov = Y      vfio-pci makes virtual functions only with this parameter
//   VF token              of a physical function on vfio-pci
//   sriov_numvfs = N      without looking for drivers, where one was asked for
//   driver, one by one

import type { VfSettings } from "../bus/netlink/vf.ts";
import { bindDriver, bindingOf, restoreDriver } from "../bus/pci/bind.ts";
import { type PciDevice, readPciDevice } from "../bus/pci/scan.ts";
import { setNumVfs } from "../bus/pci/sriov.ts";
import { devicePath, driverPath, type Sysfs } from "../bus/pci/sysfs.ts";
import { setVfToken } from "../bus/vfio/token.ts";
import { PollmodeError } from "../errors.ts";
import { type LinkState, readLinkState } from "./link-state.ts";
import type { Machine } from "./machine.ts";
import { refusalOf } from "./refuse.ts";
import { nextAddresses } from "./vf-addresses.ts";
import { readVfSettings, restoreVfSettings, type VfControl, vfControl } from "./vf-settings.ts";

export interface VfStatus {
  readonly index: number;
  readonly address: string;
  readonly driver: string | undefined;
  readonly interfaces: readonly string[];
  readonly iommuGroup: number | undefined;
  /** Empty where the physical function has no interface that could be asked. */
  readonly settings: VfSettings;
}

export interface SriovStatus {
  readonly address: string;
  readonly driver: string | undefined;
  readonly interfaces: readonly string[];
  readonly totalVfs: number;
  readonly vfs: readonly VfStatus[];
}

export interface SriovOptions {
  /** Also where the kernel uses their interfaces. What a program has open stays, whatever is said here. */
  readonly force?: boolean | undefined;
  /** Told what is broken by force, and what else was changed. */
  readonly warn?: (text: string) => void;
  /** Default: this machine's, and none of a recorded one. */
  readonly control?: VfControl | undefined;
  readonly links?: LinkState | undefined;
}

export interface CreateOptions extends SriovOptions {
  readonly count: number;
  /** Default: whichever the kernel finds. */
  readonly driver?: string | undefined;
  readonly vfToken?: string | undefined;
}

export interface Created {
  readonly vfs: readonly string[];
  /** A program has the physical function open: the token is the one that it was opened with. */
  readonly tokenIsHeld: boolean;
}

/** Undefined of a device that can have no virtual functions. Errors: of Rtnetlink.request. */
export function sriovStatus(
  machine: Machine,
  pf: PciDevice,
  control = vfControl(machine),
): SriovStatus | undefined {
  const { address, driver, interfaces, sriov } = pf;
  if (!sriov) return undefined;
  const settings = sriov.numVfs > 0 ? readVfSettings(pf, control) : new Map<number, VfSettings>();
  const vfs = sriov.vfs.map((vf, index): VfStatus => {
    const { driver, interfaces, iommuGroup } = readPciDevice(vf, machine.sysfs);
    return { index, address: vf, driver, interfaces, iommuGroup, settings: settings.get(index) ?? {} };
  });
  return { address, driver, interfaces, totalVfs: sriov.totalVfs, vfs };
}

/**
 * Gives a physical function `count` virtual functions, and these a driver. Errors: PCI_UNKNOWN, SRIOV_UNSUPPORTED,
 * SRIOV_COUNT, OPTION_VALUE, PCI_IN_USE, DEVICE_IN_USE, PCI_DRIVER_MISSING (nothing was changed); SRIOV_FAILED (all is
 * as it was), SRIOV_NOT_RESTORED (it is not; the message says what is left).
 */
export async function createVfs(machine: Machine, address: string, options: CreateOptions): Promise<Created> {
  const pf = readPciDevice(address, machine.sysfs);
  const { count, driver, vfToken } = options;
  if (vfToken !== undefined && pf.driver !== "vfio-pci") throw tokenWithoutVfio(pf);
  const isSame = pf.sriov?.numVfs === count;
  const old = (pf.sriov?.vfs ?? []).map((vf) => readPciDevice(vf, machine.sysfs));
  const touched = old.filter((vf) => !isSame || (driver !== undefined && vf.driver !== driver));
  await refuseInUse(machine, touched, options);
  if (driver !== undefined) loadDriver(machine, driver);
  const { control = vfControl(machine) } = options;
  const creation = new Creation(machine, pf, old, control);
  try {
    if (!isSame && count > 0 && pf.sriov && pf.driver === "vfio-pci") creation.enableSriov(options.warn);
    const tokenIsHeld = vfToken !== undefined && creation.setToken(vfToken);
    const vfs = await creation.setCount(count, driver === undefined ? undefined : false);
    if (driver !== undefined) creation.bind(vfs, driver);
    return { vfs, tokenIsHeld };
  } catch (cause) {
    throw await creation.undo(cause);
  }
}

/** Takes all virtual functions away. Errors: as of createVfs. */
export async function removeVfs(
  machine: Machine,
  address: string,
  options: SriovOptions = {},
): Promise<void> {
  const pf = readPciDevice(address, machine.sysfs);
  const old = (pf.sriov?.vfs ?? []).map((vf) => readPciDevice(vf, machine.sysfs));
  await refuseInUse(machine, old, options);
  await setNumVfs(pf.address, 0, { sysfs: machine.sysfs, system: machine.system });
}

async function refuseInUse(
  machine: Machine,
  vfs: readonly PciDevice[],
  { force = false, warn = () => {}, links }: SriovOptions,
): Promise<void> {
  if (vfs.length === 0) return;
  const options = { force, what: "taken away", links: links ?? readLinkState(machine), warn };
  for (const vf of vfs) {
    const refusal = await refusalOf(machine, vf, options);
    if (refusal) throw refusal.error;
  }
}

/** Before anything is changed: what cannot be loaded is known by then. */
function loadDriver(machine: Machine, driver: string): void {
  if (machine.sysfs.exists(driverPath(driver))) return;
  if (machine.modules.state(driver) !== "missing") {
    machine.loadModule(driver);
    return;
  }
  const message = `there is no driver ${driver}: it is not loaded, and this kernel has no such module`;
  throw new PollmodeError("PCI_DRIVER_MISSING", message, "correct --driver; vfio-pci is in most kernels");
}

function tokenWithoutVfio({ address, driver = "no driver" }: PciDevice): PollmodeError {
  const message = `--vf-token: ${address} has ${driver}, and VF tokens are of physical functions on vfio-pci`;
  const fix = `leave it out, or bind it first: pollmode devbind --bind vfio-pci ${address}`;
  return new PollmodeError("OPTION_VALUE", message, fix);
}

const ENABLE_SRIOV = "module/vfio_pci/parameters/enable_sriov";

class Creation {
  readonly #machine: Machine;
  readonly #sysfs: Sysfs;
  readonly #pf: PciDevice;
  readonly #old: readonly PciDevice[];
  readonly #control: VfControl | undefined;
  readonly #settings: Map<number, VfSettings>;
  /** What takes back each step that was done. */
  readonly #undo: (() => void | Promise<void>)[] = [];

  constructor(machine: Machine, pf: PciDevice, old: readonly PciDevice[], control: VfControl | undefined) {
    this.#machine = machine;
    this.#sysfs = machine.sysfs;
    this.#pf = pf;
    this.#old = old;
    this.#control = control;
    this.#settings = old.length > 0 ? readVfSettings(pf, control) : new Map();
  }

  /** Off by default, since who has the physical function can do much to virtual functions; asked for here. */
  enableSriov(warn: (text: string) => void = () => {}): void {
    const was = this.#sysfs.readOptional(ENABLE_SRIOV);
    if (was === undefined || was === "Y") return; // undefined: setCount will say what is wrong
    this.#sysfs.write(ENABLE_SRIOV, "Y");
    this.#undo.push(() => this.#sysfs.write(ENABLE_SRIOV, was));
    warn(
      `vfio-pci makes virtual functions from now on (enable_sriov=Y); ${this.#pf.address}'s program has to know them`,
    );
  }

  /** True: a program has the physical function open, so that the token cannot be set. */
  setToken(token: string): boolean {
    if (this.#machine.isDryRun) return false;
    try {
      setVfToken(this.#pf, token, this.#machine.system);
      return false;
    } catch (error) {
      if (error instanceof PollmodeError && error.code === "VFIO_BUSY") return true;
      throw error;
    }
  }

  async setCount(count: number, autoprobe: boolean | undefined): Promise<string[]> {
    const { address } = this.#pf;
    const options = { sysfs: this.#sysfs, system: this.#machine.system };
    const isSame = count === this.#old.length;
    // also when it fails, and puts back their number itself
    if (!isSame) this.#undo.push(() => restoreVfSettings(this.#pf, this.#settings, this.#control));
    const vfs = await setNumVfs(address, count, {
      ...options,
      ...(autoprobe !== undefined && { autoprobe }),
    });
    if (isSame) return vfs;
    this.#undo.push(async () => {
      await setNumVfs(address, this.#old.length, options);
      for (const vf of this.#old) restoreDriver(bindingOf(vf), options);
    });
    return this.#machine.isDryRun ? nextAddresses(address, count, this.#sysfs) : vfs;
  }

  bind(vfs: readonly string[], driver: string): void {
    const { modules, system } = this.#machine;
    const loadModule = (name: string) => this.#machine.loadModule(name);
    const restoreAutoprobe = this.#allowProbe();
    const isSame = vfs.length === this.#old.length;
    const areShown = this.#machine.isDryRun && !isSame;
    for (const vf of vfs) {
      if (areShown) this.#showBind(vf, driver);
      else {
        const before = bindDriver(vf, driver, { sysfs: this.#sysfs, modules, system, loadModule });
        if (isSame) this.#undo.push(() => restoreDriver(before, { sysfs: this.#sysfs, system })); // else it goes
      }
    }
    restoreAutoprobe();
  }

  /** With sriov_drivers_autoprobe at 0 a driver is refused also by hand, but for driver_override (pci-driver.c). */
  #allowProbe(): () => void {
    const path = devicePath(this.#pf.address, "sriov_drivers_autoprobe");
    if (this.#sysfs.readOptional(path) !== "0") return () => {};
    const restore = () => this.#sysfs.write(path, "0");
    this.#sysfs.write(path, "1");
    this.#undo.push(() => {
      if (this.#sysfs.readOptional(path) !== "0") restore();
    });
    return restore;
  }

  /** Of a virtual function that is not there yet. */
  #showBind(vf: string, driver: string): void {
    this.#sysfs.write(devicePath(vf, "driver_override"), driver);
    this.#sysfs.write(driverPath(driver, "bind"), vf);
    this.#sysfs.write(devicePath(vf, "driver_override"), "\n");
  }

  /** The error to throw. */
  async undo(cause: unknown): Promise<unknown> {
    if (!(cause instanceof PollmodeError) || this.#undo.length === 0) return cause;
    const { address } = this.#pf;
    const failed = `${address}: ${cause.message}`;
    try {
      for (const step of this.#undo.reverse()) await step();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const message = `${failed}; what was done before could not be undone: ${why}`;
      const fix = `${cause.fix}; and see what there is now: pollmode sriov list ${address}`;
      return new PollmodeError("SRIOV_NOT_RESTORED", message, fix, { cause });
    }
    if (/^SRIOV_|^PCI_IN_USE$/.test(cause.code)) return cause; // of setNumVfs, which has said the same
    const message = `${failed}; it has ${this.#old.length} virtual functions, as before`;
    return new PollmodeError("SRIOV_FAILED", message, cause.fix, { cause });
  }
}
