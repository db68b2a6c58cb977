// pollmode, DPDK's mlx5 PMD and libibverbs in C side by side on the software ConnectX, then what a CQE and a WQE cost
// without a device, beside the same in C. docs/benchmarks.md says how to read the result.
//
//   npm run bench:mlx5 -- [options]
//
//   the device's thread, first CPU <- rings -> pollmode, DPDK's testpmd or verbs/, second CPU
//        | its counters, once a second
//   measure.ts (first CPU) -> tables.ts -> stdout, docs/benchmarks.md
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { nearest } from "../../src/eal/nearest.ts";
import { helpText, type OptionTable, parseOptions } from "../../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../../src/errors.ts";
import { threadCpus } from "../../src/libc/libc.ts";
import { OwnedProcess } from "../../test/beds/child.ts";
import { dpdkBed } from "../../test/beds/dpdk.ts";
import { hugepagesMissing, reserveHugepages } from "../../test/beds/hugepages.ts";
import { netnsBed } from "../../test/beds/netns.ts";
import { repositoryRoot } from "../../test/beds/paths.ts";
import { softMlx5Bed } from "../../test/beds/softmlx5.ts";
import { describeMachine } from "../machine.ts";
import { replaceResults } from "../markdown.ts";
import { rxPpsMissing, testpmdMib } from "../peers/frontends.ts";
import type { LoopResult } from "./loop/measure.ts";
import { measureWork, type WorkResult } from "./measure.ts";
import { formatResult } from "./tables.ts";
import { buildVerbs } from "./verbs/build.ts";
import { workloads } from "./workloads.ts";

/** The row that needs no device. */
const loopRow = "loop";
const rowNames = [...workloads.map(({ name }) => name), loopRow];
const loopTimeoutMs = 300_000;
/** One testpmd, or pollmode's buffers and rings. */
const hugepages = testpmdMib / 2 + 64;
const resultsPath = join(repositoryRoot, "docs", "benchmarks.md");
const beds = [softMlx5Bed, dpdkBed, netnsBed];

const optionTable = {
  reps: { value: "N", meaning: "Runs of each contender in each row.", byDefault: "3" },
  seconds: { value: "N", meaning: "Seconds measured in each run.", byDefault: "5" },
  rows: { value: "NAME,…", multiple: true, meaning: `Only these rows: ${rowNames.join(", ")}.` },
  foreign: {
    value: "PERCENT",
    meaning: "Seconds in which others used more of a CPU than this do not count.",
    byDefault: "5",
  },
  json: { meaning: "Print one JSON object." },
  write: { meaning: "Put the results into docs/benchmarks.md." },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

const say = (text: string) => void process.stderr.write(`bench:mlx5: ${text}\n`);

async function main(argv: readonly string[]): Promise<boolean> {
  const { values } = parseOptions(argv, optionTable);
  if (values.help) {
    const sections = [{ title: "options", table: optionTable }];
    process.stdout.write(helpText("npm run bench:mlx5 -- [options]", sections));
    return true;
  }
  const wanted = chosenRows(values.rows.flatMap((text) => text.split(",")));
  const numbers = {
    reps: wholeNumber("reps", values.reps ?? "3", 1),
    seconds: wholeNumber("seconds", values.seconds ?? "5", 1),
    foreignPctMax: wholeNumber("foreign", values.foreign ?? "5", 0),
  };
  const machine = describeMachine();
  const cpus = threadCpus();
  const missing: string[] = [];
  const works: WorkResult[] = [];
  const loop = wanted.has(loopRow) ? await measureLoop(cpus.at(-1)!, missing) : undefined;
  const why = rowsMissing(cpus);
  if (why) missing.push(`the rows on the device: ${why}`);
  else if ([...wanted].some((name) => name !== loopRow))
    await measureRows(wanted, cpus, numbers, works, missing);
  for (const text of missing) say(`not measured: ${text}`);
  const result = { machine, works, loop, missing };
  console.log(values.json ? JSON.stringify(result) : formatResult(result));
  if (values.write) {
    const document = readFileSync(resultsPath, "utf8");
    writeFileSync(resultsPath, replaceResults(document, "bench:mlx5", formatResult(result), resultsPath));
    say(`wrote ${resultsPath}`);
  }
  return missing.length === 0;
}

/** Why the contenders cannot be run here; undefined when they can. */
function rowsMissing(cpus: readonly number[]): string | undefined {
  const few = cpus.length < 2 ? `two CPUs are needed, this process may use ${cpus.length}` : undefined;
  const lacking = beds.map((bed) => bed.missing()).find((text) => text !== undefined);
  return few ?? lacking ?? hugepagesMissing(hugepages) ?? rxPpsMissing();
}

async function measureRows(
  wanted: ReadonlySet<string>,
  [device, poller]: readonly number[],
  numbers: { reps: number; seconds: number; foreignPctMax: number },
  works: WorkResult[],
  missing: string[],
): Promise<void> {
  for (const bed of beds) await bed.setup();
  // off the CPU that is measured, this process and what it starts unless told otherwise
  execFileSync("taskset", ["-acp", `${device}`, `${process.pid}`], { stdio: "ignore" });
  using _hugepages = reserveHugepages(hugepages);
  using program = buildVerbs();
  const settings = { ...numbers, cpus: { device: device!, poller: poller! }, verbs: program.path, say };
  for (const work of workloads.filter(({ name }) => wanted.has(name))) {
    try {
      const result = await measureWork(work, settings);
      works.push(result);
      missing.push(...result.missing);
    } catch (error) {
      missing.push(`${work.name}: ${firstLine(error)}`);
    }
  }
}

/** In a process of its own: what this one has loaded slows TypeScript down (docs/benchmarks.md, "not detached"). */
async function measureLoop(cpu: number, missing: string[]): Promise<LoopResult | undefined> {
  const program = fileURLToPath(new URL("./loop/main.js", import.meta.url));
  say(`loop on CPU ${cpu}`);
  await using child = new OwnedProcess("loop", "taskset", ["-c", `${cpu}`, process.execPath, program]);
  const status = await child.endWithin(loopTimeoutMs);
  if (status.code === 0) return JSON.parse(child.stdout);
  missing.push(`the loop: ${child.output.trim().split("\n")[0] ?? ""}; run node ${program}`);
  return undefined;
}

function firstLine(error: unknown): string {
  return describeError(error).split("\n")[0]!;
}

function chosenRows(names: readonly string[]): ReadonlySet<string> {
  const wanted = names.filter((name) => name !== "");
  for (const name of wanted) {
    if (rowNames.includes(name)) continue;
    const fix = `write --rows ${nearest(name, rowNames) ?? rowNames.join(",")}`;
    throw new PollmodeError("OPTION_VALUE", `--rows: there is no row "${name}"`, fix);
  }
  return new Set(wanted.length > 0 ? wanted : rowNames);
}

function wholeNumber(option: string, text: string, min: number): number {
  const number = Number(text);
  if (/^\d{1,6}$/.test(text) && number >= min) return number;
  const message = `--${option} "${text}" is no whole number from ${min} to 999999`;
  throw new PollmodeError("OPTION_VALUE", message, `write --${option} 3, for instance`);
}

try {
  if (!(await main(process.argv.slice(2)))) process.exitCode = 1;
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
