// Changes the machine's hugepages, in the order of dpdk-hugepages.py: clear, unmount, reserve, mount. All is checked
// before anything is changed, and a step that fails has those before it undone.
import { dirname } from "node:path";
import { PollmodeError } from "../errors.ts";
import { seesAllHolders } from "./holders.ts";
import {
  inUse,
  noSuchNode,
  noSuchSize,
  type PoolTarget,
  partial,
  reclaimableBytes,
} from "./hugepage-errors.ts";
import { type HugepageFile, type HugepageUse, hugepageUse } from "./hugepage-users.ts";
import {
  formatBytes,
  type HugepageMount,
  type HugepagePool,
  type HugepageSize,
  type Hugepages,
  hugepagesOf,
  reserveCommand,
} from "./hugepages.ts";
import type { Machine } from "./machine.ts";

export interface HugepagePlan {
  /** Gives back all pages of all sizes and nodes, and removes files that DPDK left and nobody has open. */
  readonly clear?: boolean;
  readonly unmount?: boolean;
  /** So much on each node, or on the one that is named; what is there counts. */
  readonly reserve?: { readonly bytes: number; readonly node?: number | undefined } | undefined;
  /** Owner of its root folder; default root. */
  readonly mount?: { readonly uid?: number | undefined; readonly gid?: number | undefined } | undefined;
  /** Of reserve and mount. Default: the kernel's own default. */
  readonly pageBytes?: number | undefined;
  /** Of mount and unmount: an absolute path. */
  readonly folder: string;
}

export interface HugepageChanges {
  /** Files that are gone. */
  readonly removed: readonly string[];
  /** What there was nothing to do for. */
  readonly notes: readonly string[];
}

/** Takes a change back; `command` does it by hand. */
interface Undo {
  readonly command: string;
  run(): void;
}

/**
 * Does the plan, or nothing of it. Errors: HUGEPAGES_SIZE, HUGEPAGES_NODE, HUGEPAGES_IN_USE, HUGEPAGES_MOUNTED,
 * OPTION_VALUE (nothing was changed); HUGEPAGES_PARTIAL, HUGEPAGES_MOUNT, COMMAND_FAILED, errno's names (all is as it
 * was); HUGEPAGES_NOT_RESTORED (it is not; the fix has the commands). Files that were removed stay removed.
 */
export function changeHugepages(machine: Machine, plan: HugepagePlan): HugepageChanges {
  const before = hugepagesOf(machine);
  const size = plan.reserve || plan.mount ? sizeOf(machine, before, plan.pageBytes) : undefined;
  const targets = targetsOf(machine, plan, before, size);
  const mounted = before.mounts.findLast(({ folder }) => folder === plan.folder);
  const stale = checkUse(machine, plan, before, targets, mounted);
  const isThere = plan.mount !== undefined && mounted !== undefined && !plan.unmount;
  if (isThere) checkMounted(mounted, plan, size!);
  const undos: Undo[] = [];
  const removed: string[] = [];
  try {
    for (const { path } of plan.clear ? stale : []) {
      machine.remove(path);
      removed.push(path);
    }
    if (plan.unmount && mounted) unmount(machine, mounted, undos);
    for (const target of targets) setPool(machine, target, undos);
    if (plan.mount && !isThere) mount(machine, plan, size!, undos);
  } catch (cause) {
    throw undone(undos, cause, removed);
  }
  const notes = [
    ...(isThere ? [`${plan.folder} already mounted`] : []),
    ...(plan.unmount && !mounted ? [`${plan.folder} is not mounted`] : []),
  ];
  return { removed: stale.map(({ path }) => path), notes };
}

function sizeOf(machine: Machine, before: Hugepages, asked: number | undefined): HugepageSize {
  const pageBytes = asked ?? before.defaultPageBytes;
  const size = before.sizes.find((size) => size.pageBytes === pageBytes);
  if (size) return size;
  throw noSuchSize(machine, before, pageBytes);
}

/** Pools that change. What becomes less comes first: it may be what the others are made of. */
function targetsOf(
  machine: Machine,
  { clear, reserve }: HugepagePlan,
  before: Hugepages,
  size: HugepageSize | undefined,
): PoolTarget[] {
  const pages = new Map<HugepagePool, number>();
  if (clear) for (const pool of before.sizes.flatMap(({ pools }) => pools)) pages.set(pool, 0);
  if (reserve && size) {
    const { bytes, node } = reserve;
    const chosen = size.pools.filter((pool) => node === undefined || pool.node === node);
    if (node !== undefined && chosen.length === 0) throw noSuchNode(size, node);
    for (const pool of chosen) pages.set(pool, wholePages(bytes, size.pageBytes));
  }
  return [...pages]
    .filter(([pool, count]) => count !== persistent(pool))
    .sort(([a, left], [b, right]) => left - persistent(a) - (right - persistent(b)))
    .map(([pool, pages]) => ({ pool, pages, reclaimableBytes: reclaimableBytes(machine, pool) }));
}

/** What nr_hugepages is asked for: it shows the surplus as well. */
const persistent = ({ total, surplus }: HugepagePool) => total - surplus;

function wholePages(bytes: number, pageBytes: number): number {
  const pages = bytes / pageBytes;
  if (Number.isInteger(pages)) return pages;
  const [size, wanted] = [formatBytes(pageBytes), formatBytes(bytes)];
  const message = `${wanted} are no whole number of hugepages of ${size}`;
  const fix = `ask for ${formatBytes(Math.ceil(pages) * pageBytes)}`;
  throw new PollmodeError("OPTION_VALUE", message, fix);
}

/** Throws if something would be taken from somebody. Returns the files that go: DPDK's, which nobody has open. */
function checkUse(
  machine: Machine,
  plan: HugepagePlan,
  before: Hugepages,
  targets: readonly PoolTarget[],
  mounted: HugepageMount | undefined,
): readonly HugepageFile[] {
  const lowered = targets.filter(({ pool, pages }) => pages < persistent(pool));
  if (!plan.clear && !(plan.unmount && mounted) && lowered.length === 0) return [];
  const use = hugepageUse(machine, before.mounts);
  const isStale = ({ isDpdk, isOpen }: HugepageFile) => isDpdk && !isOpen;
  const inFolder = ({ path }: HugepageFile) => mounted !== undefined && path.startsWith(`${mounted.folder}/`);
  if (plan.unmount) {
    const kept = use.files.find(
      (file) => inFolder(file) && (file.isOpen || (file.bytes > 0 && !file.isDpdk)),
    );
    if (kept) throw cannotUnmount(kept, use);
  }
  if (plan.clear) {
    const stale = use.files.filter(isStale);
    if (stale.length > 0 && !seesAllHolders(machine) && !machine.isDryRun) throw mayBeUsed(stale[0]!);
    for (const size of before.sizes) checkClear(size, stale, use);
    return stale;
  }
  const gone = plan.unmount ? use.files.filter((file) => inFolder(file) && isStale(file)) : [];
  for (const size of before.sizes) checkLowered(size, lowered, gone, use);
  return gone;
}

/** Its owner may remove it, but does not see whether others have it mapped. */
function mayBeUsed({ path }: HugepageFile): PollmodeError {
  const message = `${path} may be in use by a program of another user`;
  return new PollmodeError("EACCES", message, "run as root, who sees all programs");
}

function cannotUnmount(file: HugepageFile, use: HugepageUse): PollmodeError {
  const pageBytes = file.pageBytes ?? 1;
  const programs = file.isOpen ? use.programs : [];
  return inUse("the hugetlbfs cannot be unmounted", Math.ceil(file.bytes / pageBytes), pageBytes, {
    programs,
    files: [file],
  });
}

/** How many pages of this size files hold. */
function pagesOf(files: readonly HugepageFile[], pageBytes: number): number {
  const own = files.filter((file) => file.pageBytes === pageBytes);
  return Math.floor(own.reduce((sum, { bytes }) => sum + bytes, 0) / pageBytes);
}

/** Pages that are neither free nor held by files which will go. */
function checkClear(size: HugepageSize, gone: readonly HugepageFile[], use: HugepageUse): void {
  const { pageBytes } = size;
  const used = Math.max(0, size.total - size.free - pagesOf(gone, pageBytes)) + size.reserved;
  if (used === 0) return;
  const files = use.files.filter((file) => !gone.includes(file));
  throw inUse("the hugepages cannot be cleared", used, pageBytes, { ...use, files });
}

/**
 * set_max_huge_pages would keep pages that are used or promised as surplus, and so more than what was asked for. Where
 * pages of files that go lie is not known: they count on each node.
 */
function checkLowered(
  size: HugepageSize,
  lowered: readonly PoolTarget[],
  gone: readonly HugepageFile[],
  use: HugepageUse,
): void {
  const own = lowered.filter(({ pool }) => pool.pageBytes === size.pageBytes);
  if (own.length === 0) return;
  const what = "the hugepages cannot be made fewer";
  const freed = pagesOf(gone, size.pageBytes);
  for (const { pool, pages } of own) {
    const used = pool.total - pool.free - freed;
    if (pages < used) throw inUse(what, used, pool.pageBytes, use);
  }
  const taken = own.reduce((sum, { pool, pages }) => sum + persistent(pool) - pages, 0);
  const needed = size.total - size.free - freed + size.reserved;
  if (size.total - size.surplus - taken < needed) throw inUse(what, needed, size.pageBytes, use);
}

/** A folder that is a hugetlbfs already must be the one that is asked for. */
function checkMounted(
  mounted: HugepageMount,
  { mount, folder }: HugepagePlan,
  { pageBytes }: HugepageSize,
): void {
  const owner = (option: string) =>
    Number(mounted.options.find((text) => text.startsWith(`${option}=`))?.slice(option.length + 1) ?? 0);
  const { uid = owner("uid"), gid = owner("gid") } = mount ?? {};
  if (mounted.pageBytes === pageBytes && owner("uid") === uid && owner("gid") === gid) return;
  const message = `${folder} is a hugetlbfs already, with other options: ${mounted.options.join(",")}`;
  throw new PollmodeError(
    "HUGEPAGES_MOUNTED",
    message,
    "add --unmount, or name another folder: --directory DIR",
  );
}

function setPool(machine: Machine, target: PoolTarget, undos: Undo[]): void {
  const { pool, pages } = target;
  const path = `${pool.path}/nr_hugepages`;
  const was = persistent(pool);
  undos.push({
    command: reserveCommand(pool, was),
    run() {
      if (countNow(machine, pool) === was) return;
      machine.sysfs.write(path, `${was}`);
      const now = countNow(machine, pool);
      if (now !== was) throw partial({ ...target, pages: was }, now);
    },
  });
  machine.sysfs.write(path, `${pages}`);
  if (machine.isDryRun) return;
  const got = countNow(machine, pool);
  if (got !== pages) throw partial(target, got);
}

function countNow(machine: Machine, { path }: HugepagePool): number {
  const counter = (name: string) => Number(machine.sysfs.readOptional(`${path}/${name}`) ?? 0);
  return counter("nr_hugepages") - counter("surplus_hugepages");
}

function unmount(machine: Machine, mounted: HugepageMount, undos: Undo[]): void {
  const { folder, source, options } = mounted;
  const before = mountsAt(machine, folder);
  const again = ["mount", "-t", "hugetlbfs", "-o", options.join(","), source, folder];
  undos.push({
    command: again.join(" "),
    run() {
      if (mountsAt(machine, folder) < before) machine.run(again);
    },
  });
  machine.run(["umount", folder]);
  if (machine.isDryRun || mountsAt(machine, folder) === before - 1) return;
  throw new PollmodeError(
    "HUGEPAGES_MOUNT",
    `${folder} is mounted still`,
    `run by hand, as root: umount ${folder}`,
  );
}

function mount(machine: Machine, plan: HugepagePlan, { pageBytes }: HugepageSize, undos: Undo[]): void {
  const { folder } = plan;
  for (const missing of missingFolders(machine, folder)) {
    machine.run(["mkdir", missing]);
    undos.push({ command: `rmdir ${missing}`, run: () => void machine.run(["rmdir", missing]) });
  }
  const { uid, gid } = plan.mount ?? {};
  const owner = [uid === undefined ? "" : `uid=${uid}`, gid === undefined ? "" : `gid=${gid}`];
  const options = [`pagesize=${pageBytes}`, ...owner].filter(Boolean).join(",");
  const before = mountsAt(machine, folder);
  const command = ["mount", "-t", "hugetlbfs", "-o", options, "nodev", folder];
  machine.run(command);
  if (machine.isDryRun || mountsAt(machine, folder) === before + 1) return;
  throw new PollmodeError(
    "HUGEPAGES_MOUNT",
    `${folder} is not mounted`,
    `run by hand, as root: ${command.join(" ")}`,
  );
}

function mountsAt(machine: Machine, folder: string): number {
  return hugepagesOf(machine).mounts.filter((mount) => mount.folder === folder).length;
}

/** The outermost first. */
function missingFolders(machine: Machine, folder: string): string[] {
  return machine.exists(folder) ? [] : [...missingFolders(machine, dirname(folder)), folder];
}

/** Takes all changes back, the last one first, and returns the error to throw. */
function undone(undos: readonly Undo[], cause: unknown, removed: readonly string[]): unknown {
  const left = [...undos].reverse().filter((undo) => {
    try {
      undo.run();
      return false;
    } catch {
      return true;
    }
  });
  if (!(cause instanceof PollmodeError)) return cause;
  const { code, message, fix } = cause;
  if (left.length === 0) {
    const but = removed.length > 0 ? `, but for files that DPDK had left (${removed.length})` : "";
    return new PollmodeError(code, `${message}; all is as it was before${but}`, fix, { cause });
  }
  const commands = left.map(({ command }) => command).join("; ");
  const text = `${message}; not all could be put back as it was`;
  return new PollmodeError("HUGEPAGES_NOT_RESTORED", text, `${fix}; then, as root: ${commands}`, { cause });
}
