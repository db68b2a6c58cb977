// Linux x86-64 numbers, as the kernel's and glibc's headers give them. test/libc/abi.test.ts asks a C compiler.

// <sys/mman.h>: asm-generic/mman-common.h
export const PROT_READ = 0x1;
export const PROT_WRITE = 0x2;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MAP_POPULATE = 0x8000;
export const MADV_DONTNEED = 4;
export const MADV_HUGEPAGE = 14;
/** Linux 5.14 and later. */
export const MADV_POPULATE_WRITE = 23;
/** mmap's failure, as koffi returns a `void *`. */
export const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

// linux/memfd.h
export const MFD_CLOEXEC = 0x1;
export const MFD_ALLOW_SEALING = 0x2;
export const MFD_HUGETLB = 0x4;
/** log2(2 MiB) << MFD_HUGE_SHIFT. */
export const MFD_HUGE_2MB = 21 << 26;

// fcntl.h, linux/fcntl.h
export const F_GETFL = 3;
export const F_SETFL = 4;
export const F_DUPFD_CLOEXEC = 1030;
export const F_ADD_SEALS = 1033;
export const F_GET_SEALS = 1034;
export const F_SEAL_SEAL = 0x1;
export const F_SEAL_SHRINK = 0x2;
export const F_SEAL_GROW = 0x4;
export const F_SEAL_WRITE = 0x8;
export const O_NONBLOCK = 0x800;

// <sys/file.h>
export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;

// <sys/eventfd.h>
export const EFD_NONBLOCK = 0x800;
export const EFD_CLOEXEC = 0x80000;

// <sys/socket.h>
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = 0x800;
export const SOCK_CLOEXEC = 0x80000;
export const SOL_SOCKET = 1;
export const SCM_RIGHTS = 1;
export const MSG_PEEK = 0x2;
export const MSG_CTRUNC = 0x8;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CMSG_CLOEXEC = 0x4000_0000;
export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

/** struct sockaddr_un: u16 family, then the path with its NUL. */
export const SOCKADDR_UN_BYTES = 110;
export const SUN_PATH = 2;
/** The longest path, without its NUL. */
export const SUN_PATH_MAX = SOCKADDR_UN_BYTES - SUN_PATH - 1;

/** struct iovec { void *base; size_t len; } */
export const IOVEC_BYTES = 16;
export const IOV_BASE = 0;
export const IOV_LEN = 8;

/** struct msghdr: the fields used here. */
export const MSGHDR_BYTES = 56;
export const MSG_IOV = 16;
export const MSG_IOVLEN = 24;
export const MSG_CONTROL = 32;
export const MSG_CONTROLLEN = 40;
export const MSG_FLAGS = 48;

/** struct cmsghdr { size_t len; int level; int type; }, then the data; the next one starts 8-byte aligned. */
export const CMSGHDR_BYTES = 16;
export const CMSG_LEN = 0;
export const CMSG_LEVEL = 8;
export const CMSG_TYPE = 12;

/** struct pollfd { int fd; short events; short revents; } */
export const POLLFD_BYTES = 8;
export const POLLFD_EVENTS = 4;
export const POLLFD_REVENTS = 6;
export const POLLIN = 0x1;
export const POLLOUT = 0x4;
export const POLLERR = 0x8;
export const POLLHUP = 0x10;
export const POLLNVAL = 0x20;

// <sys/epoll.h>: linux/eventpoll.h
export const EPOLL_CLOEXEC = 0x80000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLLIN = 0x1;
export const EPOLLET = 0x8000_0000;
/** struct epoll_event { u32 events; u64 data; }, packed on x86-64. */
export const EPOLL_EVENT_BYTES = 12;

// linux/io_uring.h, sys/syscall.h: libc has no functions for these
export const SYS_io_uring_setup = 425;
export const SYS_io_uring_register = 427;
export const IORING_REGISTER_BUFFERS = 0;
export const IORING_UNREGISTER_BUFFERS = 1;
export const IO_URING_PARAMS_BYTES = 120;

// linux/perf_event.h; of struct perf_event_attr the fields used here
export const SYS_perf_event_open = 298;
export const PERF_ATTR_SIZE_VER1 = 72;
export const PERF_ATTR_TYPE = 0;
export const PERF_ATTR_SIZE = 4;
export const PERF_ATTR_CONFIG = 8;
export const PERF_ATTR_READ_FORMAT = 32;
export const PERF_ATTR_CONFIG1 = 56;
export const PERF_ATTR_CONFIG2 = 64;
export const PERF_FORMAT_TOTAL_TIME_ENABLED = 1;
export const PERF_FORMAT_TOTAL_TIME_RUNNING = 2;
export const PERF_FLAG_FD_CLOEXEC = 8;

/** cpu_set_t: 1024 bits. */
export const CPU_SET_BYTES = 128;
export const CPUS_MAX = CPU_SET_BYTES * 8;

// errno-base.h, errno.h: those that are told apart by number. Names for people come from libc (foreign.ts).
export const EINTR = 4;
export const EAGAIN = 11;
export const ECONNABORTED = 103;
