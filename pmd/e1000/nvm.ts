// The EEPROM, word by word through EERD (82574 datasheet, 10.2.2.5; 82576 datasheet, 8.4.2), and the address it holds.
import { PollmodeError } from "../../src/errors.ts";
import { Eerd, RAH_AV, Reg } from "./registers.ts";
import { chipTimeout, type Registers, waitFor } from "./registers-io.ts";

const READ_TIMEOUT_MS = 50;
/** The first 64 words add up to this (82574 datasheet, 6.1.1.10). */
const CHECKSUM = 0xbaba;
const CHECKED_WORDS = 64;

async function readNvmWord(registers: Registers, word: number, address: string): Promise<number> {
  registers.write(Reg.EERD, (word << Eerd.ADDR_SHIFT) | Eerd.START);
  const done = () => (registers.read(Reg.EERD) & Eerd.DONE) !== 0;
  if (await waitFor(done, READ_TIMEOUT_MS)) return registers.read(Reg.EERD) >>> Eerd.DATA_SHIFT;
  throw chipTimeout(address, `its EEPROM does not give word ${word} (EERD)`, READ_TIMEOUT_MS);
}

/** Whether the EEPROM's checksum is right. */
export async function checkNvm(registers: Registers, address: string): Promise<boolean> {
  let sum = 0;
  for (let word = 0; word < CHECKED_WORDS; word++) sum += await readNvmWord(registers, word, address);
  return (sum & 0xffff) === CHECKSUM;
}

/** The station's address: what the reset loaded into RAL and RAH 0, else the EEPROM's first three words. */
export async function readMac(registers: Registers, address: string): Promise<Uint8Array> {
  const mac = Buffer.alloc(6);
  mac.writeUInt32LE(registers.read(Reg.RAL), 0);
  const high = registers.read(Reg.RAH);
  mac.writeUInt16LE(high & 0xffff, 4);
  if ((high & RAH_AV) !== 0 && isStation(mac)) return Uint8Array.from(mac);
  for (let word = 0; word < 3; word++)
    mac.writeUInt16LE(await readNvmWord(registers, word, address), word * 2);
  if (isStation(mac)) return Uint8Array.from(mac);
  const message = `${address}: its EEPROM holds no station address (${mac.toString("hex", 0, 6)})`;
  throw new PollmodeError("NVM_MAC", message, `give one: -a ${address},mac=02:00:00:00:00:01`);
}

/** Neither nothing nor a group. */
function isStation(mac: Uint8Array): boolean {
  return (mac[0]! & 1) === 0 && mac.some((byte) => byte !== 0);
}
