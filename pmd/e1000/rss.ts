// Receive-side scaling (82574 datasheet, 7.1.10; 82576 datasheet, 7.1.1.7): MRQC says what is hashed, RSSRK has the
// key, RETA the queue for each of 128 values of the hash.
import type { RssConfig, RssType } from "../../src/ethdev/driver.ts";
import type { Chip } from "./chips.ts";
import { Reg, Rxcsum } from "./registers.ts";
import { clearBits, type Registers, setBits } from "./registers-io.ts";

export const RSS_KEY_BYTES = 40;
export const RSS_TABLE_ENTRIES = 128;

/** Microsoft's, for which "Verifying the RSS hash calculation" publishes addresses, ports and hashes. */
const KEY = Uint8Array.from(
  Buffer.from("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa", "hex"),
);

export function rssTypes({ rssFields }: Chip): RssType[] {
  return Object.keys(rssFields) as RssType[];
}

/** What was left out, filled in: the table repeats, or deals the queues out. */
export function completeRss(rss: RssConfig, chip: Chip, queues: number): Required<RssConfig> {
  const {
    key = KEY,
    types = rssTypes(chip),
    table = Array.from({ length: queues }, (_, queue) => queue),
  } = rss;
  const entries = Array.from({ length: RSS_TABLE_ENTRIES }, (_, at) => table[at % table.length]!);
  return { key: key.slice(), types: [...types], table: entries };
}

export function writeRss(registers: Registers, chip: Chip, rss: Required<RssConfig> | undefined): void {
  if (!rss) {
    registers.write(Reg.MRQC, 0);
    clearBits(registers, Reg.RXCSUM, Rxcsum.PCSD);
    return;
  }
  const key = Buffer.from(rss.key);
  for (let k = 0; k < RSS_KEY_BYTES; k += 4) registers.write(Reg.RSSRK + k, key.readUInt32LE(k));
  for (let k = 0; k < RSS_TABLE_ENTRIES; k += 4) {
    const entry = (at: number) => (rss.table[k + at]! << chip.rssQueueShift) & 0xff;
    registers.write(Reg.RETA + k, (entry(0) | (entry(1) << 8) | (entry(2) << 16) | (entry(3) << 24)) >>> 0);
  }
  setBits(registers, Reg.RXCSUM, Rxcsum.PCSD);
  const fields = rss.types.reduce((bits, type) => bits | (chip.rssFields[type] ?? 0), 0);
  registers.write(Reg.MRQC, (fields | chip.rssMode) >>> 0);
}

/** As it stands in the chip. */
export function readRss(registers: Registers, chip: Chip): Required<RssConfig> {
  const key = Buffer.alloc(RSS_KEY_BYTES);
  for (let k = 0; k < RSS_KEY_BYTES; k += 4) key.writeUInt32LE(registers.read(Reg.RSSRK + k), k);
  const table = Array.from({ length: RSS_TABLE_ENTRIES }, (_, at) => {
    const word = registers.read(Reg.RETA + (at & ~3));
    return ((word >>> ((at & 3) * 8)) & 0xff) >>> chip.rssQueueShift;
  });
  const mrqc = registers.read(Reg.MRQC);
  const types = rssTypes(chip).filter((type) => (mrqc & chip.rssFields[type]!) !== 0);
  return { key: Uint8Array.from(key), table, types };
}
