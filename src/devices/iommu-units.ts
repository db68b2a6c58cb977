// The IOMMUs of a machine, as sysfs shows them: class/iommu has one entry a unit, named by its driver (Linux,
// Documentation/ABI/testing/sysfs-class-iommu, …-intel-iommu, …-amd-iommu).
import type { Sysfs } from "../bus/pci/sysfs.ts";

export interface IommuUnit {
  /** `dmar0`, `ivhd0`, `virtio3`. */
  readonly name: string;
  /** What a person calls it: `Intel VT-d`. */
  readonly kind: string;
  /** PCI addresses and other names of the devices behind it. */
  readonly devices: readonly string[];
  /** Domains in use, and how many there can be; of Intel's alone. */
  readonly domains: { readonly used: number; readonly max: number } | undefined;
}

/** Names that the drivers give: intel_iommu, amd_iommu, virtio-iommu, arm-smmu and arm-smmu-v3. */
const kinds: readonly (readonly [name: RegExp, kind: string])[] = [
  [/^dmar/, "Intel VT-d"],
  [/^ivhd/, "AMD-Vi"],
  [/^virtio/, "virtio-iommu"],
  [/^(arm-)?smmu/, "Arm SMMU"],
];

export function iommuUnits(sysfs: Sysfs): IommuUnit[] {
  return sysfs.list("class/iommu").map((name) => {
    const path = `class/iommu/${name}`;
    const used = sysfs.readOptional(`${path}/intel-iommu/domains_used`);
    const max = sysfs.readOptional(`${path}/intel-iommu/domains_supported`);
    return {
      name,
      kind: kinds.find(([pattern]) => pattern.test(name))?.[1] ?? "IOMMU",
      devices: sysfs.list(`${path}/devices`),
      domains: used === undefined || max === undefined ? undefined : { used: Number(used), max: Number(max) },
    };
  });
}
