// ADDRESS of an e1000e: has it read descriptors from an IOVA that is not mapped. Prints what the kernel logged of it.
import { setTimeout } from "node:timers/promises";
import { IommuFaults } from "../../../../src/bus/iommu-faults.ts";
import { environment, print } from "./environment.ts";
import { Nic } from "./nic.ts";

// 82574 datasheet, 10.2.6: TCTL.EN, and the first transmit ring
const TCTL = 0x0400;
const TDBAL = 0x3800;
const TDBAH = 0x3804;
const TDLEN = 0x3808;
const TDH = 0x3810;
const TDT = 0x3818;

using made = environment({});
const faults = new IommuFaults();
const device = made.vfio.open(process.argv[2]!);
const nic = new Nic(made.arena, device.mapBar(0).offset, device.device);

function transmitFrom(iova: bigint): void {
  nic.writeAll([
    [TCTL, 0],
    [TDBAL, Number(iova & 0xffff_ffffn)],
    [TDBAH, Number(iova >> 32n)],
    [TDLEN, 4096],
    [TDH, 0],
    [TDT, 0],
    [TCTL, 0x2],
    [TDT, 4],
  ]);
}

const { range } = made.dma;
const inside = made.iova.of(range.start);
const beyond = made.iova.of(range.start + range.bytes - 4096) + 4096n;
const found: Record<string, { device: string; address: string; access: string }[]> = {};
device.setBusMaster(true);
for (const [name, iova] of Object.entries({ inside, beyond })) {
  transmitFrom(iova);
  await setTimeout(300);
  found[name] = faults.take().map((fault) => ({ ...fault, address: `0x${fault.address.toString(16)}` }));
}
faults.close();
print({ ...found, firstUnmapped: `0x${beyond.toString(16)}` });
