// INTx by the command register, for lines of uio_pci_generic: pci_check_and_mask_intx, in the kernel's handler, sets
// PCI_COMMAND_INTX_DISABLE each time. That bit is in the register's high byte, which is written alone: the low one has
// what the main thread may switch at the same time (memory space, bus mastering).
import { readSync, writeSync } from "node:fs";
import { PCI_COMMAND, PCI_COMMAND_INTX_DISABLE } from "../pci/registers.ts";

const COMMAND_HIGH = PCI_COMMAND + 1;
const DISABLE = PCI_COMMAND_INTX_DISABLE >>> 8;

/** `fd`: of the device's configuration space. Any thread may call. */
export function allowIntx(fd: number): void {
  const high = Buffer.alloc(1);
  readSync(fd, high, 0, 1, COMMAND_HIGH);
  high[0]! &= ~DISABLE;
  writeSync(fd, high, 0, 1, COMMAND_HIGH);
}
