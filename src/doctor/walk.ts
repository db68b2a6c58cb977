// Makes the checks in their order. Of what goes wrong one cause is named: a check that would fail by another's failure
// is not made, and says by which.
import type { MachineCheck, NicCheck } from "./check.ts";
import { type Finding, skipped } from "./finding.ts";
import type { Situation, Way } from "./situation.ts";

/** A line of the checklist. */
export interface Line extends Finding {
  readonly id: string;
  /** The NIC that it is of; absent: of the machine. */
  readonly device?: string;
  /** Not looked at: the check whose failure it follows from. */
  readonly because?: string;
}

export interface Checks {
  readonly machine: readonly MachineCheck[];
  readonly nic: readonly NicCheck[];
}

export function walk(situation: Situation, checks: Checks): Line[] {
  const ways = new Set(situation.nics.map(({ way }) => way));
  const machine: Line[] = [];
  for (const check of checks.machine) {
    const blocked = blocker(check, machine);
    const matters = check.ways === undefined || check.ways.some((way) => ways.has(way));
    const finding = blocked ?? (matters ? check.look(situation) : notForUs(situation));
    machine.push({ id: check.id, ...finding });
  }
  const ofNics = situation.nics.flatMap((nic) => {
    const device = nic.pci.address;
    const lines: Line[] = [];
    for (const check of checks.nic) {
      const blocked = blocker(check, [...machine, ...lines]);
      const matters = check.ways === undefined || check.ways.includes(nic.way);
      const finding =
        blocked ?? (matters ? check.look(nic, situation) : skipped(check.otherwise ?? ofWay[nic.way]));
      lines.push({ id: check.id, device, ...finding });
    }
    return lines;
  });
  return [...machine, ...ofNics];
}

function blocker({ needs }: { readonly needs: readonly string[] }, before: readonly Line[]) {
  for (const { id, state, because } of before) {
    if (!needs.includes(id) || (state !== "fail" && because === undefined)) continue;
    const cause = because ?? id;
    return { ...skipped(`not looked at, because of ${cause}`), because: cause };
  }
  return undefined;
}

/** Why a check does not matter, by the NIC's way. */
const ofWay: Readonly<Record<Way, string>> = {
  vfio: "of no matter: an IOMMU is between the NIC and memory",
  noiommu: "of no matter without an IOMMU",
  uio: "of no matter: the NIC is driven through UIO",
  verbs: "of no matter: the NIC stays with its kernel driver",
  none: "of no matter without an IOMMU",
};

function notForUs({ nics }: Situation): Finding {
  const [first] = nics;
  return skipped(
    first ? ofWay[first.way] : "of no matter: there is no NIC to drive, and virtual ports do without",
  );
}
