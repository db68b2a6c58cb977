// A BAR through sysfs `resourceN`, laid over the arena: the way to a device's registers where VFIO is not in play. The
// kernel checks little here, so what can be checked beforehand is; what it refuses, it refuses by a bare EPERM or
// EINVAL of mmap, and the reason is found out afterwards.
import { closeSync, constants } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../libc/abi.ts";
import { fileSize, mmap, munmap } from "../../libc/libc.ts";
import { PAGE_BYTES } from "../../limits.ts";
import type { Arena } from "../../memory/arena.ts";
import { alignUp, type Range } from "../../memory/ranges.ts";
import type { Bar } from "../pci-function.ts";
import { lockdownFix, lockdownMode } from "./lockdown.ts";
import { type PciResource, readPciDevice } from "./scan.ts";
import { devicePath, Sysfs } from "./sysfs.ts";

export interface MappedBar {
  readonly bar: Bar;
  /** For Arena.release(). */
  readonly range: Range;
}

/** `fd` is the caller's; `start` is the byte of its first page at which the BAR begins. */
interface OpenBar {
  readonly fd: number;
  readonly bytes: number;
  readonly start: number;
}

/**
 * Lays a memory BAR over the arena, for reading and writing. Errors: PCI_BAR (there is none, of I/O ports, without an
 * address), PCI_BAR_REFUSED (the kernel lets nobody map it), EACCES, PCI_UNKNOWN.
 */
export function mapBar(arena: Arena, address: string, index: number, sysfs = new Sysfs()): MappedBar {
  const name = `BAR${index} of ${address}`;
  const { fd, bytes, start } = openBar(address, index, sysfs);
  try {
    const mapped = alignUp(start + bytes, PAGE_BYTES);
    tryMap(fd, mapped, (error) => refused(name, address, error, sysfs));
    const range = arena.reserve(name, mapped, PAGE_BYTES);
    try {
      arena.overlay(range, fd, 0, MAP_SHARED);
    } catch (error) {
      arena.release(range);
      throw error;
    }
    return { bar: { offset: range.start + start, bytes }, range };
  } finally {
    closeSync(fd); // the mapping stays
  }
}

/** Somewhere else first: where MAP_FIXED fails, what lay there before is gone already, and the arena has a hole. */
function tryMap(fd: number, bytes: number, explain: (error: unknown) => unknown): void {
  let address: bigint;
  try {
    address = mmap(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
  } catch (error) {
    throw explain(error);
  }
  munmap(address, bytes);
}

/** Opens a memory BAR for mmap from offset 0 on. Errors: see mapBar. */
export function openBar(address: string, index: number, sysfs = new Sysfs()): OpenBar {
  const name = `BAR${index} of ${address}`;
  const { resources } = readPciDevice(address, sysfs);
  const { bytes, start } = memoryBar(name, index, resources);
  const fd = sysfs.open(devicePath(address, `resource${index}`), constants.O_RDWR);
  const size = fileSize(fd);
  if (size === bytes) return { fd, bytes, start: Number(start % BigInt(PAGE_BYTES)) };
  closeSync(fd);
  const message = `${name}: its file has ${size ?? "no"} bytes, the BAR ${bytes}`;
  throw new PollmodeError("PCI_BAR", message, "start again: the device was changed or taken away meanwhile");
}

function memoryBar(name: string, index: number, resources: readonly PciResource[]): PciResource {
  const bar = resources.find((resource) => resource.index === index);
  const memory = resources.filter(({ kind }) => kind === "memory").map((resource) => `BAR${resource.index}`);
  const fix =
    memory.length > 0
      ? `use one of ${memory.join(", ")}`
      : "the device has no memory BAR: use another device";
  if (!bar) {
    throw new PollmodeError("PCI_BAR", `${name}: the device has none, or it is the upper half of a BAR`, fix);
  }
  if (bar.kind === "io") {
    const message = `${name}: it is of I/O ports, and only memory can be laid over the arena`;
    throw new PollmodeError("PCI_BAR", message, fix);
  }
  if (bar.isAssigned && bar.bytes > 0) return bar;
  const message = `${name}: the kernel found no address for its ${bar.bytes} bytes`;
  throw new PollmodeError(
    "PCI_BAR",
    message,
    "boot with pci=realloc; in the firmware, turn on Above 4G Decoding",
  );
}

/**
 * What a failure of mmap means. drivers/pci/pci-sysfs.c, pci_mmap_resource: EPERM by lockdown alone, EINVAL where
 * iomem_is_exclusive (CONFIG_IO_STRICT_DEVMEM, a driver of the kernel has requested the region).
 */
export function refused(name: string, address: string, error: unknown, sysfs: Sysfs): unknown {
  if (!(error instanceof PollmodeError)) return error;
  if (error.code === "EPERM") {
    const mode = lockdownMode(sysfs);
    const message = `${name}: kernel lockdown${mode ? ` (${mode})` : ""} lets nobody map it`;
    return new PollmodeError("PCI_BAR_REFUSED", message, lockdownFix, { cause: error });
  }
  if (error.code !== "EINVAL") return error;
  const driver = sysfs.linkName(devicePath(address, "driver")) ?? "a driver of the kernel";
  const message = `${name}: ${driver} has claimed the region, and the kernel then lets nobody map it`;
  const fix =
    "bind the device to vfio-pci, or to uio_pci_generic, which claims nothing; or boot with iomem=relaxed " +
    "(the kernel has CONFIG_IO_STRICT_DEVMEM)";
  return new PollmodeError("PCI_BAR_REFUSED", message, fix, { cause: error });
}
