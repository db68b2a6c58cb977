// `pollmode groups`: IOMMU groups as a tree, whether VFIO may have each, and why devices share one. The library is
// src/devices/groups.ts.
import { findDevices } from "../../devices/find.ts";
import { type IommuGroup, inTheWay, iommuGroups } from "../../devices/groups.ts";
import { readLinkState } from "../../devices/link-state.ts";
import { dangersOf } from "../../devices/refuse.ts";
import { PollmodeError } from "../../errors.ts";
import type { ToolCall, ToolCommand } from "../tool/command.ts";
import { hidesAcs, plainGroup, printGroup, type ShownGroup } from "./print.ts";

export const command: ToolCommand = {
  name: "groups",
  usage: ["groups [DEVICE|GROUP…]"],
  meaning:
    "Shows the IOMMU's groups: the devices of each as a tree, their drivers, whether VFIO may open it and what " +
    "keeps it from that, and why devices share it: bridges and functions without Access Control Services (ACS), " +
    "conventional PCI. The groups are the kernel's; the reasons are read from configuration space, and the kernel " +
    "knows chips that do better or worse than theirs says. A group is given to user space or to a virtual machine as " +
    "a whole.",
  sections: [],
  words: [
    ["DEVICE", "the group of 0000:01:00.0, 01:00.0, '0000:01:00.*' or an interface, as devbind takes them"],
    ["GROUP", "a group's number"],
  ],
  changes: false,
  examples: [
    ["pollmode groups", "show all groups"],
    ["sudo pollmode groups eth1", "show the group of eth1's NIC, with what only root may see of its bridges"],
    ["pollmode groups 12 --json", "show group 12 for a script: viable, why, devices"],
  ],
  run,
};

async function run({ words, machine, out }: ToolCall): Promise<undefined> {
  const all = iommuGroups(machine);
  const asked = words.length === 0 ? all : named(words, all, { machine });
  const groups: ShownGroup[] = [];
  const links = asked.every(({ viable }) => viable) ? undefined : readLinkState(machine);
  for (const group of asked)
    groups.push({ ...group, dangers: await dangersOf(machine, inTheWay(group), links) });
  if (groups.length === 0) {
    out.line(
      "this machine has no IOMMU groups: it has no IOMMU, or it is off; pollmode doctor finds out why",
    );
  }
  groups.forEach((group, k) => {
    if (k > 0) out.line();
    printGroup(out, group);
  });
  const isHidden = groups.some(hidesAcs);
  if (isHidden) {
    out.line();
    out.line("ACS stands in configuration space, which only root may read: sudo pollmode groups shows it");
  }
  out.json({ groups: groups.map(plainGroup), ...(isHidden && { acsHidden: true }) });
}

/** By number, each once. Errors: of findDevices; GROUP_UNKNOWN, VFIO_NO_IOMMU. */
function named(
  words: readonly string[],
  all: readonly IommuGroup[],
  { machine }: Pick<ToolCall, "machine">,
): IommuGroup[] {
  const numbers = words.flatMap((word) => {
    if (/^\d+$/.test(word)) return [knownNumber(Number(word), all)];
    return findDevices(machine, [word]).map(({ address, iommuGroup }) => {
      if (iommuGroup !== undefined) return iommuGroup;
      const fix = "turn the IOMMU on; pollmode doctor says how on this machine";
      throw new PollmodeError("VFIO_NO_IOMMU", `${address} is in no IOMMU group`, fix);
    });
  });
  return all.filter(({ number }) => numbers.includes(number));
}

function knownNumber(number: number, all: readonly IommuGroup[]): number {
  if (all.some((group) => group.number === number)) return number;
  const numbers = all.map((group) => group.number);
  const fix =
    numbers.length > 0 ? `groups: ${numbers.join(", ")}` : "there are none: pollmode doctor finds out why";
  throw new PollmodeError("GROUP_UNKNOWN", `this machine has no IOMMU group ${number}`, fix);
}
