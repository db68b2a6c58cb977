// sysfs as the PCI bus reads and writes it: attributes are one-line texts, relations are links. All of it goes through
// one root, so that a test can put a folder in its place, and all writes through one function, so that a tool can show
// them instead (`--dry-run`).
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { constants as osConstants } from "node:os";
import { basename, join } from "node:path";
import type { PollmodeError } from "../../errors.ts";
import { systemError } from "../../libc/native.ts";

/** One write to an attribute. */
export interface SysfsWrite {
  /** The whole path. */
  readonly path: string;
  readonly value: string;
}

/** How there can be none: no such file, or its device went while it was read. */
const ABSENT = ["ENOENT", "ENOTDIR", "ENODEV", "ENXIO"];

const kernelLog = "the kernel's log says why: dmesg | tail";
const fixes: Record<string, string> = {
  EACCES: "run as root",
  EPERM: "run as root; in a container, on the host",
  EROFS: "/sys is read-only here, as in a container: run it on the host, or docker run --privileged",
  ENOENT: "see whether the device is still there, and has what was asked of it: ls /sys/bus/pci/devices",
  ENODEV: kernelLog,
  EINVAL: kernelLog,
  EIO: kernelLog,
  EBUSY: `stop what uses the device; ${kernelLog}`,
};

/** Paths are relative to the root: `bus/pci/devices/0000:00:03.0/vendor`. */
export class Sysfs {
  readonly root: string;
  readonly #record: ((write: SysfsWrite) => void) | undefined;
  /** Of a dry run: what would stand in attributes now. */
  readonly #recorded = new Map<string, string>();

  /** With `record`, nothing is written: each write is handed to it, and read back from here. */
  constructor(root = "/sys", record?: (write: SysfsWrite) => void) {
    this.root = root;
    this.#record = record;
  }

  /** Writes are shown, not done: what the kernel would do of them cannot be seen. */
  get isDryRun(): boolean {
    return this.#record !== undefined;
  }

  path(path: string): string {
    return join(this.root, path);
  }

  exists(path: string): boolean {
    return existsSync(this.path(path));
  }

  /** An attribute without the newline at its end. */
  read(path: string): string {
    try {
      return readFileSync(this.path(path), "utf8").trimEnd();
    } catch (error) {
      throw failure("read", this.path(path), error);
    }
  }

  /** Undefined where there is no such attribute. */
  readOptional(path: string): string | undefined {
    const recorded = this.#recorded.get(path);
    return (
      recorded ?? this.#unlessAbsent("read", path, () => readFileSync(this.path(path), "utf8").trimEnd())
    );
  }

  /** The last part of what a link points to: the driver's name of `driver`. Undefined where there is no such link. */
  linkName(path: string): string | undefined {
    return this.#unlessAbsent("readlink", path, () => basename(readlinkSync(this.path(path))));
  }

  /** Sorted; none where there is no such folder. */
  list(path: string): string[] {
    return this.#unlessAbsent("readdir", path, () => readdirSync(this.path(path)).sort()) ?? [];
  }

  /** Throws errno's name, with the path and the value. */
  write(path: string, value: string): void {
    if (this.#isRecorded(path, value)) return;
    try {
      this.store(path, value);
    } catch (error) {
      throw this.#unwritten(path, value, error);
    }
  }

  /** The same for what the kernel takes long over: another thread waits for it. */
  async writeAside(path: string, value: string): Promise<void> {
    if (this.#isRecorded(path, value)) return;
    try {
      await this.storeAside(path, value);
    } catch (error) {
      throw this.#unwritten(path, value, error);
    }
  }

  #isRecorded(path: string, value: string): boolean {
    this.#record?.({ path: this.path(path), value });
    if (this.#record) this.#recorded.set(path, value.trimEnd());
    return this.#record !== undefined;
  }

  #unwritten(path: string, value: string, error: unknown): PollmodeError {
    return failure("write", `${this.path(path)}, ${JSON.stringify(value)}`, error);
  }

  /** In one write(2), which is how the kernel takes it. Many attributes cannot be opened for reading. */
  protected store(path: string, value: string): void {
    const fd = openSync(this.path(path), constants.O_WRONLY | constants.O_TRUNC);
    try {
      writeSync(fd, value);
    } finally {
      closeSync(fd);
    }
  }

  protected async storeAside(path: string, value: string): Promise<void> {
    const file = await open(this.path(path), constants.O_WRONLY | constants.O_TRUNC);
    try {
      await file.write(value);
    } finally {
      await file.close();
    }
  }

  /** An fd of a binary attribute (`config`, `resource0`). `flags`: O_RDONLY or O_RDWR. */
  open(path: string, flags: number): number {
    try {
      return openSync(this.path(path), flags);
    } catch (error) {
      throw failure("open", this.path(path), error);
    }
  }

  #unlessAbsent<T>(call: string, path: string, get: () => T): T | undefined {
    try {
      return get();
    } catch (error) {
      if (ABSENT.includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
      throw failure(call, this.path(path), error);
    }
  }
}

function failure(call: string, what: string, error: unknown): PollmodeError {
  const { code = "EIO" } = error as NodeJS.ErrnoException;
  const errno = osConstants.errno[code as keyof typeof osConstants.errno];
  if (errno === undefined) throw error; // no failure of the system: a bug
  return systemError(call, what, errno, fixes[code]);
}

/** Where sysfs has a PCI device, or an attribute of it. */
export function devicePath(address: string, attribute = ""): string {
  return join("bus/pci/devices", address, attribute);
}

/** Where sysfs has a driver of the PCI bus, or an attribute of it. */
export function driverPath(driver: string, attribute = ""): string {
  return join("bus/pci/drivers", driver, attribute);
}
