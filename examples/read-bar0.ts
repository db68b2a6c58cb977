// The smallest VFIO program: takes a PCI device into user space, lays its registers over memory, prints the first of
// them, and gives it back. docs/vfio.md walks through it line by line.
//
//   node dist/examples/read-bar0.js 0000:01:00.0
//
// The device has to be bound to vfio-pci; if something is missing, the error says what, and the command that mends it.
// Without a spare NIC, the lab (docs/lab.md) has one, in a virtual machine:
//
//   npm run lab -- --nic e1000e --bind vfio-pci -- node dist/examples/read-bar0.js 0000:00:03.0
import { Vfio } from "../src/bus/vfio/vfio.ts";
import { describeError } from "../src/errors.ts";
import { Arena } from "../src/memory/arena.ts";
import { IovaMap } from "../src/memory/iova.ts";
import { dmaZone } from "../src/memory/zone.ts";

const MIB = 1 << 20;
const address = process.argv[2] ?? "";
const warn = (text: string) => console.error(text);

// One shared buffer, in which all that follows finds its place: memory for the device, and its registers.
const arena = new Arena(64 * MIB);

// The memory that the device will be able to read and write, 2 MiB, and nothing else of this process. A NIC would find
// its descriptor rings and packet buffers here; this program needs none, but every real one does.
const dma = dmaZone(arena, { bytes: 2 * MIB, noHuge: true, warn });

// The addresses by which the device knows that memory. The IOMMU translates them, so we choose: arena offset + 4 GiB.
const iova = new IovaMap("va", dma);

// Holds the container: the set of IOVAs that devices share. It is opened with the first device.
const vfio = new Vfio({ arena, dma, iova, warn });

try {
  // Opens the device's IOMMU group, puts it into the container, maps `dma` there, and gets the device out of the group.
  const device = vfio.open(address);
  const id = (value: number) => value.toString(16).padStart(4, "0");
  console.log(`${device.address} is ${id(device.vendor)}:${id(device.device)}`);
  console.log(`it finds our ${dma.range.bytes / MIB} MiB at 0x${iova.of(dma.range.start).toString(16)}`);

  // Base address register 0 is where most NICs have their registers. From now on they are a part of the arena:
  // reading u32[…] there reads the device.
  const bar = device.mapBar(0);
  for (let register = 0; register < 32; register += 4) {
    const value = arena.u32[(bar.offset + register) >>> 2]!;
    console.log(`BAR0 + 0x${id(register)}: 0x${value.toString(16).padStart(8, "0")}`);
  }
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
} finally {
  // Stops DMA, resets the device, unmaps, closes device, group and container. The kernel does the same for a program
  // that is killed.
  vfio.close();
  dma.close();
  arena.close();
}
