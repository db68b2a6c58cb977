// The kernel's log: /dev/kmsg, or where it may not be read, what a logging daemon made of it.
import { closeSync, constants, openSync, readSync, statSync } from "node:fs";
import type { Machine } from "../devices/machine.ts";

/** One record of /dev/kmsg has at most CONSOLE_EXT_LOG_MAX bytes (Linux, include/linux/printk.h). */
const RECORD_BYTES = 8192;
/** As many as the largest log that is usual has. */
const RECORDS_MAX = 100_000;

/** Messages, the oldest first; undefined where this user may not read any. A recorded machine has them in a file. */
export function kernelLog(machine: Machine): string[] | undefined {
  const path = machine.path("/dev/kmsg");
  const isDevice = statSync(path, { throwIfNoEntry: false })?.isCharacterDevice() ?? false;
  const records = isDevice ? readRecords(path) : undefined;
  if (records) return records;
  const files = [
    ...(isDevice ? [] : ["/dev/kmsg"]),
    "/var/log/kern.log",
    "/var/log/dmesg",
    "/var/log/messages",
  ];
  const text = files.map((file) => machine.readText(file)).find((text) => text !== undefined);
  return text?.split("\n").map(withoutPrefix);
}

/**
 * Each read gives one record, "6,1234,5678,-;message" with further lines after it, and fails with EAGAIN at the end.
 * Documentation/ABI/testing/dev-kmsg of the kernel.
 */
function readRecords(path: string): string[] | undefined {
  const lines: string[] = [];
  const record = Buffer.alloc(RECORD_BYTES);
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    for (let k = 0; k < RECORDS_MAX; k++) {
      const bytes = readRecord(fd, record);
      if (bytes === undefined) continue;
      if (bytes === 0) break;
      lines.push(...record.toString("latin1", 0, bytes).split("\n").map(withoutPrefix));
    }
    return lines;
  } finally {
    closeSync(fd);
  }
}

/** 0: that was all. Undefined: records were overwritten before they were read. */
function readRecord(fd: number, record: Buffer): number | undefined {
  try {
    return readSync(fd, record);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPIPE" ? undefined : 0;
  }
}

const withoutPrefix = (line: string) => line.replace(/^\d+,\d+,\d+,[^;]*;/, "");
