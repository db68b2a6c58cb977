// What VFIO has to know of the system it runs on, from sysfs, /dev and /proc. Tests put folders of their own in place.
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { KIB } from "../../limits.ts";
import type { PciDevice } from "../pci/scan.ts";
import { devicePath, driverPath, Sysfs } from "../pci/sysfs.ts";

/** Capability numbers, linux/capability.h. */
const CAP_IPC_LOCK = 14;
const CAP_SYS_RAWIO = 17;
const CAP_SYS_ADMIN = 21;

export interface GroupOfDevice {
  readonly number: number;
  /** The device has no IOMMU; its group was made by vfio-pci in no-IOMMU mode. */
  readonly noIommu: boolean;
}

export interface Process {
  readonly pid: number;
  readonly name: string;
}

/** RLIMIT_MEMLOCK as the kernel applies it to memory that it pins for a device. */
export interface LockedMemory {
  /** Infinity: without a limit. */
  readonly limitBytes: number;
  readonly lockedBytes: number;
}

export class System {
  readonly sysfs: Sysfs;
  readonly dev: string;
  private readonly proc: string;

  constructor(sysfs = new Sysfs(), dev = "/dev", proc = "/proc") {
    this.sysfs = sysfs;
    this.dev = dev;
    this.proc = proc;
  }

  /** The device's IOMMU group, or the one that vfio-pci made for it in no-IOMMU mode. */
  groupOf({ iommuGroup: number }: PciDevice): GroupOfDevice | undefined {
    if (number === undefined) return undefined;
    const kind = this.sysfs.readOptional(`kernel/iommu_groups/${number}/name`);
    return { number, noIommu: kind === "vfio-noiommu" };
  }

  /** All devices of an IOMMU group with their drivers. */
  devicesOf(group: number): { address: string; driver: string | undefined }[] {
    const addresses = this.sysfs.list(`kernel/iommu_groups/${group}/devices`);
    return addresses.map((address) => ({ address, driver: this.driverOf(address) }));
  }

  driverOf(address: string): string | undefined {
    return this.sysfs.linkName(devicePath(address, "driver"));
  }

  get hasIommu(): boolean {
    return this.sysfs.list("class/iommu").length > 0;
  }

  /** vfio-pci is loaded, or a part of the kernel. */
  get hasVfioPci(): boolean {
    return this.sysfs.exists(driverPath("vfio-pci"));
  }

  get noIommuModeOn(): boolean {
    return this.sysfs.readOptional("module/vfio/parameters/enable_unsafe_noiommu_mode") === "Y";
  }

  exists(path: string): boolean {
    return existsSync(path);
  }

  get containerNode(): string {
    return join(this.dev, "vfio/vfio");
  }

  groupNode({ number, noIommu }: GroupOfDevice): string {
    return join(this.dev, "vfio", noIommu ? `noiommu-${number}` : String(number));
  }

  /** Processes that have `path` open, of those whose files this user may see. */
  holdersOf(path: string): Process[] {
    const pids = list(this.proc).filter((name) => /^\d+$/.test(name));
    return pids
      .filter((pid) => list(join(this.proc, pid, "fd")).some((fd) => this.holds(pid, fd, path)))
      .map((pid) => ({ pid: Number(pid), name: readText(join(this.proc, pid, "comm"))?.trim() ?? "?" }));
  }

  private holds(pid: string, fd: string, path: string): boolean {
    try {
      return readlinkSync(join(this.proc, pid, "fd", fd)) === path;
    } catch {
      return false; // closed since
    }
  }

  get lockedMemory(): LockedMemory {
    const soft = /^Max locked memory\s+(\S+)/m.exec(readText(join(this.proc, "self/limits")) ?? "")?.[1];
    const limited = soft !== undefined && soft !== "unlimited" && !this.can(CAP_IPC_LOCK);
    const locked = /^VmLck:\s+(\d+) kB/m.exec(this.status)?.[1];
    return { limitBytes: limited ? Number(soft) : Infinity, lockedBytes: Number(locked ?? 0) * KIB };
  }

  get canRawIo(): boolean {
    return this.can(CAP_SYS_RAWIO);
  }

  /** /proc/self/pagemap shows physical addresses. */
  get canSeeFrames(): boolean {
    return this.can(CAP_SYS_ADMIN);
  }

  private can(capability: number): boolean {
    const effective = /^CapEff:\s+([0-9a-f]+)/m.exec(this.status)?.[1] ?? "0";
    return ((BigInt(`0x${effective}`) >> BigInt(capability)) & 1n) === 1n;
  }

  private get status(): string {
    return readText(join(this.proc, "self/status")) ?? "";
  }

  /** As `chown` takes it. */
  get userName(): string {
    try {
      return userInfo().username;
    } catch {
      return String(process.geteuid?.() ?? 0); // a user without a name
    }
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}
