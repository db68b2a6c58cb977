// The kinds of devices that devbind's status is about, and how each is told by class, vendor and device. They are those
// of usertools/dpdk-devbind.py of DPDK (22.11; ML and ODM of later releases), with its titles.
import type { PciDevice } from "../bus/pci/scan.ts";

interface DevicePattern {
  /** Base class. */
  readonly class: number;
  readonly vendor?: number;
  /** Any of these; without them, any. */
  readonly devices?: readonly number[];
}

export interface DeviceGroup {
  /** As --status-dev takes it. */
  readonly name: string;
  /** As headings have it. */
  readonly title: string;
  readonly patterns: readonly DevicePattern[];
}

const CAVIUM = 0x177d;
const HISILICON = 0x19e5;
const INTEL = 0x8086;
const REDHAT = 0x1af4;

/** Base classes of the PCI Code and ID Assignment Specification. */
const STORAGE = 0x01;
const NETWORK = 0x02;
const MEMORY = 0x05;
const BRIDGE = 0x06;
const SYSTEM = 0x08;
const PROCESSOR = 0x0b;
const ENCRYPTION = 0x10;
const ACCELERATOR = 0x12;

const of = (base: number, vendor?: number, ...devices: number[]): DevicePattern => ({
  class: base,
  ...(vendor !== undefined && { vendor }),
  ...(devices.length > 0 && { devices }),
});

/** In the order in which status shows them. A device may be of several. */
export const deviceGroups: readonly DeviceGroup[] = [
  {
    name: "net",
    title: "Network",
    patterns: [
      of(NETWORK),
      of(SYSTEM, CAVIUM, 0xa0dd, 0xa049), // PKX
      of(MEMORY, REDHAT, 0x1110), // AVP
      of(ACCELERATOR, INTEL, 0x0b30), // IFPGA
    ],
  },
  { name: "baseband", title: "Baseband", patterns: [of(ACCELERATOR)] },
  { name: "crypto", title: "Crypto", patterns: [of(ENCRYPTION), of(PROCESSOR, INTEL)] },
  {
    name: "dma",
    title: "DMA",
    patterns: [
      of(SYSTEM, CAVIUM, 0xa081, 0xa08c), // DPI, ODM
      of(SYSTEM, HISILICON, 0xa122),
      of(SYSTEM, INTEL, 0x6f20, 0x6f21, 0x6f22, 0x6f23, 0x6f24, 0x6f25, 0x6f26, 0x6f27, 0x6f2e, 0x6f2f), // IOAT
      of(SYSTEM, INTEL, 0x2021, 0x0b00, 0x0b25), // IOAT of Skylake and Ice Lake, DSA of Sapphire Rapids
    ],
  },
  {
    name: "event",
    title: "Eventdev",
    patterns: [
      of(SYSTEM, CAVIUM, 0xa04b, 0xa04d, 0xa051, 0xa0f9, 0xa0fa), // SSO, TIM
      of(PROCESSOR, INTEL, 0x270b, 0x2710, 0x2714), // DLB
    ],
  },
  { name: "mempool", title: "Mempool", patterns: [of(SYSTEM, CAVIUM, 0xa053, 0xa0fb, 0xa0fc)] }, // FPA, NPA
  { name: "compress", title: "Compress", patterns: [of(ACCELERATOR, CAVIUM, 0xa037)] }, // ZIP
  {
    name: "misc",
    title: "Misc (rawdev)",
    patterns: [
      of(SYSTEM, CAVIUM, 0xa089, 0xa059, 0xa060, 0xa0f0, 0xa0f1), // BPHY, CGX, inline IPsec
      of(BRIDGE, INTEL, 0x201c, 0x347e), // NTB
      of(STORAGE, REDHAT, 0x1001, 0x1042), // virtio-blk
    ],
  },
  { name: "regex", title: "Regex", patterns: [of(SYSTEM, CAVIUM, 0xa0f4)] }, // REE
  { name: "ml", title: "ML", patterns: [of(SYSTEM, CAVIUM, 0xa092)] },
];

export function isOfGroup(device: PciDevice, { patterns }: DeviceGroup): boolean {
  return patterns.some(
    (pattern) =>
      device.class >>> 16 === pattern.class &&
      (pattern.vendor ?? device.vendor) === device.vendor &&
      (pattern.devices?.includes(device.device) ?? true),
  );
}
