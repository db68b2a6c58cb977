// What stands in VFIO's way, found out from the system, and the commands that mend it. A failed call alone says little:
// EINVAL, EPERM and ENOMEM have a dozen causes here.
import { PollmodeError } from "../../errors.ts";
import { KIB, MIB } from "../../limits.ts";
import { bindCommand, bindWithoutIommuCommand, unbindCommand } from "../pci/commands.ts";
import type { PciDevice } from "../pci/scan.ts";
import type { IovaRange } from "./capabilities.ts";
import { isVfioDriver, leavesGroupAlone } from "./drivers.ts";
import type { GroupOfDevice, LockedMemory, System } from "./system.ts";

/** What to do where there is no IOMMU, for a device that is not bound yet or once more. */
function withoutIommu(address: string, driver: string | undefined): string {
  // one that has the driver already would be left alone
  const free = driver === "vfio-pci" ? `${unbindCommand(address)}; ` : "";
  return (
    "turn the IOMMU on: VT-d or AMD-Vi in the BIOS, and intel_iommu=on on the kernel's command line where it is " +
    `Intel's (what is missing: pollmode doctor ${address}); or, trusting the device with all memory, do without one, ` +
    `as root: ${free}${bindWithoutIommuCommand("vfio-pci", address)}`
  );
}

/** The group of a device that VFIO can open, or why it cannot. */
export function findGroup(device: PciDevice, system: System): GroupOfDevice {
  const { address, driver } = device;
  if (driver === undefined || !isVfioDriver(driver)) throw notBound(address, driver, system);
  const group = system.groupOf(device);
  if (!group) {
    const message = `${address} has no IOMMU group`;
    throw new PollmodeError("VFIO_NO_IOMMU", message, withoutIommu(address, driver));
  }
  for (const node of [system.containerNode, system.groupNode(group)]) {
    if (!system.exists(node)) throw noNode(address, node);
  }
  return group;
}

function notBound(address: string, driver: string | undefined, system: System): PollmodeError {
  const holder = driver === undefined ? "no driver" : `the driver ${driver}`;
  const fix = `as root: ${bindCommand("vfio-pci", address)}`;
  if (!system.hasIommu && !system.noIommuModeOn) {
    const message = `${address}: this machine has no IOMMU, or it is off, and VFIO works behind one`;
    return new PollmodeError("VFIO_NO_IOMMU", message, withoutIommu(address, driver));
  }
  if (!system.hasVfioPci) {
    const message = `${address}: the kernel module vfio-pci is not loaded (the device has ${holder})`;
    return new PollmodeError("VFIO_MODULE", message, fix);
  }
  const message = `${address} has ${holder}, not vfio-pci`;
  return new PollmodeError("VFIO_NOT_BOUND", message, fix);
}

function noNode(what: string, node: string): PollmodeError {
  const message = `${what}: there is no ${node}`;
  const fix = "as root: modprobe vfio-pci; in a container give it in: docker run --device /dev/vfio/vfio";
  return new PollmodeError("VFIO_NO_NODE", message, node.endsWith("/vfio") ? fix : `${fix} --device ${node}`);
}

/** Why `node` (the container's or a group's) cannot be opened; `code` is errno's name. */
export function cannotOpen(node: string, code: string, address: string, system: System): PollmodeError {
  const user = system.userName;
  switch (code) {
    case "ENOENT":
    case "ENXIO":
    case "ENODEV":
      return noNode(address, node);
    case "EBUSY":
      return inUse(address, node, system);
    case "EACCES": {
      const message = `${address}: user ${user} may not open ${node}`;
      return new PollmodeError("VFIO_PERMISSION", message, `as root: chown ${user} ${node}`);
    }
    case "EPERM": {
      if (node.includes("noiommu-")) return noRawIo(address, node);
      const message = `${address}: ${node} may not be opened here, whoever owns it (a container's device rules)`;
      return new PollmodeError(
        "VFIO_PERMISSION",
        message,
        `docker run --device /dev/vfio/vfio --device ${node}`,
      );
    }
    default:
      return new PollmodeError(code, `${address}: open(${node}): ${code}`, `see whether ${node} is VFIO's`);
  }
}

/** No-IOMMU: the device reaches all memory, so the kernel wants the right to do that anyhow. */
export function noRawIo(address: string, node: string): PollmodeError {
  const message = `${address}: ${node} takes CAP_SYS_RAWIO, for without an IOMMU the device reaches all memory`;
  return new PollmodeError(
    "VFIO_NOIOMMU_RIGHTS",
    message,
    "run as root, or turn the IOMMU on and run as any user",
  );
}

function inUse(address: string, node: string, system: System): PollmodeError {
  const holders = system.holdersOf(node).map(({ pid, name }) => {
    return pid === process.pid ? "this process itself" : `${name} (process ${pid})`;
  });
  const who = holders.length > 0 ? holders.join(", ") : "a process of another user";
  const fix = holders.length > 0 ? "stop it" : `find it, as root: fuser -v ${node}; then stop it`;
  return new PollmodeError("VFIO_BUSY", `${address}: ${node} is in use by ${who}`, fix);
}

/** A group belongs to user space as a whole or not at all: devices in it can reach each other past the IOMMU. */
export function notViable(address: string, group: number, system: System): PollmodeError {
  const others = system.devicesOf(group).filter(({ driver }) => !leavesGroupAlone(driver));
  const names = others.map(({ address, driver }) => `${address} (driver ${driver})`).join(", ");
  const message = `${address}: IOMMU group ${group} is not viable, the kernel drives others of it: ${names}`;
  const addresses = others.map(({ address }) => address);
  const fix =
    `see what they are: pollmode groups ${group}; then, as root, give them to vfio-pci: ` +
    `${bindCommand("vfio-pci", ...addresses)}; or to nobody: ${unbindCommand(...addresses)}`;
  return new PollmodeError("VFIO_GROUP_NOT_VIABLE", message, fix);
}

/** `bytes` are to be pinned; `rounded` up so that a limit in KiB holds them. */
export function memlock(what: string, bytes: number, memory: LockedMemory, user: string): PollmodeError {
  const needed = bytes + memory.lockedBytes;
  const kib = Math.ceil(needed / KIB);
  const message =
    `${what}: RLIMIT_MEMLOCK is ${memory.limitBytes / KIB} KiB, ${kib} KiB are needed ` +
    `(${bytes / KIB} to map, ${memory.lockedBytes / KIB} locked already)`;
  const fix =
    `ulimit -l ${kib} in the shell that starts it; beyond the hard limit, as root: ` +
    `echo '${user} - memlock ${kib}' >> /etc/security/limits.conf and log in again; ` +
    `in a systemd unit: LimitMEMLOCK=${kib}K; or ask for less memory: -m`;
  return new PollmodeError("VFIO_MEMLOCK", message, fix);
}

const entryLimit = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";

/** A container has so many mappings and no more: pages that are not neighbours are one each. */
export function dmaEntryLimit(what: string, wanted: number, available: number): PollmodeError {
  const message = `${what}: ${wanted} DMA mappings are needed, the container may have ${available} more`;
  const fix = `as root, before the start: echo ${Math.max(65535, wanted * 2)} > ${entryLimit}`;
  return new PollmodeError("VFIO_DMA_ENTRY_LIMIT", message, fix);
}

const hex = (value: bigint) => `0x${value.toString(16)}`;

/** The usable ranges leave out what the platform reserves, such as the window of message-signalled interrupts. */
export function iovaNotUsable(
  what: string,
  iova: bigint,
  bytes: number,
  ranges: readonly IovaRange[],
): PollmodeError {
  const usable = ranges.map(({ start, end }) => `${hex(start)} … ${hex(end)}`).join(", ");
  const wanted = `${hex(iova)} … ${hex(iova + BigInt(bytes) - 1n)}`;
  const message = `${what}: IOVAs ${wanted} touch what the IOMMU reserves or does not have; usable: ${usable}`;
  const fix = `ask for less memory (-m ${Math.max(2, Math.floor(bytes / MIB / 2))}), or use the other --iova-mode`;
  return new PollmodeError("VFIO_IOVA_RANGE", message, fix);
}

/** The PF is bound to vfio-pci: whoever has it can spy on its VFs, so both have to show that they know each other. */
export function tokenMissing(address: string, other: string): PollmodeError {
  const message = `${address} wants a VF token, for ${other} is bound to vfio-pci and may be another's`;
  const fix = "--vfio-vf-token UUID on both sides, the same one; uuidgen makes one";
  return new PollmodeError("VFIO_TOKEN_MISSING", message, fix);
}

export function tokenWrong(address: string, token: string, other: string): PollmodeError {
  const message = `${address}: VF token ${token} is not the one that ${other} has`;
  const fix = `give the token that ${other} was opened with; if none was, open ${other} with this one first`;
  return new PollmodeError("VFIO_TOKEN_WRONG", message, fix);
}
