// The types of values in commands' grammars, by the names that testpmd's help gives them.
import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describeError, PollmodeError } from "../../../errors.ts";
import { BURST_MAX } from "../../../limits.ts";
import { modeWords, parseMode } from "../modes.ts";
import { readList, readMac, readMask } from "../option-values.ts";
import type { Session } from "../session.ts";
import { type Types, type ValueType, WordError } from "./grammar.ts";

/** Lists and masks of ports and lcores go no higher. */
const IDS_MAX = 127;
const UINT32_MAX = 2 ** 32 - 1;

/** A whole number, decimal or 0x…. */
export function integer(min: number, max: number): ValueType {
  const what = `a whole number from ${min} to ${max}`;
  return {
    describe: () => what,
    parse(text) {
      const number = /^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(text) ? Number(text) : Number.NaN;
      if (number >= min && number <= max) return number;
      throw new WordError(`"${text}" is not ${what}`, `write ${min}, for instance`);
    },
  };
}

/** A whole number from 1 to what there is now. */
export function upTo(most: (session: Session) => number): ValueType {
  return {
    describe: (session) => `a whole number from 1 to ${most(session)}`,
    parse: (word, session) => integer(1, most(session)).parse(word, session),
  };
}

/** One word of any form. */
export function text(what: string): ValueType {
  return { describe: () => what, parse: (word) => word };
}

/** By a reader of the command line, which says what is wrong. */
function by(what: string, read: (word: string) => unknown): ValueType {
  return {
    describe: () => what,
    parse(word) {
      try {
        return read(word);
      } catch (error) {
        if (error instanceof PollmodeError) throw new WordError(error.message, error.fix);
        throw new WordError(describeError(error), what);
      }
    },
  };
}

function portIds(session: Session): string[] {
  return session.engine.ports.map(({ id }) => `${id}`);
}

function thereAre(ids: readonly string[]): string {
  if (ids.length === 0) return "there is none";
  return `there ${ids.length === 1 ? "is" : "are"} ${ids.join(", ")}`;
}

const port: ValueType = {
  describe: (session) => `a port: ${thereAre(portIds(session))}`,
  complete: (_, session) => portIds(session),
  parse(word, session) {
    const ids = portIds(session);
    if (/^[0-9]+$/.test(word) && ids.includes(`${Number(word)}`)) return Number(word);
    const fix = ids.length > 0 ? `write ${ids[0]}, for instance` : "port attach net_null0";
    if (/^[0-9]+$/.test(word)) throw new WordError(`there is no port ${word}; ${thereAre(ids)}`, fix);
    throw new WordError(`"${word}" is no port; ${thereAre(ids)}`, fix);
  },
};

/** All of these must be there. */
function ports(list: ValueType): ValueType {
  return {
    ...list,
    parse(word, session) {
      const ids = list.parse(word, session) as number[];
      for (const id of ids) port.parse(`${id}`, session);
      return ids;
    },
  };
}

const portList: ValueType = {
  ...ports(by("ports with commas between them: 0,1", (word) => readList("a list", word, IDS_MAX))),
  complete: (start, session) => {
    const before = start.slice(0, start.lastIndexOf(",") + 1);
    return portIds(session).map((id) => `${before}${id}`);
  },
};

const mode: ValueType = {
  ...by("a forwarding mode, or app=FILE", (word) => parseMode("set fwd", word)),
  complete: (start) => {
    if (!start.startsWith("app=")) return [...modeWords(), "app="];
    return files(start.slice("app=".length)).map((file) => `app=${file}`);
  },
};

/** What is in the folder that a path begins with. */
function files(start: string): string[] {
  const folder = start.endsWith("/") ? start : dirname(start);
  const prefix = start.endsWith("/") ? "" : basename(start);
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries
      .filter(({ name }) => name.startsWith(prefix) && !/\s/.test(name))
      .map((entry) => {
        const name = start.includes("/") ? join(folder, entry.name) : entry.name;
        const path = start.startsWith("./") ? `./${name}` : name;
        return entry.isDirectory() ? `${path}/` : path;
      });
  } catch {
    return []; // no such folder
  }
}

const key: ValueType = {
  describe: () => "the key's bytes in hexadecimal",
  parse(word) {
    if (/^([0-9a-fA-F]{2})+$/.test(word)) return Uint8Array.from(Buffer.from(word, "hex"));
    throw new WordError(`"${word}" is no key`, "write two hexadecimal digits a byte: 6d5a56da…");
  },
};

const mask = by("a hexadecimal mask: 0x3", (word) => readMask("the mask", word));

/** Types that several commands share. */
export const types: Types = {
  port_id: port,
  portlist: portList,
  corelist: by("lcores with commas between them: 1,2", (word) => readList("a list", word, IDS_MAX)),
  mask,
  portmask: ports(mask),
  mac: by("an address: 02:00:00:00:00:01", (word) => readMac("the address", word)),
  mode,
  file: { ...text("a file's name"), complete: (start) => files(start) },
  lengths: by("bytes of each segment: 64,128", (word) => lengths(word)),
  vlan_id: integer(0, 4095),
  burst: integer(1, BURST_MAX),
  value: integer(0, UINT32_MAX),
  hash_key: key,
};

function lengths(word: string): number[] {
  const numbers = word.split(",").map((part) => (/^[0-9]{1,5}$/.test(part) ? Number(part) : 0));
  if (!numbers.includes(0)) return numbers;
  throw new PollmodeError("COMMAND", `"${word}" has no length of a segment`, "write 64,128, for instance");
}
