// MSI-X: receive queue k has vector k (82574 datasheet, 7.4.2; 82576 datasheet, 7.3). A vector that has fired is
// cleared and masked by the chip itself until an lcore that is about to sleep arms it again. The link is polled
// instead: 10 reads a second cost nothing, and work alike whatever interrupts a kernel interface offers.
import type { Chip } from "./chips.ts";
import { CAUSE_82574_RXQ0, CtrlExt, Gpie, IVAR_82574_VALID, IVAR_VALID, Reg } from "./registers.ts";
import { type Registers, setBits } from "./registers-io.ts";

/** The register write that lets a queue's interrupt fire once. */
export function armRegister({ family }: Chip, queue: number): { offset: number; value: number } {
  if (family === "82574") return { offset: Reg.IMS_82574, value: CAUSE_82574_RXQ0 << queue };
  return { offset: Reg.EIMS, value: 1 << queue };
}

/**
 * After a reset: which vector, none of them throttled (a sleeper is to wake at once, and fires once), each of `queues`
 * receive queues has.
 */
export function routeInterrupts(registers: Registers, chip: Chip, queues: number): void {
  if (chip.family === "82574") route82574(registers, queues);
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
