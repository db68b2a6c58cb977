// The numbers in abi.ts, against what the C compiler makes of the system's headers.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import * as abi from "../../src/libc/abi.ts";

const gcc = spawnSync("gcc", ["--version"]).status === 0;

/** Ours that C spells in another way; the others have C's name. */
const expressions: Record<string, string> = {
  MFD_HUGE_2MB: "21 << MFD_HUGE_SHIFT",
  MAP_FAILED: "(uintptr_t)MAP_FAILED",
  SOCKADDR_UN_BYTES: "sizeof(struct sockaddr_un)",
  SUN_PATH: "offsetof(struct sockaddr_un, sun_path)",
  SUN_PATH_MAX: "sizeof(((struct sockaddr_un *)0)->sun_path) - 1",
  IOVEC_BYTES: "sizeof(struct iovec)",
  IOV_BASE: "offsetof(struct iovec, iov_base)",
  IOV_LEN: "offsetof(struct iovec, iov_len)",
  MSGHDR_BYTES: "sizeof(struct msghdr)",
  MSG_IOV: "offsetof(struct msghdr, msg_iov)",
  MSG_IOVLEN: "offsetof(struct msghdr, msg_iovlen)",
  MSG_CONTROL: "offsetof(struct msghdr, msg_control)",
  MSG_CONTROLLEN: "offsetof(struct msghdr, msg_controllen)",
  MSG_FLAGS: "offsetof(struct msghdr, msg_flags)",
  CMSGHDR_BYTES: "sizeof(struct cmsghdr)",
  CMSG_LEN: "offsetof(struct cmsghdr, cmsg_len)",
  CMSG_LEVEL: "offsetof(struct cmsghdr, cmsg_level)",
  CMSG_TYPE: "offsetof(struct cmsghdr, cmsg_type)",
  POLLFD_BYTES: "sizeof(struct pollfd)",
  POLLFD_EVENTS: "offsetof(struct pollfd, events)",
  POLLFD_REVENTS: "offsetof(struct pollfd, revents)",
  EPOLL_EVENT_BYTES: "sizeof(struct epoll_event)",
  IO_URING_PARAMS_BYTES: "sizeof(struct io_uring_params)",
  PERF_ATTR_TYPE: "offsetof(struct perf_event_attr, type)",
  PERF_ATTR_SIZE: "offsetof(struct perf_event_attr, size)",
  PERF_ATTR_CONFIG: "offsetof(struct perf_event_attr, config)",
  PERF_ATTR_READ_FORMAT: "offsetof(struct perf_event_attr, read_format)",
  PERF_ATTR_CONFIG1: "offsetof(struct perf_event_attr, config1)",
  PERF_ATTR_CONFIG2: "offsetof(struct perf_event_attr, config2)",
  CPU_SET_BYTES: "sizeof(cpu_set_t)",
  CPUS_MAX: "CPU_SETSIZE",
};

const headers =
  "errno fcntl poll sched stdint stdio stddef sys/epoll sys/eventfd sys/file sys/mman sys/socket sys/syscall " +
  "sys/uio sys/un linux/io_uring linux/memfd linux/perf_event";

t.test("abi.ts has C's numbers", { skip: !gcc && "no gcc" }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-abi-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const names = Object.keys(abi);
  const lines = names.map((name) => `  printf("%lu\\n", (unsigned long)(${expressions[name] ?? name}));`);
  const includes = headers.split(" ").map((header) => `#include <${header}.h>`);
  const source = ["#define _GNU_SOURCE", ...includes, "int main(void) {", ...lines, "  return 0;", "}", ""];
  writeFileSync(join(folder, "abi.c"), source.join("\n"));
  execFileSync("gcc", ["-o", join(folder, "abi"), join(folder, "abi.c")]);
  const values = execFileSync(join(folder, "abi"), { encoding: "utf8" }).trim().split("\n");
  const ours = Object.entries(abi).map(([name, value]) => `${name} ${BigInt(value)}`);
  t.same(
    ours,
    names.map((name, at) => `${name} ${values[at]}`),
  );
});
