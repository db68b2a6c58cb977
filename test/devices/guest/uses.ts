// STEPS: a JSON list of [NAME, SHELL, DEVICE, SHELL]: runs the first shell line, looks what the device (a PCI address,
// or else an interface's name) is in use for, runs the second line. Prints the uses by name.
import { execFileSync } from "node:child_process";
import { type PciDevice, readPciDevice } from "../../../src/bus/pci/scan.ts";
import { deviceUse, type Use } from "../../../src/devices/in-use.ts";
import { readLinkState } from "../../../src/devices/link-state.ts";
import { Machine } from "../../../src/devices/machine.ts";

export type UseStep = [name: string, before: string, device: string, after: string];

const shell = (line: string) => {
  if (line !== "") execFileSync("bash", ["-ec", line], { stdio: ["ignore", "ignore", "inherit"] });
};

/** A veth has no PCI device: its name stands for one. */
const named = (name: string) => ({ address: name, interfaces: [name] }) as unknown as PciDevice;

const found: Record<string, Use[]> = {};
for (const [name, before, device, after] of JSON.parse(process.argv[2]!) as UseStep[]) {
  shell(before);
  found[name] = await deviceUse(new Machine(), device.includes(":") ? readPciDevice(device) : named(device));
  shell(after);
}
console.log(JSON.stringify({ found, state: readLinkState(new Machine()) }));
