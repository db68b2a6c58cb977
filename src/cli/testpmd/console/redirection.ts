// The redirection table of receive-side scaling, in testpmd's words.
import { PollmodeError } from "../../../errors.ts";
import type { Session } from "../session.ts";
import { type ValueType, WordError } from "./grammar.ts";

/** Entries that one mask shows (RTE_ETH_RETA_GROUP_SIZE). */
const GROUP_ENTRIES = 64;

/** `(hash,queue)[,(hash,queue)]*` as pairs. */
export const redirectionPairs: ValueType = {
  describe: () => "entries and their queues: (0,1),(1,0)",
  parse(text) {
    if (!/^\([0-9]+,[0-9]+\)(,\([0-9]+,[0-9]+\))*$/.test(text)) {
      throw new WordError(`"${text}" has no entries and queues`, "write (0,1),(1,0), for instance");
    }
    return [...text.matchAll(/\(([0-9]+),([0-9]+)\)/g)].map((pair) => [Number(pair[1]), Number(pair[2])]);
  },
};

/** `(0x3,0x0)`: 64 bits a group of entries. */
export const redirectionMasks: ValueType = {
  describe: () => "a mask for each 64 entries: (0x3,0x0)",
  parse(text) {
    const parts = text.replace(/^\((.*)\)$/, "$1").split(",");
    if (parts.every((part) => /^(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19})$/.test(part))) return parts.map(BigInt);
    throw new WordError(`"${text}" has no masks`, "write (0x3,0x0), for instance");
  },
};

/** `show port N rss reta SIZE MASKS` */
export function redirectionText(
  session: Session,
  id: number,
  size: number,
  masks: readonly bigint[],
): string {
  const port = session.ports.get(id);
  const { table } = port.rss();
  const groups = Math.ceil(size / GROUP_ENTRIES);
  if (size > table.length || masks.length !== groups) {
    const message = `port ${id} (${port.name}): ${size} entries by ${masks.length} masks`;
    const whole = Math.ceil(table.length / GROUP_ENTRIES);
    const fix = `it has ${table.length} entries, of which a mask shows ${GROUP_ENTRIES}: give ${whole} masks`;
    throw new PollmodeError("RSS", message, fix);
  }
  const lines: string[] = [];
  for (let at = 0; at < size; at++) {
    const shown = (masks[Math.floor(at / GROUP_ENTRIES)]! >> BigInt(at % GROUP_ENTRIES)) & 1n;
    if (shown) lines.push(`RSS RETA configuration: hash index=${at}, queue=${table[at]}`);
  }
  return lines.join("\n");
}
