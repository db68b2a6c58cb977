// What the kernel says about memory.
import { readFileSync } from "node:fs";
import { HUGEPAGE_BYTES, KIB, MIB } from "../limits.ts";

function meminfo(field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync("/proc/meminfo", "utf8"));
  return Number(line?.[1] ?? 0);
}

/** Bytes that can be had without swapping. */
export function availableBytes(): number {
  return meminfo("MemAvailable") * KIB;
}

/** Free hugepages of the default size. */
export function freeHugepages(): number {
  return meminfo("HugePages_Free");
}

/** For root's shell: so many free hugepages of 2 MiB, on each NUMA node, and none less than there are. */
export function reserveCommand(pages: number): string {
  const own = meminfo("HugePages_Total") - meminfo("HugePages_Surp");
  const total = own + Math.max(0, pages - freeHugepages());
  return `pollmode hugepages -p 2M -r ${(total * HUGEPAGE_BYTES) / MIB}M`;
}
