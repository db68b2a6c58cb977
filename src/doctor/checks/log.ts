// What the kernel's log tells of the NICs. It may be mended since: it never makes the doctor fail.
import type { MachineCheck } from "../check.ts";
import { ok, skipped, warn } from "../finding.ts";
import { kernelLog } from "../kernel-log.ts";
import { type Explanation, explain } from "../messages.ts";
import type { Situation } from "../situation.ts";

const log: MachineCheck = {
  id: "log",
  needs: [],
  look(situation) {
    const { machine } = situation;
    const lines = kernelLog(machine);
    if (!lines && !machine.isReal) return skipped("the copy has no kernel's log: dmesg > DIR/var/log/dmesg");
    if (!lines) return skipped("this user may not read the kernel's log: run as root, or dmesg as root");
    const found = relevant(lines, situation);
    if (found.length === 0) return ok("the kernel's log has nothing against the NICs");
    const told = found.map(({ text }) => text).join("; ");
    return warn(`the kernel's log says, be it mended or not: ${told}`, ...found.map(({ fix }) => fix));
  },
};

/** The last one of each kind. Those of other devices say nothing of these NICs. */
function relevant(lines: readonly string[], { nics }: Situation): Explanation[] {
  const own = new Set(nics.map(({ pci }) => pci.address));
  const kinds = new Map<string, Explanation>();
  for (const line of lines) {
    const found = explain(line);
    if (!found || (found.device !== undefined && !own.has(found.device))) continue;
    const kind = `${found.device} ${found.fix.setting ?? found.fix.command}`;
    kinds.delete(kind);
    kinds.set(kind, found);
  }
  return [...kinds.values()];
}

export const logChecks = [log];
