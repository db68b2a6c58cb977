// What forbids taking a device from its driver. All of it is found out before anything is changed; --force overrides
// what the user may want to break, and then it is said what breaks. A program that has the device open, and virtual
// functions, are no matter of wanting: the kernel would wait for the program, and take the functions from their users.
import { readlinkSync } from "node:fs";
import { refuseWithVfs } from "../bus/pci/bind.ts";
import { refuseWhileOpen } from "../bus/pci/holders.ts";
import type { PciDevice } from "../bus/pci/scan.ts";
import { devicePath, type Sysfs } from "../bus/pci/sysfs.ts";
import { PollmodeError } from "../errors.ts";
import { deviceUse, type Use, type UseKind } from "./in-use.ts";
import type { LinkState } from "./link-state.ts";
import type { Machine } from "./machine.ts";

/** Base class and sub-class: PCI to PCI. */
const CLASS_PCI_BRIDGE = 0x0604;

/** Drivers whose queues a program gets through libibverbs, beside the kernel's: dpdk.org, guides/nics/mlx5. */
const BIFURCATED = ["mlx4_core", "mlx5_core"];

export function isBifurcated(driver: string | undefined): boolean {
  return driver !== undefined && BIFURCATED.includes(driver);
}

export interface Refusal {
  readonly address: string;
  readonly error: PollmodeError;
}

export interface RefuseOptions {
  readonly force: boolean;
  /** As `bound to vfio-pci`: completes "it cannot be …". */
  readonly what: string;
  /** Of readLinkState, for all devices. */
  readonly links: LinkState | undefined;
  /** Told what --force breaks. */
  readonly warn: (text: string) => void;
}

/** Why the device may not be taken from its driver; undefined: it may. */
export async function refusalOf(
  machine: Machine,
  device: PciDevice,
  { force, what, links, warn }: RefuseOptions,
): Promise<Refusal | undefined> {
  if (device.driver === undefined) return undefined;
  const { address } = device;
  try {
    refuseWhileOpen(device, machine.sysfs, machine.system);
    refuseWithVfs(device, what);
  } catch (error) {
    if (error instanceof PollmodeError) return { address, error };
    throw error;
  }
  const unwise = bridgeError(device, what) ?? bifurcatedError(device, what);
  const { interfaces, uses } = await usesOf(machine, device, links);
  if (!force && unwise) return { address, error: unwise };
  if (!force && uses.length > 0) return { address, error: inUse(address, uses, waysOut(interfaces), what) };
  if (isBifurcated(device.driver))
    warn(`${address}: --force takes it from ${device.driver}, which shares it with programs`);
  for (const use of uses) warn(`${address}: --force breaks that ${use}`);
  return undefined;
}

/** Why devbind would not take these from their drivers, a sentence for each that it would refuse. */
export async function dangersOf(
  machine: Machine,
  devices: readonly PciDevice[],
  links: LinkState | undefined,
): Promise<string[]> {
  const options = { force: false, what: "bound to vfio-pci", links, warn: () => {} };
  const refusals = await Promise.all(devices.map((device) => refusalOf(machine, device, options)));
  return refusals.flatMap((refusal) => refusal?.error.message ?? []);
}

/** What breaks if the device leaves its driver: `uses`, as text. */
export async function usesOf(
  machine: Machine,
  device: PciDevice,
  links?: LinkState,
): Promise<{ interfaces: readonly Use[]; uses: readonly string[] }> {
  const interfaces = await deviceUse(machine, device, links);
  const others = [...storageUses(machine, device), ...displayUses(machine, device)];
  return { interfaces, uses: [...interfaces.map(({ text }) => text), ...others] };
}

function inUse(address: string, uses: readonly string[], ways: string, what: string): PollmodeError {
  const message = `${address} cannot be ${what}, it is in use: ${uses.join("; ")}`;
  return new PollmodeError(
    "DEVICE_IN_USE",
    message,
    `take it out of use first${ways && ` (${ways})`}; --force breaks it`,
  );
}

const members: readonly UseKind[] = ["bond", "bridge", "team", "vrf", "member"];

/** ip(8). What a bond or bridge is used for is no longer the device's once it is no member. */
function waysOut(uses: readonly Use[]): string {
  const names = new Set(uses.map((use) => use.interface).filter(Boolean));
  const ways = [...names].flatMap((name) => {
    const kinds = new Set(uses.flatMap((use) => (use.interface === name ? [use.kind] : [])));
    if (members.some((kind) => kinds.has(kind))) return [`ip link set ${name} nomaster`];
    return [
      ...(kinds.has("address") ? [`ip address flush dev ${name}`] : []),
      ...(kinds.has("route") || kinds.has("default-route") ? [`ip route flush dev ${name}`] : []),
    ];
  });
  return ways.join("; ");
}

/** vfio_pci_core_register_device and uio_pci_generic take none, and what is below it hangs on it. */
function bridgeError({ address, class: code, driver }: PciDevice, what: string): PollmodeError | undefined {
  if (code >>> 8 !== CLASS_PCI_BRIDGE) return undefined;
  const message = `${address} should not be ${what}: it is a bridge, with other devices below it`;
  const fix = `leave it to ${driver}, which is in no group's way, and name a device below it: pollmode groups`;
  return new PollmodeError("DEVICE_IS_BRIDGE", message, fix);
}

function bifurcatedError({ address, driver }: PciDevice, what: string): PollmodeError | undefined {
  if (driver === undefined || !isBifurcated(driver)) return undefined;
  const message =
    `${address} should not be ${what}: ${driver} shares it with programs, which get queues of their own through ` +
    "libibverbs while the kernel keeps the interface";
  const fix =
    `leave it as it is, install rdma-core (modprobe ${driver.replace("_core", "_ib")} ib_uverbs) and name it to the ` +
    `program: -a ${address}; --force gives it away as a whole, to a virtual machine for instance`;
  return new PollmodeError("DEVICE_BIFURCATED", message, fix);
}

/** What the firmware and the boot's console are shown on. vga_default_device, drivers/pci/pci-sysfs.c. */
function displayUses({ sysfs }: Machine, { address }: PciDevice): string[] {
  const isBootVga = sysfs.readOptional(devicePath(address, "boot_vga")) === "1";
  return isBootVga ? ["the machine's console is shown on it (boot_vga)"] : [];
}

/**
 * Mounted file systems, swap, and what stands on its disks: a group may have the machine's own. Whatever the device's
 * class: disks are below USB controllers and Fibre Channel adapters, too.
 */
function storageUses(machine: Machine, device: PciDevice): string[] {
  const { sysfs } = machine;
  const mounts = machine.readText("/proc/self/mountinfo") ?? "";
  const swaps = machine.readText("/proc/swaps") ?? "";
  return blockDevices(sysfs, device.address).flatMap((name) => {
    const number = sysfs.readOptional(`class/block/${name}/dev`) ?? "";
    // mountinfo, proc(5): the third word is the device's number, the fifth the place. Btrfs has numbers of its own, and
    // names one of its devices after the dash
    const mounted = new RegExp(
      `^\\d+ \\d+ (?:${number} \\S+ (\\S+) |\\S+ \\S+ (\\S+) .* - \\S+ /dev/${name} )`,
      "m",
    ).exec(mounts);
    const place = mounted?.[1] ?? mounted?.[2];
    return [
      ...(place === undefined ? [] : [`/dev/${name} is mounted on ${place}`]),
      ...(swaps.includes(`/dev/${name} `) ? [`/dev/${name} is swap`] : []),
      ...sysfs.list(`class/block/${name}/holders`).map((holder) => `${holder} stands on /dev/${name}`),
    ];
  });
}

/** Disks and partitions below a PCI device. NVMe's multipath has them elsewhere, and below the device only paths. */
function blockDevices(sysfs: Sysfs, address: string): string[] {
  const controllers = sysfs.list(devicePath(address, "nvme"));
  const paths = controllers.flatMap((name) => sysfs.list(devicePath(address, `nvme/${name}`)));
  const spaces = paths.flatMap((name) => {
    const [, subsystem, space] = /^nvme(\d+)c\d+n(\d+)$/.exec(name) ?? [];
    return subsystem === undefined ? [] : [`nvme${subsystem}n${space}`];
  });
  return sysfs.list("class/block").filter((name) => {
    const isOfSpace = spaces.includes(name.replace(/p\d+$/, ""));
    return isOfSpace || targetOf(sysfs.path(`class/block/${name}`)).includes(`/${address}/`);
  });
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return ""; // it went meanwhile
  }
}
