// The addresses that devices are given for what lies in the DMA zone. VA mode: arena offset + 2^32, so a packet's
// address costs no look-up and its high word is a constant; the base is not 0 because x86 keeps 0xfee00000 … 0xfeefffff
// for message-signalled interrupts. PA mode (no IOMMU): the physical address of each hugepage, from /proc/self/pagemap
// (Linux, admin-guide/mm/pagemap). Hugepages are not swapped, but they can be moved: when memory is taken offline, when
// the kernel retires a failing page, for CMA, by move_pages(2). So they are pinned first, and then asked for.
import { closeSync, openSync, readSync } from "node:fs";
import { PollmodeError } from "../errors.ts";
import { pin, unpin } from "../libc/pin.ts";
import { HUGEPAGE_BYTES, PAGE_BYTES } from "../limits.ts";
import { reserveCommand } from "./system.ts";
import type { Zone } from "./zone.ts";

/** Addresses that devices are given: `va`, behind an IOMMU; `pa`, physical ones. */
export type IovaMode = "va" | "pa";

/** What is added to an arena offset in VA mode. */
const IOVA_BASE = 0x1_0000_0000n;

export function iovaOf(offset: number): bigint {
  return IOVA_BASE + BigInt(offset);
}

/** Addresses of one DMA zone as devices see it. */
export class IovaMap {
  readonly mode: IovaMode;
  /** Physical address of each hugepage of the zone, in order; PA mode alone. */
  readonly pages: readonly bigint[] | undefined;
  /** PA mode: why the kernel may still move the pages. Undefined: they are pinned. */
  readonly unpinned: PollmodeError | undefined;
  /** They keep the memory: see src/bus/fd-order.ts. */
  readonly fds: readonly number[];
  private readonly zone: Zone;

  constructor(mode: IovaMode, zone: Zone) {
    this.mode = mode;
    this.zone = zone;
    if (mode === "pa") physicalPages(zone); // may they be seen at all?
    const pinned = mode === "pa" ? tryPin(zone) : undefined;
    this.pages = mode === "pa" ? physicalPages(zone) : undefined;
    this.unpinned = pinned instanceof PollmodeError ? pinned : undefined;
    this.fds = [zone.fd, pinned].filter((fd) => typeof fd === "number");
  }

  /** The device's address of an arena offset within the zone. In PA mode it holds up to the hugepage's end. */
  of(offset: number): bigint {
    if (!this.pages) return iovaOf(offset);
    const at = offset - this.zone.range.start;
    const page = this.pages[Math.floor(at / HUGEPAGE_BYTES)];
    if (page !== undefined) return page + BigInt(at % HUGEPAGE_BYTES);
    const message = `arena offset ${offset} is not in the DMA zone, whose memory alone devices reach`;
    throw new PollmodeError("IOVA_RANGE", message, "allocate it from the DMA zone");
  }
}

/** Until the zone is closed. Where it cannot be, devices work all the same: whoever opens one says so. */
function tryPin(zone: Zone): number | PollmodeError {
  try {
    const fd = pin(zone.arena.address + BigInt(zone.range.start), zone.range.bytes);
    zone.beforeClose(() => unpin(fd));
    return fd;
  } catch (error) {
    if (error instanceof PollmodeError) return error;
    throw error;
  }
}

const PFN_MASK = (1n << 55n) - 1n;
const PRESENT = 1n << 63n;

/** Physical address of each hugepage of a zone, in order. */
function physicalPages(zone: Zone): bigint[] {
  const { range, arena, pageBytes } = zone;
  if (pageBytes !== HUGEPAGE_BYTES) {
    const message = "--iova-mode pa: the zone has 4 KiB pages, which the kernel may move under a device";
    const fix = `reserve hugepages, as root: ${reserveCommand(range.bytes / HUGEPAGE_BYTES)}`;
    throw new PollmodeError("IOVA_NEEDS_HUGEPAGES", message, fix);
  }
  const fd = openSync("/proc/self/pagemap", "r");
  try {
    const pages: bigint[] = [];
    const entry = Buffer.alloc(8);
    for (let at = 0; at < range.bytes; at += HUGEPAGE_BYTES) {
      const address = arena.address + BigInt(range.start + at);
      readSync(fd, entry, 0, 8, (address / BigInt(PAGE_BYTES)) * 8n);
      pages.push(frameAddress(entry.readBigUInt64LE()));
    }
    return pages;
  } finally {
    closeSync(fd);
  }
}

function frameAddress(entry: bigint): bigint {
  const pfn = entry & PFN_MASK;
  if ((entry & PRESENT) === 0n || pfn === 0n) {
    const message = "--iova-mode pa: /proc/self/pagemap shows no physical addresses to this process";
    throw new PollmodeError(
      "IOVA_NEEDS_ADMIN",
      message,
      "run as root (CAP_SYS_ADMIN), or use --iova-mode va",
    );
  }
  return pfn * BigInt(PAGE_BYTES);
}
