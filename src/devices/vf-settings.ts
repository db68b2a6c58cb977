// What a physical function's driver enforces on its virtual functions (MAC, VLAN, rates, trust, …), set all or nothing
// and read back: a driver may take a value and do something else.
import { isDeepStrictEqual } from "node:util";
import { Rtnetlink } from "../bus/netlink/client.ts";
import { listLinks } from "../bus/netlink/link.ts";
import { readVfs, type VfSettings, writeVf } from "../bus/netlink/vf.ts";
import { type PciDevice, readPciDevice } from "../bus/pci/scan.ts";
import { PollmodeError } from "../errors.ts";
import { isThisMachine } from "./link-state.ts";
import type { Machine } from "./machine.ts";

/** The kernel's side, which tests replace. `name` is the physical function's interface. */
export interface VfControl {
  /** By number. Errors: INTERFACE_UNKNOWN, of Rtnetlink.request. */
  read(name: string): Map<number, VfSettings>;
  /** One setting. Errors: errno's name. */
  write(name: string, vf: number, one: VfSettings): void;
}

/** A rate's half that is not given stays. */
export type VfChanges = Omit<VfSettings, "rate"> & {
  readonly rate?: { readonly min?: number; readonly max?: number };
};

class KernelVfs implements VfControl {
  #with<T>(name: string, use: (client: Rtnetlink, index: number) => T): T {
    using client = new Rtnetlink();
    const link = listLinks(client).find((link) => link.name === name);
    if (link) return use(client, link.index);
    const message = `interface ${name} is not in this network namespace`;
    const fix = "run it where the interface is: ip netns exec NAMESPACE …, or nsenter --net --target PID …";
    throw new PollmodeError("INTERFACE_UNKNOWN", message, fix);
  }

  read(name: string): Map<number, VfSettings> {
    return this.#with(name, readVfs);
  }

  write(name: string, vf: number, one: VfSettings): void {
    this.#with(name, (client, index) => writeVf(client, index, vf, one));
  }
}

/** Undefined of a recorded machine. */
export function vfControl(machine: Machine): VfControl | undefined {
  return isThisMachine(machine) ? new KernelVfs() : undefined;
}

/** Of all virtual functions; none where the driver or this namespace has no interface to ask. */
export function readVfSettings(pf: PciDevice, control: VfControl | undefined): Map<number, VfSettings> {
  const [name] = pf.interfaces;
  if (!name || !control) return new Map();
  try {
    return control.read(name);
  } catch (error) {
    if (error instanceof PollmodeError && error.code === "INTERFACE_UNKNOWN") return new Map();
    throw error;
  }
}

/**
 * Changes settings of the virtual function `vf` of a physical function; what they are then. Errors: SRIOV_UNSUPPORTED,
 * SRIOV_VF, SRIOV_NO_INTERFACE, OPTION_VALUE (nothing was changed); SRIOV_SETTING (all is as it was),
 * SRIOV_NOT_RESTORED.
 */
export function setVf(
  machine: Machine,
  address: string,
  vf: number,
  changes: VfChanges,
  control = vfControl(machine),
): VfSettings {
  const pf = readPciDevice(address, machine.sysfs);
  const name = interfaceOf(pf, vf);
  const before = readVfSettings(pf, control).get(vf) ?? {};
  const wanted = wholeSettings(changes, before);
  if (machine.isDryRun || !control) {
    for (const words of ipWords(wanted)) machine.run(["ip", "link", "set", name, "vf", `${vf}`, ...words]);
    return { ...before, ...wanted };
  }
  const done: VfSettings[] = [];
  let now: VfSettings = {};
  try {
    for (const one of singles(wanted)) {
      control.write(name, vf, one);
      done.unshift(pick(before, one));
    }
    now = control.read(name).get(vf) ?? {};
    const differs = singles(wanted).find(
      (one) => isTold(now, one) && !isDeepStrictEqual(pick(now, one), one),
    );
    if (differs) throw notTaken(differs, now);
    return now;
  } catch (cause) {
    throw undone(pf, vf, cause, () => {
      for (const one of done) for (const old of singles(one)) control.write(name, vf, old);
    });
  }
}

/** Writes what differs: virtual functions that are made anew have none of it. */
export function restoreVfSettings(
  pf: PciDevice,
  before: ReadonlyMap<number, VfSettings>,
  control: VfControl | undefined,
): void {
  const [name] = pf.interfaces;
  if (!name || !control || before.size === 0) return;
  const now = control.read(name);
  for (const [vf, settings] of before) {
    for (const one of singles(settings)) {
      if (!isDeepStrictEqual(pick(now.get(vf) ?? {}, one), one)) control.write(name, vf, one);
    }
  }
}

function interfaceOf(
  { address, sriov, driver, interfaces, physicalFunction }: PciDevice,
  vf: number,
): string {
  if (!sriov) {
    const message = `${address} has no virtual functions to set`;
    const fix = physicalFunction
      ? `name the physical function: ${physicalFunction}`
      : "name a NIC with SR-IOV";
    throw new PollmodeError("SRIOV_UNSUPPORTED", message, fix);
  }
  if (vf >= sriov.numVfs) {
    const has = sriov.numVfs === 0 ? "it has none" : `it has 0 to ${sriov.numVfs - 1}`;
    const message = `${address} has no virtual function ${vf}: ${has}`;
    throw new PollmodeError("SRIOV_VF", message, `pollmode sriov create ${address} --count ${vf + 1}`);
  }
  const [name] = interfaces;
  if (name) return name;
  const message = `${address} (${driver ?? "no driver"}) has no interface here, by which virtual functions are set`;
  const fix = "bind it to its kernel driver; with vfio-pci, the program that opens it sets them";
  throw new PollmodeError("SRIOV_NO_INTERFACE", message, fix);
}

function wholeSettings({ rate, ...rest }: VfChanges, before: VfSettings): VfSettings {
  if (!rate) return rest;
  const { min = before.rate?.min ?? 0, max = before.rate?.max ?? 0 } = rate;
  if (max === 0 || min <= max) return { ...rest, rate: { min, max } };
  const message = `a rate of at least ${min} and at most ${max} Mbit/s cannot be`;
  throw new PollmodeError("OPTION_VALUE", message, `--rate ${max}:${min}, for instance; 0 is no limit`);
}

/** In the kernel's order, one at a time. */
function singles(settings: VfSettings): VfSettings[] {
  const keys = ["mac", "vlan", "rate", "spoofCheck", "trust", "linkState"] as const;
  return keys.flatMap((key) => (settings[key] === undefined ? [] : [{ [key]: settings[key] }]));
}

/** The same settings as `like`, as they are in `from`. */
function pick(from: VfSettings, like: VfSettings): VfSettings {
  const keys = Object.keys(like) as (keyof VfSettings)[];
  return Object.fromEntries(keys.flatMap((key) => (from[key] === undefined ? [] : [[key, from[key]]])));
}

/** Some drivers take a setting and never show it. */
const isTold = (now: VfSettings, one: VfSettings) => Object.keys(pick(now, one)).length > 0;

/** As ip-link(8) is given them. */
function ipWords(settings: VfSettings): string[][] {
  const onOff = (value: boolean) => (value ? "on" : "off");
  const { mac, vlan, rate, spoofCheck, trust, linkState } = settings;
  return [
    mac === undefined ? [] : ["mac", mac],
    vlan ? ["vlan", `${vlan.id}`, "qos", `${vlan.qos}`, "proto", vlan.protocol] : [],
    rate ? ["max_tx_rate", `${rate.max}`, "min_tx_rate", `${rate.min}`] : [],
    spoofCheck === undefined ? [] : ["spoofchk", onOff(spoofCheck)],
    trust === undefined ? [] : ["trust", onOff(trust)],
    linkState ? ["state", linkState] : [],
  ].filter((words) => words.length > 0);
}

function notTaken(one: VfSettings, now: VfSettings): PollmodeError {
  const text = (settings: VfSettings) => ipWords(settings).flat().join(" ") || "nothing";
  const message = `the driver took ${text(one)}, but shows ${text(pick(now, one))}`;
  return new PollmodeError("SRIOV_SETTING", message, "the kernel's log may say why: dmesg | tail");
}

/** Takes back what was set; the error to throw. */
function undone(pf: PciDevice, vf: number, cause: unknown, undo: () => void): unknown {
  if (!(cause instanceof PollmodeError)) return cause;
  const failed = `${pf.address} (${pf.interfaces[0]}), virtual function ${vf}: ${cause.message}`;
  try {
    undo();
  } catch (error) {
    const message = `${failed}; its settings could not be put back: ${error instanceof Error ? error.message : error}`;
    const fix = `look at them: ip link show ${pf.interfaces[0]}`;
    return new PollmodeError("SRIOV_NOT_RESTORED", message, fix, { cause });
  }
  const fix = fixOf(cause, pf);
  return new PollmodeError("SRIOV_SETTING", `${failed}; its settings are as they were`, fix, { cause });
}

function fixOf({ code, fix, message }: PollmodeError, { driver, interfaces }: PciDevice): string {
  if (code === "EPERM") return "run as root";
  if (code === "EOPNOTSUPP") return `leave it out: ${driver} cannot do this`;
  if (code === "EPROTONOSUPPORT") return `use the VLAN protocol 802.1Q: ${driver} knows no other`;
  if (/ rate/.test(message)) {
    return `take ${interfaces[0]} up, with its cable in, and choose rates up to its speed; few drivers know a minimum`;
  }
  return code === "EINVAL" ? "the driver refuses this value; its words, if any: dmesg | tail" : fix;
}
