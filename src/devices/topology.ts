// Where a device sits: the bridges above it, from its path in sysfs, and whether each of them keeps what is below it
// apart (Access Control Services). By the rules of the kernel: pci_acs_enabled and pci_acs_path_enabled in
// drivers/pci/pci.c, pci_device_group in drivers/iommu/iommu.c.
import { realpathSync } from "node:fs";
import { parsePciAddress } from "../bus/pci/address.ts";
import { readConfigImage } from "../bus/pci/config-file.ts";
import { type ConfigSpace, parseConfigSpace } from "../bus/pci/config-space.ts";
import * as regs from "../bus/pci/registers.ts";
import type { PciDevice } from "../bus/pci/scan.ts";
import { devicePath, type Sysfs } from "../bus/pci/sysfs.ts";

export type PortKind =
  | "endpoint"
  | "root port"
  | "switch upstream port"
  | "switch downstream port"
  | "PCIe-to-PCI bridge"
  | "PCI-to-PCIe bridge"
  | "PCI device"
  | "PCI bridge"
  /** Its configuration space beyond the header is for root's eyes, or cannot be read. */
  | "bridge"
  | "device";

/** What ACS does of what the IOMMU needs. `unknown`: this user may not see it. `not needed`: no peers to reach. */
export type AcsState = "enabled" | "missing" | "unknown" | "not needed";

export interface PciNode {
  readonly address: string;
  readonly kind: PortKind;
  readonly isBridge: boolean;
  /** One function of several, or it may be. */
  readonly isMultiFunction: boolean;
  readonly acs: AcsState;
  /** What it lacks of REQ_ACS_FLAGS, in words; with `missing` and none of them, it has no ACS at all. */
  readonly acsLacks: readonly string[];
  /** Bridges above it, the root port first. */
  readonly above: readonly string[];
}

/** What an IOMMU takes for isolation: REQ_ACS_FLAGS of drivers/iommu/iommu.c. Names: PCI Express Base 5.0, 7.7.8. */
const required: readonly (readonly [flag: number, name: string])[] = [
  [regs.PCI_ACS_SV, "Source Validation"],
  [regs.PCI_ACS_RR, "P2P Request Redirect"],
  [regs.PCI_ACS_CR, "P2P Completion Redirect"],
  [regs.PCI_ACS_UF, "Upstream Forwarding"],
];

/** Base class and sub-class of PCI-to-PCI bridges, root and switch ports. */
const CLASS_BRIDGE_PCI = 0x0604;

export function isPciBridge({ class: code }: PciDevice): boolean {
  return code >>> 8 === CLASS_BRIDGE_PCI;
}

/** A device that cannot be asked is a `device` or `bridge` whose ACS is unknown. */
export function readPciNode(device: PciDevice, sysfs: Sysfs): PciNode {
  const { address } = device;
  const seen = lookAt(device, sysfs);
  const isBridge = isPciBridge(device);
  const kind = kindOf(seen, isBridge);
  return {
    address,
    kind,
    isBridge,
    isMultiFunction: seen?.isMultiFunction ?? false,
    ...acsOf(seen, kind),
    above: bridgesAbove(address, sysfs),
  };
}

interface Seen {
  readonly space: ConfigSpace;
  /** Nothing of it is hidden from this user; what is not there, the kernel does not see either. */
  readonly isWhole: boolean;
  readonly isMultiFunction: boolean;
}

/** Undefined where it cannot be read: the device is gone, or sleeps too deeply to answer. */
function lookAt({ address, vendor, physicalFunction }: PciDevice, sysfs: Sysfs): Seen | undefined {
  try {
    const image = readConfigImage(address, sysfs);
    // a virtual function's own register reads as all ones: PCI Express Base 5.0, 9.3.4.1.1
    if (physicalFunction !== undefined) image.writeUInt16LE(vendor, regs.PCI_VENDOR_ID);
    const space = parseConfigSpace(image);
    if (space.vendor === 0xffff) return undefined; // all ones: nobody answers
    const isWhole = space.isComplete || image.length > regs.PCI_STD_HEADER_SIZEOF;
    // only function 0 has to say it (pci_scan_slot); virtual functions never are (pci_iov_add_virtfn)
    const isOther = (parsePciAddress(address)?.function ?? 0) > 0;
    const isMultiFunction = physicalFunction === undefined && (space.isMultiFunction || isOther);
    return { space, isWhole, isMultiFunction };
  } catch {
    return undefined;
  }
}

function kindOf(seen: Seen | undefined, isBridge: boolean): PortKind {
  if (!seen?.isWhole) return isBridge ? "bridge" : "device";
  if (!seen.space.express) return isBridge ? "PCI bridge" : "PCI device";
  switch (seen.space.express.type) {
    case regs.PCI_EXP_TYPE_ROOT_PORT:
      return "root port";
    case regs.PCI_EXP_TYPE_UPSTREAM:
      return "switch upstream port";
    case regs.PCI_EXP_TYPE_DOWNSTREAM:
      return "switch downstream port";
    case regs.PCI_EXP_TYPE_PCI_BRIDGE:
      return "PCIe-to-PCI bridge";
    case regs.PCI_EXP_TYPE_PCIE_BRIDGE:
      return "PCI-to-PCIe bridge";
    default:
      return isBridge ? "bridge" : "endpoint"; // legacy endpoints and those of the root complex too
  }
}

function acsOf(seen: Seen | undefined, kind: PortKind): Pick<PciNode, "acs" | "acsLacks"> {
  const plainly = (acs: AcsState) => ({ acs, acsLacks: [] });
  if (!seen?.isWhole) return plainly("unknown");
  const { acs } = seen.space;
  const hasPeers = seen.isMultiFunction || (kind !== "endpoint" && kind !== "switch upstream port");
  if (!hasPeers) return plainly("not needed");
  if (!acs || isConventional(kind)) return plainly("missing");
  // what a port cannot be told, it does by itself: PCI_ACS_CAP, pci_acs_flags_enabled
  const lacks = required.filter(([flag]) => (acs.capabilities & flag) !== 0 && (acs.control & flag) === 0);
  return { acs: lacks.length === 0 ? "enabled" : "missing", acsLacks: lacks.map(([, name]) => name) };
}

/** The bus below it, or its own, has no requester IDs: the IOMMU cannot tell the devices of such a bus apart. */
export function isConventional(kind: PortKind): boolean {
  return kind.startsWith("PCI ") || kind.startsWith("PCIe-to-") || kind.startsWith("PCI-to-");
}

/** /sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0 is below 0000:00:1c.0. */
function bridgesAbove(address: string, sysfs: Sysfs): string[] {
  try {
    const parts = realpathSync(sysfs.path(devicePath(address))).split("/");
    return parts.slice(0, -1).filter((part) => parsePciAddress(part) !== undefined);
  } catch {
    return []; // it went
  }
}
