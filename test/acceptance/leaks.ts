// What a process holds that an engine must give back: descriptors, mappings, memory, hugepages.
import { readdirSync, readFileSync } from "node:fs";

export interface Holdings {
  fds: number;
  /** Lines of /proc/self/maps. */
  maps: number;
  rssMib: number;
  threads: number;
  /** Pages of files laid over the arena: /memfd: mappings. */
  memfds: number;
  hugetlbKib: number;
}

const proc = (file: string) => readFileSync(`/proc/self/${file}`, "utf8");

/** After garbage collection, where node runs with --expose-gc. */
export function holdings(): Holdings {
  globalThis.gc?.();
  const maps = proc("maps").trimEnd().split("\n");
  const status = proc("status");
  const number = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(status)?.[1]);
  return {
    fds: readdirSync("/proc/self/fd").length,
    maps: maps.length,
    rssMib: Math.round(number("VmRSS") / 1024),
    threads: number("Threads"),
    hugetlbKib: number("HugetlbPages"),
    memfds: maps.filter((line) => line.includes("/memfd:")).length,
  };
}
