// Options as a table: one row an option, from which the command line is parsed and the --help text is made.
import { parseArgs } from "node:util";
import { PollmodeError } from "../errors.ts";
import { nearest } from "./nearest.ts";

export interface OptionSpec {
  /** Its one-letter spelling. */
  readonly short?: string;
  /** What stands for the value in the help, e.g. `FILE`. An option without it is a switch. */
  readonly value?: string;
  /** May be given more than once; all values are kept. */
  readonly multiple?: boolean;
  readonly meaning: string;
  /** The default as the help shows it. */
  readonly byDefault?: string;
}

/** Rows by long name, without dashes. Write `as const satisfies OptionTable` for typed values. */
export type OptionTable = Readonly<Record<string, OptionSpec>>;

type ValueOf<S extends OptionSpec> = S extends { readonly value: string }
  ? S extends { readonly multiple: true }
    ? string[]
    : string | undefined
  : boolean;

export type OptionValues<T extends OptionTable> = { [K in keyof T]: ValueOf<T[K]> };

export interface ParsedOptions<T extends OptionTable> {
  readonly values: OptionValues<T>;
  /** Words that are no options, before `--`. */
  readonly words: string[];
  /** All that follows `--`. */
  readonly rest: string[];
}

export interface ParseRules {
  /** Long and short names of options that exist elsewhere but not here, with what to do instead. */
  readonly unsupported?: Readonly<Record<string, string>>;
  /** Whether words that are no options may be given; false: nor is there anything to follow `--`. */
  readonly words?: boolean;
}

type Token = NonNullable<ReturnType<typeof parseArgs>["tokens"]>[number];
type OptionToken = Extract<Token, { kind: "option" }>;

/** Parses `argv` (without node and script). Throws one named error for the first thing that is wrong. */
export function parseOptions<const T extends OptionTable>(
  argv: readonly string[],
  table: T,
  rules: ParseRules = {},
): ParsedOptions<T> {
  checkTable(table);
  const entries = Object.entries<OptionSpec>(table);
  const options = Object.fromEntries(
    entries.map(([name, { short, value }]) => [
      name,
      {
        type: value === undefined ? "boolean" : "string",
        multiple: true,
        ...(short ? { short } : {}),
      } as const,
    ]),
  );
  // Not strict: node's own errors know neither the nearest option nor what DPDK has. The tokens tell everything.
  const { tokens } = parseArgs({
    args: [...argv],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const given = new Map<string, string[]>();
  const words: string[] = [];
  let rest: string[] = [];
  for (const token of tokens) {
    if (token.kind === "option") {
      const value = checkOption(token, argv, table, rules);
      const values = given.get(token.name) ?? [];
      given.set(token.name, [...values, value]);
    } else if (token.kind === "option-terminator") {
      rest = argv.slice(token.index + 1);
      break;
    } else {
      if (!rules.words) throw unexpectedWord(token.value, rules);
      words.push(token.value);
    }
  }
  const values = Object.fromEntries(
    entries.map(([name, spec]) => [name, optionValue(name, spec, given.get(name))]),
  );
  return { values: values as OptionValues<T>, words, rest };
}

function optionValue(
  name: string,
  spec: OptionSpec,
  given: string[] | undefined,
): string | string[] | boolean | undefined {
  if (spec.value === undefined) return given !== undefined;
  if (spec.multiple) return given ?? [];
  if (given !== undefined && given.length > 1) {
    const fix = `give it once: ${spelling(name, spec)} ${given.at(-1)}`;
    throw new PollmodeError(
      "OPTION_REPEATED",
      `--${name} is given ${given.length} times: ${given.join(" and ")}`,
      fix,
    );
  }
  return given?.[0];
}

/** Merges tables for one command line; a name two of them claim is a mistake in the program. */
export function mergeTables<A extends OptionTable, B extends OptionTable>(a: A, b: B): A & B {
  const both = Object.keys(b).find((name) => name in a);
  if (both)
    throw new PollmodeError("OPTION_TABLE", `two tables have --${both}`, `rename one of the two --${both}`);
  const merged = { ...a, ...b };
  checkTable(merged);
  return merged;
}

function checkTable(table: OptionTable): void {
  const owners = new Map<string, string>();
  for (const [name, { short }] of Object.entries(table)) {
    if (short === undefined) continue;
    const owner = owners.get(short);
    if (owner)
      throw new PollmodeError(
        "OPTION_TABLE",
        `-${short} is both --${owner} and --${name}`,
        "rename one of them",
      );
    owners.set(short, name);
  }
}

/** The value of an option token ("" of a switch), or a named error. */
function checkOption(
  token: OptionToken,
  argv: readonly string[],
  table: OptionTable,
  rules: ParseRules,
): string {
  const { name, rawName, value } = token;
  const word = argv[token.index] ?? rawName;
  const long = /^-([a-z][a-z-]+)/.exec(word)?.[1];
  if (long !== undefined && (long in table || long in (rules.unsupported ?? {}))) {
    throw new PollmodeError("OPTION_UNKNOWN", `${word}: long options take two dashes`, `write -${word}`);
  }
  const spec = Object.hasOwn(table, name) ? table[name] : undefined;
  if (!spec) throw unknownOption(rawName, name, table, rules);
  if (spec.value === undefined) {
    if (value === undefined) return "";
    throw new PollmodeError(
      "OPTION_VALUE",
      `${rawName} takes no value, but has "${value}"`,
      `write ${rawName} alone`,
    );
  }
  // `--vdev --no-pci`: the next option is not meant as a value. `--vdev=--no-pci` would be.
  const swallowed = value !== undefined && !token.inlineValue && /^-[-a-zA-Z]/.test(value);
  if (value === undefined || value === "" || swallowed) {
    const what = swallowed ? `is followed by ${value}` : "has none";
    const message = `${rawName} needs a value (${spec.value}), but ${what}`;
    throw new PollmodeError("OPTION_VALUE", message, `write ${rawName} ${spec.value}: ${spec.meaning}`);
  }
  // getopt takes -m=64 for the value "=64"; so does node. Nobody means that.
  return token.inlineValue && !rawName.startsWith("--") ? value.replace(/^=/, "") : value;
}

function unknownOption(rawName: string, name: string, table: OptionTable, rules: ParseRules): PollmodeError {
  const { unsupported = {} } = rules;
  if (Object.hasOwn(unsupported, name)) {
    return new PollmodeError("OPTION_UNSUPPORTED", `DPDK's ${rawName} is not supported`, unsupported[name]!);
  }
  const near = rawName.startsWith("--") ? nearest(name, Object.keys(table)) : undefined;
  const fix = near ? `did you mean --${near}? --help lists all options` : "--help lists all options";
  return new PollmodeError("OPTION_UNKNOWN", `unknown option ${rawName}`, fix);
}

function unexpectedWord(word: string, { words }: ParseRules): PollmodeError {
  const elsewhere = words === false ? "" : `, or put it after "--" if it is the application's`;
  const fix = `remove it${elsewhere}; --help lists all options`;
  return new PollmodeError("OPTION_WORD", `unexpected "${word}": it belongs to no option`, fix);
}

function spelling(name: string, { short }: OptionSpec): string {
  return short ? `-${short}` : `--${name}`;
}

export interface HelpSection {
  readonly title: string;
  readonly table: OptionTable;
}

/** The whole --help text: usage, then each table as option, meaning and default, wrapped at `columns`. */
export function helpText(usage: string, sections: readonly HelpSection[], columns = 100): string {
  const row = ([name, spec]: [string, OptionSpec]): [string, string] => {
    const short = spec.short ? `-${spec.short}, ` : "    ";
    const value = spec.value === undefined ? "" : ` ${spec.value}`;
    const repeat = spec.multiple ? " May be repeated." : "";
    const byDefault = spec.byDefault === undefined ? "" : ` (default: ${spec.byDefault})`;
    return [`  ${short}--${name}${value}`, `${spec.meaning}${repeat}${byDefault}`];
  };
  const rows = sections.map(({ title, table }) => ({
    title,
    rows: Object.entries<OptionSpec>(table).map(row),
  }));
  const indent =
    Math.min(34, Math.max(0, ...rows.flatMap((section) => section.rows.map(([left]) => left.length)))) + 2;
  const lines = [`usage: ${usage}`];
  for (const section of rows) {
    lines.push("", `${section.title}:`);
    for (const [left, meaning] of section.rows) {
      const [first = "", ...more] = wrap(meaning, Math.max(20, columns - indent));
      if (left.length < indent - 1) lines.push(left.padEnd(indent) + first);
      else lines.push(left, " ".repeat(indent) + first);
      lines.push(...more.map((line) => " ".repeat(indent) + line));
    }
  }
  return `${lines.join("\n")}\n`;
}

/** Broken between words. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
