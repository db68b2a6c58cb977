// Lets a user or a group drive devices without being root, for good: the files of permit-files.ts, and the owner of the
// nodes that are there now. Where no udev runs, as in a container, the nodes are given at once and that is all.
//
// What fails is undone, latest step first.
import { statSync } from "node:fs";
import { join } from "node:path";
import { type PciDevice, scanPci } from "../bus/pci/scan.ts";
import { devicePath } from "../bus/pci/sysfs.ts";
import { PollmodeError } from "../errors.ts";
import { ARENA_BYTES_MAX } from "../limits.ts";
import type { Machine } from "./machine.ts";
import { nodeOf } from "./owner.ts";
import * as files from "./permit-files.ts";

export interface PermitRequest {
  readonly principal: files.Principal;
  /** Empty: all that a driver for user space has, now and later. */
  readonly devices: readonly PciDevice[];
  /** May be locked; undefined: any. Absent: what the limits file says already, or the most that one engine maps. */
  readonly memory?: { readonly bytes: number | undefined };
}

export interface PermitReport {
  readonly files: readonly { readonly path: string; readonly state: "written" | "unchanged" | "removed" }[];
  /** Nodes that were there to be given or taken. */
  readonly nodes: readonly string[];
  /** Devices whose node is not there yet: the rule gives it when they are bound. */
  readonly later: readonly string[];
  /** A rule of udev's keeps it so after the next boot. */
  readonly lasts: boolean;
  /** What else stands in the user's way. */
  readonly notes: readonly string[];
}

/** PCI to PCI: it stays the kernel's, whoever has its group. */
const CLASS_BRIDGE = 0x0604;

/** udev is installed: rules mean something here. */
const hasUdev = (machine: Machine) =>
  ["/usr/lib/udev/rules.d", "/lib/udev/rules.d"].some((folder) => machine.list(folder).length > 0);
const udevRuns = (machine: Machine) => machine.exists("/run/udev/control");
const hasPam = (machine: Machine) => machine.exists("/etc/security");

/** Errors: PERMIT_TAKEN (another user's rule), PERMIT_FAILED, WRITE_FAILED, COMMAND_FAILED. */
export function permit(machine: Machine, { principal, devices, memory }: PermitRequest): PermitReport {
  refuseTaken(machine, principal, devices);
  const steps = new Steps(machine);
  return steps.all(() => {
    const udev = hasUdev(machine);
    const rule = files.rulePath(principal);
    const before = files.parseRule(machine.readText(rule) ?? "");
    if (udev) steps.file(rule, files.ruleText(principal, union(before, devices)));
    const limits = files.limitsPath(principal);
    if (hasPam(machine) && (memory || !machine.exists(limits)))
      steps.file(limits, files.limitsText(principal, memory ? memory.bytes : ARENA_BYTES_MAX));
    else if (hasPam(machine)) steps.keep(limits);
    const all = devices.length > 0 ? devices : scanPci(machine.sysfs);
    const nodes = nodesOf(machine, all);
    if (udev && udevRuns(machine)) steps.udev();
    else for (const node of nodes) steps.give(node, principal);
    if (!machine.isDryRun) verify(machine, principal, nodes);
    const isBare = (device: PciDevice) => machine.system.groupOf(device)?.noIommu ?? false;
    const later = devices.filter((device) => !isBare(device) && nodesOf(machine, [device]).length === 0);
    return {
      files: steps.files,
      nodes: nodes.map(({ path }) => path),
      later: later.map(({ address }) => address),
      lasts: udev,
      notes: [...notesOf(machine, all, udev), ...companions(machine, devices)],
    };
  });
}

/** Takes back what permit gave: these devices, or without any all. What was never given is no error. */
export function revoke(machine: Machine, { principal, devices }: PermitRequest): PermitReport {
  const rule = files.rulePath(principal);
  const before = files.parseRule(machine.readText(rule) ?? "");
  if (before === "all" && devices.length > 0) {
    const who = files.spelling(principal);
    const message = `${who} may drive all devices: single ones cannot be taken out of that`;
    const fix = `pollmode permit ${who} --remove, then permit those that remain`;
    throw new PollmodeError("OPTION_CONFLICT", message, fix);
  }
  const gone = new Set(devices.map(({ address }) => address));
  const left =
    devices.length > 0 && before !== "all" ? (before ?? []).filter((address) => !gone.has(address)) : [];
  const steps = new Steps(machine);
  return steps.all(() => {
    if (left.length > 0) steps.file(rule, files.ruleText(principal, left));
    else for (const path of [rule, files.limitsPath(principal)]) steps.file(path, undefined);
    const present = scanPci(machine.sysfs);
    const kept = nodesOf(
      machine,
      present.filter(({ address }) => left.includes(address)),
    ).map(({ path }) => path);
    const all = nodesOf(machine, devices.length > 0 ? devices : present);
    const given = all.filter(({ path }) => !kept.includes(path) && isGiven(machine, principal, path));
    for (const node of given) steps.takeBack(node);
    if (hasUdev(machine) && udevRuns(machine)) steps.udev(); // what other rules say of these nodes
    return { files: steps.files, nodes: given.map(({ path }) => path), later: [], lasts: true, notes: [] };
  });
}

/** Of one user's rule and another's, the later one would win: the loser could not open the device any more. */
function refuseTaken(machine: Machine, principal: files.Principal, devices: readonly PciDevice[]): void {
  if (principal.kind === "group") return;
  const together = devices.flatMap(({ address, iommuGroup }) => {
    return iommuGroup === undefined
      ? [address]
      : machine.system.devicesOf(iommuGroup).map((one) => one.address);
  });
  for (const name of machine.list(files.RULES_FOLDER)) {
    const other = files.userRule.exec(name)?.[1];
    if (other === undefined || other === principal.name) continue;
    const path = `${files.RULES_FOLDER}/${name}`;
    const theirs = files.parseRule(machine.readText(path) ?? "");
    if (theirs === undefined) continue;
    const both = theirs === "all" ? devices.map(({ address }) => address) : theirs;
    const shared = devices.length === 0 ? both[0] : both.find((address) => together.includes(address));
    if (shared === undefined && devices.length > 0) continue;
    const what = shared ?? "some devices";
    const message = `${what}: ${path} gives it, or its IOMMU group, to the user ${other}, and a node has one owner`;
    const fix =
      `pollmode permit ${other} --remove; or give it to a group that both are in: ` +
      `groupadd pollmode; usermod -aG pollmode ${other}; pollmode permit @pollmode ${shared ?? ""}`.trimEnd();
    throw new PollmodeError("PERMIT_TAKEN", message, fix);
  }
}

function union(
  before: files.PermittedDevices | undefined,
  devices: readonly PciDevice[],
): files.PermittedDevices {
  if (before === "all" || devices.length === 0) return "all";
  return [...new Set([...(before ?? []), ...devices.map(({ address }) => address)])].sort();
}

/** A node in /dev, and what else of the device goes with it. */
interface Node {
  readonly path: string;
  /** Configuration space and BARs, of UIO alone. */
  readonly with: readonly string[];
}

/** Nodes that are there, each once: devices of one group share it. No-IOMMU groups are root's whoever owns the node. */
function nodesOf(machine: Machine, devices: readonly PciDevice[]): Node[] {
  const found = new Map<string, Node>();
  for (const device of devices) {
    const path = nodeOf(machine, device);
    if (path === undefined || path.includes("noiommu") || !machine.exists(path)) continue;
    const attributes = device.uio === undefined ? [] : machine.sysfs.list(devicePath(device.address));
    const more = attributes.filter((name) => /^(config|resource[0-5])$/.test(name));
    found.set(path, { path, with: more.map((name) => join("/sys", devicePath(device.address, name))) });
  }
  return [...found.values()];
}

function isGiven(machine: Machine, { kind, id }: files.Principal, path: string): boolean {
  const { uid, gid, mode } = statSync(machine.path(path));
  return kind === "user" ? uid === id && (mode & 0o600) === 0o600 : gid === id && (mode & 0o060) === 0o060;
}

function verify(machine: Machine, principal: files.Principal, nodes: readonly Node[]): void {
  const bad = nodes.find(({ path }) => !isGiven(machine, principal, path));
  if (!bad) return;
  const who = files.spelling(principal);
  const message = `${bad.path} did not become ${who}'s: a rule of udev's that comes later says otherwise`;
  const fix = `see which: udevadm test $(udevadm info -q path -n ${bad.path}) 2>&1 | grep -E 'OWNER|GROUP|MODE'`;
  throw new PollmodeError("PERMIT_FAILED", message, fix);
}

function notesOf(machine: Machine, devices: readonly PciDevice[], udev: boolean): string[] {
  const { system } = machine;
  const notes: string[] = [];
  if (!udev)
    notes.push(
      "there is no udev here: the owner is lost when the device is bound anew, and at the next boot",
    );
  if (!hasPam(machine))
    notes.push("there is no /etc/security here: a container's limit is --ulimit memlock=…");
  for (const device of devices) {
    if (device.uio !== undefined)
      notes.push(
        `${device.address}: UIO also takes CAP_SYS_ADMIN, to see physical addresses; vfio-pci takes none`,
      );
    if (system.groupOf(device)?.noIommu)
      notes.push(
        `${device.address} has no IOMMU: it takes CAP_SYS_RAWIO, and CAP_SYS_ADMIN to see addresses`,
      );
  }
  const container = "/dev/vfio/vfio";
  if (machine.exists(container) && (statSync(machine.path(container)).mode & 0o006) !== 0o006)
    notes.push(`${container} is not open to all, as the kernel makes it: chmod 0666 ${container}`);
  return notes;
}

/** Devices that were not asked for, and come with the group of one that was. */
function companions({ system, sysfs }: Machine, devices: readonly PciDevice[]): string[] {
  const asked = new Set(devices.map(({ address }) => address));
  const groups = new Set(devices.map(({ iommuGroup }) => iommuGroup));
  const others = scanPci(sysfs).filter((device) => {
    return device.iommuGroup !== undefined && groups.has(device.iommuGroup) && !asked.has(device.address);
  });
  return others
    .filter((device) => device.class >>> 8 !== CLASS_BRIDGE && !system.groupOf(device)?.noIommu)
    .map(({ address, iommuGroup }) => `${address} is in IOMMU group ${iommuGroup} too, and is given with it`);
}

/** Changes that can be undone. */
class Steps {
  readonly files: { path: string; state: "written" | "unchanged" | "removed" }[] = [];
  readonly #machine: Machine;
  readonly #undo: (() => void)[] = [];
  #hasTold = false;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Runs `body`; undoes its steps if it throws. */
  all<T>(body: () => T): T {
    try {
      return body();
    } catch (error) {
      const faults: unknown[] = [];
      for (const step of [...this.#undo.reverse(), () => this.#hasTold && this.#tellUdev()]) {
        try {
          step();
        } catch (fault) {
          faults.push(fault);
        }
      }
      throw faults.length === 0 ? error : notUndone(error, faults);
    }
  }

  /** `text` undefined: there is to be none. */
  file(path: string, text: string | undefined): void {
    const machine = this.#machine;
    const before = machine.readText(path);
    if (before === text) {
      if (text !== undefined) this.keep(path);
      return;
    }
    this.#undo.push(() => (before === undefined ? machine.remove(path) : machine.writeFile(path, before)));
    if (text === undefined) machine.remove(path);
    else machine.writeFile(path, text);
    this.files.push({ path, state: text === undefined ? "removed" : "written" });
  }

  keep(path: string): void {
    this.files.push({ path, state: "unchanged" });
  }

  /** udev reads its rules anew, and applies them to the nodes that are there. */
  udev(): void {
    this.#hasTold = true;
    this.#tellUdev();
  }

  #tellUdev(): void {
    this.#machine.run(["udevadm", "control", "--reload"]);
    const match = ["--subsystem-match=vfio", "--subsystem-match=uio"];
    this.#machine.run(["udevadm", "trigger", "--action=change", "--settle", ...match]);
  }

  give({ path, with: more }: Node, principal: files.Principal): void {
    const machine = this.#machine;
    if ([path, ...more].every((one) => isGiven(machine, principal, one))) return;
    this.#remember([path, ...more]);
    const isGroup = principal.kind === "group";
    machine.run(["chown", isGroup ? `:${principal.name}` : principal.name, path, ...more]);
    machine.run(["chmod", isGroup ? "g+rw" : "u+rw", path, ...more]);
  }

  /** As the kernel makes them: root's, and configuration space to be read by all. */
  takeBack({ path, with: more }: Node): void {
    this.#remember([path, ...more]);
    this.#machine.run(["chown", "0:0", path, ...more]);
    const config = more.filter((one) => one.endsWith("/config"));
    this.#machine.run(["chmod", "0600", path, ...more.filter((one) => !config.includes(one))]);
    if (config.length > 0) this.#machine.run(["chmod", "0644", ...config]);
  }

  #remember(paths: readonly string[]): void {
    const machine = this.#machine;
    for (const path of paths) {
      const { uid, gid, mode } = statSync(machine.path(path));
      this.#undo.push(() => {
        machine.run(["chown", `${uid}:${gid}`, path]);
        machine.run(["chmod", (mode & 0o7777).toString(8).padStart(4, "0"), path]);
      });
    }
  }
}

function notUndone(error: unknown, faults: readonly unknown[]): PollmodeError {
  const text = (one: unknown) => (one instanceof Error ? one.message : String(one));
  const bug = { code: "PERMIT_FAILED", fix: "report a bug of pollmode" };
  const { code, fix } = error instanceof PollmodeError ? error : bug;
  const message = `${text(error)}; and not all could be put back: ${faults.map(text).join("; ")}`;
  return new PollmodeError(code, message, fix, { cause: error });
}
