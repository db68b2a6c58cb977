// Makes and removes a physical function's virtual functions (`sriov_numvfs`). The kernel goes from none to some and
// back alone: another number takes the present ones away first. What fails leaves as many as before, bound as before.
// The write returns when all of them are there or gone, which takes seconds with many: a thread of libuv's pool waits
// for it, and this one goes on. drivers/pci/iov.c, sriov_numvfs_store.
import { setTimeout as pause } from "node:timers/promises";
import { PollmodeError } from "../../errors.ts";
import { VF_POLL_INTERVAL_MS, VF_WAIT_TIMEOUT_MS } from "../../limits.ts";
import type { System } from "../vfio/system.ts";
import { type Binding, bindingOf, restoreDriver } from "./bind.ts";
import { refuseWhileOpen } from "./holders.ts";
import { type PciDevice, type PciSriov, readPciDevice, virtualFunctionsOf } from "./scan.ts";
import { devicePath, Sysfs } from "./sysfs.ts";

export interface NumVfsOptions {
  readonly sysfs?: Sysfs;
  /** Whether the kernel looks for drivers for new virtual functions. Default: as sriov_drivers_autoprobe stands. */
  readonly autoprobe?: boolean;
  /** Where /dev and /proc are. */
  readonly system?: System;
}

/**
 * Gives a physical function `count` virtual functions (0: none), and returns their addresses, the first one first.
 * Errors: PCI_UNKNOWN, SRIOV_UNSUPPORTED, SRIOV_COUNT, PCI_IN_USE (nothing was changed); SRIOV_FAILED (all is as it
 * was), SRIOV_NOT_RESTORED (it is not; the message says how it is).
 */
export async function setNumVfs(
  address: string,
  count: number,
  options: NumVfsOptions = {},
): Promise<string[]> {
  const { sysfs = new Sysfs(), system } = options;
  const pf = readPciDevice(address, sysfs);
  const sriov = sriovOf(pf, count);
  if (sriov.numVfs === count) return [...sriov.vfs];
  const before = sriov.vfs.map((vf) => readPciDevice(vf, sysfs));
  for (const vf of before) refuseWhileOpen(vf, sysfs, system); // removing it would sleep until it is let go
  const steps = new NumVfs(pf, sriov.numVfs, before.map(bindingOf), sysfs);
  try {
    return await steps.change(count, options.autoprobe);
  } catch (cause) {
    throw await steps.undo(count, cause);
  }
}

function sriovOf({ address, sriov, physicalFunction }: PciDevice, count: number): PciSriov {
  if (!sriov) {
    const message =
      physicalFunction === undefined
        ? `${address} has no virtual functions to give: it has no SR-IOV, or it is off`
        : `${address} is a virtual function itself`;
    const fix =
      physicalFunction === undefined
        ? "use a NIC with SR-IOV, on a PCIe root that has it, and turn SR-IOV on in the firmware and the NIC's setup"
        : `use its physical function: ${physicalFunction}`;
    throw new PollmodeError("SRIOV_UNSUPPORTED", message, fix);
  }
  if (Number.isInteger(count) && count >= 0 && count <= sriov.totalVfs) return sriov;
  const message = `${address} cannot have ${count} virtual functions: it has 0 to ${sriov.totalVfs}`;
  throw new PollmodeError("SRIOV_COUNT", message, `choose a number up to ${sriov.totalVfs} (sriov_totalvfs)`);
}

/** Off by default; the device tool turns it on. drivers/vfio/pci/vfio_pci.c. */
const ENABLE_SRIOV = "module/vfio_pci/parameters/enable_sriov";

/** For root's shell. */
function vfsCommand(address: string, count: number): string {
  return count === 0
    ? `pollmode sriov remove ${address}`
    : `pollmode sriov create ${address} --count ${count}`;
}

class NumVfs {
  readonly #pf: PciDevice;
  readonly #numVfs: number;
  readonly #bindings: readonly Binding[];
  readonly #sysfs: Sysfs;
  readonly #autoprobe: string | undefined;

  constructor(pf: PciDevice, numVfs: number, bindings: readonly Binding[], sysfs: Sysfs) {
    this.#pf = pf;
    this.#numVfs = numVfs;
    this.#bindings = bindings;
    this.#sysfs = sysfs;
    this.#autoprobe = sysfs.readOptional(this.#path("sriov_drivers_autoprobe"));
  }

  async change(count: number, autoprobe: boolean | undefined): Promise<string[]> {
    if (autoprobe !== undefined && count > 0) this.#setAutoprobe(autoprobe ? "1" : "0");
    if (this.#numVfs > 0) await this.#write(0);
    if (count > 0) await this.#write(count);
    const vfs = await this.#wait(count);
    this.#setAutoprobe(this.#autoprobe);
    return vfs;
  }

  /** Back to as many as there were, with their drivers. Returns the error to throw. */
  async undo(count: number, cause: unknown): Promise<unknown> {
    if (!(cause instanceof PollmodeError)) return cause;
    const failed = `${this.#pf.address} cannot be given ${count} virtual functions: ${cause.message}`;
    const fix = this.#fix(cause, count);
    try {
      this.#setAutoprobe(this.#autoprobe);
      const now = this.#now();
      if (now !== this.#numVfs && now > 0) await this.#write(0);
      if (now !== this.#numVfs && this.#numVfs > 0) await this.#write(this.#numVfs);
      await this.#wait(this.#numVfs);
      for (const binding of this.#bindings) restoreDriver(binding, { sysfs: this.#sysfs });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const text = `${failed}; it had ${this.#numVfs}, has ${this.#now()} now, and could not be put back: ${why}`;
      const again = vfsCommand(this.#pf.address, this.#numVfs);
      return new PollmodeError("SRIOV_NOT_RESTORED", text, `${fix}; then, as root: ${again}`, { cause });
    }
    return new PollmodeError("SRIOV_FAILED", `${failed}; it has ${this.#numVfs}, as before`, fix, { cause });
  }

  #path(attribute: string): string {
    return devicePath(this.#pf.address, attribute);
  }

  #now(): number {
    return Number(this.#sysfs.readOptional(this.#path("sriov_numvfs")) ?? 0);
  }

  #write(count: number): Promise<void> {
    return this.#sysfs.writeAside(this.#path("sriov_numvfs"), `${count}`);
  }

  /** Writes only what differs. */
  #setAutoprobe(value: string | undefined): void {
    const path = this.#path("sriov_drivers_autoprobe");
    if (value !== undefined && this.#sysfs.readOptional(path) !== value) this.#sysfs.write(path, value);
  }

  /** The kernel makes them before the write returns, but a driver may do it by and by, and may make fewer. */
  async #wait(count: number): Promise<string[]> {
    if (this.#sysfs.isDryRun) return [];
    const deadline = performance.now() + VF_WAIT_TIMEOUT_MS;
    for (;;) {
      const vfs = virtualFunctionsOf(this.#pf.address, this.#sysfs);
      const areThere = vfs.every((vf) => this.#sysfs.exists(devicePath(vf, "vendor")));
      if (vfs.length === count && areThere) return vfs;
      if (performance.now() > deadline) {
        const message = `${vfs.length} of them are there after ${VF_WAIT_TIMEOUT_MS} ms`;
        throw new PollmodeError("SRIOV_FAILED", message, "the kernel's log says why: dmesg | tail");
      }
      await pause(VF_POLL_INTERVAL_MS);
    }
  }

  /** sriov_numvfs_store and sriov_enable say little by errno, more in the kernel's log. */
  #fix({ code, fix }: PollmodeError, count: number): string {
    const { driver, address } = this.#pf;
    switch (code) {
      case "ENOENT":
        if (driver === "vfio-pci") {
          if (this.#sysfs.readOptional(ENABLE_SRIOV) === "N") return `as root: ${vfsCommand(address, count)}`;
          return `this kernel's vfio-pci makes none, as before Linux 5.7: bind ${address} to its own driver`;
        }
        if (driver === undefined)
          return `bind ${address} to a driver first: its own, or vfio-pci with enable_sriov=1`;
        return `${driver} makes none: bind ${address} to its own driver, or to vfio-pci with enable_sriov=1`;
      case "EBUSY":
      case "EPERM":
        return "stop what uses its virtual functions, such as virtual machines; dmesg | tail may say more";
      case "ENOMEM":
        return (
          "the firmware left too little address space or too few bus numbers: turn SR-IOV, Above 4G Decoding and ARI " +
          "on there, or boot with pci=realloc,assign-busses"
        );
      default:
        return fix;
    }
  }
}
