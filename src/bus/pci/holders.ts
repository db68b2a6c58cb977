// Programs that have a device open through VFIO or UIO. Taking it from them is no way: unbinding from a VFIO driver
// sleeps in the kernel until they let go, and a UIO program goes on writing registers that the next driver uses.
import { PollmodeError } from "../../errors.ts";
import { System } from "../vfio/system.ts";
import type { PciDevice } from "./scan.ts";
import type { Sysfs } from "./sysfs.ts";

/** Throws PCI_IN_USE, naming the programs, if there are any that this user may see. */
export function refuseWhileOpen(device: PciDevice, sysfs: Sysfs, system = new System(sysfs)): void {
  const nodes = [
    device.uio && `${system.dev}/${device.uio}`,
    device.vfioDevice && `${system.dev}/vfio/devices/${device.vfioDevice}`,
    vfioGroupNode(device, system),
  ];
  for (const node of nodes) {
    if (!node) continue;
    const holders = system.holdersOf(node).map(({ pid, name }) => `${name} (process ${pid})`);
    if (holders.length === 0) continue;
    const message = `${device.address} is in use: ${node} is open in ${holders.join(", ")}`;
    throw new PollmodeError("PCI_IN_USE", message, "stop it first");
  }
}

function vfioGroupNode(device: PciDevice, system: System): string | undefined {
  if (!device.driver?.includes("vfio")) return undefined;
  const group = system.groupOf(device);
  return group && system.groupNode(group);
}
