// Other network namespaces than the process's own: a socket stays in the one that it was made in.
import { closeSync, openSync } from "node:fs";
import { check, libc } from "./native.ts";

/** linux/sched.h. */
const CLONE_NEWNET = 0x4000_0000;

const c = { setns: libc.func("int setns(int, int)") };

/**
 * Runs `make` with this thread, and no other one of the process, in the network namespace that `fd` is of; it must not
 * wait for anything. Errors: EPERM, of users but root.
 */
export function inNetworkNamespace<T>(fd: number, what: string, make: () => T): T {
  const own = openSync("/proc/thread-self/ns/net", "r");
  try {
    check(c.setns(fd, CLONE_NEWNET), "setns", what);
    try {
      return make();
    } finally {
      check(c.setns(own, CLONE_NEWNET), "setns", "back to the process's own network namespace");
    }
  } finally {
    closeSync(own);
  }
}
