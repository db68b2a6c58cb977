// VFIO's no-IOMMU mode: without an IOMMU, a program that has a device has all of memory through it. The kernel wants to
// be told that this is meant, and is tainted from then on. drivers/vfio/group.c, Kconfig VFIO_NOIOMMU.
import { PollmodeError } from "../errors.ts";
import type { Machine } from "./machine.ts";

const PARAMETER = "module/vfio/parameters/enable_unsafe_noiommu_mode";

export class NoIommuMode {
  readonly #machine: Machine;

  private constructor(machine: Machine) {
    this.#machine = machine;
  }

  /**
   * For a device without IOMMU group; vfio is loaded. Returns what turns it off again, undefined if it is on already.
   * Throws VFIO_NO_IOMMU where it is not asked for, or the kernel has no such mode.
   */
  static turnOn(
    machine: Machine,
    address: string,
    isAskedFor: boolean,
    warn: (text: string) => void,
  ): NoIommuMode | undefined {
    const { sysfs, system, isDryRun } = machine;
    if (system.noIommuModeOn) return undefined;
    if (!isAskedFor) {
      const message = `${address} has no IOMMU, which VFIO works behind`;
      const fix =
        "turn it on: VT-d or AMD-Vi in the firmware, and intel_iommu=on on Intel's kernel command line; or trust the " +
        "device's program with all memory: --noiommu-mode";
      throw new PollmodeError("VFIO_NO_IOMMU", message, fix);
    }
    if (!sysfs.exists(PARAMETER) && !isDryRun) {
      const message = `${address} has no IOMMU, and this kernel knows no mode without: no ${sysfs.path(PARAMETER)}`;
      const fix = "turn the IOMMU on, use uio_pci_generic, or a kernel with CONFIG_VFIO_NOIOMMU=y";
      throw new PollmodeError("VFIO_NO_IOMMU", message, fix);
    }
    warn(
      "no-IOMMU mode is on: a program that has such a device, with CAP_SYS_RAWIO, has all of memory through it",
    );
    sysfs.write(PARAMETER, "Y");
    return new NoIommuMode(machine);
  }

  undo(): void {
    if (!this.#machine.isDryRun) this.#machine.sysfs.write(PARAMETER, "N");
  }
}
