// Devices for a virtual machine: whether they can be given to one, what has to be done on the host first, and where
// they stand on the guest's PCI Express. Nothing is changed here. How QEMU and libvirt spell it: guest-devices.ts.
import type { PciDevice } from "../bus/pci/scan.ts";
import { isVfioDriver } from "../bus/vfio/drivers.ts";
import { PollmodeError } from "../errors.ts";
import { GUEST_IO_BYTES, KIB, MIB } from "../limits.ts";
import { freeCommands, type GroupDevice, type IommuGroup, iommuGroupOf } from "./groups.ts";
import type { Machine } from "./machine.ts";
import type { Mdev } from "./mdev.ts";
import { isBifurcated } from "./refuse.ts";

export interface PassthroughRequest {
  readonly devices: readonly PciDevice[];
  readonly mdevs: readonly Mdev[];
  /** With each device, all of its IOMMU group but bridges. */
  readonly wholeGroup: boolean;
  /** For functions whose kernel side wants one. */
  readonly vfToken: string | undefined;
  /** The guest's memory, as far as it is known. */
  readonly memoryBytes: number | undefined;
}

/** A function of a device in the guest. */
export interface GuestFunction {
  readonly host: PciDevice | Mdev;
  /** Of its device in the guest, from 0 on. */
  readonly function: number;
  readonly vfToken: string | undefined;
}

/** A device in the guest, at a root port of its own. */
export interface GuestDevice {
  /** From 1 on. */
  readonly port: number;
  /** It belongs on conventional PCI, behind a bridge. */
  readonly isConventional: boolean;
  readonly functions: readonly GuestFunction[];
}

export interface Passthrough {
  readonly guestDevices: readonly GuestDevice[];
  /** What stands in the way now, as commands for root, in their order; none: it can be started. */
  readonly first: readonly string[];
  /** What these take from its driver. */
  readonly toBind: readonly PciDevice[];
  /** What the user should know before. */
  readonly warnings: readonly string[];
  /** What QEMU locks of the host's memory; undefined where the guest's is not known. */
  readonly lockedBytes: number | undefined;
}

/**
 * Errors: VFIO_NO_IOMMU (no IOMMU, no group), DEVICE_IS_BRIDGE, DEVICE_BIFURCATED, VFIO_TOKEN_MISSING,
 * MDEV_NOT_PCI, OPTION_CONFLICT (a VF token that nobody wants). Nothing is changed.
 */
export function planPassthrough(machine: Machine, request: PassthroughRequest): Passthrough {
  const { devices, mdevs, wholeGroup, memoryBytes } = request;
  const groups = groupsOf(machine, devices);
  for (const device of devices) refuseBridge(device);
  const members = groups.flatMap((group) => group.devices);
  const passed = wholeGroup ? members.flatMap(({ pci }) => (pci && !isBridge(pci) ? [pci] : [])) : devices;
  const rest = members.filter(({ address }) => !passed.some((device) => device.address === address));
  const inTheWay = rest.filter(({ isInTheWay }) => isInTheWay);
  const toBind = [
    ...passed.filter(({ driver }) => !isOnVfio(driver)),
    ...inTheWay.flatMap(({ pci }) => pci ?? []),
  ];
  for (const device of toBind) refuseBifurcated(device);
  for (const mdev of mdevs) refuseOtherApi(mdev);
  const tokens = tokensFor(machine, passed, request.vfToken);
  const guestDevices = place(passed, members, mdevs, tokens);
  const lockedBytes = memoryBytes === undefined ? undefined : memoryBytes + GUEST_IO_BYTES;
  return {
    guestDevices,
    first: freeCommands(toBind),
    toBind,
    warnings: [
      ...inTheWay.map((device) => leaves(device, groups)),
      ...groups.flatMap(({ number, warnings }) => warnings.map((text) => `IOMMU group ${number}: ${text}`)),
      ...passed.flatMap(virtualFunctionWarning),
      ...(lockedBytes === undefined ? [] : memlockWarning(machine, lockedBytes)),
    ],
    lockedBytes,
  };
}

const isOnVfio = (driver: string | undefined) => driver !== undefined && isVfioDriver(driver);

/** Each group once, in the order of the devices. */
function groupsOf(machine: Machine, devices: readonly PciDevice[]): IommuGroup[] {
  const found = new Map<number, IommuGroup>();
  for (const device of devices) {
    const group = iommuGroupOf(machine, device);
    if (!group || group.noIommu) {
      const why = group ? "is in VFIO's group for devices without an IOMMU" : "is in no IOMMU group";
      const message = `${device.address} ${why}: a guest's device could reach all of the host's memory`;
      throw new PollmodeError(
        "VFIO_NO_IOMMU",
        message,
        "turn the IOMMU on; pollmode doctor says how on this machine",
      );
    }
    found.set(group.number, group);
  }
  return [...found.values()];
}

const CLASS_BRIDGE = 0x06;
const isBridge = ({ class: code }: PciDevice) => code >>> 16 === CLASS_BRIDGE;

/** vfio_pci_core_register_device takes functions with a header of type 0 alone; and bridges to ISA are the host's. */
function refuseBridge(device: PciDevice): void {
  if (!isBridge(device)) return;
  const message = `${device.address} is a bridge: VFIO gives no bridge to a virtual machine, and the guest has its own`;
  const fix = "name a device below it; pollmode groups shows what is there; its driver may keep it";
  throw new PollmodeError("DEVICE_IS_BRIDGE", message, fix);
}

function refuseBifurcated({ address, driver, sriov }: PciDevice): void {
  if (!isBifurcated(driver)) return;
  const message =
    `${address} would leave ${driver}, which drives it for the kernel and for programs at once: its interface and ` +
    "all queues would go";
  const give = sriov ? `give the guest a virtual function: pollmode sriov create ${address} --count 1; ` : "";
  const fix = `${give}to give it away as a whole, first: pollmode devbind -b vfio-pci --force ${address}`;
  throw new PollmodeError("DEVICE_BIFURCATED", message, fix);
}

function refuseOtherApi({ uuid, deviceApi }: Mdev): void {
  if (deviceApi === undefined || deviceApi === "vfio-pci") return;
  const message = `${uuid} is a mediated device for ${deviceApi}: it is no PCI device for the guest`;
  throw new PollmodeError("MDEV_NOT_PCI", message, "pollmode mdev list shows those of vfio-pci");
}

/**
 * Tokens by address. vfio_pci_validate_vf_token: a virtual function wants the one of its physical function, if VFIO has
 * that; a physical function sets it; to any other, one is an error.
 */
function tokensFor(
  machine: Machine,
  passed: readonly PciDevice[],
  token: string | undefined,
): Map<string, string> {
  const pfOnVfio = ({ physicalFunction: pf }: PciDevice) => {
    const isPassed = passed.some(({ address }) => address === pf);
    return pf !== undefined && (isPassed || isOnVfio(machine.system.driverOf(pf))) ? pf : undefined;
  };
  const waiting = passed.find((device) => pfOnVfio(device) !== undefined);
  if (token === undefined) {
    if (!waiting) return new Map();
    const message = `${waiting.address} wants a VF token, for VFIO has its physical function ${pfOnVfio(waiting)}`;
    const fix =
      "--vf-token UUID: the one that the physical function was opened with (sriov create --vf-token)";
    throw new PollmodeError("VFIO_TOKEN_MISSING", message, fix);
  }
  const takers = passed.filter((device) => pfOnVfio(device) !== undefined || device.sriov !== undefined);
  if (takers.length > 0) return new Map(takers.map(({ address }) => [address, token]));
  const message = "--vf-token: none of the devices takes one, and the kernel would refuse it";
  throw new PollmodeError("OPTION_CONFLICT", message, "leave it out");
}

/** Functions of one device stay together; virtual functions and mediated devices stand alone. */
function place(
  passed: readonly PciDevice[],
  members: readonly GroupDevice[],
  mdevs: readonly Mdev[],
  tokens: ReadonlyMap<string, string>,
): GuestDevice[] {
  const slots = new Map<string, PciDevice[]>();
  for (const device of passed) {
    const { address, physicalFunction } = device;
    const slot = physicalFunction === undefined ? address.slice(0, -2) : address;
    slots.set(slot, [...(slots.get(slot) ?? []), device]);
  }
  const kindOf = ({ address }: PciDevice) => members.find((member) => member.address === address)?.node?.kind;
  const real = [...slots.values()].map((devices, k) => ({
    port: k + 1,
    isConventional: kindOf(devices[0]!) === "PCI device",
    functions: devices.map((host, fn) => ({ host, function: fn, vfToken: tokens.get(host.address) })),
  }));
  const mediated = mdevs.map((host, k) => ({
    port: real.length + k + 1,
    isConventional: false,
    functions: [{ host, function: 0, vfToken: undefined }],
  }));
  return [...real, ...mediated];
}

function leaves({ address, driver, pci }: GroupDevice, groups: readonly IommuGroup[]): string {
  const group = groups.find(({ devices }) => devices.some((device) => device.address === address))!;
  const names = pci && pci.interfaces.length > 0 ? `, ${pci.interfaces.join(" ")}` : "";
  return (
    `${address} (${driver}${names}) shares IOMMU group ${group.number} and has to leave the host with it, though the ` +
    "guest does not get it: --group gives it too"
  );
}

/** The kernel takes them away when their physical function changes its driver, and devbind refuses that. */
function virtualFunctionWarning({ address, driver, sriov }: PciDevice): string[] {
  if (!sriov || sriov.numVfs === 0 || isOnVfio(driver)) return [];
  return [
    `${address} has ${sriov.numVfs} virtual functions: pollmode sriov remove ${address}, before it is bound`,
  ];
}

/** QEMU pins all of a guest's memory, for the device may write any of it. */
function memlockWarning(machine: Machine, bytes: number): string[] {
  const { limitBytes } = machine.system.lockedMemory;
  if (limitBytes >= bytes) return [];
  const kib = Math.ceil(bytes / KIB);
  return [
    `QEMU locks ${Math.ceil(bytes / MIB)} MiB, and RLIMIT_MEMLOCK is ${Math.floor(limitBytes / MIB)} MiB here: ` +
      `ulimit -l ${kib} in the shell that starts it, or as root: pollmode permit USER; libvirt sets it by itself`,
  ];
}
