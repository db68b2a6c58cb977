// What wakes an lcore (82574 datasheet, 7.4; 82576 datasheet, 7.3). The link is polled instead: 10 reads a second cost
// nothing, and work alike whatever interrupts a kernel interface offers.
//
//   MSI-X       receive queue k has vector k. One that fired is cleared and masked by the chip itself until an
//               lcore that is about to sleep arms it again.
//   MSI, INTx   one for all causes, so for one receive queue. ICR keeps the cause until it is read, which arming does.
//               Under load nothing reads it, so nothing more fires; INTx fires once more when it is let to.
import type { InterruptKind, PciFunction } from "../../src/bus/pci-function.ts";
import type { Chip } from "./chips.ts";
import { CAUSE_82574_RXQ0, CAUSE_RX, CtrlExt, Gpie, IVAR_82574_VALID, IVAR_VALID, Reg } from "./registers.ts";
import { type Registers, setBits } from "./registers-io.ts";

/** The best kind that a function has enough of for so many receive queues. */
export function interruptKind(
  { vectors }: Pick<PciFunction, "vectors">,
  queues: number,
): InterruptKind | undefined {
  if (vectors.msix >= queues) return "msix";
  if (queues > 1) return undefined;
  return (["msi", "intx"] as const).find((kind) => vectors[kind] > 0);
}

export interface ArmRegister {
  readonly offset: number;
  readonly value: number;
  /** Read first. */
  readonly clear?: number;
}

/** The register write that lets a queue's interrupt fire once. */
export function armRegister({ family }: Chip, kind: InterruptKind, queue: number): ArmRegister {
  if (kind !== "msix") {
    return { offset: Reg.IMS, value: CAUSE_RX, clear: Reg.ICR };
  }
  if (family === "82574") return { offset: Reg.IMS, value: CAUSE_82574_RXQ0 << queue };
  return { offset: Reg.EIMS, value: 1 << queue };
}

/**
 * After a reset: which vector each of `queues` receive queues has. None is throttled, for a sleeper is to wake at once,
 * and each fires once.
 */
export function routeInterrupts(registers: Registers, chip: Chip, kind: InterruptKind, queues: number): void {
  if (kind !== "msix") registers.write(chip.family === "82574" ? Reg.ITR_82574 : Reg.EITR, 0);
  else if (chip.family === "82574") route82574(registers, queues);
  else routeIgb(registers, chip, queues);
}

function route82574(registers: Registers, queues: number): void {
  let entries = 0;
  let causes = 0;
  for (let queue = 0; queue < queues; queue++) {
    registers.write(Reg.EITR_82574 + 4 * queue, 0);
    entries |= (IVAR_82574_VALID | queue) << (4 * queue);
    causes |= CAUSE_82574_RXQ0 << queue;
  }
  registers.write(Reg.IVAR_82574, entries);
  registers.write(Reg.EIAC_82574, causes);
  registers.write(Reg.IAM_82574, causes);
  setBits(registers, Reg.CTRL_EXT, CtrlExt.EIAME);
}

function routeIgb(registers: Registers, { ivar }: Chip, queues: number): void {
  registers.write(Reg.GPIE, Gpie.NSICR | Gpie.MULTIPLE_MSIX | Gpie.EIAME);
  const entries = new Map<number, number>();
  for (let queue = 0; queue < queues; queue++) {
    // a register has two receive queues: in the 82576 queue and queue + 8, in the I350 neighbours
    const register = ivar === "82576" ? queue & 7 : queue >>> 1;
    const shift = (ivar === "82576" ? queue >>> 3 : queue & 1) * 16;
    entries.set(register, (entries.get(register) ?? 0) | ((IVAR_VALID | queue) << shift));
  }
  for (let queue = 0; queue < queues; queue++) registers.write(Reg.EITR + 4 * queue, 0);
  for (const [register, value] of entries) registers.write(Reg.IVAR0 + 4 * register, value >>> 0);
  const all = 2 ** queues - 1;
  registers.write(Reg.EIAC, all);
  registers.write(Reg.EIAM, all);
}
