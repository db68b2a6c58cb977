// What stands in the way of hugepages, found out from the machine, and what mends it: the kernel itself says nothing,
// it grants fewer pages.
import { PollmodeError } from "../errors.ts";
import { KIB } from "../limits.ts";
import type { HugepageUse } from "./hugepage-users.ts";
import { formatBytes, type HugepagePool, type HugepageSize, type Hugepages } from "./hugepages.ts";
import type { Machine } from "./machine.ts";

const GIB = 1 << 30;

/** The machine has no pages of this size, or none at all. */
export function noSuchSize(
  machine: Machine,
  { sizes }: Hugepages,
  pageBytes: number | undefined,
): PollmodeError {
  const there = sizes.map((size) => formatBytes(size.pageBytes));
  if (pageBytes === undefined || there.length === 0) {
    const fix = "use a kernel with CONFIG_HUGETLBFS; in a container see that /sys is the kernel's";
    return new PollmodeError("HUGEPAGES_SIZE", "this kernel has no hugepages", fix);
  }
  const message = `this machine has no hugepages of ${formatBytes(pageBytes)}: it has ${there.join(", ")}`;
  const flags = /^flags\s*:(.*)$/m.exec(machine.readText("/proc/cpuinfo") ?? "")?.[1] ?? "";
  const smaller = `use ${there.map((size) => `--pagesize ${size}`).join(" or ")}`;
  const virtual = "in a virtual machine, give it a CPU that has them: qemu -cpu host, or …,+pdpe1gb";
  const lacks = pageBytes === GIB && !flags.split(" ").includes("pdpe1gb");
  return new PollmodeError(
    "HUGEPAGES_SIZE",
    lacks ? `${message}; the CPU does not know larger ones (no pdpe1gb in /proc/cpuinfo)` : message,
    lacks ? `${smaller}; ${virtual}` : smaller,
  );
}

export function noSuchNode({ pools }: HugepageSize, node: number): PollmodeError {
  const nodes = pools.flatMap((pool) => pool.node ?? []);
  const message = `there is no NUMA node ${node} with memory on this machine`;
  const fix =
    nodes.length > 0
      ? `use ${nodes.map((node) => `--node ${node}`).join(" or ")}`
      : "leave out --node: this kernel knows no NUMA nodes";
  return new PollmodeError("HUGEPAGES_NODE", message, fix);
}

/** Of a folder full of files. */
const NAMED_MAX = 3;

function first(names: readonly string[]): string {
  const more = names.length - NAMED_MAX;
  return names.slice(0, NAMED_MAX).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** `what` cannot be done, for `pages` of a size are somebody's. */
export function inUse(what: string, pages: number, pageBytes: number, use: HugepageUse): PollmodeError {
  const programs = use.programs.map(({ pid, name, bytes }) => {
    return `${name} (process ${pid}${bytes > 0 ? `, ${formatBytes(bytes)}` : ""})`;
  });
  const files = use.files.filter(({ bytes, isOpen }) => bytes > 0 && !isOpen).map(({ path }) => path);
  const locked = programs.length > 0 ? [] : use.files.filter(({ isOpen }) => isOpen).map(({ path }) => path);
  const elsewhere = locked.length > 0 ? [`a program elsewhere that has ${first(locked)} open`] : [];
  const holders = [...programs, ...elsewhere, ...(files.length > 0 ? [`the file ${first(files)}`] : [])];
  const by = holders.length > 0 ? holders.join(", ") : "somebody that cannot be seen from here";
  const fixes = [
    programs.length > 0 ? `stop ${programs.length > 1 ? "them" : "it"}` : "",
    files.length > 0 ? `if nobody needs its content any more: rm ${files.slice(0, NAMED_MAX).join(" ")}` : "",
    programs.length > 0 || files.length > 0
      ? ""
      : "look on the host, as root: other containers, and System V segments (ipcs -m)",
  ];
  const message = `${what}: ${pages} of ${formatBytes(pageBytes)} are in use by ${by}`;
  return new PollmodeError("HUGEPAGES_IN_USE", message, fixes.filter(Boolean).join("; "));
}

/** What a pool is to be, and the memory that could be made pages of before it was tried. */
export interface PoolTarget {
  readonly pool: HugepagePool;
  readonly pages: number;
  readonly reclaimableBytes: number | undefined;
}

/** The kernel granted `got`. */
export function partial({ pool, pages, reclaimableBytes }: PoolTarget, got: number): PollmodeError {
  const size = formatBytes(pool.pageBytes);
  const where = pool.node === undefined ? "this machine" : `node ${pool.node}`;
  const wanted = (pages - (pool.total - pool.surplus)) * pool.pageBytes;
  const isShort = reclaimableBytes !== undefined && reclaimableBytes < wanted;
  const mib = (bytes: number) => `${Math.floor(bytes / (KIB * KIB))} MiB`;
  const memory = reclaimableBytes === undefined ? "" : ` (${mib(reclaimableBytes)} free or cached before)`;
  const why = isShort
    ? `it has too little memory${memory} for ${mib(wanted)} more`
    : `its memory is fragmented${memory}: not enough whole pieces of ${size}`;
  const message = `${where} gave ${got} of ${pages} hugepages of ${size}: ${why}`;
  const node = pool.node === undefined ? "" : ` --node ${pool.node}`;
  const fewer = `take what there is: pollmode hugepages --pagesize ${size}${node} --reserve ${formatBytes(
    Math.max(1, got) * pool.pageBytes,
  )}`;
  const boot = `or reserve at boot, on the kernel's command line: hugepagesz=${size} hugepages=${pages}`;
  const compact =
    "as root, echo 3 > /proc/sys/vm/drop_caches; echo 1 > /proc/sys/vm/compact_memory; then try again";
  return new PollmodeError(
    "HUGEPAGES_PARTIAL",
    message,
    isShort ? `stop programs, or ${fewer}; ${boot}` : `${compact}; ${boot}; or ${fewer}`,
  );
}

/** What the kernel could give: free memory, and its caches of files. Undefined where it does not tell. */
export function reclaimableBytes(machine: Machine, { node }: HugepagePool): number | undefined {
  const text =
    node === undefined
      ? machine.readText("/proc/meminfo")
      : machine.sysfs.readOptional(`devices/system/node/node${node}/meminfo`);
  const lines = [
    ...(text ?? "").matchAll(/\b(?:MemFree|Active\(file\)|Inactive\(file\)|SReclaimable):\s+(\d+) kB/g),
  ];
  return lines.length === 0 ? undefined : lines.reduce((sum, [, kib]) => sum + Number(kib) * KIB, 0);
}
