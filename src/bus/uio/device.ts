// A PCI function through uio_pci_generic or igb_uio. UIO itself gives one fd, /dev/uioN, that tells of interrupts; all
// else is sysfs: registers by `resourceN`, configuration space by `config`, reset by `reset`. No IOMMU is between the
// device and memory: it takes physical addresses, and a wrong one hits whatever lies there. Hence root alone, and the
// order of things below.
//
// What the drivers do when /dev/uioN is opened and closed (Linux 6.1, drivers/uio/uio_pci_generic.c; DPDK's kmods,
// linux/igb_uio/igb_uio.c):
//
//                     uio_pci_generic            igb_uio
//   open              nothing                    the first one: bus mastering on, its one vector armed
//   close             bus mastering off,         the last one: the vector freed, bus mastering off
//                     be it open elsewhere
//
// So a second opener, when it leaves, takes the memory away from the first (uio_pci_generic), or its device goes on
// writing when it is dead (igb_uio). UIO allows it; here a lock on `config`, taken before /dev/uioN is touched, keeps
// other engines out, and a look at other processes' fds programs like DPDK's.
//
// When a program is killed, this close stops its device: see ../fd-order.ts. The device still has its rings, at
// addresses that are others' memory then, and igb_uio's next open would let it use them. Therefore the device is reset
// before /dev/uioN is opened, and its bus mastering taken back at once, for a device whose reset clears nothing.
import { accessSync, closeSync, constants, existsSync, openSync } from "node:fs";
import { join } from "node:path";
import { PollmodeError } from "../../errors.ts";
import { LOCK_EX, LOCK_NB } from "../../libc/abi.ts";
import { flock } from "../../libc/libc.ts";
import type { Arena } from "../../memory/arena.ts";
import type { IovaMap } from "../../memory/iova.ts";
import { aboveMemory } from "../fd-order.ts";
import { type MappedBar, mapBar } from "../pci/bar.ts";
import { ConfigFile } from "../pci/config-file.ts";
import { lockdownMode } from "../pci/lockdown.ts";
import { type PciDevice, readPciDevice } from "../pci/scan.ts";
import { devicePath, type Sysfs } from "../pci/sysfs.ts";
import type { Bar, InterruptKind, InterruptLine, PciFunction } from "../pci-function.ts";
import { System } from "../vfio/system.ts";
import * as errors from "./errors.ts";
import { UioInterrupts } from "./interrupts.ts";

export interface UioOptions {
  readonly arena: Arena;
  readonly iova: IovaMap;
  /** Where sysfs, /dev and /proc are. */
  readonly system?: System;
  /** Called when the device is closed. */
  readonly onClose?: (device: UioDevice) => void;
}

export class UioDevice implements PciFunction {
  readonly address: string;
  readonly vendor: number;
  readonly device: number;
  readonly access: errors.UioDriver;
  readonly iova: IovaMap;
  private readonly options: UioOptions;
  private readonly sysfs: Sysfs;
  private readonly config: ConfigFile;
  private readonly uio: number;
  private readonly interrupts: UioInterrupts;
  private readonly bars = new Map<number, MappedBar>();
  private isClosed = false;

  /** Opens a function that is bound to a UIO driver. What fails gives back all that was taken. */
  static open(address: string, options: UioOptions): UioDevice {
    const { system = new System(), iova } = options;
    const { sysfs } = system;
    const found = readPciDevice(address, sysfs);
    const { node, driver } = check(found, iova, system);
    const config = new ConfigFile(found.address, sysfs);
    try {
      lock(found.address, config, node, system);
      config.setBusMaster(false);
      resetBySysfs(found.address, sysfs);
      const uio = aboveMemory(openSync(node, constants.O_RDWR | constants.O_NONBLOCK), iova);
      try {
        return new UioDevice(found, driver, config, uio, { ...options, system });
      } catch (error) {
        closeSync(uio);
        throw error;
      }
    } catch (error) {
      config.close();
      throw error;
    }
  }

  private constructor(
    { address, vendor, device }: PciDevice,
    driver: errors.UioDriver,
    config: ConfigFile,
    uio: number,
    options: UioOptions & { readonly system: System },
  ) {
    this.address = address;
    this.vendor = vendor;
    this.device = device;
    this.access = driver;
    this.iova = options.iova;
    this.options = options;
    this.sysfs = options.system.sysfs;
    this.config = config;
    this.uio = uio;
    config.setBusMaster(false); // igb_uio's open has turned it on
    config.setMemory(true);
    this.interrupts = new UioInterrupts(address, driver, uio, config, this.sysfs);
    this.interrupts.disable();
  }

  mapBar(index: number): Bar {
    const mapped = this.bars.get(index) ?? mapBar(this.options.arena, this.address, index, this.sysfs);
    this.bars.set(index, mapped);
    return mapped.bar;
  }

  readConfig(offset: number, bytes: 1 | 2 | 4): number {
    return this.config.read(offset, bytes);
  }

  writeConfig(offset: number, bytes: 1 | 2 | 4, value: number): void {
    this.config.write(offset, bytes, value);
  }

  setBusMaster(on: boolean): void {
    this.config.setBusMaster(on);
  }

  /** The kernel saves configuration space before, and restores it: BARs, interrupts and bus mastering stay as set. */
  reset(): boolean {
    return resetBySysfs(this.address, this.sysfs);
  }

  get vectors(): Readonly<Record<InterruptKind, number>> {
    return this.interrupts.vectors;
  }

  enableInterrupts(kind: InterruptKind, count: number): readonly InterruptLine[] {
    return this.interrupts.enable(kind, count);
  }

  disableInterrupts(): void {
    this.interrupts.disable();
  }

  /** In this order, so that the device writes nowhere when its memory goes. A step that fails stops no other. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const steps = [
      () => this.disableInterrupts(),
      () => this.setBusMaster(false),
      () => this.reset(),
      ...[...this.bars.values()].map(
        ({ range }) =>
          () =>
            this.options.arena.release(range),
      ),
      () => closeSync(this.uio),
      () => this.config.close(), // and with it the lock
      () => this.options.onClose?.(this),
    ];
    const faults: unknown[] = [];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        faults.push(error);
      }
    }
    this.bars.clear();
    if (faults.length > 0) throw faults[0];
  }
}

/** All that can be known before anything is opened. */
function check(found: PciDevice, iova: IovaMap, system: System): { node: string; driver: errors.UioDriver } {
  const { address, driver, uio, iommuGroup: group } = found;
  const { sysfs } = system;
  if (!errors.isUioDriver(driver)) throw errors.notBound(found, sysfs);
  // "identity": passed through. IOMMU_DOMAIN_DMA: "DMA"; its lazy form: "DMA-FQ" (Linux, iommu_group_show_type)
  const type = group === undefined ? undefined : sysfs.readOptional(`kernel/iommu_groups/${group}/type`);
  if (group !== undefined && type !== "identity") throw errors.behindIommu(found, type ?? "unknown");
  if (uio === undefined) throw errors.noName(found);
  const node = join(system.dev, uio);
  if (!existsSync(node)) throw errors.noNode(address, node, uio);
  const bars = found.resources
    .filter(({ kind }) => kind === "memory")
    .map(({ index }) => sysfs.path(devicePath(address, `resource${index}`)));
  const files = [node, sysfs.path(devicePath(address, "config")), ...bars];
  const lacking = files.filter((path) => !isWritable(path)).map((path) => `access to ${path}`);
  if (!system.canSeeFrames) lacking.push("physical addresses in /proc/self/pagemap (CAP_SYS_ADMIN)");
  if (lacking.length > 0) throw errors.notAllowed(address, system.userName, lacking);
  const mode = lockdownMode(sysfs);
  if (mode !== undefined && mode !== "none") throw errors.lockedDown(address, mode);
  if (iova.mode !== "pa") throw errors.wantsPhysical(address, iova.mode);
  return { node, driver };
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Before /dev/uioN is opened: an open and close would take bus mastering from whoever has it. */
function lock(address: string, { fd }: ConfigFile, node: string, system: System): void {
  const isOurs = flock(fd, LOCK_EX | LOCK_NB);
  const holders = system.holdersOf(node);
  if (!isOurs || holders.length > 0) throw errors.inUse(address, node, holders);
}

/** How a device says that it cannot be reset, or not now (Linux, pci_reset_function). */
const NO_RESET = ["ENOTTY", "EINVAL", "ENODEV", "EAGAIN", "EIO", "ETIMEDOUT", "ENOENT"];

/** Function level reset, or by power state, or of the slot or bus where the function is alone there. */
function resetBySysfs(address: string, sysfs: Sysfs): boolean {
  if (!sysfs.exists(devicePath(address, "reset"))) return false;
  try {
    sysfs.write(devicePath(address, "reset"), "1");
    return true;
  } catch (error) {
    if (error instanceof PollmodeError && NO_RESET.includes(error.code)) return false;
    throw error;
  }
}
