// The machine's hugepages: the kernel's pool of each page size, node by node, and where programs reach them by name.
// Documentation/admin-guide/mm/hugetlbpage.rst; Documentation/ABI/testing/sysfs-kernel-mm-hugepages.
import { KIB, MIB } from "../limits.ts";
import type { Machine } from "./machine.ts";

/** Pages of one size on one NUMA node. */
export interface HugepagePool {
  /** Undefined on a kernel without NUMA: all there are. */
  readonly node: number | undefined;
  readonly pageBytes: number;
  /** Free and used ones, surplus included. */
  readonly total: number;
  readonly free: number;
  /** Made on demand beyond the pool (nr_overcommit_hugepages); they go when nobody uses them any more. */
  readonly surplus: number;
  /** Where sysfs has its counters: `devices/system/node/node0/hugepages/hugepages-2048kB`. */
  readonly path: string;
}

/** Pages of one size on the whole machine. */
export interface HugepageSize {
  readonly pageBytes: number;
  readonly total: number;
  readonly free: number;
  /** Free ones that are promised to a mapping that has not touched them yet. */
  readonly reserved: number;
  readonly surplus: number;
  /** A pool for each NUMA node that can have pages, ascending; one without a node on a kernel without NUMA. */
  readonly pools: readonly HugepagePool[];
}

/** A hugetlbfs. */
export interface HugepageMount {
  /** What mount(8) was given for a device: any word. */
  readonly source: string;
  readonly folder: string;
  readonly pageBytes: number | undefined;
  /** As the kernel shows them: `rw,relatime,pagesize=2M`. */
  readonly options: readonly string[];
}

export interface Hugepages {
  /** Ascending by size; empty on a kernel without hugepages. */
  readonly sizes: readonly HugepageSize[];
  /** What a program gets that names no size: 2 MiB on most machines. */
  readonly defaultPageBytes: number | undefined;
  readonly mounts: readonly HugepageMount[];
}

const POOLS = "kernel/mm/hugepages";
const NODES = "devices/system/node";

/** What there is now. */
export function hugepagesOf(machine: Machine): Hugepages {
  const sizes = pageSizesIn(machine, POOLS).map((pageBytes) => sizeOf(machine, pageBytes));
  const kib = /^Hugepagesize:\s+(\d+) kB/m.exec(machine.readText("/proc/meminfo") ?? "")?.[1];
  const defaultPageBytes = kib === undefined ? undefined : Number(kib) * KIB;
  return { sizes, defaultPageBytes, mounts: mountsOf(machine, defaultPageBytes) };
}

/** Folders named `hugepages-2048kB`. */
function pageSizesIn(machine: Machine, folder: string): number[] {
  const found = machine.sysfs.list(folder).map((name) => /^hugepages-(\d+)kB$/.exec(name)?.[1]);
  return found.flatMap((kib) => (kib === undefined ? [] : [Number(kib) * KIB])).sort((a, b) => a - b);
}

function sizeOf(machine: Machine, pageBytes: number): HugepageSize {
  const name = `hugepages-${pageBytes / KIB}kB`;
  const path = `${POOLS}/${name}`;
  const nodes = machine.sysfs.list(NODES).map((node) => /^node(\d+)$/.exec(node)?.[1]);
  const pools = nodes
    .flatMap((node) => (node === undefined ? [] : [Number(node)]))
    .sort((a, b) => a - b)
    .map((node) => poolOf(machine, `${NODES}/node${node}/hugepages/${name}`, pageBytes, node))
    .filter((pool) => pool !== undefined);
  const whole = poolOf(machine, path, pageBytes, undefined);
  return {
    pageBytes,
    total: whole?.total ?? 0,
    free: whole?.free ?? 0,
    reserved: counter(machine, `${path}/resv_hugepages`) ?? 0,
    surplus: whole?.surplus ?? 0,
    pools: pools.length > 0 || whole === undefined ? pools : [whole],
  };
}

/** Undefined for a node that has none: one without memory. */
function poolOf(
  machine: Machine,
  path: string,
  pageBytes: number,
  node: number | undefined,
): HugepagePool | undefined {
  const total = counter(machine, `${path}/nr_hugepages`);
  if (total === undefined) return undefined;
  const free = counter(machine, `${path}/free_hugepages`) ?? 0;
  const surplus = counter(machine, `${path}/surplus_hugepages`) ?? 0;
  return { node, pageBytes, total, free, surplus, path };
}

function counter(machine: Machine, path: string): number | undefined {
  const text = machine.sysfs.readOptional(path);
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Lines of `source folder type options 0 0`; blanks in a folder's name are `\040`. proc(5). */
function mountsOf(machine: Machine, defaultPageBytes: number | undefined): HugepageMount[] {
  const lines = (machine.readText("/proc/mounts") ?? "").split("\n").map((line) => line.split(" "));
  return lines.flatMap(([source = "", folder, type, options]) => {
    if (type !== "hugetlbfs" || folder === undefined || options === undefined) return [];
    const plain = folder.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const list = options.split(",");
    const size = list.find((option) => option.startsWith("pagesize="))?.slice("pagesize=".length);
    const pageBytes = size === undefined ? defaultPageBytes : parseBytes(size);
    return [{ source, folder: plain, pageBytes, options: list }];
  });
}

const units: Readonly<Record<string, number>> = { "": 1, K: KIB, M: MIB, G: 1024 * MIB };

/** `2M`, `1G`, `512k`, or bytes, as hugetlbfs and dpdk-hugepages.py take them. Undefined if it is no size. */
export function parseBytes(text: string): number | undefined {
  const found = /^(\d{1,15})([KMG]?)$/.exec(text.toUpperCase());
  const bytes = found ? Number(found[1]) * units[found[2]!]! : Number.NaN;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** For root's shell: a pool is to have so many pages in all. */
export function reserveCommand({ pageBytes, node }: HugepagePool, pages: number): string {
  const where = node === undefined ? "" : ` -n ${node}`;
  return `pollmode hugepages -p ${formatBytes(pageBytes)}${where} -r ${formatBytes(pages * pageBytes)}`;
}

/** As parseBytes takes it back: `2M`, `1G`, `1536M`. */
export function formatBytes(bytes: number): string {
  const unit = ["G", "M", "K"].find((unit) => bytes > 0 && bytes % units[unit]! === 0) ?? "";
  return `${bytes / units[unit]!}${unit}`;
}
