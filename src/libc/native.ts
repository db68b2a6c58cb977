// Loads libc. Everything else declares its functions on this handle, and turns a failed call into a PollmodeError.
import koffi from "koffi";
import { PollmodeError } from "../errors.ts";
import { errnoName, errnoText } from "./foreign.ts";

/** The process's own functions: libc's, or those of a library that was preloaded before it, as a test's device is. */
export const libc = koffi.load(null);

/** What mends a failure, where the errno alone says it. Callers that know more say more. */
const fixes: Record<string, string> = {
  EACCES: "run as root, or give this user access to it",
  EPERM: "run as root, or with the capability that it needs",
  ENOENT: "check that the path exists",
  ENAMETOOLONG: "choose a shorter path",
  ENOMEM: "free memory, or raise the limits (ulimit -l, ulimit -v)",
  EMFILE: "raise the limit of open files: ulimit -n 65536",
  ENFILE: "raise the system's limit of open files: sysctl fs.file-max",
  ECONNREFUSED: "start the program that listens there",
  EADDRINUSE: "stop the program that uses it, or choose another",
  EPIPE: "start the peer again: it has closed the connection",
  ECONNRESET: "start the peer again: it has closed the connection",
  EBUSY: "stop the program that uses it",
  ENODEV: "check that the kernel has a driver for it",
  ENOSYS: "use a newer kernel",
};

const genericFix = "check the values named here; if they are right, report a bug of pollmode";

export function systemError(call: string, what: string, errno: number, fix?: string): PollmodeError {
  const name = errnoName(errno);
  const message = `${call}(${what}): ${name}, ${errnoText(errno)}`;
  return new PollmodeError(name, message, fix ?? fixes[name] ?? genericFix);
}

/** errno of the call that has just failed on this thread. After a success it is stale. */
export function lastErrno(): number {
  return koffi.errno();
}

/** Throws if `result` is a call's -1; `what` names the thing that it was about. */
export function check(result: number, call: string, what: string, fix?: string): number {
  if (result === -1) throw systemError(call, what, lastErrno(), fix);
  return result;
}

/** Where a view's first byte lies in the process; also of views of a SharedArrayBuffer. */
export function addressOf(view: ArrayBufferView): bigint {
  return koffi.address(view);
}
