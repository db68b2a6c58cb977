// --file-prefix: a directory that one engine at a time has, locked by flock(2), which the kernel gives up when the
// process ends, however it ends. So a killed process's leftovers never block the next start.
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PollmodeError } from "../errors.ts";
import { LOCK_EX, LOCK_NB } from "../libc/abi.ts";
import { atExit } from "../libc/at-exit.ts";
import { flock } from "../libc/libc.ts";

/** As DPDK: /var/run for root, else $XDG_RUNTIME_DIR, else /tmp. */
function base(): string {
  if (process.getuid?.() === 0) return "/var/run/pollmode";
  return join(process.env.XDG_RUNTIME_DIR ?? "/tmp", "pollmode");
}

/** The directory of the engine with this --file-prefix. */
export function runtimePath(prefix: string): string {
  return join(base(), prefix);
}

export class RuntimeDir {
  readonly path: string;
  private readonly lock: number;

  private constructor(path: string, lock: number) {
    this.path = path;
    this.lock = lock;
  }

  static acquire(prefix: string): RuntimeDir {
    const path = runtimePath(prefix);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const lock = openSync(join(path, "config"), "a+", 0o600);
    if (!flock(lock, LOCK_EX | LOCK_NB)) {
      const pid = readFileSync(join(path, "config"), "utf8").trim() || "unknown";
      closeSync(lock);
      const message = `--file-prefix ${prefix}: another engine (pid ${pid}) runs with it (${path})`;
      throw new PollmodeError(
        "FILE_PREFIX_TAKEN",
        message,
        "give this one its own --file-prefix, or use --in-memory",
      );
    }
    writeFileSync(join(path, "config"), `${process.pid}\n`);
    return new RuntimeDir(path, lock);
  }

  private readonly remove = () => rmSync(this.path, { recursive: true, force: true });
  private readonly stay = atExit(this.remove);

  close(): void {
    this.stay();
    this.remove();
    closeSync(this.lock);
  }
}
