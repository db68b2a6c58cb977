// Whom a virtual function's errors speak of, so that the commands that mend them can be run as they are printed.
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import { Sysfs } from "../../src/bus/pci/sysfs.ts";
import type { VfNames } from "./mailbox.ts";

/** Looks the VF's physical function up; a guest that was given the VF alone sees none. */
export function vfNames(vf: string, sysfs = new Sysfs()): VfNames {
  const pf = readPciDevice(vf, sysfs).physicalFunction;
  if (pf === undefined) return { vf, pf: "PF", index: "N" };
  const { interfaces, sriov } = readPciDevice(pf, sysfs);
  const index = sriov?.vfs.indexOf(vf) ?? -1;
  return { vf, pf: interfaces[0] ?? pf, index: index < 0 ? "N" : index };
}
