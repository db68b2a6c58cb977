// Who has devices open: the programs whose files are nodes of VFIO, of iommufd or of UIO. A link of /proc/PID/fd names
// the node as the program's own mount namespace has it, so programs in containers are found too. Root sees all programs
// of its PID namespace, others their own alone.
import { KIB } from "../limits.ts";
import type { Machine } from "./machine.ts";

export interface Holder {
  readonly pid: number;
  /** /proc/PID/comm. */
  readonly name: string;
  /** Its command line; of a program that hides it, the name. */
  readonly command: string;
  /** Its effective user, by name where /etc/passwd has one. */
  readonly user: string;
  /** `/dev/vfio/7`, `/dev/uio0`, …: each once, sorted. */
  readonly nodes: readonly string[];
  /** VmLck: pages that it locked itself, and all that it has mapped for devices through /dev/vfio/vfio. */
  readonly lockedBytes: number;
  /** VmPin: pages mapped for devices through /dev/iommu, RDMA memory regions, buffers of io_uring. */
  readonly pinnedBytes: number;
  /** RLIMIT_MEMLOCK, which bounds VmLck unless the program has CAP_IPC_LOCK; undefined: without a limit. */
  readonly lockLimitBytes: number | undefined;
}

const deviceNode = /^\/dev\/(vfio\/.+|uio\d+|iommu)$/;

/** All programs that this user may look into, by pid. */
export function vfioHolders(machine: Machine): Holder[] {
  const pids = machine.list("/proc").filter((name) => /^\d+$/.test(name));
  const users = userNames(machine);
  return pids
    .flatMap((pid) => {
      const nodes = openNodes(machine, pid);
      return nodes.length > 0 ? [holder(machine, pid, nodes, users)] : [];
    })
    .sort((a, b) => a.pid - b.pid);
}

/** False: programs of other users may hold devices too, and cannot be seen. */
export function seesAllHolders(machine: Machine): boolean {
  return !machine.isReal || process.geteuid?.() === 0;
}

function openNodes(machine: Machine, pid: string): string[] {
  const folder = `/proc/${pid}/fd`;
  const targets = machine.list(folder).map((fd) => machine.linkTarget(`${folder}/${fd}`) ?? "");
  return [...new Set(targets.filter((target) => deviceNode.test(target)))].sort();
}

function holder(machine: Machine, pid: string, nodes: readonly string[], users: Map<string, string>): Holder {
  const text = (file: string) => machine.readText(`/proc/${pid}/${file}`) ?? "";
  const status = text("status");
  const bytes = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * KIB;
  const name = text("comm").trim() || "?";
  const limit = /^Max locked memory\s+(\S+)/m.exec(text("limits"))?.[1];
  // Uid: real, effective, saved, file system
  const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1] ?? "?";
  return {
    pid: Number(pid),
    name,
    command: text("cmdline").split("\0").join(" ").trim() || name,
    user: users.get(uid) ?? uid,
    nodes,
    lockedBytes: bytes("VmLck"),
    pinnedBytes: bytes("VmPin"),
    lockLimitBytes: limit === undefined || limit === "unlimited" ? undefined : Number(limit),
  };
}

function userNames(machine: Machine): Map<string, string> {
  const lines = (machine.readText("/etc/passwd") ?? "").split("\n").map((line) => line.split(":"));
  return new Map(lines.map(([name = "", , uid = ""]) => [uid, name]));
}
