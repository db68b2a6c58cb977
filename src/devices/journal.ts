// What was bound before pollmode touched it, so that `devbind --restore` puts it back, in another process or boot too.
//
//   /run/pollmode/bindings.json      of this boot: gone with the next one, as what it speaks of is
//   /var/lib/pollmode/bindings.json  a copy that outlives reboots
//
// A reboot undoes all binding by itself: the kernel gives each device to the driver it thinks best, and driver_override
// is empty again. So of an earlier boot only the driver counts. It is still what to put back where something binds the
// device anew at each boot (a unit of systemd, driverctl), and then knows no driver of the kernel's any more.
//
// The first state of a boot stays until it is put back; binding again does not replace it. Both files are replaced as a
// whole, by rename(2). One process at a time changes drivers: it holds a lock that the kernel gives up when it ends.
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Binding, bindingOf, takesAny } from "../bus/pci/bind.ts";
import type { PciDevice } from "../bus/pci/scan.ts";
import { PollmodeError } from "../errors.ts";
import { LOCK_EX, LOCK_NB } from "../libc/abi.ts";
import { flock } from "../libc/libc.ts";
import { BINDINGS_LOCK_INTERVAL_MS, BINDINGS_LOCK_TIMEOUT_MS } from "../limits.ts";
import type { Machine } from "./machine.ts";

const RUN = "/run/pollmode/bindings.json";
const LIBRARY = "/var/lib/pollmode/bindings.json";
const LOCK = "/run/pollmode/bindings.lock";
const BOOT_ID = "/proc/sys/kernel/random/boot_id";
const VERSION = 1;

export interface Remembered extends Binding {
  /** Of what was there: another device may be at this address now. */
  readonly vendor: number;
  readonly device: number;
  /** That its driver had made of it, which are gone with the driver: people go on to know the device by them. */
  readonly interfaces: readonly string[];
  /** As /proc/sys/kernel/random/boot_id names it. */
  readonly boot: string;
}

export class BindingJournal {
  readonly #machine: Machine;
  readonly #lock: number | undefined;
  readonly #boot: string;
  readonly #warn: (text: string) => void;
  readonly #entries = new Map<string, Remembered>();
  readonly #damaged = new Map<string, string>();

  private constructor(machine: Machine, lock: number | undefined, warn: (text: string) => void) {
    this.#machine = machine;
    this.#lock = lock;
    this.#warn = warn;
    this.#boot = machine.readText(BOOT_ID)?.trim() ?? "";
    for (const path of [LIBRARY, RUN]) this.#load(path); // what both know, /run knows better
  }

  /**
   * Waits until no other process changes drivers. `warn` is told of a file that cannot be read or written and that the
   * other one stands in for. Errors: WRITE_FAILED, BINDINGS_LOCKED.
   */
  static async open(machine: Machine, warn: (text: string) => void): Promise<BindingJournal> {
    const lock = machine.isDryRun ? undefined : await takeLock(machine.path(LOCK));
    return new BindingJournal(machine, lock, warn);
  }

  /** All entries, by address. Throws BINDINGS_DAMAGED if there are none since a file that had them is damaged. */
  all(): Remembered[] {
    const [path] = [...this.#damaged.keys()];
    if (path !== undefined && this.#entries.size === 0) throw damaged(this.#machine.path(path));
    return [...this.#entries.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
  }

  /** An entry says how the device was in this boot; else the driver alone counts. */
  isOfThisBoot({ boot }: Remembered): boolean {
    return boot === this.#boot && boot !== "";
  }

  /** To be called before anything is changed. Errors: WRITE_FAILED. */
  remember(devices: readonly PciDevice[]): void {
    const missing = devices.filter((device) => this.#isNews(device));
    if (missing.length === 0) return;
    for (const device of missing) {
      const { vendor, device: id, interfaces } = device;
      const entry = { ...bindingOf(device), vendor, device: id, interfaces, boot: this.#boot };
      this.#entries.set(device.address, entry);
    }
    this.#store(RUN);
    this.#storeOrWarn(LIBRARY, "will know nothing of it after a reboot");
  }

  /** The driver of the kernel's that an earlier boot knew is worth more than the driver for user space of this one. */
  #isNews(device: PciDevice): boolean {
    const known = this.#entries.get(device.address);
    if (!known || known.vendor !== device.vendor || known.device !== device.device) return true;
    if (this.isOfThisBoot(known)) return false;
    return device.driver !== undefined && !takesAny(device.driver);
  }

  /** Of devices that are as they were. */
  forget(addresses: readonly string[]): void {
    const known = addresses.filter((address) => this.#entries.delete(address));
    for (const path of known.length > 0 ? [RUN, LIBRARY] : []) {
      this.#storeOrWarn(path, "will find again what is put back already");
    }
  }

  /** Forgets those of the devices that are bound as they were before; they are given as they are now. */
  settle(devices: readonly PciDevice[]): void {
    const back = devices.filter(({ address, driver, driverOverride }) => {
      const known = this.#entries.get(address);
      if (!known) return false;
      const override = this.isOfThisBoot(known) ? known.driverOverride : undefined;
      return known.driver === driver && override === driverOverride;
    });
    this.forget(back.map(({ address }) => address));
  }

  close(): void {
    if (this.#lock !== undefined) closeSync(this.#lock);
  }

  #load(path: string): void {
    const text = this.#machine.readText(path);
    if (text === undefined) return;
    try {
      for (const entry of parse(text)) this.#entries.set(entry.address, entry);
    } catch {
      this.#damaged.set(path, text);
      const { message, fix } = damaged(this.#machine.path(path));
      this.#warn(`${message}\n  fix: ${fix}`);
    }
  }

  /** What cannot be understood is kept aside before it is written over. */
  #store(path: string): void {
    const damaged = this.#damaged.get(path);
    if (damaged !== undefined) this.#machine.writeFile(`${path}.damaged`, damaged);
    this.#damaged.delete(path);
    const bindings = [...this.#entries.values()];
    const text = `${JSON.stringify({ version: VERSION, bindings }, undefined, 2)}\n`;
    if (bindings.length > 0) this.#machine.writeFile(path, text);
    else this.#machine.remove(path);
  }

  #storeOrWarn(path: string, then: string): void {
    try {
      this.#store(path);
    } catch (error) {
      if (!(error instanceof PollmodeError)) throw error;
      this.#warn(`${error.message}: \`devbind --restore\` ${then}`);
    }
  }
}

function parse(text: string): Remembered[] {
  const { version, bindings } = JSON.parse(text) as { version: unknown; bindings: unknown };
  if (version !== VERSION || !Array.isArray(bindings) || !bindings.every(isRemembered))
    throw new Error("no journal");
  return bindings;
}

function isRemembered(entry: unknown): entry is Remembered {
  if (typeof entry !== "object" || entry === null) return false;
  const { address, driver, driverOverride, vendor, device, interfaces, boot } = entry as Partial<Remembered>;
  const isText = (text: unknown) => typeof text === "string";
  const isName = (name: unknown) =>
    name === undefined || (isText(name) && /^(?!\.+$)[^/\n]+$/.test(name as string));
  const isPlace = isText(address) && /^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/.test(address!);
  const isBound = isName(driver) && isName(driverOverride);
  const isKnown = Number.isInteger(vendor) && Number.isInteger(device) && isText(boot);
  return isPlace && isBound && isKnown && Array.isArray(interfaces) && interfaces.every(isText);
}

function damaged(path: string): PollmodeError {
  const message = `${path} is damaged: what was bound before pollmode changed it cannot be read there`;
  const fix = `see what is bound (pollmode devbind --status), bind what is wrong by name, then: rm ${path}`;
  return new PollmodeError("BINDINGS_DAMAGED", message, fix);
}

/** Returns the file that holds the lock, until it is closed. */
async function takeLock(path: string): Promise<number> {
  const file = openLock(path);
  const deadline = performance.now() + BINDINGS_LOCK_TIMEOUT_MS;
  while (!flock(file, LOCK_EX | LOCK_NB)) {
    if (performance.now() > deadline) {
      closeSync(file);
      throw locked(path);
    }
    await pause(BINDINGS_LOCK_INTERVAL_MS);
  }
  ftruncateSync(file);
  writeSync(file, `${process.pid}\n`, 0);
  return file;
}

function openLock(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true });
    return openSync(path, "a+", 0o600);
  } catch (cause) {
    const fix = "run as root; in a container, on the host";
    throw new PollmodeError("WRITE_FAILED", `${path} cannot be opened: ${(cause as Error).message}`, fix, {
      cause,
    });
  }
}

function locked(path: string): PollmodeError {
  const pid = readFileSync(path, "utf8").trim() || "unknown";
  const message = `another process (${pid}) changes drivers, and has done so for ${BINDINGS_LOCK_TIMEOUT_MS / 1000} s`;
  const fix = "wait for it; one that hangs waits for a program that has its device open: dmesg | tail";
  return new PollmodeError("BINDINGS_LOCKED", message, fix);
}
