// A device of VFIO that is no PCI function of the machine, by its place in sysfs: a mediated device, which a kernel
// driver makes (/sys/bus/mdev/devices/UUID). Its group comes from sysfs, its name in the group is the UUID.
// Documentation/driver-api/vfio-mediated-device.rst of the kernel. Registers and interrupts are reached by index alone:
// what they mean is for the device's API (`kind`), of which PCI's has BARs and configuration space.
import { closeSync, readSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { PollmodeError } from "../../errors.ts";
import { VFIO_INDEXES_MAX } from "../../limits.ts";
import * as abi from "./abi.ts";
import { type DeviceInfo, getDeviceInfo, getIrqInfo, getRegionInfo, type RegionInfo } from "./calls.ts";
import type { Area } from "./capabilities.ts";
import { VfioContainer } from "./container.ts";
import { VfioGroup } from "./group.ts";
import { type GroupOfDevice, System } from "./system.ts";

export interface SysfsdevRegion {
  readonly index: number;
  /** `BAR0`, `configuration space`; `region 9` where the API gives it no name. */
  readonly name: string;
  readonly bytes: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** The parts that mmap takes. */
  readonly mappable: readonly Area[];
}

export interface SysfsdevInterrupt {
  readonly index: number;
  /** `INTx`, `MSI`, `MSI-X`; `interrupt 5` where the API gives it no name. */
  readonly name: string;
  /** Vectors. */
  readonly count: number;
  readonly eventfd: boolean;
  readonly maskable: boolean;
  /** It is masked when it fires, and has to be unmasked. */
  readonly automasked: boolean;
  /** All vectors that are to be used have to be armed at once. */
  readonly noResize: boolean;
}

/** The device's API, as `device_api` of its type has it without `vfio-`. */
export type SysfsdevKind = "pci" | "platform" | "amba" | "ccw" | "ap" | "fsl-mc" | "unknown";

const kinds: readonly (readonly [flag: number, kind: SysfsdevKind])[] = [
  [abi.VFIO_DEVICE_FLAGS_PCI, "pci"],
  [abi.VFIO_DEVICE_FLAGS_PLATFORM, "platform"],
  [abi.VFIO_DEVICE_FLAGS_AMBA, "amba"],
  [abi.VFIO_DEVICE_FLAGS_CCW, "ccw"],
  [abi.VFIO_DEVICE_FLAGS_AP, "ap"],
  [abi.VFIO_DEVICE_FLAGS_FSL_MC, "fsl-mc"],
];

const pciRegions: Readonly<Record<number, string>> = {
  [abi.VFIO_PCI_ROM_REGION_INDEX]: "ROM",
  [abi.VFIO_PCI_CONFIG_REGION_INDEX]: "configuration space",
  [abi.VFIO_PCI_VGA_REGION_INDEX]: "VGA",
};

const pciInterrupts: Readonly<Record<number, string>> = {
  [abi.VFIO_PCI_INTX_IRQ_INDEX]: "INTx",
  [abi.VFIO_PCI_MSI_IRQ_INDEX]: "MSI",
  [abi.VFIO_PCI_MSIX_IRQ_INDEX]: "MSI-X",
  [abi.VFIO_PCI_ERR_IRQ_INDEX]: "error",
  [abi.VFIO_PCI_REQ_IRQ_INDEX]: "request",
};

interface Opened {
  readonly container: VfioContainer;
  readonly group: VfioGroup;
  readonly fd: number;
}

export class Sysfsdev implements Disposable {
  /** The last part of its path: a UUID. */
  readonly name: string;
  readonly group: number;
  readonly kind: SysfsdevKind;
  readonly canReset: boolean;
  /** Those that it has. */
  readonly regions: readonly SysfsdevRegion[];
  /** Those that it has. */
  readonly interrupts: readonly SysfsdevInterrupt[];
  readonly #opened: Opened;
  readonly #offsets = new Map<number, number>();
  #isClosed = false;

  private constructor(name: string, opened: Opened) {
    const { fd, group } = opened;
    this.name = name;
    this.group = group.number;
    this.#opened = opened;
    const info = getDeviceInfo(fd, name);
    this.kind = kinds.find(([flag]) => (info.flags & flag) !== 0)?.[1] ?? "unknown";
    this.canReset = (info.flags & abi.VFIO_DEVICE_FLAGS_RESET) !== 0;
    checkCounts(info, name);
    this.regions = indexes(info.regions, (index) => this.#region(index)).filter(({ bytes }) => bytes > 0);
    this.interrupts = indexes(info.irqs, (index) => this.#interrupt(index)).filter(({ count }) => count > 0);
  }

  /**
   * Opens `/sys/bus/mdev/devices/UUID`; nothing is mapped for the device. What fails gives back all that was taken.
   * Errors: VFIO_SYSFSDEV (no such device, or it has no group), VFIO_NO_NODE, VFIO_MODULE, VFIO_PERMISSION, VFIO_BUSY,
   * VFIO_ANSWER.
   */
  static open(path: string, system = new System()): Sysfsdev {
    const name = basename(path);
    const opened = openInGroup(name, groupOf(path, name, system), system);
    try {
      return new Sysfsdev(name, opened);
    } catch (error) {
      give(opened);
      throw error;
    }
  }

  #region(index: number): SysfsdevRegion {
    const info: RegionInfo = getRegionInfo(this.#opened.fd, index, `${this.name}, region ${index}`);
    this.#offsets.set(index, info.offset);
    return {
      index,
      name: this.#nameOf(
        index,
        index <= abi.VFIO_PCI_BAR5_REGION_INDEX ? `BAR${index}` : pciRegions[index],
        "region",
      ),
      bytes: info.bytes,
      readable: (info.flags & abi.VFIO_REGION_INFO_FLAG_READ) !== 0,
      writable: (info.flags & abi.VFIO_REGION_INFO_FLAG_WRITE) !== 0,
      mappable: info.areas,
    };
  }

  #interrupt(index: number): SysfsdevInterrupt {
    const { flags, count } = getIrqInfo(this.#opened.fd, index, `${this.name}, interrupt ${index}`);
    const has = (flag: number) => (flags & flag) !== 0;
    return {
      index,
      name: this.#nameOf(index, pciInterrupts[index], "interrupt"),
      count,
      eventfd: has(abi.VFIO_IRQ_INFO_EVENTFD),
      maskable: has(abi.VFIO_IRQ_INFO_MASKABLE),
      automasked: has(abi.VFIO_IRQ_INFO_AUTOMASKED),
      noResize: has(abi.VFIO_IRQ_INFO_NORESIZE),
    };
  }

  #nameOf(index: number, pciName: string | undefined, what: string): string {
    return (this.kind === "pci" ? pciName : undefined) ?? `${what} ${index}`;
  }

  /** Bytes of a region, from `offset` on. Errors: VFIO_REGION. */
  read(region: number, offset: number, bytes: number): Buffer {
    const data = Buffer.alloc(Math.max(0, bytes));
    this.#access("read", region, offset, data, (at) => readSync(this.#opened.fd, data, 0, data.length, at));
    return data;
  }

  /** Errors: VFIO_REGION. */
  write(region: number, offset: number, data: Uint8Array): void {
    this.#access("write", region, offset, data, (at) => writeSync(this.#opened.fd, data, 0, data.length, at));
  }

  #access(
    what: "read" | "write",
    index: number,
    offset: number,
    { length }: Uint8Array,
    access: (at: number) => number,
  ): void {
    const name = `${this.name}: ${what} of ${length} bytes at ${offset} of region ${index}`;
    const region = this.regions.find((region) => region.index === index);
    const may = what === "read" ? region?.readable : region?.writable;
    const isInside = offset >= 0 && length > 0 && offset + length <= (region?.bytes ?? 0);
    if (this.#isClosed || !may || !isInside) {
      const list = this.regions.map(({ index, bytes }) => `${index} (${bytes} bytes)`).join(", ");
      const fix = this.#isClosed ? "open it again" : `stay inside its regions: ${list}`;
      throw new PollmodeError("VFIO_REGION", name, fix);
    }
    let done: number;
    try {
      done = access(this.#offsets.get(index)! + offset);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new PollmodeError("VFIO_REGION", `${name}: ${code}`, "see whether the device is still there", {
        cause,
      });
    }
    if (done !== length) {
      throw new PollmodeError("VFIO_REGION", `${name}: ${done} were done`, "access fewer bytes at once");
    }
  }

  /** Twice does nothing. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    give(this.#opened);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * VFIO gives a mediated device a group of the name that it has without an IOMMU (`vfio-noiommu`), but the kernel stands
 * between it and memory, and its node has no such name: vfio_noiommu_group_alloc, vfio_create_group.
 */
function groupOf(path: string, name: string, { sysfs }: System): GroupOfDevice {
  const folder = path.replace(/^\/sys\//, "");
  const number = sysfs.linkName(`${folder}/iommu_group`);
  if (number !== undefined) return { number: Number(number), noIommu: false };
  if (!sysfs.exists(folder)) {
    const there = sysfs.list("bus/mdev/devices");
    const fix = there.length > 0 ? `there are: ${there.join(", ")}` : "make one: pollmode mdev create";
    throw new PollmodeError("VFIO_SYSFSDEV", `there is no device ${path}`, fix);
  }
  const driver = sysfs.linkName(`${folder}/driver`);
  const message = `${name} has no IOMMU group (driver: ${driver ?? "none"})`;
  const fix =
    driver === undefined
      ? "as root: modprobe vfio_mdev, which binds mediated devices on kernels before 6.1; then make it again"
      : "use a kernel with CONFIG_VFIO_GROUP";
  throw new PollmodeError("VFIO_SYSFSDEV", message, fix);
}

function openInGroup(name: string, found: GroupOfDevice, system: System): Opened {
  const group = VfioGroup.open(found, name, system);
  let container: VfioContainer | undefined;
  try {
    container = VfioContainer.open(found.noIommu, name, system);
    container.attach(group);
    const fd = group.openDevice({ address: name, physicalFunction: undefined, sriov: undefined }, undefined);
    return { container, group, fd };
  } catch (error) {
    container?.detach(group);
    group.close();
    container?.close();
    throw error;
  }
}

function give({ container, group, fd }: Opened): void {
  closeSync(fd);
  container.detach(group);
  group.close();
  container.close();
}

function checkCounts({ regions, irqs }: DeviceInfo, name: string): void {
  if (regions <= VFIO_INDEXES_MAX && irqs <= VFIO_INDEXES_MAX) return;
  const message = `${name}: ${regions} regions and ${irqs} kinds of interrupt`;
  throw new PollmodeError("VFIO_ANSWER", message, "report it to whoever wrote the kernel's driver");
}

/** A driver answers EINVAL for an index that it has none of, or a size or count of 0. */
function indexes<T>(count: number, get: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => index).flatMap((index) => {
    try {
      return [get(index)];
    } catch (error) {
      if (error instanceof PollmodeError && error.code === "EINVAL") return [];
      throw error;
    }
  });
}
