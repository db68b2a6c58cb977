// Who has hugepages: programs, by what /proc tells of their memory, and files of a hugetlbfs, which hold their pages
// even when the program that made them is no more. DPDK leaves such files (`rtemap_0`) by its design: the next start
// takes them over.
import { closeSync, lstatSync, openSync, type Stats } from "node:fs";
import { basename, join } from "node:path";
import { LOCK_EX, LOCK_NB } from "../libc/abi.ts";
import { flock } from "../libc/libc.ts";
import { KIB } from "../limits.ts";
import type { HugepageMount } from "./hugepages.ts";
import type { Machine } from "./machine.ts";

export interface HugepageUser {
  readonly pid: number;
  readonly name: string;
  /** What it has touched. 0: promised to it, or open in it, and no more. */
  readonly bytes: number;
}

export interface HugepageFile {
  readonly path: string;
  readonly pageBytes: number | undefined;
  /** What it holds. */
  readonly bytes: number;
  /** A program that can be seen has it open or mapped, or DPDK has it locked. */
  readonly isOpen: boolean;
  /** By its name DPDK made it: it makes it again when it needs it. */
  readonly isDpdk: boolean;
}

export interface HugepageUse {
  readonly programs: readonly HugepageUser[];
  readonly files: readonly HugepageFile[];
}

/** EAL's HUGEFILE_FMT (eal_filesystem.h), `%s/%smap_%d`: folder, --file-prefix, number. */
const dpdkFile = /^.+map_\d+$/;
/** Folders within a hugetlbfs: libvirt makes four, one in another. */
const DEPTH_MAX = 8;

/** What this user may see: root sees all programs of its own PID namespace. */
export function hugepageUse(machine: Machine, mounts: readonly HugepageMount[]): HugepageUse {
  const found = [...new Map(mounts.map((mount) => [mount.folder, mount])).values()].flatMap((mount) =>
    filesIn(machine, mount.folder).map((file) => ({ ...file, pageBytes: mount.pageBytes })),
  );
  const keys = new Map(found.map((file) => [file.key, file.path]));
  const paths = new Set(found.map((file) => file.path));
  const open = new Set<string>();
  const programs: HugepageUser[] = [];
  for (const pid of machine.list("/proc").filter((name) => /^\d+$/.test(name))) {
    const files = [...mappedFiles(machine, pid, keys), ...openFiles(machine, pid, paths)];
    for (const path of files) open.add(path);
    const bytes = touchedBytes(machine, pid);
    if (bytes === 0 && files.length === 0) continue;
    programs.push({ pid: Number(pid), name: machine.readText(`/proc/${pid}/comm`)?.trim() ?? "?", bytes });
  }
  const files = found.map(({ path, bytes, pageBytes }) => {
    const isDpdk = dpdkFile.test(basename(path));
    const isOpen = open.has(path) || (isDpdk && isLocked(machine.path(path)));
    return { path, bytes, pageBytes, isOpen, isDpdk };
  });
  return { programs: programs.sort((a, b) => a.pid - b.pid), files };
}

/**
 * DPDK keeps a shared lock on each file that it uses, and removes at its start those that it can lock: walk_hugedir,
 * clear_hugedir of eal_hugepage_info.c. A lock is seen from other PID namespaces too.
 */
function isLocked(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return false; // gone since, or another user's
  }
  try {
    return !flock(fd, LOCK_EX | LOCK_NB);
  } finally {
    closeSync(fd);
  }
}

/** What stands in /proc/PID/maps for hugepages without a file: MAP_ANONYMOUS | MAP_HUGETLB. */
const ANONYMOUS = "/anon_hugepage";

/** hugetlb_report_usage, in /proc/PID/status: pages of all sizes that the program has touched. */
function touchedBytes(machine: Machine, pid: string): number {
  const status = machine.readText(`/proc/${pid}/status`) ?? "";
  return Number(/^HugetlbPages:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * KIB;
}

/** By device and inode, which are the same in each mount namespace; a path is not. */
function mappedFiles(machine: Machine, pid: string, keys: ReadonlyMap<string, string>): string[] {
  const maps = machine.readText(`/proc/${pid}/maps`) ?? "";
  const files: string[] = [];
  for (const [, device, inode, path = ""] of maps.matchAll(/^\S+ \S+ \S+ (\S+) (\d+) *(.*)$/gm)) {
    const file = keys.get(`${device} ${inode}`);
    if (file !== undefined) files.push(file);
    else if (path.startsWith(ANONYMOUS)) files.push(ANONYMOUS);
  }
  return files;
}

function openFiles(machine: Machine, pid: string, paths: ReadonlySet<string>): string[] {
  if (paths.size === 0) return [];
  const folder = `/proc/${pid}/fd`;
  const targets = machine.list(folder).map((fd) => machine.linkTarget(`${folder}/${fd}`) ?? "");
  return targets.filter((target) => paths.has(target));
}

interface FoundFile {
  readonly path: string;
  readonly bytes: number;
  /** As /proc/PID/maps has it: `00:2e 20483`. */
  readonly key: string;
}

function filesIn(machine: Machine, folder: string, depth = 0): FoundFile[] {
  if (depth === DEPTH_MAX) return [];
  return machine.list(folder).flatMap((name): FoundFile[] => {
    const path = join(folder, name);
    const stats = statsOf(machine.path(path));
    if (stats?.isDirectory()) return filesIn(machine, path, depth + 1);
    if (!stats?.isFile()) return [];
    return [{ path, bytes: stats.blocks * 512, key: `${deviceName(stats.dev)} ${stats.ino}` }];
  });
}

function statsOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined; // removed since
  }
}

/** st_dev as show_map_vma prints it: major and minor, hexadecimal. makedev(3) has the bits. */
function deviceName(dev: number): string {
  const major = (dev >>> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  return [major, minor].map((part) => part.toString(16).padStart(2, "0")).join(":");
}
