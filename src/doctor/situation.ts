// What the checks look at: the machine, who is to run, how much memory is wanted, and the NICs with the way that each
// of them reaches memory by.
import { type PciDevice, scanPci } from "../bus/pci/scan.ts";
import { isUioDriver } from "../bus/uio/errors.ts";
import { isVfioDriver } from "../bus/vfio/drivers.ts";
import { type IommuGroup, inTheWay, iommuGroupOf } from "../devices/groups.ts";
import { deviceUse, type Use } from "../devices/in-use.ts";
import { type LinkState, readLinkState } from "../devices/link-state.ts";
import type { Machine } from "../devices/machine.ts";
import { dangersOf, isBifurcated } from "../devices/refuse.ts";
import type { User } from "./user.ts";

/** A model that pollmode has a driver for. */
export interface KnownNic {
  readonly vendor: number;
  readonly device: number;
  /** As people call it: `82574L`. */
  readonly chip: string;
}

/**
 * How a NIC reaches memory, or could with what there is now: `vfio` behind an IOMMU; `noiommu`, by VFIO without one;
 * `uio`; `verbs`, by queues that its kernel driver hands out (bifurcated); `none` yet.
 */
export type Way = "vfio" | "noiommu" | "uio" | "verbs" | "none";

export interface Nic {
  readonly pci: PciDevice;
  /** Undefined: pollmode has no driver for it. */
  readonly chip: string | undefined;
  readonly way: Way;
  readonly group: IommuGroup | undefined;
  /** Why others of its group should stay with the kernel. */
  readonly dangers: readonly string[];
  /** A driver for user space has it, or its own where it is bifurcated. */
  readonly isBound: boolean;
  /** What the kernel does with it. */
  readonly uses: readonly Use[];
}

export interface Situation {
  readonly machine: Machine;
  readonly user: User;
  /** What devices are to reach: the DMA zone, -m. */
  readonly memoryBytes: number;
  readonly known: readonly KnownNic[];
  readonly nics: readonly Nic[];
  /** The user has named the NICs. */
  readonly isNamed: boolean;
  /** NICs that are not looked at, and why not. */
  readonly left: readonly string[];
}

export interface Wanted {
  readonly machine: Machine;
  readonly user: User;
  readonly memoryBytes: number;
  readonly known: readonly KnownNic[];
  /** Empty: those of the machine's NICs that pollmode would use. */
  readonly devices: readonly PciDevice[];
}

export async function situationOf(wanted: Wanted): Promise<Situation> {
  const { machine, user, memoryBytes, known, devices } = wanted;
  const common = { machine, user, memoryBytes, known };
  const links = readLinkState(machine);
  if (devices.length > 0) {
    const nics = await Promise.all(devices.map((device) => nicOf(device, wanted, links)));
    return { ...common, nics, isNamed: true, left: [] };
  }
  const all = scanPci(machine.sysfs).filter(({ class: code }) => code >> 16 === NETWORK_CONTROLLER);
  const candidates = await Promise.all(all.map((device) => nicOf(device, wanted, links)));
  const nics = choose(candidates.filter(({ chip }) => chip !== undefined));
  const left = candidates.filter((nic) => !nics.includes(nic)).map(whyLeft);
  return { ...common, nics, isNamed: false, left };
}

/** PCI base class 02h. */
const NETWORK_CONTROLLER = 0x02;

/** Those that were given to user space; else one that the kernel could spare. */
function choose(drivable: readonly Nic[]): readonly Nic[] {
  const bound = drivable.filter(({ isBound }) => isBound);
  if (bound.length > 0) return bound;
  return [drivable.find((nic) => nic.uses.length === 0 && !hasVfs(nic)) ?? drivable[0]].filter(
    (nic) => nic !== undefined,
  );
}

/** Of a physical function: its virtual functions would go with their driver. */
export const hasVfs = ({ pci }: Nic) => (pci.sriov?.numVfs ?? 0) > 0;

function whyLeft({ pci, chip, uses }: Nic): string {
  const why =
    chip === undefined ? "pollmode has no driver for it" : (uses[0]?.text ?? "not bound for user space");
  return `${pci.address} (${why})`;
}

async function nicOf(pci: PciDevice, wanted: Wanted, links: LinkState | undefined): Promise<Nic> {
  const { machine, known } = wanted;
  const chip = known.find(({ vendor, device }) => vendor === pci.vendor && device === pci.device)?.chip;
  const group = iommuGroupOf(machine, pci);
  const way = wayOf(pci, group, machine);
  const isBound = isUioDriver(pci.driver) || isVfioDriver(pci.driver ?? "") || way === "verbs";
  const others = group ? inTheWay(group).filter(({ address }) => address !== pci.address) : [];
  const dangers = await dangersOf(machine, others, links);
  return {
    pci,
    chip,
    way,
    group,
    dangers,
    isBound,
    uses: isBound ? [] : await deviceUse(machine, pci, links),
  };
}

function wayOf(pci: PciDevice, group: IommuGroup | undefined, { system }: Machine): Way {
  if (isUioDriver(pci.driver)) return "uio";
  if (isBifurcated(pci.driver)) return "verbs";
  if (group?.noIommu) return "noiommu";
  if (system.hasIommu) return "vfio";
  return system.noIommuModeOn ? "noiommu" : "none";
}

/** NICs whose addresses nobody translates: they take physical ones. */
export function physicalNics({ nics }: Situation): readonly Nic[] {
  return nics.filter(({ way }) => way === "noiommu" || way === "uio");
}

export function nicsBy(way: Way, { nics }: Situation): readonly Nic[] {
  return nics.filter((nic) => nic.way === way);
}
