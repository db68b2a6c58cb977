// The addresses that a device is given. VA mode: arena offset + 2^32, so a packet's address costs no look-up and its
// high word is a constant; the base is not 0 because x86 keeps 0xfee00000 … 0xfeefffff for message-signalled
// interrupts. PA mode (no IOMMU): the physical address of each hugepage, from /proc/self/pagemap (Linux,
// admin-guide/mm/pagemap).
import { closeSync, openSync, readSync } from "node:fs";
import { PollmodeError } from "../errors.ts";
import { HUGEPAGE_BYTES, PAGE_BYTES } from "../limits.ts";
import type { Zone } from "./zone.ts";

export type IovaMode = "va" | "pa";

/** What is added to an arena offset in VA mode. */
const IOVA_BASE = 0x1_0000_0000n;

export function iovaOf(offset: number): bigint {
  return IOVA_BASE + BigInt(offset);
}

const PFN_MASK = (1n << 55n) - 1n;
const PRESENT = 1n << 63n;

/** Physical address of each hugepage of a zone, in order. */
export function physicalPages(zone: Zone): bigint[] {
  const { range, arena, pageBytes } = zone;
  if (pageBytes !== HUGEPAGE_BYTES) {
    const message = "--iova-mode pa: the zone has 4 KiB pages, which the kernel may move under a device";
    const fix = `reserve hugepages: echo ${range.bytes / HUGEPAGE_BYTES} > /proc/sys/vm/nr_hugepages`;
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
