// Zones: parts of the arena with one kind of memory. `private` is ordinary memory that no peer and no device sees;
// `dma` is a memfd, of hugepages where there are any, that can be mapped for a device or handed to a vhost backend.
import { closeSync } from "node:fs";
import { PollmodeError } from "../errors.ts";
import {
  F_SEAL_GROW,
  F_SEAL_SHRINK,
  MADV_HUGEPAGE,
  MAP_POPULATE,
  MAP_SHARED,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_HUGE_2MB,
  MFD_HUGETLB,
} from "../libc/abi.ts";
import { addSeals, ftruncate, madvise, memfdCreate } from "../libc/libc.ts";
import { HUGEPAGE_BYTES, MIB, PAGE_BYTES } from "../limits.ts";
import type { Arena } from "./arena.ts";
import { alignUp, type Range, Ranges } from "./ranges.ts";
import { availableBytes, freeHugepages, reserveCommand } from "./system.ts";

export class Zone {
  readonly arena: Arena;
  readonly range: Range;
  /** The memfd behind it, undefined for ordinary memory. */
  readonly fd: number | undefined;
  readonly pageBytes: number;
  private readonly ranges: Ranges;
  private readonly closing: (() => void)[] = [];

  constructor(arena: Arena, range: Range, fd: number | undefined, pageBytes: number, fix: string) {
    this.arena = arena;
    this.range = range;
    this.fd = fd;
    this.pageBytes = pageBytes;
    this.ranges = new Ranges(`zone ${range.name}`, range.start, range.start + range.bytes, fix);
  }

  /**
   * Arena offset of `bytes` zeroed bytes, a multiple of `align` from the zone's start, which a page begins. So what is
   * aligned to a power of two as large as itself, up to 2 MiB, lies within one hugepage.
   */
  allocate(what: string, bytes: number, align = 64): number {
    const skew = align - (this.range.start % align);
    const { start } = this.ranges.allocate(what, alignUp(bytes, 64), align, skew);
    this.arena.clear(start, bytes);
    return start;
  }

  free(offset: number): void {
    this.ranges.free(offset);
  }

  /** Bytes that are allocated now. */
  get usedBytes(): number {
    return this.ranges.used.reduce((sum, range) => sum + range.bytes, 0);
  }

  /** Has `work` done before the memory is given back. */
  beforeClose(work: () => void): void {
    this.closing.push(work);
  }

  close(): void {
    for (const work of this.closing.splice(0)) work();
    this.arena.release(this.range);
    if (this.fd !== undefined) closeSync(this.fd);
  }
}

export function privateZone(arena: Arena, bytes: number): Zone {
  const range = arena.reserve("private", bytes, HUGEPAGE_BYTES);
  try {
    madvise(arena.address + BigInt(range.start), range.bytes, MADV_HUGEPAGE);
  } catch {
    // a kernel without transparent hugepages: 4 KiB pages do
  }
  return new Zone(arena, range, undefined, PAGE_BYTES, "use fewer mbufs, queues or lcores");
}

export interface DmaZoneOptions {
  bytes: number;
  /** --no-huge. */
  noHuge: boolean;
  warn: (text: string) => void;
}

/** The memory that peers and devices reach. Sealed, so that a peer cannot shrink it under us. */
export function dmaZone(arena: Arena, options: DmaZoneOptions): Zone {
  const bytes = alignUp(options.bytes, HUGEPAGE_BYTES);
  const fix = `ask for more memory than -m ${bytes / MIB}`;
  const range = arena.reserve("dma", bytes, HUGEPAGE_BYTES);
  try {
    const huge = options.noHuge ? undefined : tryHuge(arena, range, options.warn);
    if (huge !== undefined) return new Zone(arena, range, huge, HUGEPAGE_BYTES, fix);
    return new Zone(arena, range, small(arena, range), PAGE_BYTES, fix);
  } catch (error) {
    arena.release(range);
    throw error;
  }
}

function tryHuge(arena: Arena, range: Range, warn: (text: string) => void): number | undefined {
  const wanted = range.bytes / HUGEPAGE_BYTES;
  let fd: number | undefined;
  try {
    fd = memfdCreate("pollmode", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB | MFD_ALLOW_SEALING);
    ftruncate(fd, range.bytes);
    addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW);
    arena.overlay(range, fd, 0, MAP_SHARED | MAP_POPULATE);
    return fd;
  } catch {
    if (fd !== undefined) closeSync(fd);
    warn(
      `no ${wanted} free 2 MiB hugepages (${freeHugepages()} are free), using 4 KiB pages: more TLB misses, ` +
        "and with a device behind an IOMMU 36 to 43 % of the rate at bursts of 16 and more. " +
        `Mend, as root: ${reserveCommand(wanted)}; or say --no-huge to have it so without this warning`,
    );
    return undefined;
  }
}

function small(arena: Arena, range: Range): number {
  const available = availableBytes();
  if (range.bytes > available) {
    const most = Math.floor(available / MIB);
    const message = `-m: ${range.bytes / MIB} MiB asked for, ${most} MiB of memory are available`;
    throw new PollmodeError("OUT_OF_MEMORY", message, `use -m ${Math.max(2, most >>> 1)} or less`);
  }
  const fd = memfdCreate("pollmode", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  try {
    ftruncate(fd, range.bytes);
    addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW);
    arena.overlay(range, fd, 0, MAP_SHARED | MAP_POPULATE);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
