// The PHY through MDIC (82574 datasheet, 10.2.2.7; 82576 datasheet, 8.2.4), of which firmware may be a user too.
import { setTimeout as sleep } from "node:timers/promises";
import { PollmodeError } from "../../src/errors.ts";
import type { Chip } from "./chips.ts";
import { CtrlExt, ExtcnfCtrl, Manc, Mdic, PHY_SYNC_BITS, Phy, Reg, Swsm } from "./registers.ts";
import { chipTimeout, clearBits, portNumber, type Registers, setBits, waitFor } from "./registers-io.ts";

const MDIC_TIMEOUT_MS = 50;
const OWNER_TIMEOUT_MS = 200;
const OWNER_INTERVAL_MS = 5;

/** Ports whose link goes through no PHY of this chip (82576 datasheet, 8.2.3, LINK_MODE) are not driven. */
export function requireCopper(registers: Registers, { family, name }: Chip, address: string): void {
  const mode = family === "igb" ? (registers.read(Reg.CTRL_EXT) >>> CtrlExt.LINK_MODE_SHIFT) & 3 : 0;
  if (mode === 0) return;
  const kind = ["copper", "1000BASE-KX", "SGMII", "SerDes"][mode];
  const message = `${address}: this ${name} port is ${kind} (CTRL_EXT.LINK_MODE ${mode}), the driver has copper alone`;
  throw new PollmodeError("NOT_SUPPORTED", message, "leave it to the kernel's igb, and take a copper port");
}

/** Wakes the PHY and lets it negotiate speed and duplex with its partner anew. */
export async function negotiateLink(registers: Registers, chip: Chip, address: string): Promise<void> {
  await changeControl(registers, chip, address, (control) => {
    return (control & ~(Phy.POWER_DOWN | Phy.ISOLATE)) | Phy.ENABLE_AN | Phy.RESTART_AN;
  });
}

/** Lets the PHY sleep: its partner sees the link go. Not where firmware talks by it, as Linux and DPDK do. */
export async function powerDownPhy(registers: Registers, chip: Chip, address: string): Promise<void> {
  if ((registers.read(Reg.MANC) & (Manc.RCV_TCO_EN | Manc.KEEP_PHY_LINK_UP)) !== 0) return;
  await changeControl(registers, chip, address, (control) => control | Phy.POWER_DOWN);
}

async function changeControl(
  registers: Registers,
  chip: Chip,
  address: string,
  change: (control: number) => number,
): Promise<void> {
  const release = await ownPhy(registers, chip, address);
  try {
    const control = await access(registers, address, Mdic.OP_READ, Phy.CONTROL, 0);
    await access(registers, address, Mdic.OP_WRITE, Phy.CONTROL, change(control));
  } finally {
    await release();
  }
}

async function access(registers: Registers, address: string, op: number, register: number, value: number) {
  registers.write(Reg.MDIC, (op | Mdic.PHYADD_1 | (register << Mdic.REGADD_SHIFT) | value) >>> 0);
  const ready = () => (registers.read(Reg.MDIC) & Mdic.READY) !== 0;
  const answered = await waitFor(ready, MDIC_TIMEOUT_MS);
  const result = registers.read(Reg.MDIC);
  if (!answered || (result & Mdic.ERROR) !== 0) {
    throw chipTimeout(address, `its PHY does not answer (MDIC, register ${register})`, MDIC_TIMEOUT_MS);
  }
  return result & 0xffff;
}

/** Takes the PHY for us; returns what gives it back. A firmware that never does is passed over, as Linux does. */
async function ownPhy(registers: Registers, { family }: Chip, address: string): Promise<() => Promise<void>> {
  if (family === "82574") {
    const own = () => {
      setBits(registers, Reg.EXTCNF_CTRL, ExtcnfCtrl.MDIO_SW_OWN);
      return (registers.read(Reg.EXTCNF_CTRL) & ExtcnfCtrl.MDIO_SW_OWN) !== 0;
    };
    await waitFor(own, OWNER_TIMEOUT_MS);
    return async () => clearBits(registers, Reg.EXTCNF_CTRL, ExtcnfCtrl.MDIO_SW_OWN);
  }
  const bit = PHY_SYNC_BITS[portNumber(registers)]!;
  const deadline = performance.now() + OWNER_TIMEOUT_MS;
  for (let taken = false; !taken; ) {
    await withSwsm(registers, address, () => {
      const isFree = (registers.read(Reg.SW_FW_SYNC) & (bit | (bit << 16))) === 0;
      taken = isFree || performance.now() > deadline; // its owner may have died with it
      if (taken) setBits(registers, Reg.SW_FW_SYNC, bit);
    });
    if (!taken) await sleep(OWNER_INTERVAL_MS);
  }
  return () => withSwsm(registers, address, () => clearBits(registers, Reg.SW_FW_SYNC, bit));
}

/** SW_FW_SYNC may be touched only by whoever holds SWSM's two semaphores (82576 datasheet, 4.6.12). */
async function withSwsm(registers: Registers, address: string, work: () => void): Promise<void> {
  // SMBI is set by reading; who reads 0 has it
  const software = await waitFor(() => (registers.read(Reg.SWSM) & Swsm.SMBI) === 0, OWNER_TIMEOUT_MS);
  if (!software) registers.write(Reg.SWSM, 0); // a program died with it
  const firmware = await waitFor(() => {
    setBits(registers, Reg.SWSM, Swsm.SWESMBI);
    return (registers.read(Reg.SWSM) & Swsm.SWESMBI) !== 0;
  }, OWNER_TIMEOUT_MS);
  if (!firmware)
    throw chipTimeout(address, "its firmware does not give the PHY (SWSM.SWESMBI)", OWNER_TIMEOUT_MS);
  try {
    work();
  } finally {
    clearBits(registers, Reg.SWSM, Swsm.SMBI | Swsm.SWESMBI);
  }
}
