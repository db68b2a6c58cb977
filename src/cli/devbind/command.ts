// `pollmode devbind`: which driver has which device, and another one for it. Options and status as dpdk-devbind.py has
// them, so that habits and scripts carry over; the library is src/devices/rebind.ts, restore.ts and status.ts.
import { takesAny } from "../../bus/pci/bind.ts";
import type { PciDevice } from "../../bus/pci/scan.ts";
import { accountId } from "../../devices/accounts.ts";
import { type DeviceGroup, deviceGroups } from "../../devices/device-groups.ts";
import { findDevices } from "../../devices/find.ts";
import type { Machine } from "../../devices/machine.ts";
import { hasNode, type Owner } from "../../devices/owner.ts";
import { type ChangeReport, changeDrivers, driverName } from "../../devices/rebind.ts";
import { restoreDrivers } from "../../devices/restore.ts";
import { deviceStatus, userSpaceDevices } from "../../devices/status.ts";
import type { OptionTable } from "../../eal/option-table.ts";
import { PollmodeError } from "../../errors.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";
import { Exit } from "../tool/exit.ts";
import { plainReport, plainStatus, printReport, printStatus } from "./print.ts";

const groupNames = deviceGroups.map(({ name }) => name).join(", ");

const looking = {
  status: { short: "s", meaning: "Show all devices of the kinds that DPDK knows, or those that are named." },
  "status-dev": { value: "GROUP", meaning: `Show the devices of one kind: ${groupNames}; or all.` },
} as const satisfies OptionTable;

const binding = {
  bind: { short: "b", value: "DRIVER", meaning: 'Give the devices to this driver; "none" as --unbind.' },
  unbind: { short: "u", meaning: "Take the devices from their drivers." },
  restore: {
    meaning: "Put back what was bound before pollmode changed it: the devices that are named, or all.",
  },
  group: {
    meaning: "With each device, bind the rest of its IOMMU group, but bridges: all of it, or nothing.",
  },
  force: {
    meaning:
      "Take devices that are in use as well: whatever uses them breaks. Not those that a program has open.",
  },
  "noiommu-mode": { meaning: "Where a device has no IOMMU, turn VFIO's no-IOMMU mode on." },
  uid: {
    short: "U",
    value: "USER",
    meaning: "Owner of the node in /dev of VFIO's group or of UIO, number or name.",
  },
  gid: { short: "G", value: "GROUP", meaning: "Its group, number or name." },
} as const satisfies OptionTable;

export const command: ToolCommand = {
  name: "devbind",
  usage: [
    "devbind --status | --status-dev GROUP",
    "devbind --bind DRIVER [OPTIONS] DEVICE…",
    "devbind --unbind [OPTIONS] DEVICE…",
    "devbind --restore [OPTIONS] [DEVICE…]",
  ],
  meaning:
    "Shows which driver has which device, and gives devices to another one, with the options of dpdk-devbind.py. A " +
    "device whose binding fails gets its old driver back. Devices in use are refused, and then nothing is done.",
  sections: [
    { title: "Looking", table: looking },
    { title: "Binding", table: binding },
  ],
  words: [
    ["DEVICE", "0000:01:00.0, 01:00.0, a pattern as '0000:01:00.*' or '*:00.1', or an interface: eth1"],
    ["dpdk", "with --unbind: all devices that vfio-pci, uio_pci_generic or igb_uio has"],
  ],
  changes: true,
  examples: [
    ["pollmode devbind --status-dev net", "show the NICs"],
    [
      "pollmode devbind -b vfio-pci eth1",
      "take eth1's NIC from its kernel driver, for a program to drive it",
    ],
    [
      "pollmode devbind -b vfio-pci --group -U alice 01:00.0",
      "the same with its IOMMU group, for the user alice",
    ],
    ["pollmode devbind -b ixgbe 02:00.0 02:00.1", "give two functions to a driver of the kernel"],
    ["pollmode devbind --restore", "put everything back"],
    ["pollmode devbind -b vfio-pci --dry-run '0000:01:00.*'", "show what would be written"],
  ],
  run,
};

async function run(call: ToolCall): Promise<number> {
  const { values, machine, out } = call;
  check(call);
  const report = await change(call);
  const code = report ? printReport(out, report, call.dryRun ? "# " : "") : Exit.DONE;
  if (report?.outcomes.length === 0 && !call.dryRun) out.line(`there is none to ${actionOf(values)}`);
  const kinds = kindsOf(call);
  // a bind or a restore has named its devices, and status shows all there are, as dpdk-devbind.py does
  const only =
    report || call.words.length === 0 || isKind(call) ? undefined : findDevices(machine, call.words);
  const status = kinds && (await deviceStatus(machine, kinds, only));
  if (status) printStatus(out, status);
  const action = actionOf(values);
  out.json({
    ...(action && { action, ...plainReport(report!) }),
    ...(status && { status: plainStatus(status) }),
    ...(code !== Exit.DONE && { exitCode: code }),
  });
  return code;
}

type Action = "bind" | "unbind" | "restore";

function actionOf(values: ToolCall["values"]): Action | undefined {
  if (values.restore) return "restore";
  if (values.unbind) return "unbind";
  if (values.bind === undefined) return undefined;
  return /^none$/i.test(values.bind as string) ? "unbind" : "bind";
}

/** Throws OPTION_VALUE, OPTION_CONFLICT. */
function check({ values, words }: ToolCall): void {
  const given = ["bind", "unbind", "restore"].filter(
    (name) => values[name] !== undefined && values[name] !== false,
  );
  if (given.length > 1) {
    const names = given.map((name) => `--${name}`).join(" and ");
    throw new PollmodeError("OPTION_CONFLICT", `${names} exclude each other`, "give one of them");
  }
  const action = actionOf(values);
  if (action === undefined && !values.status && values["status-dev"] === undefined) {
    const fix = "give --status, --bind DRIVER, --unbind or --restore; --help shows examples";
    throw new PollmodeError("OPTION_VALUE", "it is not said what to do", fix);
  }
  if (action !== undefined && action !== "restore" && words.length === 0) {
    const what = action === "bind" ? `--bind ${values.bind as string}` : "--unbind";
    throw new PollmodeError("OPTION_VALUE", "no device is named", `pollmode devbind ${what} 0000:01:00.0`);
  }
  const [option] = ["group", "uid", "gid", "noiommu-mode"].filter((name) => values[name]);
  if (option !== undefined && action !== "bind" && !(option === "group" && action === "unbind")) {
    const message = `--${option} says how to bind, and nothing is bound`;
    throw new PollmodeError("OPTION_CONFLICT", message, `leave it out, or give --bind DRIVER`);
  }
}

async function change({ values, words, machine, out }: ToolCall): Promise<ChangeReport | undefined> {
  const action = actionOf(values);
  const force = values.force === true;
  const progress = (text: string) => out.progress(text);
  if (action === undefined) return undefined;
  if (action === "restore") {
    return restoreDrivers(machine, { words: words.length > 0 ? words : undefined, force, progress });
  }
  const driver = action === "bind" ? driverName(machine, values.bind as string) : undefined;
  const wholeGroup = values.group === true;
  if (wholeGroup && driver !== undefined && !takesAny(driver)) {
    const message = `--group is for drivers that take any device, and ${driver} knows its own`;
    throw new PollmodeError("OPTION_CONFLICT", message, "leave --group out, or bind to vfio-pci");
  }
  const owner = ownerOf(machine, values);
  if (owner && !hasNode(driver ?? "")) out.warn(`pollmode devbind: ${driver} has no node in /dev to own`);
  const noIommuMode = values["noiommu-mode"] === true;
  const devices = named(machine, words, action);
  return changeDrivers(machine, { devices, driver, force, wholeGroup, noIommuMode, owner, progress });
}

function named(machine: Machine, words: readonly string[], action: Action): PciDevice[] {
  const isAll = action === "unbind" && words.length === 1 && words[0] === "dpdk";
  return isAll ? userSpaceDevices(machine) : findDevices(machine, words);
}

function ownerOf(machine: Machine, { uid, gid }: ToolCall["values"]): Owner | undefined {
  if (uid === undefined && gid === undefined) return undefined;
  const idOf = (kind: "user" | "group", name: unknown) =>
    name === undefined ? undefined : accountId(machine, kind, name as string);
  return { uid: idOf("user", uid), gid: idOf("group", gid) };
}

/** The kinds of devices to show; undefined: none. The latest dpdk-devbind.py spells --status-dev net `--status net`. */
function kindsOf(call: ToolCall): readonly DeviceGroup[] | undefined {
  const { values, words } = call;
  const name = values["status-dev"] ?? (isKind(call) ? words[0] : undefined);
  if (name === undefined) return values.status ? deviceGroups : undefined;
  const group = deviceGroups.find((group) => group.name === name);
  if (group && !values.status) return [group];
  if (group && isKind(call)) return [group];
  if (group || name === "all") return deviceGroups;
  throw new PollmodeError(
    "OPTION_VALUE",
    `--status-dev ${name}: there is no such kind`,
    `one of: ${groupNames}, all`,
  );
}

function isKind({ values, words }: ToolCall): boolean {
  const names = [...deviceGroups.map(({ name }) => name), "all"];
  return values.status === true && words.length === 1 && names.includes(words[0]!) && !actionOf(values);
}
