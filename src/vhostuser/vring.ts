// What the back-end knows of one ring, and whether that is enough, and sound, to start it.
import { readlinkSync } from "node:fs";
import { PollmodeError } from "../errors.ts";
import { close, setNonblocking } from "../libc/libc.ts";
import { PACKED_WRAP, VRING_SIZE_MAX, type VringAddresses } from "./protocol.ts";
import { peerFix } from "./socket.ts";

/** A ring that is to be started. Its fds are the back-end's: open until `vringStopped` or `callChanged` has settled. */
export interface BackendVring extends VringAddresses {
  index: number;
  size: number;
  /** As SET_VRING_BASE gave it. Packed: bits 16-31 may hold the used position in the same form, or be 0. */
  base: number;
  packed: boolean;
  /** Without one the driver does not kick: poll. */
  kickFd: number | undefined;
  /** Without one the driver wants no interrupts. */
  callFd: number | undefined;
}

/** Bytes of a descriptor, split and packed; of a used element; of a packed ring's event suppression. */
const descriptorBytes = 16n;
const usedBytes = 8n;
const eventBytes = 4n;

export class Vring {
  readonly index: number;
  size = 0;
  /** Undefined: SET_VRING_BASE has not come yet. */
  base: number | undefined;
  addresses: VringAddresses | undefined;
  /** SET_VRING_KICK has come, with an fd or with "poll": the ring is started ("Ring states"). */
  kicked = false;
  kickFd: number | undefined;
  callFd: number | undefined;
  errFd: number | undefined;
  /** SET_VRING_ENABLE's; it counts only if PROTOCOL_FEATURES was agreed upon. */
  enabled = false;
  running = false;

  constructor(index: number) {
    this.index = index;
  }

  /** Everything that it takes has come. */
  get complete(): boolean {
    return this.kicked && this.size > 0 && this.base !== undefined && this.addresses !== undefined;
  }

  /** The ring as its owner gets it; throws if the peer's values cannot be a ring. */
  describe(name: string, packed: boolean): BackendVring {
    const { index, size, kickFd, callFd } = this;
    const vring = { index, size, base: this.base!, packed, kickFd, callFd, ...this.addresses! };
    const problem =
      sizeProblem(size, packed) ??
      (packed ? packedProblem(vring) : splitProblem(vring)) ??
      baseProblem(vring);
    if (problem)
      throw new PollmodeError("VHOST_RING", `vhost-user ${name}: ring ${index}: ${problem}`, peerFix);
    return vring;
  }

  /** Back to "stopped" until the next SET_VRING_KICK. */
  unkick(): void {
    this.kicked = false;
    if (this.kickFd !== undefined) close(this.kickFd);
    this.kickFd = undefined;
  }

  closeFds(): void {
    this.unkick();
    for (const fd of [this.callFd, this.errFd]) if (fd !== undefined) close(fd);
    this.callFd = this.errFd = undefined;
  }
}

/** VIRTIO 1.2, 2.7: a split ring's size is a power of two; 2.8.10.1: a packed one's need not be. */
export function sizeProblem(size: number, packed: boolean): string | undefined {
  if (size < 1 || size > VRING_SIZE_MAX) return `size ${size}, it must be 1 to ${VRING_SIZE_MAX}`;
  if (!packed && (size & (size - 1)) !== 0) return `size ${size}, a split ring's must be a power of two`;
  return undefined;
}

/** VIRTIO 1.2, 2.7: descriptors 16-byte, available 2-byte, used 4-byte aligned. */
function splitProblem({ desc, avail, used, size }: BackendVring): string | undefined {
  const entries = BigInt(size);
  return (
    partProblem("descriptors", desc, 16n, descriptorBytes * entries) ??
    partProblem("available ring", avail, 2n, 6n + 2n * entries) ??
    partProblem("used ring", used, 4n, 6n + usedBytes * entries)
  );
}

/** VIRTIO 1.2, 2.8.10.1: descriptors 16-byte, event suppression areas 4-byte aligned. */
function packedProblem({ desc, avail, used, size }: BackendVring): string | undefined {
  return (
    partProblem("descriptors", desc, 16n, descriptorBytes * BigInt(size)) ??
    partProblem("driver area", avail, 4n, eventBytes) ??
    partProblem("device area", used, 4n, eventBytes)
  );
}

function partProblem(part: string, address: bigint, align: bigint, bytes: bigint): string | undefined {
  const where = `${part} at 0x${address.toString(16)}`;
  if (address % align !== 0n) return `${where}, not a multiple of ${align}`;
  if (address + bytes > 1n << 64n) return `${where}, ${bytes} bytes, overflow`;
  return undefined;
}

function baseProblem({ base, size, packed }: BackendVring): string | undefined {
  if (!packed) return base > 0xffff ? `base ${base}, a split ring's has 16 bits` : undefined;
  const position = Math.max(base & 0x7fff, (base >>> 16) & 0x7fff);
  return position >= size ? `base 0x${base.toString(16)} lies outside its ${size} entries` : undefined;
}

/** Where a ring begins that was never used. */
export function freshBase(packed: boolean): number {
  return packed ? PACKED_WRAP : 0;
}

/**
 * A kick or call fd has to be an eventfd, and non-blocking: a write to a full pipe or eventfd that blocks would stop
 * the lcore. The flag belongs to the open file, which the peer shares, so a hostile one could still take it back.
 */
export function checkEventfd(name: string, what: string, fd: number): void {
  const link = readlinkSync(`/proc/self/fd/${fd}`);
  if (link !== "anon_inode:[eventfd]") {
    throw new PollmodeError(
      "VHOST_FD",
      `vhost-user ${name}: ${what}: its fd is ${link}, no eventfd`,
      peerFix,
    );
  }
  setNonblocking(fd);
}
