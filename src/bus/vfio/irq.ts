// A function's interrupts by VFIO: the kernel takes the interrupt and adds 1 to an eventfd.
import { PollmodeError } from "../../errors.ts";
import { close, eventfd } from "../../libc/libc.ts";
import type { InterruptKind, InterruptLine } from "../pci-function.ts";
import * as abi from "./abi.ts";
import { getIrqCount, setIrqs } from "./calls.ts";

const INDEX: Readonly<Record<InterruptKind, number>> = {
  intx: abi.VFIO_PCI_INTX_IRQ_INDEX,
  msi: abi.VFIO_PCI_MSI_IRQ_INDEX,
  msix: abi.VFIO_PCI_MSIX_IRQ_INDEX,
};

export class VfioInterrupts {
  readonly vectors: Readonly<Record<InterruptKind, number>>;
  private readonly device: number;
  private readonly address: string;
  /** What is armed now. */
  private kind: InterruptKind | undefined;
  private eventfds: number[] = [];

  /** `only` (--vfio-intr): the other kinds count as not there. */
  constructor(device: number, address: string, only?: InterruptKind) {
    this.device = device;
    this.address = address;
    const count = (kind: InterruptKind) => {
      return only === undefined || only === kind
        ? getIrqCount(device, INDEX[kind], `${address}, ${kind}`)
        : 0;
    };
    this.vectors = { msix: count("msix"), msi: count("msi"), intx: count("intx") };
  }

  enable(kind: InterruptKind, count: number): readonly InterruptLine[] {
    const most = this.vectors[kind];
    if (!Number.isInteger(count) || count < 1 || count > most) {
      const message = `${this.address}: ${count} vectors of ${kind}, it has ${most}`;
      throw new PollmodeError("INTERRUPT_VECTORS", message, "use another kind of interrupt, or fewer queues");
    }
    this.disable();
    try {
      for (let k = 0; k < count; k++) this.eventfds.push(eventfd());
      this.arm(kind, count);
    } catch (error) {
      this.closeEventfds();
      throw error;
    }
    this.kind = kind;
    const rearm = kind === "intx" ? ({ by: "vfio-intx", fd: this.device } as const) : undefined;
    return this.eventfds.map((fd) => ({ fd, readBytes: 8, rearm }));
  }

  private arm(kind: InterruptKind, count: number): void {
    const had = setIrqs(this.device, INDEX[kind], this.eventfds, `${this.address}, ${count} of ${kind}`);
    if (had === 0) return;
    // a positive answer: so many vectors would have been free
    const message = `${this.address}: ${count} vectors of ${kind}, this machine has ${had} left`;
    throw new PollmodeError("INTERRUPT_VECTORS", message, `use ${had} queues, or stop other devices`);
  }

  /** Twice does nothing. */
  disable(): void {
    if (this.kind === undefined) return;
    try {
      setIrqs(this.device, INDEX[this.kind], [], `${this.address}, ${this.kind} off`);
    } finally {
      this.kind = undefined;
      this.closeEventfds();
    }
  }

  private closeEventfds(): void {
    for (const fd of this.eventfds.splice(0)) close(fd);
  }
}
