// A VFIO container: one set of IOVAs for all groups that are attached to it. What is mapped here, their devices reach,
// and nothing else. Without an IOMMU a container maps nothing, and devices reach everything.
import { closeSync, openSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import { HUGEPAGE_BYTES } from "../../limits.ts";
import type { IovaMap } from "../../memory/iova.ts";
import type { Zone } from "../../memory/zone.ts";
import * as abi from "./abi.ts";
import {
  checkExtension,
  getApiVersion,
  getIommuInfo,
  type IommuInfo,
  mapDma,
  setIommu,
  unmapDma,
} from "./calls.ts";
import { cannotOpen, dmaEntryLimit, iovaNotUsable, memlock } from "./errors.ts";
import type { VfioGroup } from "./group.ts";
import type { System } from "./system.ts";

interface Mapping {
  readonly address: bigint;
  readonly iova: bigint;
  readonly bytes: number;
}

export class VfioContainer {
  readonly fd: number;
  readonly noIommu: boolean;
  private readonly system: System;
  private readonly groups = new Set<VfioGroup>();
  private readonly mappings: Mapping[] = [];
  private info: IommuInfo | undefined;
  private closed = false;

  private constructor(fd: number, noIommu: boolean, system: System) {
    this.fd = fd;
    this.noIommu = noIommu;
    this.system = system;
  }

  /** An empty container. `address` is the device that it is for, which errors name. */
  static open(noIommu: boolean, address: string, system: System): VfioContainer {
    const node = system.containerNode;
    let fd: number;
    try {
      fd = openSync(node, "r+");
    } catch (error) {
      throw cannotOpen(node, (error as NodeJS.ErrnoException).code ?? "EIO", address, system);
    }
    const container = new VfioContainer(fd, noIommu, system);
    try {
      container.check();
      return container;
    } catch (error) {
      container.close();
      throw error;
    }
  }

  private get name(): string {
    return this.system.containerNode;
  }

  /** The kernel speaks this interface and has the kind of IOMMU. */
  private check(): void {
    const version = getApiVersion(this.fd, this.name);
    if (version !== abi.VFIO_API_VERSION) {
      const message = `${this.name}: VFIO's interface has version ${version}, not ${abi.VFIO_API_VERSION}`;
      throw new PollmodeError("VFIO_API", message, "use a kernel and a pollmode of the same age");
    }
    if (this.kinds.some((kind) => checkExtension(this.fd, kind, this.name))) return;
    const message = this.noIommu
      ? `${this.name}: VFIO's no-IOMMU mode is off`
      : `${this.name}: VFIO knows no type 1 IOMMU (the module vfio_iommu_type1)`;
    const fix = this.noIommu
      ? "as root: echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
      : "as root: modprobe vfio_iommu_type1";
    throw new PollmodeError("VFIO_MODULE", message, fix);
  }

  /** What may be asked for, the best first. */
  private get kinds(): readonly number[] {
    return this.noIommu ? [abi.VFIO_NOIOMMU_IOMMU] : [abi.VFIO_TYPE1v2_IOMMU, abi.VFIO_TYPE1_IOMMU];
  }

  get isEmpty(): boolean {
    return this.groups.size === 0;
  }

  /** Puts a group in. The first one makes the container have an IOMMU; a later one may make its IOVAs fewer. */
  attach(group: VfioGroup): void {
    group.setContainer(this.fd);
    this.groups.add(group);
    try {
      if (this.groups.size === 1) this.setIommu();
      if (!this.noIommu) this.info = getIommuInfo(this.fd, this.name);
    } catch (error) {
      this.detach(group);
      throw error;
    }
  }

  /** Takes a group out, whose devices are closed. With the last one the kernel drops all mappings. */
  detach(group: VfioGroup): void {
    if (!this.groups.has(group)) return;
    if (this.groups.size === 1) this.unmapAll();
    this.groups.delete(group);
    group.unsetContainer();
  }

  private setIommu(): void {
    const kind = this.kinds.find((kind) => checkExtension(this.fd, kind, this.name)) ?? this.kinds[0]!;
    try {
      setIommu(this.fd, kind, this.name);
    } catch (error) {
      if (this.noIommu || !(error instanceof PollmodeError) || error.code !== "EPERM") throw error;
      // vfio_iommu_type1_attach_group: a device could raise any interrupt by a write
      const message = `${this.name}: this machine's IOMMU does not check interrupts (no interrupt remapping)`;
      const fix =
        "turn x2APIC or interrupt remapping on in the BIOS; or, trusting the device, as root: " +
        "echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
      throw new PollmodeError("VFIO_INTERRUPT_REMAPPING", message, fix, { cause: error });
    }
  }

  /** Smallest page that the IOMMU maps. */
  private get granule(): number {
    const sizes = this.info?.pageSizes ?? 0n;
    return Number(sizes & -sizes);
  }

  /** How many more mappings there may be; Infinity where the kernel does not tell. */
  get mappingsLeft(): number {
    return this.info?.dmaAvail ?? Infinity;
  }

  /** Lets devices reach a whole zone: by one mapping, or in PA mode one for each run of neighbouring hugepages. */
  mapZone(zone: Zone, iova: IovaMap): void {
    if (this.noIommu) return;
    const pieces = mappingsOf(zone, iova);
    const what = `zone ${zone.range.name}, ${zone.range.bytes} bytes`;
    if (pieces.length > this.mappingsLeft) throw dmaEntryLimit(what, pieces.length, this.mappingsLeft);
    const before = this.mappings.length;
    try {
      for (const piece of pieces) this.map(piece.address, piece.iova, piece.bytes, what);
    } catch (error) {
      while (this.mappings.length > before) this.unmap(this.mappings.at(-1)!.iova);
      throw error;
    }
  }

  /** Lets devices read and write `bytes` at `address` of this process as `iova`. `what` names them in errors. */
  map(address: bigint, iova: bigint, bytes: number, what: string): void {
    const granule = BigInt(this.granule || 1);
    if (address % granule !== 0n || iova % granule !== 0n || BigInt(bytes) % granule !== 0n || bytes <= 0) {
      const message = `${what}: ${bytes} bytes at 0x${address.toString(16)}, IOVA 0x${iova.toString(16)}`;
      throw new PollmodeError("VFIO_MAPPING", message, `map whole pages of ${granule} bytes`);
    }
    const ranges = this.info?.ranges;
    const end = iova + BigInt(bytes) - 1n;
    if (ranges && !ranges.some((range) => iova >= range.start && end <= range.end)) {
      throw iovaNotUsable(what, iova, bytes, ranges);
    }
    try {
      mapDma(this.fd, address, iova, bytes, what);
    } catch (error) {
      throw this.diagnoseMap(error, what, bytes);
    }
    this.mappings.push({ address, iova, bytes });
    this.info = getIommuInfo(this.fd, this.name);
  }

  /** vfio_dma_do_map: ENOSPC when dma_avail is 0; vfio_pin_pages_remote: ENOMEM above RLIMIT_MEMLOCK. */
  private diagnoseMap(error: unknown, what: string, bytes: number): unknown {
    if (!(error instanceof PollmodeError)) return error;
    if (error.code === "ENOSPC") return dmaEntryLimit(what, 1, 0);
    const memory = this.system.lockedMemory;
    const over = memory.lockedBytes + bytes > memory.limitBytes;
    if (error.code === "ENOMEM" && over) return memlock(what, bytes, memory, this.system.userName);
    return error;
  }

  /** Takes a mapping back as a whole: type 1 v2 splits none. */
  unmap(iova: bigint): void {
    const at = this.mappings.findIndex((mapping) => mapping.iova === iova);
    const mapping = this.mappings[at];
    if (!mapping) {
      const message = `${this.name}: no mapping begins at IOVA 0x${iova.toString(16)}`;
      throw new PollmodeError("VFIO_MAPPING", message, "unmap what was mapped, as a whole and once");
    }
    this.mappings.splice(at, 1);
    unmapDma(this.fd, iova, mapping.bytes, this.name);
    this.info = getIommuInfo(this.fd, this.name);
  }

  private unmapAll(): void {
    while (this.mappings.length > 0) this.unmap(this.mappings.at(-1)!.iova);
  }

  /** Of an empty container. Twice does nothing. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    closeSync(this.fd);
  }
}

/** What a zone's mappings are: neighbours among its hugepages are one. */
export function mappingsOf(zone: Zone, iova: IovaMap): Mapping[] {
  const { range, arena } = zone;
  const start = arena.address + BigInt(range.start);
  if (iova.mode === "va") return [{ address: start, iova: iova.of(range.start), bytes: range.bytes }];
  const pieces: { address: bigint; iova: bigint; bytes: number }[] = [];
  for (let at = 0; at < range.bytes; at += HUGEPAGE_BYTES) {
    const physical = iova.of(range.start + at);
    const last = pieces.at(-1);
    if (last && last.iova + BigInt(last.bytes) === physical) last.bytes += HUGEPAGE_BYTES;
    else pieces.push({ address: start + BigInt(at), iova: physical, bytes: HUGEPAGE_BYTES });
  }
  return pieces;
}
