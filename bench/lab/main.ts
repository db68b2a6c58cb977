// pollmode and DPDK side by side on real drivers' emulated NICs: both in turn within one boot of the lab's guest, on
// the same NICs and CPUs. docs/benchmarks.md says how to read the result.
//
//   npm run bench:lab -- [options]
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { helpText, type OptionTable, parseOptions } from "../../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../../src/errors.ts";
import { dpdkBed } from "../../test/beds/dpdk.ts";
import { Lab, labBed } from "../../test/beds/lab/lab.ts";
import { repositoryRoot } from "../../test/beds/paths.ts";
import { describeMachine, formatMachine, type Machine } from "../machine.ts";
import { number, replaceResults, table } from "../markdown.ts";
import { median } from "../ring-loop/median.ts";
import { measureDpdk, measurePollmode, startGenerator } from "./measure.ts";
import { nicModels, type Row, rows } from "./rows.ts";

const byDefault = { reps: 3, seconds: 5 };
const resultsPath = join(repositoryRoot, "docs", "benchmarks.md");

const optionTable = {
  reps: { value: "N", meaning: "Runs of each side in each row.", byDefault: `${byDefault.reps}` },
  seconds: { value: "N", meaning: "Seconds measured in each run.", byDefault: `${byDefault.seconds}` },
  rows: {
    value: "NAME,…",
    multiple: true,
    meaning: `Only these rows: ${rows.map(({ name }) => name).join(", ")}.`,
  },
  json: { meaning: "Print one JSON object." },
  write: { meaning: "Put the results into docs/benchmarks.md." },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

interface RowResult {
  readonly name: string;
  readonly title: string;
  /** Packets a second of each window, in the order of the runs. */
  readonly pollmode: readonly number[];
  readonly dpdk: readonly number[];
}

const say = (text: string) => void process.stderr.write(`bench:lab: ${text}\n`);

async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseOptions(argv, optionTable);
  if (values.help) {
    const sections = [{ title: "options", table: optionTable }];
    process.stdout.write(helpText("npm run bench:lab -- [options]", sections));
    return;
  }
  const wanted = chosenRows(values.rows.flatMap((text) => text.split(",")));
  const reps = wholeNumber("reps", values.reps ?? `${byDefault.reps}`);
  const seconds = wholeNumber("seconds", values.seconds ?? `${byDefault.seconds}`);
  const missing = labBed.missing() ?? dpdkBed.missing();
  if (missing) throw new PollmodeError("BED_MISSING", missing, "run it as root on Debian");
  await dpdkBed.setup();
  await labBed.setup();
  await using lab = await Lab.boot({ nics: nicModels.map((model) => ({ model })) });
  for (const { address } of lab.nics) await lab.bind(address, "vfio-pci");
  const results: RowResult[] = [];
  for (const row of wanted) results.push(await measureRow(lab, row, reps, seconds));
  const machine = describeMachine();
  console.log(values.json ? JSON.stringify({ machine, rows: results }) : format(machine, results));
  if (!values.write) return;
  const document = readFileSync(resultsPath, "utf8");
  writeFileSync(resultsPath, replaceResults(document, "bench:lab", format(machine, results), resultsPath));
  say(`wrote ${resultsPath}`);
}

function chosenRows(names: readonly string[]): readonly Row[] {
  const given = names.filter((name) => name !== "");
  const unknown = given.find((name) => !rows.some((row) => row.name === name));
  if (unknown !== undefined) {
    const fix = `rows: ${rows.map(({ name }) => name).join(", ")}`;
    throw new PollmodeError("OPTION_VALUE", `--rows: there is no row "${unknown}"`, fix);
  }
  return rows.filter(({ name }) => given.length === 0 || given.includes(name));
}

function wholeNumber(option: string, text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  const message = `--${option} "${text}" is no whole number from 1 to 9999`;
  throw new PollmodeError("OPTION_VALUE", message, `write --${option} 5, for instance`);
}

/** Ours, theirs, theirs, ours, …: a drift of the machine meets both alike. */
async function measureRow(lab: Lab, row: Row, reps: number, seconds: number): Promise<RowResult> {
  const result = { name: row.name, title: row.title, pollmode: [] as number[], dpdk: [] as number[] };
  await using _generator = row.generator === undefined ? undefined : await startGenerator(lab, row.generator);
  for (let rep = 0; rep < reps; rep++) {
    for (const who of rep % 2 === 0 ? (["pollmode", "dpdk"] as const) : (["dpdk", "pollmode"] as const)) {
      const measure = who === "pollmode" ? measurePollmode : measureDpdk;
      const windows = await measure(lab, row, seconds);
      result[who].push(...windows);
      say(`${row.name} ${who}: ${windows.map((pps) => (pps / 1e6).toFixed(3)).join(" ")} Mpps`);
    }
  }
  return result;
}

function format(machine: Machine, results: readonly RowResult[]): string {
  const mpps = (windows: readonly number[]) => median(windows) / 1e6;
  const lines = results.map(({ title, pollmode, dpdk }) => [
    title,
    mpps(pollmode).toFixed(3),
    mpps(dpdk).toFixed(3),
    `**${number(mpps(pollmode) / mpps(dpdk))}**`,
    `${pollmode.length} / ${dpdk.length}`,
  ]);
  const head = ["lab", "pollmode Mpps", "DPDK Mpps", "ratio", "seconds"];
  return ["```", formatMachine(machine), "```", "", table(head, lines)].join("\n");
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
