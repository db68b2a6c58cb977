// `pollmode passthrough`: what gives devices to a virtual machine, printed and checked. The library is
// src/devices/passthrough.ts and guest-devices.ts.
import { randomUUID } from "node:crypto";
import type { PciDevice } from "../../bus/pci/scan.ts";
import { checkVfToken } from "../../bus/vfio/token.ts";
import { findDevices } from "../../devices/find.ts";
import { type LibvirtXml, libvirtXml, qemuArguments, usedProperties } from "../../devices/guest-devices.ts";
import { parseBytes } from "../../devices/hugepages.ts";
import type { Machine } from "../../devices/machine.ts";
import { findMdev, type Mdev } from "../../devices/mdev.ts";
import { type Passthrough, planPassthrough } from "../../devices/passthrough.ts";
import { usesOf } from "../../devices/refuse.ts";
import type { OptionTable } from "../../eal/option-table.ts";
import { PollmodeError } from "../../errors.ts";
import { KIB, MIB } from "../../limits.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";

const formats = ["qemu", "libvirt", "both"];

const options = {
  group: { meaning: "With each device, give the rest of its IOMMU group, but bridges." },
  format: { value: "FORMAT", meaning: "What to print: qemu, libvirt or both.", byDefault: "both" },
  "vf-token": {
    value: "UUID",
    meaning:
      'The VF token of functions whose physical function VFIO has, or "new", which makes one for both sides. ' +
      "QEMU 8.1 or later; libvirt 8.2 or later.",
  },
  memory: { value: "SIZE", meaning: "The guest's memory, as 4G: to see whether QEMU may lock as much." },
  managed: {
    value: "yes|no",
    meaning: "Whether libvirt binds the devices to vfio-pci, and back when the guest ends.",
    byDefault: "yes where VFIO does not have the device yet",
  },
  qemu: {
    value: "PROGRAM",
    meaning: "The QEMU that the arguments are checked with.",
    byDefault: "qemu-system-x86_64",
  },
} as const satisfies OptionTable;

export const command: ToolCommand = {
  name: "passthrough",
  usage: ["passthrough [OPTIONS] DEVICE…"],
  meaning:
    "Prints what gives devices to a virtual machine (type q35): QEMU's arguments and libvirt's XML, each device at a " +
    "root port of its own, functions of one device together; what has to be bound to vfio-pci first, and what memory " +
    "QEMU locks. Nothing is changed. Bridges are refused, and mlx4 and mlx5 as long as their kernel driver has them.",
  sections: [{ title: "Passthrough", table: options }],
  words: [
    ["DEVICE", "0000:01:00.0, 01:00.0, '0000:01:00.*' or an interface, as devbind takes them"],
    ["UUID", "a mediated device: pollmode mdev list"],
  ],
  changes: false,
  examples: [
    ["pollmode passthrough 01:00.0", "QEMU's arguments and libvirt's XML for one device"],
    [
      "pollmode passthrough --group --memory 8G eth1",
      "eth1's NIC with its whole IOMMU group, for a guest of 8 GiB",
    ],
    [
      "qemu-system-x86_64 -machine q35 -enable-kvm -m 4G $(pollmode passthrough --format qemu 01:00.0)",
      "start a guest with it: only arguments go to stdout, all else to stderr",
    ],
    [
      "pollmode passthrough --format libvirt 01:00.0 > nic.xml; virsh attach-device guest nic.xml --config",
      "the same with libvirt",
    ],
    ["pollmode passthrough --vf-token new 03:10.2", "a virtual function whose physical function VFIO has"],
  ],
  run,
};

async function run({ values, words, machine, out, json }: ToolCall): Promise<undefined> {
  const format = oneOf("format", (values.format as string | undefined) ?? "both", formats);
  const managed =
    values.managed === undefined ? undefined : oneOf("managed", values.managed as string, ["yes", "no"]);
  if (words.length === 0) {
    throw new PollmodeError("OPTION_VALUE", "no device is named", "pollmode passthrough 0000:01:00.0");
  }
  const vfToken = tokenOf(values["vf-token"] as string | undefined);
  const memoryBytes = memoryOf(values.memory as string | undefined);
  const { devices, mdevs } = named(machine, words);
  const wholeGroup = values.group === true;
  const plan = planPassthrough(machine, { devices, mdevs, wholeGroup, vfToken, memoryBytes });
  const qemu = qemuArguments(plan);
  const xml = libvirtXml(plan, { ...(managed !== undefined && { managed: managed === "yes" }) });
  const check =
    format === "libvirt" ? undefined : checkQemu(machine, qemu, values.qemu as string | undefined);
  const warnings = [...plan.warnings, ...(await inUse(machine, plan)), ...(check?.warnings ?? [])];
  for (const text of warnings) out.warn(text);
  if (json) {
    const { first, lockedBytes = null } = plan;
    out.json({
      ready: first.length === 0,
      first,
      warnings,
      lockedBytes,
      ...(vfToken !== undefined && { vfToken }),
      ...(format !== "libvirt" && { qemu, checkedWith: check?.program ?? null }),
      ...(format !== "qemu" && { libvirt: xml }),
    });
    return;
  }
  explain(plan, format, vfToken, check?.program, (text) => out.warn(text));
  if (format !== "libvirt") printQemu(qemu, (text) => out.line(text));
  if (format === "both") out.line();
  if (format !== "qemu") printXml(xml, (text) => out.line(text));
}

function oneOf(option: string, value: string, known: readonly string[]): string {
  if (known.includes(value)) return value;
  throw new PollmodeError(
    "OPTION_VALUE",
    `--${option} ${value}: there is no such value`,
    `one of ${known.join(", ")}`,
  );
}

function tokenOf(given: string | undefined): string | undefined {
  const token = given === "new" ? randomUUID() : given;
  if (token !== undefined) checkVfToken("--vf-token", token);
  return token?.toLowerCase();
}

function memoryOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const bytes = parseBytes(text);
  if (bytes !== undefined && bytes > 0 && Number.isSafeInteger(bytes)) return bytes;
  throw new PollmodeError("OPTION_VALUE", `--memory ${text}: this is no size`, "write it as 4G or 2048M");
}

/** Errors: of findDevices, findMdev. */
function named(machine: Machine, words: readonly string[]): { devices: PciDevice[]; mdevs: Mdev[] } {
  const isMdev = (word: string) => /^[0-9a-f-]{36}$/i.test(word); // no address, and too long for an interface
  const uuids = [...new Set(words.filter(isMdev).map((word) => word.toLowerCase()))];
  const rest = words.filter((word) => !isMdev(word));
  return { devices: findDevices(machine, rest), mdevs: uuids.map((uuid) => findMdev(machine, uuid)) };
}

/** libvirt binds without asking, where devbind would refuse. */
async function inUse(machine: Machine, { toBind }: Passthrough): Promise<string[]> {
  const found = toBind.map(async (device) => {
    const { uses } = await usesOf(machine, device);
    return uses.map((use) => `${device.address} is in use, and the host loses it: ${use}`);
  });
  return (await Promise.all(found)).flat();
}

interface QemuCheck {
  /** That was asked; undefined where there is none to ask. */
  readonly program: string | undefined;
  readonly warnings: readonly string[];
}

/** Whether the QEMU here knows what the arguments use. Another machine's QEMU cannot be asked. */
function checkQemu(machine: Machine, args: readonly string[], given: string | undefined): QemuCheck {
  const program = given ?? "qemu-system-x86_64";
  if (!machine.isReal) return { program: undefined, warnings: [] };
  let help: string;
  try {
    help = machine.run([program, "-device", "vfio-pci,help"]);
  } catch (error) {
    const isMissing = error instanceof PollmodeError && error.code === "COMMAND_MISSING";
    if (isMissing && given === undefined) return { program: undefined, warnings: [] };
    throw error;
  }
  const known = new Set([...help.matchAll(/^\s+([\w-]+)=</gm)].map(([, name]) => name));
  const missing = usedProperties(args).filter((name) => !known.has(name) && name !== "bus");
  return {
    program,
    warnings: missing.map((name) => `${program} has no property ${name} for vfio-pci: it is too old`),
  };
}

/** What is to be read, not to be used: on stderr, so that stdout can be handed on. */
function explain(
  { first, lockedBytes }: Passthrough,
  format: string,
  vfToken: string | undefined,
  program: string | undefined,
  say: (text: string) => void,
): void {
  for (const line of first) say(`first, as root: ${line}`);
  if (vfToken !== undefined)
    say(`VF token ${vfToken}: the physical function's program gives it too (--vfio-vf-token)`);
  if (lockedBytes === undefined) {
    say("QEMU locks all of the guest's memory: RLIMIT_MEMLOCK has to allow it (--memory SIZE checks that)");
  } else
    say(`QEMU locks up to ${Math.ceil(lockedBytes / MIB)} MiB (ulimit -l ${Math.ceil(lockedBytes / KIB)})`);
  if (program !== undefined) say(`checked with ${program}`);
  if (format !== "libvirt") say("for QEMU's -machine q35");
}

/** A line an option; a shell's $() makes words of them. */
function printQemu(args: readonly string[], line: (text: string) => void): void {
  for (let k = 0; k < args.length; k += 2) line(`${args[k]} ${args[k + 1]}`);
}

function printXml({ devices, overrides }: LibvirtXml, line: (text: string) => void): void {
  line(devices);
  if (overrides === undefined) return;
  line("");
  line("<!-- below <domain> itself -->");
  line(overrides);
}
