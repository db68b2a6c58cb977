// What the kernel lets this process do with RDMA devices: capabilities, the user namespace, memory it may pin.
import { readFileSync } from "node:fs";
import { KIB } from "../../limits.ts";

export interface Rights {
  /** RLIMIT_MEMLOCK as ib_umem_get (drivers/infiniband/core/umem.c) applies it; Infinity with CAP_IPC_LOCK. */
  readonly pinLimitBytes: number;
  /** Pinned already; ib_umem_get counts apart from what mlock and VFIO count. */
  readonly pinnedBytes: number;
  readonly hasNetRaw: boolean;
  /** The kernel asks for its capabilities in the first user namespace; a rootless container's are worth nothing. */
  readonly inFirstUserNamespace: boolean;
}

// linux/capability.h
const CAP_NET_RAW = 13;
const CAP_IPC_LOCK = 14;

const ALL_IDS = /^\s*0\s+0\s+4294967295\s*$/;

export function processRights(proc = "/proc"): Rights {
  const read = (file: string) => {
    try {
      return readFileSync(`${proc}/self/${file}`, "utf8");
    } catch {
      return ""; // no /proc: then no more can be said than the errno
    }
  };
  const status = read("status");
  const effective = BigInt(`0x${/^CapEff:\s+([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  const can = (capability: number) => ((effective >> BigInt(capability)) & 1n) === 1n;
  const limit = /^Max locked memory\s+(\d+)/m.exec(read("limits"))?.[1];
  const pinned = /^VmPin:\s+(\d+) kB/m.exec(status)?.[1];
  const map = read("uid_map");
  return {
    pinLimitBytes: limit === undefined || can(CAP_IPC_LOCK) ? Infinity : Number(limit),
    pinnedBytes: Number(pinned ?? 0) * KIB,
    hasNetRaw: can(CAP_NET_RAW),
    inFirstUserNamespace: map === "" || ALL_IDS.test(map),
  };
}
