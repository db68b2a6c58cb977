// Failures of Node's file functions, as errors with a fix.

import { PollmodeError } from "../../src/errors.ts";
import { errnoName } from "../../src/libc/foreign.ts";

const FIXES: { [code: string]: string } = {
  ENOENT: "check the path; its folder must exist",
  EACCES: "give this user access to the file and its folder",
  EISDIR: "name a file in it",
  ENXIO: "start the program that reads the FIFO first",
  EROFS: "choose a file on another filesystem",
  ENOSPC: "free space on the filesystem",
  EFBIG: "raise the limit of file sizes: ulimit -f unlimited",
  EPIPE: "start the program that reads the FIFO again, then stop and start the port",
};

/** `cause`: what node:fs threw, or an errno. */
export function fileError(port: string, path: string, doing: string, cause: unknown): PollmodeError {
  const code =
    typeof cause === "number" ? errnoName(cause) : ((cause as NodeJS.ErrnoException).code ?? "EIO");
  const fix = FIXES[code] ?? "check the path and the filesystem (dmesg)";
  return new PollmodeError(code, `${port}: ${doing} ${path}: ${code}`, fix, { cause });
}
