// Hardware counters: perf_event_open(2), for those of devices outside the CPU, which count for the whole machine.
// include/uapi/linux/perf_event.h.
import * as abi from "./abi.ts";
import { check, libc } from "./native.ts";

const ALL_PROCESSES = -1;
const NO_GROUP = -1;
const readFormat = abi.PERF_FORMAT_TOTAL_TIME_ENABLED | abi.PERF_FORMAT_TOTAL_TIME_RUNNING;

const open = libc.func("int64_t syscall(int64_t, void *, int, int, int, unsigned long)");
const read = libc.func("int64_t read(int, void *, size_t)");

export interface PerfEvent {
  /** The counting unit's number: `type` of its folder in sysfs. */
  readonly type: number;
  readonly config: bigint;
  readonly config1: bigint;
  readonly config2: bigint;
}

/** Starts to count on a CPU, for all processes; the fd is closed by close(2). Root, or CAP_PERFMON. */
export function perfEventOpen(event: PerfEvent, cpu: number): number {
  const attr = Buffer.alloc(abi.PERF_ATTR_SIZE_VER1);
  attr.writeUInt32LE(event.type, abi.PERF_ATTR_TYPE);
  attr.writeUInt32LE(abi.PERF_ATTR_SIZE_VER1, abi.PERF_ATTR_SIZE);
  attr.writeBigUInt64LE(event.config, abi.PERF_ATTR_CONFIG);
  attr.writeBigUInt64LE(BigInt(readFormat), abi.PERF_ATTR_READ_FORMAT);
  attr.writeBigUInt64LE(event.config1, abi.PERF_ATTR_CONFIG1);
  attr.writeBigUInt64LE(event.config2, abi.PERF_ATTR_CONFIG2);
  const fd = open(abi.SYS_perf_event_open, attr, ALL_PROCESSES, cpu, NO_GROUP, abi.PERF_FLAG_FD_CLOEXEC);
  return check(
    Number(fd),
    "perf_event_open",
    `type ${event.type}, config 0x${event.config.toString(16)}, CPU ${cpu}`,
  );
}

/**
 * What was counted since it was opened. A unit with fewer counters than events lets them take turns: then it is what
 * the count would be for the whole time.
 */
export function perfEventRead(fd: number): number {
  const bytes = Buffer.alloc(24);
  check(Number(read(fd, bytes, bytes.length)), "read", `perf event ${fd}`);
  const [value = 0, enabled = 0, running = 0] = [0, 8, 16].map((at) => Number(bytes.readBigUInt64LE(at)));
  return running === 0 ? 0 : value * (enabled / running);
}
