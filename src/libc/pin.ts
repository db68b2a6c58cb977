// Pins pages of this process where they are. mlock(2) does not: locked pages stay in memory, but the kernel may move
// them. What does are io_uring's registered buffers (io_uring_register(2)): the kernel holds their pages by
// pin_user_pages(FOLL_LONGTERM), which page migration respects, as it does for VFIO and RDMA. The ring is never used.
import {
  IO_URING_PARAMS_BYTES,
  IORING_REGISTER_BUFFERS,
  IORING_UNREGISTER_BUFFERS,
  IOV_BASE,
  IOV_LEN,
  IOVEC_BYTES,
  SYS_io_uring_register,
  SYS_io_uring_setup,
} from "./abi.ts";
import { close } from "./libc.ts";
import { check, libc } from "./native.ts";

const ALLOW =
  "echo 0 > /proc/sys/kernel/io_uring_disabled; in a container, let its seccomp profile allow io_uring_setup and " +
  "io_uring_register";
/** No buffer may be larger (io_buffer_validate). */
const BUFFER_BYTES_MAX = 1 << 30;

// Fixed arguments where C has variadic ones: the same registers on x86-64.
const setup = libc.func("int64_t syscall(int64_t, unsigned int, void *)");
const register = libc.func("int64_t syscall(int64_t, int, unsigned int, void *, unsigned int)");

/**
 * Pins anonymous or hugetlb memory until unpin(), or until the process ends. Returns an fd. Errors: EPERM, ENOSYS,
 * EACCES (io_uring is off or forbidden), ENOMEM (RLIMIT_MEMLOCK; CAP_IPC_LOCK is above it).
 */
export function pin(address: bigint, bytes: number): number {
  const params = Buffer.alloc(IO_URING_PARAMS_BYTES); // all zero asks for nothing special
  const fd = check(Number(setup(SYS_io_uring_setup, 1, params)), "io_uring_setup", "1 entry", ALLOW);
  const count = Math.ceil(bytes / BUFFER_BYTES_MAX);
  const iovecs = Buffer.alloc(count * IOVEC_BYTES);
  for (let k = 0; k < count; k++) {
    const start = k * BUFFER_BYTES_MAX;
    iovecs.writeBigUInt64LE(address + BigInt(start), k * IOVEC_BYTES + IOV_BASE);
    iovecs.writeBigUInt64LE(BigInt(Math.min(BUFFER_BYTES_MAX, bytes - start)), k * IOVEC_BYTES + IOV_LEN);
  }
  try {
    const result = register(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, iovecs, count);
    check(Number(result), "io_uring_register IORING_REGISTER_BUFFERS", `${bytes} bytes`);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Of what pin() returned. Closing the fd alone would give the pages back some time later. */
export function unpin(fd: number): void {
  try {
    const result = register(SYS_io_uring_register, fd, IORING_UNREGISTER_BUFFERS, null, 0);
    check(Number(result), "io_uring_register IORING_UNREGISTER_BUFFERS", `fd ${fd}`);
  } finally {
    close(fd);
  }
}
