// The numbers in src/bus/vfio/abi.ts, against what the C compiler makes of linux/vfio.h.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import * as abi from "../../../src/bus/vfio/abi.ts";

const compiler = spawnSync("gcc", ["--version"]).status === 0 && existsSync("/usr/include/linux/vfio.h");

/** Offset of a field, by our name's beginning. */
const structs: Record<string, string> = {
  GROUP_STATUS: "vfio_group_status",
  CAP: "vfio_info_cap_header",
  IOMMU_INFO: "vfio_iommu_type1_info",
  DMA_MAP: "vfio_iommu_type1_dma_map",
  DMA_UNMAP: "vfio_iommu_type1_dma_unmap",
  DEVICE_INFO: "vfio_device_info",
  REGION_INFO: "vfio_region_info",
  IRQ_INFO: "vfio_irq_info",
  IRQ_SET: "vfio_irq_set",
  DEPENDENT: "vfio_pci_dependent_device",
  HOT_RESET_INFO: "vfio_pci_hot_reset_info",
  HOT_RESET: "vfio_pci_hot_reset",
};

/** What C spells otherwise. Structures that later kernels have made longer are measured to their last field of 6.1. */
const expressions: Record<string, string> = {
  CAP_HEADER_BYTES: "sizeof(struct vfio_info_cap_header)",
  IOMMU_INFO_BYTES: "offsetof(struct vfio_iommu_type1_info, cap_offset) + 4",
  IOMMU_INFO_PGSIZES: "offsetof(struct vfio_iommu_type1_info, iova_pgsizes)",
  CAP_IOVA_COUNT: "offsetof(struct vfio_iommu_type1_info_cap_iova_range, nr_iovas)",
  CAP_IOVA_RANGES: "offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges)",
  IOVA_RANGE_BYTES: "sizeof(struct vfio_iova_range)",
  CAP_DMA_AVAIL: "offsetof(struct vfio_iommu_type1_info_dma_avail, avail)",
  VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL: "VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL",
  DEVICE_INFO_BYTES: "offsetof(struct vfio_device_info, cap_offset) + 4",
  CAP_SPARSE_COUNT: "offsetof(struct vfio_region_info_cap_sparse_mmap, nr_areas)",
  CAP_SPARSE_AREAS: "offsetof(struct vfio_region_info_cap_sparse_mmap, areas)",
  SPARSE_AREA_BYTES: "sizeof(struct vfio_region_sparse_mmap_area)",
  DEPENDENT_DEVICE_BYTES: "sizeof(struct vfio_pci_dependent_device)",
};

function expression(name: string): string {
  if (name in expressions) return expressions[name]!;
  if (name.startsWith("VFIO_")) return name;
  const prefix = Object.keys(structs)
    .filter((start) => name.startsWith(`${start}_`))
    .sort((a, b) => b.length - a.length)[0]!;
  const field = name.slice(prefix.length + 1).toLowerCase();
  const struct = `struct ${structs[prefix]}`;
  return field === "bytes" ? `sizeof(${struct})` : `offsetof(${struct}, ${field})`;
}

t.test("abi.ts has C's numbers", { skip: !compiler && "no gcc, or no linux/vfio.h" }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-vfio-abi-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const names = Object.keys(abi);
  const lines = names.map((name) => `  printf("%lu\\n", (unsigned long)(${expression(name)}));`);
  const includes = ["stdio", "stddef", "linux/vfio"].map((header) => `#include <${header}.h>`);
  writeFileSync(
    join(folder, "abi.c"),
    [...includes, "int main(void) {", ...lines, "  return 0;", "}", ""].join("\n"),
  );
  execFileSync("gcc", ["-o", join(folder, "abi"), join(folder, "abi.c")]);
  const values = execFileSync(join(folder, "abi"), { encoding: "utf8" }).trim().split("\n");
  const ours = Object.entries(abi).map(([name, value]: [string, number | abi.Ioctl]) => {
    if (typeof value === "number") return `${name} ${value}`;
    t.equal(value.name, name, "errors name the ioctl rightly");
    return `${name} ${value.number}`;
  });
  t.ok(ours.length > 80, "there are numbers to compare");
  t.same(
    ours,
    names.map((name, at) => `${name} ${values[at]}`),
  );
});
