// The system calls that hot code makes itself (mem.ts): on files, sockets and TAPs whose fds stand in queue blocks.
// They do not throw: a failure is -errno, as the kernel itself has it.
import type { FileCalls } from "../hot/engine.ts";
import { MSG_DONTWAIT } from "./abi.ts";
import { addressOf, lastErrno, libc } from "./native.ts";

// Addresses as numbers: a BigInt for `void *` costs 15 % of a call more. User space ends at 2^47.
const c = {
  read: libc.func("int64_t read(int, int64_t, size_t)"),
  write: libc.func("int64_t write(int, int64_t, size_t)"),
  readv: libc.func("int64_t readv(int, int64_t, int)"),
  writev: libc.func("int64_t writev(int, int64_t, int)"),
  send: libc.func("int64_t send(int, int64_t, size_t, int)"),
  lseek: libc.func("int64_t lseek(int, int64_t, int)"),
};
const SEEK_SET = 0;

/** The calls over an arena's memory. Offsets come from WebAssembly as signed numbers. */
export function hotFiles(memory: { readonly buffer: SharedArrayBuffer }): FileCalls {
  const base = Number(addressOf(new Uint8Array(memory.buffer)));
  const result = (value: number | bigint) => (value < 0 ? -lastErrno() : Number(value));
  return {
    fdRead: (fd, p, n) => result(c.read(fd, base + (p >>> 0), n >>> 0)),
    fdWrite: (fd, p, n) => result(c.write(fd, base + (p >>> 0), n >>> 0)),
    fdReadv: (fd, p, n) => result(c.readv(fd, base + (p >>> 0), n)),
    fdWritev: (fd, p, n) => result(c.writev(fd, base + (p >>> 0), n)),
    fdSend: (fd) => (c.send(fd, 0, 0, MSG_DONTWAIT) < 0 ? -lastErrno() : 0),
    fdRewind: (fd) => (c.lseek(fd, 0, SEEK_SET) < 0 ? -lastErrno() : 0),
  };
}
