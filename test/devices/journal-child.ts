// A process that notes ten devices of its own, one by one, while others do the same: `journal-child.js ROOT NUMBER`.
import type { PciDevice } from "../../src/bus/pci/scan.ts";
import { BindingJournal } from "../../src/devices/journal.ts";
import { Machine } from "../../src/devices/machine.ts";

const [root = "", number = "0"] = process.argv.slice(2);
const machine = new Machine({ root });
for (let k = 0; k < 10; k++) {
  const journal = await BindingJournal.open(machine, console.error);
  const address = `0000:0${number}:0${k}.0`;
  const device = { address, driver: "e1000e", vendor: 0x8086, device: 0x10d3, interfaces: [] as string[] };
  journal.remember([{ ...device, driverOverride: undefined } as unknown as PciDevice]);
  journal.close();
}
