// Looks once a second whether the chip still reaches memory. Where an IOMMU or a bridge refuses an access, PCIe answers
// the chip with an error: its PCI status register keeps that, and a transmit queue whose descriptors cannot be read
// stands still. The kernel's log names the address (src/bus/iommu-faults.ts), but not every user may read it.
import type { PciFunction } from "../../src/bus/pci-function.ts";
import type { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { Queue, QueueError } from "../../src/hot/layout.ts";

/** Configuration space: the status register, and its bits for errors of accesses that the function began. */
const PCI_STATUS = 0x06;
const PCI_STATUS_PARITY = 1 << 8;
const PCI_STATUS_RECEIVED_TARGET_ABORT = 1 << 12;
const PCI_STATUS_RECEIVED_MASTER_ABORT = 1 << 13;
const ERRORS = PCI_STATUS_PARITY | PCI_STATUS_RECEIVED_TARGET_ABORT | PCI_STATUS_RECEIVED_MASTER_ABORT;

/** Looks at which a queue that has work may stand still: a frame of 9022 bytes takes 7 ms at 10 Mbit/s. */
const LOOKS_STUCK = 3;

/** A transmit queue as the chip has it. */
export interface TransmitPosition {
  readonly block: QueueBlock;
  /** TDH and TDT. */
  readonly head: number;
  readonly tail: number;
}

export class Watchdog {
  private readonly fn: Pick<PciFunction, "readConfig" | "writeConfig">;
  /** Error bits that could not be cleared: they say nothing. */
  private stale = 0;
  /** Looks since which a queue's head stands still, by its block. */
  private readonly still = new Map<QueueBlock, { head: number; packets: number; looks: number }>();

  constructor(fn: Pick<PciFunction, "readConfig" | "writeConfig">) {
    this.fn = fn;
  }

  /** At a start. The bits are cleared by writing them. */
  begin(): void {
    this.still.clear();
    const before = this.fn.readConfig(PCI_STATUS, 2) & ERRORS;
    if (before !== 0) this.fn.writeConfig(PCI_STATUS, 2, before);
    this.stale = this.fn.readConfig(PCI_STATUS, 2) & ERRORS;
  }

  /** Stops queues by DMA_ERROR: `all` for an error of the function, one that stands still for itself. */
  look(all: readonly QueueBlock[], transmit: readonly TransmitPosition[], mayStand: boolean): void {
    const errors = this.fn.readConfig(PCI_STATUS, 2) & ERRORS & ~this.stale;
    if (errors !== 0) for (const block of all) stopQueue(block, errors);
    for (const { block, head, tail } of transmit) {
      const { packets } = block.stats(); // a head that went round exactly has moved, too
      const before = this.still.get(block);
      const stands = !mayStand && head !== tail && before?.head === head && before.packets === packets;
      const looks = stands ? before.looks + 1 : 0;
      this.still.set(block, { head, packets, looks });
      if (looks >= LOOKS_STUCK) stopQueue(block, head);
    }
  }
}

/** As a burst would. Control's stop and start run it again. */
function stopQueue(block: QueueBlock, argument: number): void {
  if (!block.running) return;
  block.set(Queue.ERROR_ARG, argument);
  block.set(Queue.ERROR, QueueError.DMA_ERROR);
  block.halt();
}
