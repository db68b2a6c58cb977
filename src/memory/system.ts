// What the kernel says about memory.
import { readFileSync } from "node:fs";
import { KIB } from "../limits.ts";

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
