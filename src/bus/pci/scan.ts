// What sysfs says of the PCI devices of this machine: the first look at a device, before it is bound, opened or driven.
// Needs no privileges, and no lspci. Attributes: Documentation/ABI/testing/sysfs-bus-pci of the kernel.
import { PollmodeError } from "../../errors.ts";
import { comparePciAddresses, fullPciAddress } from "./address.ts";
import { devicePath, Sysfs } from "./sysfs.ts";

/** What a base address register describes. */
export interface PciResource {
  /** 0 to 5. The upper half of a 64-bit BAR is none of its own. */
  readonly index: number;
  /** Physical address; of I/O ports, the first port. */
  readonly start: bigint;
  readonly bytes: number;
  readonly kind: "io" | "memory";
  readonly is64Bit: boolean;
  readonly isPrefetchable: boolean;
  /** The kernel has given it an address. */
  readonly isAssigned: boolean;
}

export interface PciDevice {
  /** `0000:00:03.0`. */
  readonly address: string;
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystemDevice: number;
  /** Base class, sub-class and programming interface: 0x020000 is an Ethernet controller. */
  readonly class: number;
  readonly revision: number;
  /** What modules are matched against; see KernelModules.candidates. */
  readonly modalias: string;
  /** The kernel driver that has it. */
  readonly driver: string | undefined;
  /** The one driver that may have it. */
  readonly driverOverride: string | undefined;
  readonly iommuGroup: number | undefined;
  readonly numaNode: number | undefined;
  /** Network interfaces that its kernel driver made of it. */
  readonly interfaces: readonly string[];
  /** Base address registers that it has; an index may be missing. */
  readonly resources: readonly PciResource[];
  /** Of a physical function that can have virtual functions. */
  readonly sriov: PciSriov | undefined;
  /** Of a virtual function: its physical function's address. */
  readonly physicalFunction: string | undefined;
  /** `uio0`: a UIO driver has it, and /dev/uio0 is its. */
  readonly uio: string | undefined;
  /** `vfio0`: a VFIO driver has it, and /dev/vfio/devices/vfio0 is its (kernels from 6.2 on). */
  readonly vfioDevice: string | undefined;
}

export interface PciSriov {
  readonly totalVfs: number;
  readonly numVfs: number;
  /** Addresses, first virtual function first. */
  readonly vfs: readonly string[];
}

/** All PCI devices, by address. A device that goes meanwhile is left out; without PCI there are none. */
export function scanPci(sysfs = new Sysfs()): PciDevice[] {
  const addresses = sysfs.list("bus/pci/devices").sort(comparePciAddresses);
  return addresses.flatMap((address) => {
    try {
      return [read(address, sysfs)];
    } catch (error) {
      if (isThere(address, sysfs)) throw error;
      return [];
    }
  });
}

/** One device; its address may be short. Throws PCI_ADDRESS, PCI_UNKNOWN. */
export function readPciDevice(address: string, sysfs = new Sysfs()): PciDevice {
  const full = fullPciAddress(address);
  try {
    if (isThere(full, sysfs)) return read(full, sysfs);
  } catch (error) {
    if (isThere(full, sysfs)) throw error; // else it went while it was read
  }
  const message = `${full}: this machine has no such PCI device`;
  throw new PollmodeError("PCI_UNKNOWN", message, `ls ${sysfs.path("bus/pci/devices")} shows those it has`);
}

const isThere = (address: string, sysfs: Sysfs) => sysfs.exists(devicePath(address, "vendor"));

function read(address: string, sysfs: Sysfs): PciDevice {
  const path = (attribute: string) => devicePath(address, attribute);
  const number = (attribute: string) => parseNumber(sysfs.read(path(attribute)), sysfs.path(path(attribute)));
  const text = (attribute: string) => sysfs.readOptional(path(attribute));
  const group = sysfs.linkName(path("iommu_group"));
  const node = text("numa_node");
  return {
    address,
    vendor: number("vendor"),
    device: number("device"),
    subsystemVendor: number("subsystem_vendor"),
    subsystemDevice: number("subsystem_device"),
    class: number("class"),
    revision: number("revision"),
    modalias: text("modalias") ?? "",
    driver: sysfs.linkName(path("driver")),
    driverOverride: parseOverride(text("driver_override")),
    iommuGroup: group === undefined ? undefined : Number(group),
    numaNode: node === undefined || Number(node) < 0 ? undefined : Number(node), // -1: the firmware does not tell
    interfaces: interfacesOf(address, sysfs),
    resources: parseResources(text("resource") ?? ""),
    sriov: sriovOf(address, sysfs),
    physicalFunction: sysfs.linkName(path("physfn")),
    uio: sysfs.list(path("uio"))[0],
    vfioDevice: sysfs.list(path("vfio-dev"))[0],
  };
}

function parseNumber(text: string, path: string): number {
  const value = Number(text);
  if (text !== "" && Number.isSafeInteger(value)) return value;
  const message = `${path} holds ${JSON.stringify(text)}, which is no number`;
  throw new PollmodeError("SYSFS_VALUE", message, "see whether /sys is the kernel's: mount | grep sysfs");
}

/** The kernel writes "(null)" where there is none. Programs that clear it by a zero byte leave an empty one. */
function parseOverride(text: string | undefined): string | undefined {
  return text === "" || text === "(null)" ? undefined : text;
}

/** A virtio device stands between the PCI device and its interface. */
function interfacesOf(address: string, sysfs: Sysfs): string[] {
  const virtio = sysfs.list(devicePath(address)).filter((name) => /^virtio\d+$/.test(name));
  return ["net", ...virtio.map((name) => `${name}/net`)].flatMap((folder) =>
    sysfs.list(devicePath(address, folder)),
  );
}

// include/linux/ioport.h
const IORESOURCE_IO = 0x100n;
const IORESOURCE_MEM = 0x200n;
const IORESOURCE_PREFETCH = 0x2000n;
const IORESOURCE_MEM_64 = 0x100000n;
const IORESOURCE_DISABLED = 0x10000000n;
const IORESOURCE_UNSET = 0x20000000n;

/** BARs; the lines after them are the ROM, and what a bridge or SR-IOV has. */
const BARS = 6;

/** `resource`: a line for each, of first address, last address and flags. A line of zeros: there is none. */
function parseResources(text: string): PciResource[] {
  const lines = text.split("\n").slice(0, BARS);
  return lines.flatMap((line, index) => {
    const found = /^(0x[0-9a-f]+) (0x[0-9a-f]+) (0x[0-9a-f]+)$/i.exec(line);
    if (!found) return [];
    const [start = 0n, end = 0n, flags = 0n] = found.slice(1).map(BigInt);
    if ((flags & (IORESOURCE_IO | IORESOURCE_MEM)) === 0n) return [];
    const has = (flag: bigint) => (flags & flag) !== 0n;
    const resource: PciResource = {
      index,
      start,
      bytes: Number(end - start + 1n),
      kind: has(IORESOURCE_IO) ? "io" : "memory",
      is64Bit: has(IORESOURCE_MEM_64),
      isPrefetchable: has(IORESOURCE_PREFETCH),
      isAssigned: !has(IORESOURCE_UNSET | IORESOURCE_DISABLED),
    };
    return [resource];
  });
}

function sriovOf(address: string, sysfs: Sysfs): PciSriov | undefined {
  const total = sysfs.readOptional(devicePath(address, "sriov_totalvfs"));
  if (total === undefined) return undefined;
  const numVfs = Number(sysfs.readOptional(devicePath(address, "sriov_numvfs")) ?? 0);
  return { totalVfs: Number(total), numVfs, vfs: virtualFunctionsOf(address, sysfs) };
}

/** Addresses of a physical function's virtual functions, first one first. */
export function virtualFunctionsOf(address: string, sysfs: Sysfs): string[] {
  const numbers = sysfs.list(devicePath(address)).map((name) => /^virtfn(\d+)$/.exec(name)?.[1]);
  const sorted = numbers.filter((number) => number !== undefined).sort((a, b) => Number(a) - Number(b));
  return sorted.flatMap((number) => sysfs.linkName(devicePath(address, `virtfn${number}`)) ?? []);
}
