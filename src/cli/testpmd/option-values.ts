// Values on testpmd's command line: each reader throws an error that names the option and shows one that is right. The
// console's commands read their words by the same functions.
import { nearest } from "../../eal/nearest.ts";
import { PollmodeError } from "../../errors.ts";

/** Ethernet, IPv4 and UDP headers: nothing smaller is sent. */
const TXPKTS_BYTES_MIN = 14 + 20 + 8;
/** Segments of a packet that txonly makes. */
const TXPKTS_SEGMENTS_MAX = 16;

export interface Bounds {
  readonly min: number;
  readonly max: number;
}

function wrong(option: string, text: string, what: string, example: string): PollmodeError {
  return new PollmodeError("OPTION_VALUE", `${option} "${text}" ${what}`, `write ${option}${example}`);
}

/** A decimal number; `option` is how it was given: `--burst`. */
export function readInteger(option: string, text: string, { min, max }: Bounds, example = min): number {
  const number = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw wrong(option, text, `is not a whole number from ${min} to ${max}`, `=${example}, for instance`);
}

/** `64,128`: numbers with commas between them. */
function readIntegers(option: string, text: string, bounds: Bounds, countMax: number): number[] {
  const parts = text.split(",");
  if (parts.length > countMax) {
    throw wrong(option, text, `has ${parts.length} numbers`, ` with ${countMax} numbers at most`);
  }
  return parts.map((part) => readInteger(option, part.trim(), bounds));
}

/** `0,2-3`: numbers and ranges, in the order given; one that is named twice counts once. */
export function readList(option: string, text: string, max: number): number[] {
  const found = new Set<number>();
  for (const part of text.split(",")) {
    const [, first, last = first] = /^\s*([0-9]+)\s*(?:-\s*([0-9]+)\s*)?$/.exec(part) ?? [];
    const from = Number(first);
    const to = Number(last);
    if (first === undefined || to < from || to > max) {
      throw wrong(option, text, `is no list of numbers from 0 to ${max}`, "=0,2-3, for instance");
    }
    for (let number = from; number <= to; number++) found.add(number);
  }
  return [...found];
}

/** A hexadecimal mask as the numbers of its bits, ascending. */
export function readMask(option: string, text: string): number[] {
  const digits = /^(?:0[xX])?([0-9a-fA-F]{1,32})$/.exec(text)?.[1];
  if (digits === undefined) throw wrong(option, text, "is no hexadecimal mask", "=0x3, for instance");
  const numbers: number[] = [];
  for (let bits = BigInt(`0x${digits}`), number = 0; bits > 0n; bits >>= 1n, number++) {
    if (bits & 1n) numbers.push(number);
  }
  if (numbers.length === 0) throw wrong(option, text, "has no bit set", "=0x3, for instance");
  return numbers;
}

/** `02:00:00:00:00:01` as 6 bytes. */
export function readMac(option: string, text: string): Uint8Array {
  if (/^([0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}$/.test(text)) {
    return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
  }
  const message = `${option}: "${text}" is no MAC address`;
  throw new PollmodeError("OPTION_VALUE", message, "write six bytes: 02:00:00:00:00:01");
}

/** One of a few words. */
export function readWord<T extends string>(option: string, text: string, words: readonly T[]): T {
  const word = words.find((candidate) => candidate === text);
  if (word !== undefined) return word;
  const fix = `=${nearest(text, [...words]) ?? words[0]}`;
  throw wrong(option, text, `is none of ${words.join(", ")}`, fix);
}

/** `64`, `64,128`: bytes of each segment. The console's `set txpkts` reads its words by this too. */
export function readTxpkts(option: string, text: string, dataRoom: number): number[] {
  const segments = readIntegers(option, text, { min: 1, max: dataRoom }, TXPKTS_SEGMENTS_MAX);
  const total = segments.reduce((sum, bytes) => sum + bytes, 0);
  if (total >= TXPKTS_BYTES_MIN) return segments;
  const message = `${option} ${text}: a packet of ${total} bytes has no room for its headers`;
  throw new PollmodeError(
    "OPTION_VALUE",
    message,
    `let the segments add up to ${TXPKTS_BYTES_MIN} bytes or more`,
  );
}
