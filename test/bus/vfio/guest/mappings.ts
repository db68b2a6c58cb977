// ADDRESS: what a container maps and refuses, with the group of ADDRESS in it.
import { readFileSync } from "node:fs";
import { readPciDevice } from "../../../../src/bus/pci/scan.ts";
import { mapDma, unmapDma } from "../../../../src/bus/vfio/calls.ts";
import { VfioContainer } from "../../../../src/bus/vfio/container.ts";
import { findGroup } from "../../../../src/bus/vfio/errors.ts";
import { VfioGroup } from "../../../../src/bus/vfio/group.ts";
import { System } from "../../../../src/bus/vfio/system.ts";
import { HUGEPAGE_BYTES, MIB } from "../../../../src/limits.ts";
import { attempt, environment, print } from "./environment.ts";

const address = process.argv[2]!;
const system = new System();
using made = environment({ memoryMib: 8 });
const { arena, dma, iova } = made;
const start = arena.address + BigInt(dma.range.start);

/** Locked memory of this process, KiB. */
function lockedKib(): number {
  return Number(/^VmLck:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
}

const group = VfioGroup.open(findGroup(readPciDevice(address), system), address, system);
const container = VfioContainer.open(false, address, system);
const unattached = attempt(() => container.mapZone(dma, iova));
container.attach(group);
const left = [container.mappingsLeft];

container.mapZone(dma, iova);
left.push(container.mappingsLeft);
const locked = [lockedKib()];
const base = iova.of(dma.range.start);
const result = {
  unattached,
  twice: attempt(() => container.mapZone(dma, iova)),
  // the kernel's part of it: type 1 v2 splits no mapping, and type 1 would unmap all of it
  partial: attempt(() => unmapDma(container.fd, base, HUGEPAGE_BYTES, "a part of the zone")),
  partialOfOurs: attempt(() => container.unmap(base + BigInt(HUGEPAGE_BYTES))),
  crooked: attempt(() => container.map(start + 1n, base + BigInt(64 * MIB), 4096, "crooked")),
  nothing: attempt(() => container.map(start, base + BigInt(64 * MIB), 0, "nothing")),
  reserved: attempt(() => container.map(start, 0xfee0_0000n - 4096n, 8192, "a window of MSI")),
  beyond: attempt(() => container.map(start, 1n << 62n, 4096, "beyond the IOMMU's width")),
  kernelSays: attempt(() => mapDma(container.fd, start, 0xfee0_0000n, 4096, "as the kernel refuses it")),
};
container.unmap(base);
left.push(container.mappingsLeft);
locked.push(lockedKib());
container.mapZone(dma, iova);
container.detach(group);
container.detach(group);
locked.push(lockedKib());
group.close();
container.close();
container.close();
print({ ...result, left, locked });
