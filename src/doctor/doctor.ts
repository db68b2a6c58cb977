// The doctor: the whole path from a NIC to pollmode, looked at in the order in which one thing needs the other.
//
//   the NIC is one that pollmode drives ── firmware ── kernel's command line ── IOMMU ── modules ── group ── bound to
//   a driver for user space ── nodes in /dev and the right to open them
//   beside it: memory that may be pinned, hugepages, CPUs, a container's limits, what the kernel's log says
import { accessChecks } from "./checks/access.ts";
import { containerChecks } from "./checks/container.ts";
import { cpuChecks } from "./checks/cpus.ts";
import { kernelChecks } from "./checks/kernel.ts";
import { logChecks } from "./checks/log.ts";
import { memoryChecks, placementChecks } from "./checks/memory.ts";
import { nicChecks, nicsChecks } from "./checks/nics.ts";
import { platformChecks } from "./checks/platform.ts";
import { type Situation, situationOf, type Wanted } from "./situation.ts";
import { type Checks, type Line, walk } from "./walk.ts";

const checks: Checks = {
  machine: [
    ...nicsChecks,
    ...containerChecks,
    ...platformChecks,
    ...kernelChecks,
    ...memoryChecks,
    ...cpuChecks,
    ...logChecks,
  ],
  nic: [...nicChecks, ...accessChecks, ...placementChecks],
};

export interface Diagnosis {
  readonly situation: Situation;
  /** The machine's, then those of each NIC. */
  readonly lines: readonly Line[];
  /** Packets could flow: nothing failed. */
  readonly healthy: boolean;
}

/** Looks, and changes nothing. */
export async function examine(wanted: Wanted): Promise<Diagnosis> {
  const situation = await situationOf(wanted);
  const lines = walk(situation, checks);
  return { situation, lines, healthy: lines.every(({ state }) => state !== "fail") };
}
