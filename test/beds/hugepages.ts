// 2 MiB hugepages for as long as a test needs them. They belong to the whole machine, so each reservation adds to
// what is there and its release takes just that away again: reservations nest, in a process and between processes.
// A ledger in `.beds/hugepages` lets a later run take back what a killed one could not.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PollmodeError } from "../../src/errors.ts";
import { atEnd } from "./lifetime.ts";
import { bedState } from "./paths.ts";

const pageMib = 2;
const total = "/proc/sys/vm/nr_hugepages";
const sysfs = "/sys/kernel/mm/hugepages/hugepages-2048kB";
/** Read, add, write, read again, while no other process does. */
const adjustScript = `old=$(cat ${total}); new=$((old + $0)); [ $new -gt 0 ] || new=0
echo $new > ${total}; echo $(($(cat ${total}) - old))`;

export interface Hugepages extends Disposable {
  /** How many pages the caller may use. */
  readonly pages: number;
  /** Gives them back; the second call does nothing. Stop the programs that use them first. */
  release(): void;
}

const held = new Set<Reservation>();

class Reservation implements Hugepages {
  readonly pages: number;
  readonly added: number;
  #forget: () => void = () => {};

  constructor(pages: number, added: number) {
    this.pages = pages;
    this.added = added;
    if (added === 0) return;
    held.add(this);
    this.#forget = atEnd(() => this.release());
    writeLedger();
  }

  release(): void {
    if (!held.delete(this)) return;
    this.#forget();
    adjust(-this.added);
    writeLedger();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** Why `pages` hugepages cannot be had here; undefined when it looks as if they can. */
export function hugepagesMissing(pages: number): string | undefined {
  const free = freePages();
  if (free === undefined) return "this kernel has no 2 MiB hugepages";
  if (process.getuid?.() !== 0) {
    return free >= pages
      ? undefined
      : `${pages} hugepages are needed, ${free} are free, and reserving needs root`;
  }
  const available = /^MemAvailable:\s*(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"));
  const availableMib = Number(available?.[1] ?? 0) >> 10;
  const neededMib = pages * pageMib;
  if (availableMib < neededMib)
    return `${neededMib} MiB of hugepages are needed, ${availableMib} MiB are available`;
  return undefined;
}

/** Adds `pages` 2 MiB pages to the machine's pool until released, disposed of, or the process ends. */
export function reserveHugepages(pages: number): Hugepages {
  const missing = hugepagesMissing(pages);
  const fix = `echo ${pages} > ${total} as root, soon after boot`;
  if (missing) throw new PollmodeError("HUGEPAGES_MISSING", missing, fix);
  if (process.getuid?.() !== 0) return new Reservation(pages, 0); // enough are free, and we could not add any
  reclaim();
  let added = adjust(pages);
  if (added < pages) {
    writeFileSync("/proc/sys/vm/drop_caches", "3");
    writeFileSync("/proc/sys/vm/compact_memory", "1");
    added += adjust(pages - added);
  }
  if (added < pages) {
    adjust(-added);
    const message = `${total}: the kernel found only ${added} of ${pages} hugepages: memory is too fragmented or full`;
    throw new PollmodeError("HUGEPAGES_PARTIAL", message, fix);
  }
  return new Reservation(pages, added);
}

/** Where a hugetlbfs of 2 MiB pages is mounted. Mounts /dev/hugepages, as a booted Debian has it, if there is none. */
export function hugetlbfsMount(): string {
  for (const line of readFileSync("/proc/mounts", "utf8").split("\n")) {
    const [, folder, type, options] = line.split(" ");
    if (type === "hugetlbfs" && !/pagesize=(?!2M)/.test(options!)) return folder!;
  }
  const folder = "/dev/hugepages";
  mkdirSync(folder, { recursive: true });
  execFileSync("mount", ["-t", "hugetlbfs", "-o", "pagesize=2M", "hugetlbfs", folder]);
  return folder;
}

export function freePages(): number | undefined {
  try {
    return Number(readFileSync(`${sysfs}/free_hugepages`, "utf8"));
  } catch {
    return undefined;
  }
}

/** Changes the pool's size by `pages` and returns by how much it really changed. */
function adjust(pages: number): number {
  return Number(
    execFileSync("flock", [total, "sh", "-c", adjustScript, String(pages)], { encoding: "utf8" }),
  );
}

/** A process's start time tells it from a later one of the same id. */
function processIdentity(pid: number | "self"): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return `${parseInt(stat, 10)}-${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
  } catch {
    return undefined;
  }
}

function writeLedger(): void {
  let added = 0;
  for (const reservation of held) added += reservation.added;
  const file = join(bedState("hugepages"), processIdentity("self")!);
  if (added > 0) writeFileSync(file, String(added));
  else rmSync(file, { force: true });
}

/** Takes back what processes that are no more have left. Renaming a ledger claims it. */
function reclaim(): void {
  const folder = bedState("hugepages");
  for (const identity of readdirSync(folder)) {
    const pid = parseInt(identity, 10);
    if (identity.endsWith(".claimed") || processIdentity(pid) === identity) continue;
    const claimed = join(folder, `${identity}.claimed`);
    try {
      renameSync(join(folder, identity), claimed);
    } catch {
      continue; // another process was first
    }
    adjust(-Number(readFileSync(claimed, "utf8")));
    rmSync(claimed);
  }
}
