// linux/vfio.h (6.1): ioctl numbers, constants, structure sizes and field offsets on a little-endian 64-bit machine.
// test/bus/vfio/abi.test.ts asks a C compiler. Ioctls are _IO(VFIO_TYPE, VFIO_BASE + n): no size, no direction.

/** An ioctl by its number and the name that errors carry. */
export interface Ioctl {
  readonly name: string;
  readonly number: number;
}

/** VFIO_TYPE is ';', VFIO_BASE is 100. */
function io(name: string, n: number): Ioctl {
  return { name, number: (0x3b << 8) | (100 + n) };
}

export const VFIO_GET_API_VERSION = io("VFIO_GET_API_VERSION", 0);
export const VFIO_CHECK_EXTENSION = io("VFIO_CHECK_EXTENSION", 1);
export const VFIO_SET_IOMMU = io("VFIO_SET_IOMMU", 2);
export const VFIO_GROUP_GET_STATUS = io("VFIO_GROUP_GET_STATUS", 3);
export const VFIO_GROUP_SET_CONTAINER = io("VFIO_GROUP_SET_CONTAINER", 4);
export const VFIO_GROUP_UNSET_CONTAINER = io("VFIO_GROUP_UNSET_CONTAINER", 5);
export const VFIO_GROUP_GET_DEVICE_FD = io("VFIO_GROUP_GET_DEVICE_FD", 6);
export const VFIO_DEVICE_GET_INFO = io("VFIO_DEVICE_GET_INFO", 7);
export const VFIO_DEVICE_GET_REGION_INFO = io("VFIO_DEVICE_GET_REGION_INFO", 8);
export const VFIO_DEVICE_GET_IRQ_INFO = io("VFIO_DEVICE_GET_IRQ_INFO", 9);
export const VFIO_DEVICE_SET_IRQS = io("VFIO_DEVICE_SET_IRQS", 10);
export const VFIO_DEVICE_RESET = io("VFIO_DEVICE_RESET", 11);
export const VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = io("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", 12);
export const VFIO_DEVICE_PCI_HOT_RESET = io("VFIO_DEVICE_PCI_HOT_RESET", 13);
export const VFIO_IOMMU_GET_INFO = io("VFIO_IOMMU_GET_INFO", 12);
export const VFIO_IOMMU_MAP_DMA = io("VFIO_IOMMU_MAP_DMA", 13);
export const VFIO_IOMMU_UNMAP_DMA = io("VFIO_IOMMU_UNMAP_DMA", 14);

export const VFIO_API_VERSION = 0;

// Kinds of IOMMU: extensions of CHECK_EXTENSION and values of SET_IOMMU
export const VFIO_TYPE1_IOMMU = 1;
/** Type 1 that unmaps whole mappings alone. */
export const VFIO_TYPE1v2_IOMMU = 3;
export const VFIO_NOIOMMU_IOMMU = 8;

/** struct vfio_group_status { u32 argsz, flags; } */
export const GROUP_STATUS_BYTES = 8;
export const GROUP_STATUS_FLAGS = 4;
export const VFIO_GROUP_FLAGS_VIABLE = 1;
export const VFIO_GROUP_FLAGS_CONTAINER_SET = 2;

/** struct vfio_info_cap_header { u16 id, version; u32 next; }: next counts from the structure's start, 0 ends. */
export const CAP_HEADER_BYTES = 8;
export const CAP_ID = 0;
export const CAP_NEXT = 4;

/** struct vfio_iommu_type1_info { u32 argsz, flags; u64 iova_pgsizes; u32 cap_offset; } */
export const IOMMU_INFO_BYTES = 20;
export const IOMMU_INFO_FLAGS = 4;
export const IOMMU_INFO_PGSIZES = 8;
export const IOMMU_INFO_CAP_OFFSET = 16;
export const VFIO_IOMMU_INFO_PGSIZES = 1;
export const VFIO_IOMMU_INFO_CAPS = 2;
export const VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
export const VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;

/** struct vfio_iommu_type1_info_cap_iova_range { header; u32 nr_iovas, reserved; { u64 start, end; } ranges[]; } */
export const CAP_IOVA_COUNT = 8;
export const CAP_IOVA_RANGES = 16;
export const IOVA_RANGE_BYTES = 16;
/** struct vfio_iommu_type1_info_dma_avail { header; u32 avail; } */
export const CAP_DMA_AVAIL = 8;

/** struct vfio_iommu_type1_dma_map { u32 argsz, flags; u64 vaddr, iova, size; } */
export const DMA_MAP_BYTES = 32;
export const DMA_MAP_FLAGS = 4;
export const DMA_MAP_VADDR = 8;
export const DMA_MAP_IOVA = 16;
export const DMA_MAP_SIZE = 24;
export const VFIO_DMA_MAP_FLAG_READ = 1;
export const VFIO_DMA_MAP_FLAG_WRITE = 2;

/** struct vfio_iommu_type1_dma_unmap { u32 argsz, flags; u64 iova, size; } */
export const DMA_UNMAP_BYTES = 24;
export const DMA_UNMAP_IOVA = 8;
export const DMA_UNMAP_SIZE = 16;

/** struct vfio_device_info { u32 argsz, flags, num_regions, num_irqs, cap_offset; } */
export const DEVICE_INFO_BYTES = 20;
export const DEVICE_INFO_FLAGS = 4;
export const DEVICE_INFO_NUM_REGIONS = 8;
export const DEVICE_INFO_NUM_IRQS = 12;
export const VFIO_DEVICE_FLAGS_RESET = 1;
export const VFIO_DEVICE_FLAGS_PCI = 2;
export const VFIO_DEVICE_FLAGS_PLATFORM = 4;
export const VFIO_DEVICE_FLAGS_AMBA = 8;
export const VFIO_DEVICE_FLAGS_CCW = 16;
export const VFIO_DEVICE_FLAGS_AP = 32;
export const VFIO_DEVICE_FLAGS_FSL_MC = 64;

/** struct vfio_region_info { u32 argsz, flags, index, cap_offset; u64 size, offset; } */
export const REGION_INFO_BYTES = 32;
export const REGION_INFO_FLAGS = 4;
export const REGION_INFO_INDEX = 8;
export const REGION_INFO_CAP_OFFSET = 12;
export const REGION_INFO_SIZE = 16;
export const REGION_INFO_OFFSET = 24;
export const VFIO_REGION_INFO_FLAG_READ = 1;
export const VFIO_REGION_INFO_FLAG_WRITE = 2;
export const VFIO_REGION_INFO_FLAG_MMAP = 4;
export const VFIO_REGION_INFO_FLAG_CAPS = 8;
export const VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;

/** struct vfio_region_info_cap_sparse_mmap { header; u32 nr_areas, reserved; { u64 offset, size; } areas[]; } */
export const CAP_SPARSE_COUNT = 8;
export const CAP_SPARSE_AREAS = 16;
export const SPARSE_AREA_BYTES = 16;

export const VFIO_PCI_BAR0_REGION_INDEX = 0;
export const VFIO_PCI_BAR5_REGION_INDEX = 5;
export const VFIO_PCI_ROM_REGION_INDEX = 6;
export const VFIO_PCI_CONFIG_REGION_INDEX = 7;
export const VFIO_PCI_VGA_REGION_INDEX = 8;

export const VFIO_PCI_INTX_IRQ_INDEX = 0;
export const VFIO_PCI_MSI_IRQ_INDEX = 1;
export const VFIO_PCI_MSIX_IRQ_INDEX = 2;
/** An error of the bus; and the kernel that asks for the device back. */
export const VFIO_PCI_ERR_IRQ_INDEX = 3;
export const VFIO_PCI_REQ_IRQ_INDEX = 4;

/** struct vfio_irq_info { u32 argsz, flags, index, count; } */
export const IRQ_INFO_BYTES = 16;
export const IRQ_INFO_FLAGS = 4;
export const IRQ_INFO_INDEX = 8;
export const IRQ_INFO_COUNT = 12;
export const VFIO_IRQ_INFO_EVENTFD = 1;
export const VFIO_IRQ_INFO_MASKABLE = 2;
export const VFIO_IRQ_INFO_AUTOMASKED = 4;
export const VFIO_IRQ_INFO_NORESIZE = 8;

/** struct vfio_irq_set { u32 argsz, flags, index, start, count; u8 data[]; } */
export const IRQ_SET_BYTES = 20;
export const IRQ_SET_FLAGS = 4;
export const IRQ_SET_INDEX = 8;
export const IRQ_SET_START = 12;
export const IRQ_SET_COUNT = 16;
export const VFIO_IRQ_SET_DATA_NONE = 1;
export const VFIO_IRQ_SET_DATA_EVENTFD = 4;
export const VFIO_IRQ_SET_ACTION_UNMASK = 16;
export const VFIO_IRQ_SET_ACTION_TRIGGER = 32;

/** struct vfio_pci_dependent_device { u32 group_id; u16 segment; u8 bus, devfn; } */
export const DEPENDENT_DEVICE_BYTES = 8;
export const DEPENDENT_SEGMENT = 4;
export const DEPENDENT_BUS = 6;
export const DEPENDENT_DEVFN = 7;

/** struct vfio_pci_hot_reset_info { u32 argsz, flags, count; devices[]; } */
export const HOT_RESET_INFO_BYTES = 12;
export const HOT_RESET_INFO_COUNT = 8;

/** struct vfio_pci_hot_reset { u32 argsz, flags, count; s32 group_fds[]; } */
export const HOT_RESET_BYTES = 12;
export const HOT_RESET_COUNT = 8;
