// From whatever state a chip was left in to that after power-on (82574 datasheet, 4.6.1 to 4.6.3; 82576 datasheet,
// 4.5.1 to 4.5.4): no DMA, no interrupts, registers and EEPROM words reloaded.
import type { Chip } from "./chips.ts";
import { CFG_DONE, Ctrl, Eecd, MENDED_82574, Reg, Status } from "./registers.ts";
import { chipTimeout, portNumber, type Registers, setBits, waitFor } from "./registers-io.ts";

/** Datasheets: 1 ms after RST; 80 ms for the last DMA to end. */
const SETTLE_MS = 5;
const MASTER_TIMEOUT_MS = 80;
const RESET_TIMEOUT_MS = 500;
/** The PHY is set up from the EEPROM when the registers have been; chips without firmware may not say when it is. */
const PHY_TIMEOUT_MS = 100;
const EEPROM_TIMEOUT_MS = 20;
const ALL_INTERRUPTS = 0xffff_ffff;

export async function resetChip(registers: Registers, { family }: Chip, address: string): Promise<void> {
  maskInterrupts(registers, family);
  registers.write(Reg.RCTL, 0);
  registers.write(Reg.TCTL, 0);
  await stopMaster(registers);
  setBits(registers, Reg.CTRL, Ctrl.RST);
  // nothing may be read meanwhile, so time has to pass first
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  if (!(await waitFor(() => (registers.read(Reg.CTRL) & Ctrl.RST) === 0, RESET_TIMEOUT_MS))) {
    throw chipTimeout(address, "its reset (CTRL.RST) does not end", RESET_TIMEOUT_MS);
  }
  // a chip without an EEPROM never says so, and works all the same
  await waitFor(() => (registers.read(Reg.EECD) & Eecd.AUTO_RD) !== 0, EEPROM_TIMEOUT_MS);
  const configured = CFG_DONE << portNumber(registers);
  const phyIsSetUp = () => (registers.read(Reg.EEMNGCTL) & configured) !== 0;
  await waitFor(phyIsSetUp, PHY_TIMEOUT_MS);
  maskInterrupts(registers, family);
  if (family === "82574") mend82574(registers);
}

/** What the chip needs besides (82574 specification update), as Linux's e1000e and DPDK set it. */
function mend82574(registers: Registers): void {
  for (const { register, set, clear } of MENDED_82574) {
    registers.write(register, ((registers.read(register) & ~clear) | set) >>> 0);
  }
}

/**
 * CTRL.GIO_MASTER_DISABLE: lets requests that are under way end. One that hangs is ended by the reset that follows,
 * which also takes the bit back.
 */
async function stopMaster(registers: Registers): Promise<void> {
  setBits(registers, Reg.CTRL, Ctrl.GIO_MASTER_DISABLE);
  const stopped = () => (registers.read(Reg.STATUS) & Status.GIO_MASTER_ENABLE) === 0;
  await waitFor(stopped, MASTER_TIMEOUT_MS);
}

/** None is delivered, none is kept. */
function maskInterrupts(registers: Registers, family: Chip["family"]): void {
  registers.write(Reg.IMC, ALL_INTERRUPTS);
  registers.read(Reg.ICR);
  if (family === "82574") return;
  registers.write(Reg.EIMC, ALL_INTERRUPTS);
  registers.read(Reg.EICR);
}
