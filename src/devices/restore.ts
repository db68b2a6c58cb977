// Puts back what was bound before pollmode touched it: `pollmode devbind --restore`. What is put back is forgotten; so
// is what cannot be: a device that was pulled out, a virtual function that is gone, another device at the same address.
import { restoreDriver } from "../bus/pci/bind.ts";
import type { PciDevice } from "../bus/pci/scan.ts";
import { PollmodeError } from "../errors.ts";
import { findDevices } from "./find.ts";
import { BindingJournal, type Remembered } from "./journal.ts";
import { readLinkState } from "./link-state.ts";
import type { Machine } from "./machine.ts";
import { nodeOf } from "./owner.ts";
import { type ChangeReport, loadDriver, loadedBefore, type Outcome, readNow, refused } from "./rebind.ts";
import { type Refusal, refusalOf } from "./refuse.ts";

export interface RestoreOptions {
  /** Devices as findDevices takes them, or by the interfaces that they had. Default: all that are remembered. */
  readonly words?: readonly string[] | undefined;
  /** Take them though they are in use. */
  readonly force?: boolean;
  /** Told what is being done. */
  readonly progress?: (text: string) => void;
}

interface Task {
  readonly entry: Remembered;
  /** As it is now; undefined if it has gone. */
  readonly device: PciDevice | undefined;
  /** It has to be changed. */
  readonly isDue: boolean;
}

/**
 * Errors of single devices are in their outcomes. Throws, and has changed nothing: BINDING_UNKNOWN,
 * BINDINGS_DAMAGED, BINDINGS_LOCKED, WRITE_FAILED; of `words` what findDevices throws.
 */
export async function restoreDrivers(machine: Machine, options: RestoreOptions = {}): Promise<ChangeReport> {
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const journal = await BindingJournal.open(machine, warn);
  try {
    const tasks = entriesOf(journal, machine, options.words).map((entry) =>
      taskOf(machine, journal, entry, warn),
    );
    const due = tasks.filter(({ isDue }) => isDue);
    const refusals = await refuse(machine, due, options.force ?? false, warn);
    if (refusals.length > 0) {
      const devices = tasks.flatMap(({ device }) => device ?? []);
      return { outcomes: refused(devices, refusals), warnings };
    }
    const outcomes = tasks.map((task) => {
      options.progress?.(`${task.entry.address}: back to ${task.entry.driver ?? "no driver"}`);
      return restore(machine, task);
    });
    const done = outcomes.filter(({ result }) => result !== "failed");
    journal.forget(done.map(({ address }) => address));
    return { outcomes, warnings };
  } finally {
    journal.close();
  }
}

/** Of the devices that are named, each once; or all. */
function entriesOf(
  journal: BindingJournal,
  machine: Machine,
  words: readonly string[] | undefined,
): Remembered[] {
  const all = journal.all();
  if (words === undefined) return all;
  const named = words.flatMap((word) => {
    const known = all.filter((entry) => entry.address === word || entry.interfaces.includes(word));
    if (known.length > 0) return known;
    const devices = findDevices(machine, [word]);
    const fitting = all.filter((entry) => devices.some(({ address }) => address === entry.address));
    if (fitting.length === 0) throw notKnown(machine, devices[0]!);
    return fitting;
  });
  return [...new Set(named)];
}

function notKnown({ modules }: Machine, { address, modalias }: PciDevice): PollmodeError {
  const drivers = modules.candidates(modalias).join("|") || "DRIVER";
  const message = `it is not known what ${address} was bound to: pollmode has not changed it, or put it back already`;
  return new PollmodeError(
    "BINDING_UNKNOWN",
    message,
    `bind it by name: pollmode devbind -b ${drivers} ${address}`,
  );
}

function taskOf(
  machine: Machine,
  journal: BindingJournal,
  entry: Remembered,
  warn: (text: string) => void,
): Task {
  const { address, driver, driverOverride } = entry;
  const device = readNow(machine, address);
  if (!device) {
    warn(`${address} is not there any more: when it comes back, the kernel finds its driver; forgotten`);
    return { entry, device, isDue: false };
  }
  if (device.vendor !== entry.vendor || device.device !== entry.device) {
    warn(
      `${address} is another device now, it was ${id(entry)} and is ${id(device)}: left as it is, and forgotten`,
    );
    return { entry, device, isDue: false };
  }
  if (journal.isOfThisBoot(entry)) {
    const isBack = device.driver === driver && device.driverOverride === driverOverride;
    return { entry, device, isDue: !isBack };
  }
  // After a reboot, to have had no driver is no reason to take away the one that the kernel has found.
  const isBack = driver === undefined || device.driver === driver;
  return { entry: { ...entry, driverOverride: undefined }, device, isDue: !isBack };
}

const id = ({ vendor, device }: { vendor: number; device: number }) =>
  [vendor, device].map((part) => part.toString(16).padStart(4, "0")).join(":");

async function refuse(
  machine: Machine,
  tasks: readonly Task[],
  force: boolean,
  warn: (text: string) => void,
): Promise<Refusal[]> {
  const links = readLinkState(machine);
  const refusals: Refusal[] = [];
  for (const { entry, device } of tasks) {
    if (!device || device.driver === entry.driver) continue; // its driver_override alone is put back
    const what = entry.driver === undefined ? "unbound" : `given back to ${entry.driver}`;
    const refusal = await refusalOf(machine, device, { force, what, links, warn });
    if (refusal) refusals.push(refusal);
  }
  return refusals;
}

function restore(machine: Machine, { entry, device, isDue }: Task): Outcome {
  const { address, driver } = entry;
  const before = device?.driver;
  const none = { address, before, after: before, node: undefined, error: undefined };
  if (!device) return { ...none, result: "gone" };
  if (!isDue) return { ...none, result: "unchanged", node: nodeOf(machine, device) };
  const { sysfs, system, modules } = machine;
  try {
    if (driver !== undefined) loadDriver(machine, device, driver);
    const { driverOverride } = entry;
    restoreDriver({ address, driver, driverOverride }, { sysfs, system, modules, loadModule: loadedBefore });
  } catch (error) {
    if (!(error instanceof PollmodeError)) throw error;
    return { ...none, result: "failed", after: readNow(machine, address)?.driver, error };
  }
  const after = machine.isDryRun ? driver : readNow(machine, address)?.driver;
  return { ...none, result: "changed", after, node: nodeOf(machine, { ...device, driver: after }) };
}
