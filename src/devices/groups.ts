// IOMMU groups: what the IOMMU cannot tell apart, and so the smallest thing that user space can be given. Groups are
// the kernel's and are read from sysfs; why one is shared is found out from its devices, by the kernel's own rules.
// Documentation/ABI/testing/sysfs-kernel-iommu_groups, Documentation/driver-api/vfio.rst of the kernel.
import { parsePciAddress } from "../bus/pci/address.ts";
import { bindCommand, unbindCommand } from "../bus/pci/commands.ts";
import { type PciDevice, readPciDevice } from "../bus/pci/scan.ts";
import { devicePath, type Sysfs } from "../bus/pci/sysfs.ts";
import { ignoresBridges, leavesGroupAlone } from "../bus/vfio/drivers.ts";
import type { Machine } from "./machine.ts";
import { isConventional, isPciBridge, type PciNode, readPciNode } from "./topology.ts";

export interface GroupDevice {
  /** A PCI address, or the name that another bus gives it. */
  readonly address: string;
  readonly driver: string | undefined;
  /** As PciDevice has it; undefined where it is no PCI device. */
  readonly class: number | undefined;
  readonly pci: PciDevice | undefined;
  readonly node: PciNode | undefined;
  /**
   * Of a bridge, the kernel's own judgement: whether what is below it is in other groups than the bridge. Chips are
   * known to it that isolate without ACS, and others that do not with it (drivers/pci/quirks.c). Undefined: it has
   * nothing below it.
   */
  readonly isolates: boolean | undefined;
  /** Its driver does DMA for the kernel, and keeps the group from user space. */
  readonly isInTheWay: boolean;
}

/** I/O virtual addresses that a device of the group cannot use for memory of its user. */
export interface ReservedRegion {
  readonly start: bigint;
  /** The last address. */
  readonly end: bigint;
  /** `msi`, `reserved`, `direct`, `direct-relaxable`. */
  readonly type: string;
}

export interface IommuGroup {
  readonly number: number;
  /** Of its default domain: `DMA`, `DMA-FQ`, `identity`, …; undefined where the kernel does not tell. */
  readonly type: string | undefined;
  /** Made by VFIO for a device without IOMMU: there is no protection. */
  readonly noIommu: boolean;
  readonly reservedRegions: readonly ReservedRegion[];
  /** By address. */
  readonly devices: readonly GroupDevice[];
  /** Those of the devices that are bridges. */
  readonly bridges: readonly GroupDevice[];
  /** VFIO may open it, as VFIO_GROUP_GET_STATUS says: no device of it has a driver that does DMA for the kernel. */
  readonly viable: boolean;
  /** What keeps it from being viable, a sentence a device. */
  readonly why: readonly string[];
  /** Why it has more than one device, for people; none where it has one. */
  readonly sharedBecause: readonly string[];
  /** What else stands in VFIO's way. */
  readonly warnings: readonly string[];
}

const folder = "kernel/iommu_groups";

/** All groups, by number; none where there is no IOMMU. */
export function iommuGroups(machine: Machine): IommuGroup[] {
  const numbers = machine.sysfs.list(folder).map(Number).filter(Number.isInteger);
  return numbers.sort((a, b) => a - b).map((number) => read(number, machine));
}

/** The group of a PCI device; undefined where it has none. */
export function iommuGroupOf(machine: Machine, { iommuGroup }: PciDevice): IommuGroup | undefined {
  return iommuGroup === undefined ? undefined : read(iommuGroup, machine);
}

function read(number: number, machine: Machine): IommuGroup {
  const { sysfs } = machine;
  const path = (name: string) => `${folder}/${number}/${name}`;
  const devices = sysfs.list(path("devices")).flatMap((name) => readDevice(number, name, machine));
  const reservedRegions = parseRegions(sysfs.readOptional(path("reserved_regions")) ?? "");
  const inTheWay = devices.filter(({ isInTheWay }) => isInTheWay);
  return {
    number,
    type: sysfs.readOptional(path("type")),
    // mediated devices get groups of that name, too (drivers/vfio/group.c, vfio_noiommu_group_alloc)
    noIommu: sysfs.readOptional(path("name")) === "vfio-noiommu" && devices.some(({ pci }) => pci),
    reservedRegions,
    devices,
    bridges: devices.filter(({ node }) => node?.isBridge),
    viable: inTheWay.length === 0,
    why: inTheWay.map(({ address, driver }) => `${address} is driven by the kernel (${driver})`),
    sharedBecause: devices.length > 1 ? whyShared(devices) : [],
    warnings: warningsOf(reservedRegions),
  };
}

/** Its PCI devices, but bridges, whose drivers keep it from user space. */
export function inTheWay({ devices }: IommuGroup): PciDevice[] {
  return devices.flatMap(({ pci, node, isInTheWay }) => (pci && isInTheWay && !node?.isBridge ? [pci] : []));
}

/** For root: what gives the devices to VFIO, which takes no bridge; those are taken from their drivers. */
export function freeCommands(devices: readonly PciDevice[]): string[] {
  const of = (bridges: boolean) =>
    devices.filter((device) => isPciBridge(device) === bridges).map(({ address }) => address);
  const [others, bridges] = [of(false), of(true)];
  return [
    ...(others.length > 0 ? [bindCommand("vfio-pci", ...others)] : []),
    ...(bridges.length > 0 ? [unbindCommand(...bridges)] : []),
  ];
}

/** Nothing if it went meanwhile. */
function readDevice(group: number, address: string, machine: Machine): GroupDevice[] {
  const { sysfs, kernelRelease } = machine;
  const devices = `${folder}/${group}/devices`;
  if (!sysfs.exists(`${devices}/${address}`)) return [];
  const isPci = sysfs.exists(devicePath(address, "vendor"));
  const pci = isPci ? readPciDevice(address, sysfs) : undefined;
  const driver = pci ? pci.driver : sysfs.linkName(`${devices}/${address}/driver`);
  const node = pci && readPciNode(pci, sysfs);
  const isHarmless = leavesGroupAlone(driver) || (node?.isBridge === true && ignoresBridges(kernelRelease));
  const isolates = node?.isBridge ? isolatesFrom(group, address, sysfs) : undefined;
  return [{ address, driver, class: pci?.class, pci, node, isolates, isInTheWay: !isHarmless }];
}

/** pci_device_group has a device join the group of the bridge above it, unless all from there on upwards isolate. */
function isolatesFrom(group: number, bridge: string, sysfs: Sysfs): boolean | undefined {
  const below = sysfs.list(devicePath(bridge)).filter((name) => parsePciAddress(name) !== undefined);
  const groups = below.flatMap((name) => sysfs.linkName(devicePath(name, "iommu_group")) ?? []);
  return groups.length === 0 ? undefined : groups.some((other) => other !== `${group}`);
}

/** Lines of first address, last address and type. */
function parseRegions(text: string): ReservedRegion[] {
  return [...text.matchAll(/^(0x[0-9a-f]+) (0x[0-9a-f]+) (\S+)$/gm)].map(([, start, end, type]) => ({
    start: BigInt(start!),
    end: BigInt(end!),
    type: type!,
  }));
}

/** The firmware goes on using memory through the device (RMRR, IVMD): the kernel then gives it to no user. */
function warningsOf(regions: readonly ReservedRegion[]): string[] {
  const direct = regions.filter(({ type }) => type === "direct");
  if (direct.length === 0) return [];
  const ranges = direct.map(({ start, end }) => `0x${start.toString(16)}…0x${end.toString(16)}`).join(", ");
  return [
    `the firmware wants ${ranges} mapped for it as they are: the kernel refuses it to VFIO ` +
      "(turn off what the firmware does with the device, such as shared management networking)",
  ];
}

/**
 * From the topmost bridge downwards. What the kernel found there it has acted on; below a bridge that does not isolate
 * it looked no further, and what configuration space says there is a reason that may come next.
 */
function whyShared(devices: readonly GroupDevice[]): string[] {
  const nodes = devices.flatMap(({ node }) => node ?? []);
  const isJudged = ({ above }: PciNode) => !nodes.some(({ address }) => above.includes(address));
  const of = (judged: boolean) => {
    const bridges = devices.filter(({ node }) => node && isJudged(node) === judged);
    const functions = peers(nodes).filter(([first]) => isJudged(first!) === judged);
    return [
      ...bridges.flatMap((device) => causeAbove(device, nodes, judged)),
      ...functions.flatMap(causeBeside),
    ];
  };
  const causes = of(true);
  const next = of(false).map((text) => `besides, unless the kernel knows better: ${text}`);
  if (causes.length > 0) return [...causes, ...next];
  return [
    "the kernel knows that they use one another's requester ID, or the firmware describes them as one",
    ...next,
  ];
}

/** A bridge that does not keep what is below it apart. `judged`: the kernel has found so. */
function causeAbove(
  { node: bridge, isolates }: GroupDevice,
  nodes: readonly PciNode[],
  judged: boolean,
): string[] {
  if (!bridge?.isBridge || isolates || !nodes.some(({ above }) => above.includes(bridge.address))) return [];
  const name = `${bridge.address} (${bridge.kind})`;
  if (bridge.acs === "unknown") {
    if (judged) return [`${name} does not keep apart what is below it: whether it lacks ACS, only root sees`];
    return [`${name} may lack ACS: only root sees that`];
  }
  if (bridge.acs !== "missing") {
    if (!judged || bridge.acs !== "enabled") return [];
    return [`${name} has ACS, which the kernel does not rely on, or found off when it made the groups`];
  }
  if (isConventional(bridge.kind)) {
    return [`${name} speaks for all that is below it: conventional PCI does not tell who asks`];
  }
  const what = lacking(bridge);
  return [`${name} ${what}: what is below it can reach its like and the port past the IOMMU`];
}

/** Functions of one device that may reach each other inside of it: get_pci_function_alias_group. */
function peers(nodes: readonly PciNode[]): PciNode[][] {
  const isOpen = ({ acs, isMultiFunction }: PciNode) =>
    isMultiFunction && (acs === "missing" || acs === "unknown");
  const slots = new Map<string, PciNode[]>();
  for (const node of nodes.filter(isOpen)) {
    const slot = node.address.slice(0, node.address.lastIndexOf("."));
    slots.set(slot, [...(slots.get(slot) ?? []), node]);
  }
  return [...slots.values()].filter((functions) => functions.length > 1);
}

function causeBeside(functions: readonly PciNode[]): string[] {
  const names = functions.map(({ address }) => address).join(", ");
  if (functions.some(({ acs }) => acs === "unknown")) {
    return [`${names} are functions of one device that may lack ACS: only root sees that`];
  }
  return [
    `${names} are functions of one device that ${lacking(functions[0]!)}: they may reach each other in it`,
  ];
}

function lacking({ acsLacks }: PciNode): string {
  return acsLacks.length === 0 ? "has no ACS" : `has ACS, with ${acsLacks.join(", ")} off`;
}
