// What VFIO tells of a mediated device that is opened for a moment, or why it cannot be opened: a program has it, or
// this user may not.
import { VFIO_PCI_CONFIG_REGION_INDEX } from "../../bus/vfio/abi.ts";
import {
  Sysfsdev,
  type SysfsdevInterrupt,
  type SysfsdevKind,
  type SysfsdevRegion,
} from "../../bus/vfio/sysfsdev.ts";
import type { System } from "../../bus/vfio/system.ts";
import { PollmodeError } from "../../errors.ts";

export interface OpenedMdev {
  readonly device?: {
    readonly kind: SysfsdevKind;
    readonly canReset: boolean;
    readonly regions: readonly SysfsdevRegion[];
    readonly interrupts: readonly SysfsdevInterrupt[];
    /** Of one whose API is PCI's, out of its configuration space. */
    readonly vendor?: number;
    readonly device?: number;
  };
  readonly notOpened?: { readonly code: string; readonly message: string; readonly fix: string };
}

export function openForShow(path: string, system: System): OpenedMdev {
  try {
    using opened = Sysfsdev.open(path, system);
    const { kind, canReset, regions, interrupts } = opened;
    return { device: { kind, canReset, regions, interrupts, ...pciIds(opened) } };
  } catch (error) {
    if (!(error instanceof PollmodeError)) throw error;
    const { code, message, fix } = error;
    return { notOpened: { code, message, fix } };
  }
}

/** The first four bytes of configuration space: vendor, device. */
function pciIds(opened: Sysfsdev): { vendor?: number; device?: number } {
  const config = opened.regions.find(({ index }) => index === VFIO_PCI_CONFIG_REGION_INDEX);
  if (opened.kind !== "pci" || !config?.readable) return {};
  const ids = opened.read(config.index, 0, 4);
  return { vendor: ids.readUInt16LE(0), device: ids.readUInt16LE(2) };
}
