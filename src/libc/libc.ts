// libc's calls as typed functions. Each throws a PollmodeError whose code is the errno's name. Any thread may call.
import { fstatSync } from "node:fs";
import { PollmodeError } from "../errors.ts";
import {
  CPU_SET_BYTES,
  CPUS_MAX,
  EAGAIN,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EINTR,
  F_ADD_SEALS,
  F_DUPFD_CLOEXEC,
  F_GET_SEALS,
  F_GETFL,
  F_SETFL,
  MADV_POPULATE_WRITE,
  MAP_FAILED,
  MAP_FIXED,
  O_NONBLOCK,
  POLLFD_BYTES,
  POLLFD_EVENTS,
  POLLFD_REVENTS,
} from "./abi.ts";
import { check, lastErrno, libc, systemError } from "./native.ts";

export { addressOf } from "./native.ts";
export {
  accept,
  bindUnix,
  connectUnixSocket,
  listen,
  type Received,
  recvmsg,
  sendmsg,
  shutdown,
  socketpair,
  unixSocket,
} from "./unix.ts";

// Fixed arguments where C has variadic ones: faster, and the same registers on x86-64.
const c = {
  mmap: libc.func("void *mmap(void *, size_t, int, int, int, int64_t)"),
  munmap: libc.func("int munmap(void *, size_t)"),
  madvise: libc.func("int madvise(void *, size_t, int)"),
  memfdCreate: libc.func("int memfd_create(const char *, unsigned int)"),
  ftruncate: libc.func("int ftruncate(int, int64_t)"),
  fcntl: libc.func("int fcntl(int, int, int64_t)"),
  flock: libc.func("int flock(int, int)"),
  eventfd: libc.func("int eventfd(unsigned int, int)"),
  read: libc.func("int64_t read(int, void *, size_t)"),
  write: libc.func("int64_t write(int, void *, size_t)"),
  close: libc.func("int close(int)"),
  poll: libc.func("int poll(void *, unsigned long, int)"),
  gettid: libc.func("int gettid()"),
  setAffinity: libc.func("int sched_setaffinity(int, size_t, void *)"),
  getAffinity: libc.func("int sched_getaffinity(int, size_t, void *)"),
};

/** Where a mapping is to go; 0 lets the kernel choose. */
function map(
  address: bigint,
  length: number,
  prot: number,
  flags: number,
  fd: number,
  offset: number,
): bigint {
  const at: bigint | null = c.mmap(address, length, prot, flags, fd, offset);
  if (at !== MAP_FAILED && at !== null) return at;
  const how = `prot ${prot}, flags 0x${flags.toString(16)}, fd ${fd} from ${offset}`;
  throw systemError("mmap", `0x${address.toString(16)}, ${length} bytes, ${how}`, lastErrno());
}

export function mmap(length: number, prot: number, flags: number, fd: number, offset = 0): bigint {
  return map(0n, length, prot, flags, fd, offset);
}

/** Replaces whatever lies at `address`: the caller has to know that the range is its own. */
export function mmapFixed(
  address: bigint,
  length: number,
  prot: number,
  flags: number,
  fd: number,
  offset = 0,
): bigint {
  return map(address, length, prot, flags | MAP_FIXED, fd, offset);
}

export function munmap(address: bigint, length: number): void {
  check(c.munmap(address, length), "munmap", `0x${address.toString(16)}, ${length} bytes`);
}

export function madvise(address: bigint, length: number, advice: number): void {
  const what = `0x${address.toString(16)}, ${length} bytes, advice ${advice}`;
  check(c.madvise(address, length, advice), "madvise", what);
}

/**
 * Has the kernel bring in the pages of a range on a thread of libuv's pool, without changing what is in them. Resolves
 * when that is done, or cannot be (a kernel before 5.14): then the first access brings each page in.
 */
export function populateAsync(address: bigint, length: number): Promise<void> {
  return new Promise((resolve) => c.madvise.async(address, length, MADV_POPULATE_WRITE, () => resolve()));
}

export function memfdCreate(name: string, flags: number): number {
  return check(c.memfdCreate(name, flags), "memfd_create", `${name}, flags 0x${flags.toString(16)}`);
}

export function ftruncate(fd: number, length: number): void {
  check(c.ftruncate(fd, length), "ftruncate", `fd ${fd}, ${length} bytes`);
}

/** Bytes of the regular file `fd`; undefined if it is something else (a device, a socket, an eventfd). */
export function fileSize(fd: number): number | undefined {
  try {
    const stat = fstatSync(fd);
    return stat.isFile() ? stat.size : undefined;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "EBADF";
    throw new PollmodeError(code, `fstat(fd ${fd}): ${code}`, "pass an open file", { cause });
  }
}

export function addSeals(fd: number, seals: number): void {
  check(c.fcntl(fd, F_ADD_SEALS, seals), "fcntl F_ADD_SEALS", `fd ${fd}, seals 0x${seals.toString(16)}`);
}

export function getSeals(fd: number): number {
  return check(c.fcntl(fd, F_GET_SEALS, 0), "fcntl F_GET_SEALS", `fd ${fd}`);
}

/** Of the open file, so for everyone who shares it. */
export function setNonblocking(fd: number): void {
  const flags = check(c.fcntl(fd, F_GETFL, 0), "fcntl F_GETFL", `fd ${fd}`);
  if ((flags & O_NONBLOCK) === 0)
    check(c.fcntl(fd, F_SETFL, flags | O_NONBLOCK), "fcntl F_SETFL", `fd ${fd}`);
}

/** LOCK_EX, LOCK_SH or LOCK_UN, with LOCK_NB: false if another holds the lock. */
export function flock(fd: number, operation: number): boolean {
  if (c.flock(fd, operation) === 0) return true;
  const errno = lastErrno();
  if (errno === EAGAIN) return false;
  throw systemError("flock", `fd ${fd}, operation ${operation}`, errno);
}

/** The lowest free fd that is at least `least`. */
export function dup(fd: number, least = 0): number {
  return check(c.fcntl(fd, F_DUPFD_CLOEXEC, least), "fcntl F_DUPFD_CLOEXEC", `fd ${fd}, at least ${least}`);
}

export function close(fd: number): void {
  check(c.close(fd), "close", `fd ${fd}`);
}

export function eventfd(initial = 0, flags = EFD_CLOEXEC | EFD_NONBLOCK): number {
  return check(c.eventfd(initial, flags), "eventfd", `${initial}, flags 0x${flags.toString(16)}`);
}

/** Adds `value`; false if the counter is full (whoever waits is awake then anyway). */
export function eventfdWrite(fd: number, value = 1n): boolean {
  const bytes = new BigUint64Array([value]);
  if (Number(c.write(fd, bytes, 8)) === 8) return true;
  const errno = lastErrno();
  if (errno === EAGAIN) return false;
  throw systemError("write", `eventfd ${fd}`, errno);
}

/** Reads the counter and sets it to 0; 0n if it was 0. */
export function eventfdDrain(fd: number): bigint {
  const bytes = new BigUint64Array(1);
  if (Number(c.read(fd, bytes, 8)) === 8) return bytes[0]!;
  const errno = lastErrno();
  if (errno === EAGAIN) return 0n;
  throw systemError("read", `eventfd ${fd}`, errno);
}

/** The calling thread's id, which /proc/self/task lists. */
export function gettid(): number {
  return c.gettid();
}

/** Lets the calling thread run on these CPUs alone. */
export function pinThread(cpus: readonly number[]): void {
  const mask = new Uint8Array(CPU_SET_BYTES);
  for (const cpu of cpus) {
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= CPUS_MAX) {
      throw new PollmodeError("EINVAL", `sched_setaffinity: no CPU ${cpu}`, `use CPUs 0 to ${CPUS_MAX - 1}`);
    }
    mask[cpu >> 3]! |= 1 << (cpu & 7);
  }
  const fix = "use CPUs that are online and that this process may use (taskset -p, cpuset cgroup)";
  check(c.setAffinity(0, CPU_SET_BYTES, mask), "sched_setaffinity", `CPUs ${cpus.join(",")}`, fix);
}

/** The CPUs that the calling thread may run on. */
export function threadCpus(): number[] {
  const mask = new Uint8Array(CPU_SET_BYTES);
  check(c.getAffinity(0, CPU_SET_BYTES, mask), "sched_getaffinity", "this thread");
  return Array.from({ length: CPUS_MAX }, (_, cpu) => cpu).filter(
    (cpu) => (mask[cpu >> 3]! >> (cpu & 7)) & 1,
  );
}

export interface PollRequest {
  fd: number;
  events: number;
}

/** struct pollfd[], at least one long so that it has an address. */
export function pollfds(requests: readonly PollRequest[]): Buffer {
  const bytes = Buffer.alloc(Math.max(1, requests.length) * POLLFD_BYTES);
  requests.forEach(({ fd, events }, at) => {
    bytes.writeInt32LE(fd, at * POLLFD_BYTES);
    bytes.writeInt16LE(events, at * POLLFD_BYTES + POLLFD_EVENTS);
  });
  return bytes;
}

export function revents(pollfds: Buffer, at: number): number {
  return pollfds.readInt16LE(at * POLLFD_BYTES + POLLFD_REVENTS);
}

/** Waits on the calling thread; returns each fd's revents. A signal counts as "nothing happened". */
export function poll(requests: readonly PollRequest[], timeoutMs: number): number[] {
  const fds = pollfds(requests);
  const ready = c.poll(fds, requests.length, timeoutMs);
  if (ready === -1 && lastErrno() !== EINTR) throw systemError("poll", `${requests.length} fds`, lastErrno());
  return requests.map((_, at) => (ready > 0 ? revents(fds, at) : 0));
}

/**
 * poll(2) on a thread of libuv's pool. `fds` must live, and its fds stay open, until `done` is called: with poll's
 * result, where a failure is -1 (its errno belongs to the other thread and is not told).
 */
export function pollAsync(
  fds: Buffer,
  count: number,
  timeoutMs: number,
  done: (ready: number) => void,
): void {
  c.poll.async(fds, count, timeoutMs, (error: unknown, ready: number) => done(error ? -1 : ready));
}
