// Whom a virtual function's errors speak of, so that the commands that mend them can be run as they are printed.
import { readPciDevice } from "../../src/bus/pci/scan.ts";
import { Sysfs } from "../../src/bus/pci/sysfs.ts";
import type { VfNames } from "./mailbox.ts";

/** Looks the VF's physical function up; a guest that was given the VF alone sees none. */
export function vfNames(vf: string, sysfs = new Sysfs()): VfNames {
  const pf = readPciDevice(vf, sysfs).physicalFunction;
  if (pf === undefined) return { vf, pf: "PF", index: "N", mend: "on the host: ip link set PF up" };
  const { interfaces, sriov, driver } = readPciDevice(pf, sysfs);
  const at = sriov?.vfs.indexOf(vf) ?? -1;
  const index = at < 0 ? "N" : at;
  const [name] = interfaces;
  if (name !== undefined) return { vf, pf: name, index, mend: `ip link set ${name} up` };
  const mend = `bind ${pf} to igb: on ${driver ?? "no driver"} it does not serve its virtual functions`;
  return { vf, pf, index, mend };
}
