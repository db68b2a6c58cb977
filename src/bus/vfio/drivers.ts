// Which kernel drivers leave an IOMMU group to user space. A group belongs to VFIO as a whole: while one device of it
// has a driver that does DMA for the kernel, nobody may open the group. Since Linux 5.19 drivers say themselves that
// they do none, by `driver_managed_dma` (include/linux/pci.h); before, VFIO had a list, and took any bridge
// (vfio_dev_viable in drivers/vfio/vfio.c).

/** `vfio-pci` and the drivers made of it for one model: `mlx5_vfio_pci`, `hisi-acc-vfio-pci`. */
export function isVfioDriver(driver: string): boolean {
  return /^(.*[-_])?vfio[-_]pci$/.test(driver);
}

/** pci-stub holds a device for nobody, pcieport serves root and switch ports. Not so shpchp, for other bridges. */
const HARMLESS_DRIVERS = ["pci-stub", "pcieport"];

/** The driver, or to have none, does not keep user space from the device's IOMMU group. */
export function leavesGroupAlone(driver: string | undefined): boolean {
  return driver === undefined || isVfioDriver(driver) || HARMLESS_DRIVERS.includes(driver);
}

/** Of `uname -r`: this kernel lets any bridge keep its driver. */
export function ignoresBridges(kernelRelease: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(kernelRelease) ?? [];
  return major !== undefined && (Number(major) < 5 || (Number(major) === 5 && Number(minor) < 19));
}
