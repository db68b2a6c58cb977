// DPDK's device arguments, `net_virtio_user0,path=/tmp/s,queues=2` or `0000:01:00.0,rss=1`: taken apart here, and
// read by drivers through DevargsReader, which names every wrong, unknown or repeated key.
import { PollmodeError } from "../errors.ts";
import { nearest } from "./nearest.ts";

/** A device and its arguments, taken apart: `net_virtio_user0,path=/tmp/s,queues=2`. */
export interface Devargs {
  /** A PCI address, or a virtual device that a driver makes. */
  readonly bus: "pci" | "vdev";
  /** The name without its number: `net_virtio_user`. Empty for PCI, where the device itself tells. */
  readonly driver: string;
  /** The device: `net_virtio_user0`, or a PCI address with its domain. */
  readonly name: string;
  /** Value by key, in the order given. A key without "=" has the value "". Of repeated keys, the first. */
  readonly args: ReadonlyMap<string, string>;
  /** Keys given more than once. */
  readonly repeated: readonly string[];
  /** All arguments in their order, repeated keys too. Absent: those of `args`. */
  readonly given?: readonly (readonly [key: string, value: string])[];
}

/** DPDK's RTE_DEV_NAME_MAX_LEN, without the final zero. */
const nameCharsMax = 63;
const pciAddress = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])$/i;

/** Parses one device with its arguments. `option` is where it came from, for messages. */
export function parseDevargs(text: string, option = "--vdev"): Devargs {
  const [name = "", ...parts] = splitOutsideBrackets(text, option);
  const pci = pciAddress.exec(name);
  if (!pci) checkName(name, text, option);
  const args = new Map<string, string>();
  const repeated = new Set<string>();
  const given: [string, string][] = [];
  for (const part of parts) {
    const equals = part.indexOf("=");
    const key = (equals < 0 ? part : part.slice(0, equals)).trim();
    if (!/^[A-Za-z_][\w.-]*$/.test(key)) {
      const what = key === "" ? "there is an argument without a key" : `"${key}" is not a key`;
      throw malformed(text, option, `${what} (in "${part}")`);
    }
    const value = equals < 0 ? "" : part.slice(equals + 1).trim();
    given.push([key, value]);
    if (args.has(key)) repeated.add(key);
    else args.set(key, value);
  }
  const rest = { args, repeated: [...repeated], given };
  if (pci) return { bus: "pci", driver: "", name: `${pci[1] ?? "0000"}:${pci[2]}`.toLowerCase(), ...rest };
  return { bus: "vdev", driver: name.replace(/[0-9]+$/, ""), name, ...rest };
}

/** Splits at commas; those inside [ ] belong to a list, as in `queues=[0-3,7]`. */
function splitOutsideBrackets(text: string, option: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "[") depth++;
    if (text[i] === "]" && --depth < 0) throw malformed(text, option, `"]" at position ${i + 1} has no "["`);
    if (text[i] !== "," || depth > 0) continue;
    parts.push(text.slice(start, i));
    start = i + 1;
  }
  if (depth > 0) throw malformed(text, option, 'a "[" is not closed');
  parts.push(text.slice(start));
  return parts;
}

function checkName(name: string, text: string, option: string): void {
  if (name === "") throw malformed(text, option, "the device's name is missing");
  if (name.length > nameCharsMax) {
    throw malformed(
      text,
      option,
      `the name has ${name.length} characters, at most ${nameCharsMax} are possible`,
    );
  }
  if (!/^[A-Za-z][\w.-]*$/.test(name)) {
    throw malformed(text, option, `"${name}" is neither a device name nor a PCI address`);
  }
}

function malformed(text: string, option: string, why: string): PollmodeError {
  const example = option === "--vdev" ? "--vdev net_null0,size=64" : `${option} 0000:01:00.0`;
  return new PollmodeError("DEVARGS", `${option} "${text}": ${why}`, `write it as in ${example}`);
}

export interface IntegerBounds {
  /** Used when the key is not given. Absent: the key is required. */
  readonly default?: number;
  readonly min: number;
  readonly max: number;
}

/** What a driver reads its arguments with. Read every key it knows, then call end(). */
export class DevargsReader {
  readonly #devargs: Devargs;
  /** Every key the driver asked for: what it knows. */
  readonly #known = new Set<string>();
  /** Keys that may be given more than once. */
  readonly #lists = new Set<string>();

  constructor(devargs: Devargs) {
    this.#devargs = devargs;
  }

  /** A whole number, decimal or 0x hexadecimal. */
  integer(key: string, { default: byDefault, min, max }: IntegerBounds): number {
    const text = this.#value(key);
    if (text === undefined) return byDefault ?? this.#missing(key);
    const number = /^(?:[0-9]+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
    if (!(number >= min && number <= max)) {
      this.#fail(key, text, `is not a whole number from ${min} to ${max}`, `${key}=${byDefault ?? min}`);
    }
    return number;
  }

  /** As integer(), but only powers of two: ring sizes. */
  powerOfTwo(key: string, bounds: IntegerBounds): number {
    const number = this.integer(key, bounds);
    if (number > 0 && Number.isInteger(Math.log2(number))) return number;
    const near = Math.min(Math.max(2 ** Math.round(Math.log2(number || 1)), bounds.min), bounds.max);
    return this.#fail(key, `${number}`, "is not a power of two", `${key}=${near}`);
  }

  /** `key=0` or `key=1`, as DPDK's drivers write booleans. */
  flag01(key: string, options: { readonly default: boolean }): boolean {
    const text = this.#value(key);
    if (text === undefined) return options.default;
    if (text === "0" || text === "1") return text === "1";
    return this.#fail(key, text, "is neither 0 nor 1", `${key}=1 or ${key}=0`);
  }

  /** A text that is not empty. */
  string(key: string, options: { readonly required: true } | { readonly default: string }): string;
  string(key: string, options?: { readonly required?: false }): string | undefined;
  string(
    key: string,
    options: { readonly required?: boolean; readonly default?: string } = {},
  ): string | undefined {
    const text = this.#value(key);
    if (text === "") this.#fail(key, text, "is empty", `${key}=VALUE`);
    if (text === undefined && options.required) return this.#missing(key);
    return text ?? options.default;
  }

  /** Arguments whose keys may be repeated, in the order given: `rx_pcap=a,rx_pcap=b`. None of them is empty. */
  list<const K extends string>(...keys: readonly K[]): { key: K; value: string }[] {
    for (const key of keys) {
      this.#known.add(key);
      this.#lists.add(key);
    }
    const { given = [...this.#devargs.args] } = this.#devargs;
    return given.flatMap(([name, value]) => {
      const key = keys.find((candidate) => candidate === name);
      if (key === undefined) return [];
      if (value === "") this.#fail(key, value, "is empty", `${key}=VALUE`);
      return [{ key, value }];
    });
  }

  /** One of a few words. */
  oneOf<const T extends string>(
    key: string,
    words: readonly T[],
    options: { readonly default: NoInfer<T> },
  ): T {
    const text = this.#value(key);
    if (text === undefined) return options.default;
    const word = words.find((candidate) => candidate === text);
    return (
      word ??
      this.#fail(key, text, `is none of ${words.join(", ")}`, `${key}=${nearest(text, words) ?? words[0]}`)
    );
  }

  /** A unicast Ethernet address as its 6 bytes; undefined when not given. */
  mac(key: string): Uint8Array | undefined {
    const text = this.#value(key);
    if (text === undefined) return undefined;
    const example = `${key}=02:00:00:00:00:01`;
    if (!/^[0-9a-f]{1,2}([:-][0-9a-f]{1,2}){5}$/i.test(text)) {
      this.#fail(key, text, "is not an Ethernet address", example);
    }
    const bytes = Uint8Array.from(text.split(/[:-]/), (byte) => Number.parseInt(byte, 16));
    if (bytes[0]! & 1) this.#fail(key, text, "is a multicast address", example);
    if (bytes.every((byte) => byte === 0)) this.#fail(key, text, "is all zeros", example);
    return bytes;
  }

  /** Throws when there are keys that were not asked for, or keys given twice. */
  end(): void {
    const { args, name } = this.#devargs;
    const repeated = this.#devargs.repeated.filter((key) => !this.#lists.has(key));
    const known = [...this.#known];
    const unknown = [...args.keys()].filter((key) => !this.#known.has(key));
    if (unknown.length > 0) {
      const near = nearest(unknown[0]!, known);
      const hint = near ? `did you mean ${near}=? ` : "";
      const fix = `${hint}${this.#driverName()} knows: ${known.join(", ") || "no key"}`;
      throw new PollmodeError(
        "DEVARGS_UNKNOWN",
        `${name}: unknown ${plural("key", unknown)} ${unknown.join(", ")}`,
        fix,
      );
    }
    if (repeated.length > 0) {
      const message = `${name}: ${plural("key", repeated)} given more than once: ${repeated.join(", ")}`;
      const fix = `give each key once; ${this.#driverName()} knows: ${known.join(", ")}`;
      throw new PollmodeError("DEVARGS_REPEATED", message, fix);
    }
  }

  #driverName(): string {
    return this.#devargs.driver || `the driver of ${this.#devargs.name}`;
  }

  #value(key: string): string | undefined {
    this.#known.add(key);
    return this.#devargs.args.get(key);
  }

  #missing(key: string): never {
    const { name } = this.#devargs;
    throw new PollmodeError(
      "DEVARGS_MISSING",
      `${name}: ${key}= is required`,
      `give it: ${name},${key}=VALUE`,
    );
  }

  #fail(key: string, text: string, why: string, fix: string): never {
    throw new PollmodeError("DEVARGS_VALUE", `${this.#devargs.name}: ${key}="${text}" ${why}`, `give ${fix}`);
  }
}

function plural(word: string, list: readonly string[]): string {
  return list.length === 1 ? word : `${word}s`;
}
