// A machine as the device tool sees it: its files below one root, and the one way to change anything. A test puts a
// folder in place of "/"; a dry run has each change shown instead of done.
import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { release } from "node:os";
import { dirname, join } from "node:path";
import { KernelModules } from "../bus/pci/modules.ts";
import { Sysfs } from "../bus/pci/sysfs.ts";
import { System } from "../bus/vfio/system.ts";
import { PollmodeError } from "../errors.ts";

export type Change =
  /** One write to an attribute of sysfs or another file of the kernel's. */
  | { readonly kind: "write"; readonly path: string; readonly value: string }
  /** A file made or replaced. */
  | { readonly kind: "file"; readonly path: string; readonly text: string; readonly mode?: number }
  | { readonly kind: "remove"; readonly path: string }
  | { readonly kind: "run"; readonly command: readonly string[] };

export interface MachineOptions {
  /** Where its files are. Default "/", this machine. */
  readonly root?: string;
  /** Default: the one below `root`. */
  readonly sysfs?: Sysfs;
  /** A dry run: nothing is changed, and each change is handed to it. */
  readonly record?: (change: Change) => void;
  /** Runs a program and returns its stdout; for tests. */
  readonly run?: (command: readonly string[]) => string;
  readonly env?: NodeJS.ProcessEnv;
}

/** All paths are those of the real machine: `/proc/cmdline`. */
export class Machine {
  readonly root: string;
  readonly env: NodeJS.ProcessEnv;
  readonly sysfs: Sysfs;
  readonly system: System;
  readonly modules: KernelModules;
  readonly #record: ((change: Change) => void) | undefined;
  readonly #run: (command: readonly string[]) => string;

  constructor({ root = "/", sysfs, record, run = execute, env = process.env }: MachineOptions = {}) {
    this.root = root;
    this.env = env;
    this.#record = record;
    this.#run = run;
    const recordWrite =
      record && ((write: { path: string; value: string }) => record({ kind: "write", ...write }));
    this.sysfs = sysfs ?? new Sysfs(join(root, "sys"), recordWrite);
    this.system = new System(this.sysfs, join(root, "dev"), join(root, "proc"));
    this.modules = new KernelModules(this.sysfs, join(root, "lib/modules", this.kernelRelease));
  }

  /** This machine, not a recorded one. */
  get isReal(): boolean {
    return this.root === "/";
  }

  /** Changes are shown, not done. */
  get isDryRun(): boolean {
    return this.#record !== undefined || this.sysfs.isDryRun;
  }

  /** As uname -r has it. */
  get kernelRelease(): string {
    return this.readText("/proc/sys/kernel/osrelease")?.trim() ?? release();
  }

  path(absolute: string): string {
    return join(this.root, absolute);
  }

  exists(absolute: string): boolean {
    return existsSync(this.path(absolute));
  }

  /** Undefined where there is no such file, or this user may not read it. */
  readText(absolute: string): string | undefined {
    return optional(() => readFileSync(this.path(absolute), "utf8"));
  }

  /** Sorted; none where there is no such folder, or this user may not look into it. */
  list(absolute: string): string[] {
    return optional(() => readdirSync(this.path(absolute)).sort()) ?? [];
  }

  /** What a link holds, as it stands there. */
  linkTarget(absolute: string): string | undefined {
    return optional(() => readlinkSync(this.path(absolute)));
  }

  /** One write(2) to a file of the kernel's outside sysfs, whose own way is `sysfs.write`. Errors: WRITE_FAILED. */
  write(absolute: string, value: string): void {
    if (this.#record) {
      this.#record({ kind: "write", path: this.path(absolute), value });
      return;
    }
    attempt(absolute, () => {
      const fd = openSync(this.path(absolute), "w");
      try {
        writeSync(fd, value);
      } finally {
        closeSync(fd);
      }
    });
  }

  /** Makes or replaces a file, with its folders: after a crash it is the old one or the new. Errors: WRITE_FAILED. */
  writeFile(absolute: string, text: string, mode = 0o644): void {
    const path = this.path(absolute);
    if (this.#record) {
      this.#record({ kind: "file", path, text, mode });
      return;
    }
    attempt(absolute, () => {
      mkdirSync(dirname(path), { recursive: true });
      const draft = `${path}.${process.pid}`;
      try {
        writeFileSync(draft, text, { mode });
        const fd = openSync(draft, "r");
        fsyncSync(fd);
        closeSync(fd);
        renameSync(draft, path);
      } finally {
        rmSync(draft, { force: true });
      }
    });
  }

  /** A file that is not there is removed already. Errors: WRITE_FAILED. */
  remove(absolute: string): void {
    if (!this.exists(absolute)) return;
    if (this.#record) {
      this.#record({ kind: "remove", path: this.path(absolute) });
      return;
    }
    attempt(absolute, () => rmSync(this.path(absolute)));
  }

  /** Runs a program to its end and returns its stdout. Errors: COMMAND_MISSING, COMMAND_FAILED. */
  run(command: readonly string[]): string {
    if (this.#record) {
      this.#record({ kind: "run", command });
      return "";
    }
    if (this.isReal || this.#run !== execute) return this.#run(command);
    const message = `${command.join(" ")} cannot be run on the recorded machine in ${this.root}`;
    throw new PollmodeError("COMMAND_FAILED", message, "leave out --root");
  }

  /** As root: modprobe. Errors: of run. */
  loadModule(name: string): void {
    this.run(["modprobe", name]);
  }
}

function execute([program = "", ...args]: readonly string[]): string {
  const name = [program, ...args].join(" ");
  try {
    return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (cause) {
    const { code, stderr, status } = cause as NodeJS.ErrnoException & { stderr?: string; status?: number };
    // EACCES: nor may this user look into each folder of PATH
    if (code === "ENOENT" || code === "EACCES") {
      const fix = `install it, or add its folder to PATH: export PATH=$PATH:/usr/sbin:/sbin`;
      throw new PollmodeError(
        "COMMAND_MISSING",
        `there is no program ${program} that this user may run`,
        fix,
        { cause },
      );
    }
    const why = stderr?.trim().split("\n").at(-1) || `exit code ${status ?? code}`;
    const fix = `run it by hand, as root, and see what it says: ${name}`;
    throw new PollmodeError("COMMAND_FAILED", `${name} failed: ${why}`, fix, { cause });
  }
}

const writeFixes: Record<string, string> = {
  EACCES: "run as root",
  EPERM: "run as root; in a container, on the host",
  EROFS: "it is read-only here, as in a container: run it on the host",
  ENOENT: "see whether the kernel has it: ls the folder above it",
};

function attempt(absolute: string, change: () => void): void {
  try {
    change();
  } catch (cause) {
    const { code = "", message } = cause as NodeJS.ErrnoException;
    const fix = writeFixes[code] ?? "the kernel's log may say why: dmesg | tail";
    throw new PollmodeError("WRITE_FAILED", `${absolute} cannot be changed: ${message}`, fix, { cause });
  }
}

/** What cannot be read counts as not there: it is gone, or for root's eyes only. */
function optional<T>(get: () => T): T | undefined {
  try {
    return get();
  } catch {
    return undefined;
  }
}
