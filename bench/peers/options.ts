// bench:peers's command line.

import { nearest } from "../../src/eal/nearest.ts";
import { type OptionTable, parseOptions } from "../../src/eal/option-table.ts";
import { PollmodeError } from "../../src/errors.ts";
import { afPacketRows } from "./af-packet.ts";
import { pcapRows } from "./pcap.ts";
import { rows } from "./rows.ts";

/** The row that needs neither DPDK nor hugepages. */
export const ringLoopRow = "ring-loop";
const rowNames = [...[...rows, ...pcapRows, ...afPacketRows].map((row) => row.name), ringLoopRow];

const byDefault = { reps: 4, seconds: 6, foreign: 5 } as const;
const quick = { reps: 1, seconds: 3 } as const;

export const optionTable = {
  reps: { value: "N", meaning: "Runs of each frontend in each row.", byDefault: `${byDefault.reps}` },
  seconds: { value: "N", meaning: "Seconds measured in each run.", byDefault: `${byDefault.seconds}` },
  rows: {
    value: "NAME,…",
    multiple: true,
    meaning: `Only these rows: ${rowNames.join(", ")}.`,
  },
  foreign: {
    value: "PERCENT",
    meaning: "Seconds in which others used more of a CPU than this do not count.",
    byDefault: `${byDefault.foreign}`,
  },
  quick: { meaning: `As --reps ${quick.reps} --seconds ${quick.seconds}: whether it works at all.` },
  json: { meaning: "Print one JSON object." },
  write: { meaning: "Put the results into docs/benchmarks.md." },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

export interface Options {
  readonly reps: number;
  readonly seconds: number;
  readonly foreignPctMax: number;
  readonly rows: ReadonlySet<string>;
  readonly quick: boolean;
  readonly json: boolean;
  readonly write: boolean;
  readonly help: boolean;
}

export function readOptions(argv: readonly string[]): Options {
  const { values } = parseOptions(argv, optionTable);
  const defaults = values.quick ? { ...byDefault, ...quick } : byDefault;
  const wanted = values.rows.flatMap((text) => text.split(",")).filter((name) => name !== "");
  for (const name of wanted) {
    if (rowNames.includes(name)) continue;
    const fix = `write --rows ${nearest(name, rowNames) ?? rowNames.join(",")}`;
    throw new PollmodeError("OPTION_VALUE", `--rows: there is no row "${name}"`, fix);
  }
  return {
    reps: wholeNumber("reps", values.reps, defaults.reps, 1),
    seconds: wholeNumber("seconds", values.seconds, defaults.seconds, 1),
    foreignPctMax: wholeNumber("foreign", values.foreign, defaults.foreign, 0),
    rows: new Set(wanted.length > 0 ? wanted : rowNames),
    quick: values.quick,
    json: values.json,
    write: values.write,
    help: values.help,
  };
}

function wholeNumber(option: string, text: string | undefined, byDefault: number, min: number): number {
  if (text === undefined) return byDefault;
  const number = Number(text);
  if (/^\d{1,6}$/.test(text) && number >= min) return number;
  const message = `--${option} "${text}" is no whole number from ${min} to 999999`;
  throw new PollmodeError("OPTION_VALUE", message, `write --${option} ${byDefault}, for instance`);
}
