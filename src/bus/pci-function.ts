// A PCI function that this process drives: what VFIO and UIO have in common, and all that drivers know of them.
import type { IovaMap } from "../memory/iova.ts";

/** The kernel interface by which a function came. */
export type PciAccess = "vfio" | "vfio-noiommu" | "uio_pci_generic" | "igb_uio";

/** A base address register's memory, laid over the arena. */
export interface Bar {
  /** Arena offset of its first byte. */
  readonly offset: number;
  readonly bytes: number;
}

export type InterruptKind = "msix" | "msi" | "intx";

/** One interrupt vector. Plain data: it may be sent to an lcore's thread. */
export interface InterruptLine {
  /**
   * Readable when the interrupt has fired: an eventfd (8 bytes to read), /dev/uioN (4 bytes), or an epoll instance (0),
   * whose events are collected.
   */
  readonly fd: number;
  readonly readBytes: 0 | 4 | 8;
  /** What lets it fire again, where the kernel masks it each time; see rearmInterrupt (src/bus/interrupt.ts). */
  readonly rearm:
    | { readonly by: "vfio-intx"; readonly fd: number }
    | { readonly by: "uio-write"; readonly fd: number }
    | { readonly by: "config-command"; readonly fd: number }
    | undefined;
}

export interface PciFunction {
  /** `0000:00:03.0`. */
  readonly address: string;
  readonly vendor: number;
  readonly device: number;
  readonly access: PciAccess;
  /** Addresses for its descriptors: IOVAs of the IOMMU, or physical. */
  readonly iova: IovaMap;
  /** Lays a memory BAR over the arena; a second call gives the same. Errors: no such BAR, BAR of I/O ports. */
  mapBar(index: number): Bar;
  /** Reads 1, 2 or 4 bytes of configuration space. */
  readConfig(offset: number, bytes: 1 | 2 | 4): number;
  writeConfig(offset: number, bytes: 1 | 2 | 4, value: number): void;
  /** PCI_COMMAND_MASTER: without it the function reads and writes no memory. */
  setBusMaster(on: boolean): void;
  /** Resets the function as the kernel can (FLR, power, bus). False where it cannot: the driver resets by register. */
  reset(): boolean;
  /** Vectors that each kind offers; 0: not there. */
  readonly vectors: Readonly<Record<InterruptKind, number>>;
  /** Arms the first `count` vectors of a kind. One kind at a time. */
  enableInterrupts(kind: InterruptKind, count: number): readonly InterruptLine[];
  disableInterrupts(): void;
  /** Bus master off, interrupts off, BARs unmapped, the device given back to the kernel. Twice does nothing. */
  close(): void;
}
