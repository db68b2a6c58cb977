// `npm test`: runs every compiled test file as a process of its own and counts what it reports (see tally.ts).
//
//   node dist/test/run.js [--unit] [--filter TEXT]... [--deadline SECONDS] [--within SECONDS]
//
// Unit tests run two at a time. After them, one at a time, the acceptance tests (below acceptance/), which poll on both
// CPUs, and the bed tests (*.bed.test.ts), which own hugepages, namespaces and virtual machines. A file that fails to
// end within its deadline is killed with all it started. One whose guest crashed or hung, as QEMU's do now and then, is
// run once more; what failed first is printed at once, and again in the report. Any other failure stands. The last line
// is `N passed, N failed`, with `, N skipped` where some were; the exit code is 0 when nothing failed.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { helpText, type OptionTable, parseOptions } from "../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../src/errors.ts";
import { type Failure, type Tally, TapTally } from "./tally.ts";

const optionTable = {
  unit: { meaning: "Only unit tests: no acceptance test, no test bed." },
  filter: { value: "TEXT", multiple: true, meaning: "Only files whose path contains TEXT." },
  deadline: { value: "SECONDS", meaning: "The longest that one file may take.", byDefault: "600" },
  within: { value: "SECONDS", meaning: "The longest for all; files it does not reach count as failed." },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

const unitTestsAtOnce = 2;
/** stderr of a file is kept for the failure report, this much of its end. */
const stderrCharsMax = 4000;
/** After a file's process has ended, so long for the rest of its output: a process it left may hold the pipe. */
const drainMs = 2000;
/** When this program is ended by a signal, so long for test files to undo what they did. */
const giveBackMs = 2000;

export interface FileRun extends Tally {
  readonly file: string;
  readonly seconds: number;
  /** What failed at first, in a test whose guest crashed or hung and that then passed. */
  readonly unsteady?: readonly Failure[];
}

export interface RunSettings {
  readonly deadlineMs: number;
  readonly env?: NodeJS.ProcessEnv;
}

/** Process groups of running test files, to be killed when this program is. */
const running = new Set<number>();

/** Runs one test file to its end, or to its deadline. Never rejects: whatever goes wrong is a failure in the result. */
export async function runFile(path: string, file: string, settings: RunSettings): Promise<FileRun> {
  const started = performance.now();
  const tally = new TapTally(file);
  let stderr = "";
  const env = { ...process.env, ...settings.env };
  // A process group of its own: killing it takes everything the test started along.
  const child = spawn(process.execPath, [path], { detached: true, env, stdio: ["ignore", "pipe", "pipe"] });
  const group = child.pid;
  if (group !== undefined) running.add(group);
  child.stdout.setEncoding("utf8").on("data", (text: string) => tally.write(text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-stderrCharsMax);
  });
  let late = false;
  const deadline = setTimeout(() => {
    late = true;
    killGroup(group);
  }, settings.deadlineMs);
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const trouble = await new Promise<string | undefined>((resolve) => {
    child.once("error", (error) => resolve(`cannot be started: ${error.message}`));
    child.once("exit", (code, signal) => {
      if (signal) resolve(`ended by ${signal}`);
      else resolve(code === 0 ? undefined : `exit code ${code}`);
    });
  });
  clearTimeout(deadline);
  killGroup(group); // what the test left behind
  await Promise.race([closed, sleep(drainMs)]);
  if (group !== undefined) running.delete(group);
  const result = tally.end(late);
  if (late)
    result.failures.unshift({
      name: file,
      detail: `not ended after ${(settings.deadlineMs / 1000).toFixed(1)} s: killed`,
    });
  else if (trouble && result.failures.length === 0) result.failures.push({ name: file, detail: trouble });
  const last = result.failures.at(-1);
  if (last && stderr.trim()) {
    result.failures[result.failures.length - 1] = {
      ...last,
      detail: `${last.detail}\nstderr:\n${stderr.trimEnd()}`,
    };
  }
  return { ...result, file, seconds: (performance.now() - started) / 1000 };
}

function killGroup(group: number | undefined, signal: NodeJS.Signals = "SIGKILL"): void {
  if (group === undefined) return;
  try {
    process.kill(-group, signal);
  } catch {
    // ESRCH: nobody is left in it
  }
}

/** From now on a signal ends this program as soon as the running test files have given back what their beds took. */
export function endOnSignals(): void {
  let ending = false;
  const end = () => {
    if (ending) return; // npm sends it once more
    ending = true;
    const groups = [...running];
    for (const group of groups) killGroup(group, "SIGTERM");
    setInterval(() => groups.some((group) => running.has(group)) || process.exit(1), 20);
    setTimeout(() => process.exit(1), giveBackMs);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, end);
  process.on("exit", () => {
    for (const group of running) killGroup(group);
  });
}

/** An unreferenced timer: it must not keep the runner alive. */
function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

/** The test files under a folder by kind, each kind in the order of their paths. */
export function findTests(
  folder: string,
  filters: readonly string[] = [],
): { unit: string[]; acceptance: string[]; bed: string[] } {
  const all = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.js"))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .sort();
  const kind = (file: string) =>
    file.endsWith(".bed.test.js") ? "bed" : file.startsWith("acceptance/") ? "acceptance" : "unit";
  const of = (wanted: string) => all.filter((file) => kind(file) === wanted);
  return { unit: of("unit"), acceptance: of("acceptance"), bed: of("bed") };
}

/** `ok   eal/options.test.js  8 passed  0.3 s`: one line a file, as it ends. */
export function fileLine(run: FileRun, word = run.failures.length > 0 ? "FAIL" : "ok  "): string {
  const counts = [`${run.passed} passed`];
  if (run.failures.length > 0) counts.push(`${run.failures.length} failed`);
  if (run.skips.length > 0) counts.push(`${run.skips.length} skipped`);
  return `${word} ${run.file}  ${counts.join(", ")}  ${run.seconds.toFixed(1)} s`;
}

/** For each failure: `FAIL eal/options.test.js: help`, and beneath it why. */
function failureLines(word: string, file: string, failures: readonly Failure[] = []): string[] {
  return failures.flatMap(({ name, detail }) => ["", `${word} ${file}: ${name}`, indent(detail)]);
}

/** Whether a test bed's guest ended by itself or hung under the test. */
export function isBedCrash({ failures }: FileRun): boolean {
  return failures.some(({ detail }) => /\bcode: '?BED_CRASHED\b/.test(detail));
}

/** Runs a bed test; once more when its guest crashed or hung, after telling `log` of what failed. */
export async function runBed(run: () => Promise<FileRun>, log: (text: string) => void): Promise<FileRun> {
  const first = await run();
  const { file, failures } = first;
  if (!isBedCrash(first)) return first;
  log([fileLine(first, "AGAIN"), ...failureLines("once more:", file, failures), ""].join("\n"));
  const second = await run();
  return second.failures.length > 0 ? second : { ...second, unsteady: failures };
}

/**
 * Tests that passed only when run once more, failures with their details, skipped tests with their reasons, and the
 * closing line.
 */
export function report(runs: readonly FileRun[]): string {
  const lines = [
    ...runs.flatMap(({ file, unsteady }) => failureLines("passed when run once more:", file, unsteady)),
    ...runs.flatMap(({ file, failures }) => failureLines("FAIL", file, failures)),
  ];
  const skips = runs.flatMap((run) => run.skips.map((skip) => ({ ...skip, file: run.file })));
  if (skips.length > 0) lines.push("", "skipped:");
  for (const { file, name, reason } of skips) {
    lines.push(`  ${file}${name === file ? "" : `: ${name}`}: ${reason || "no reason given"}`);
  }
  const passed = runs.reduce((sum, run) => sum + run.passed, 0);
  const failed = runs.reduce((sum, run) => sum + run.failures.length, 0);
  const skipped = skips.length > 0 ? `, ${skips.length} skipped` : "";
  return [...lines, "", `${passed} passed, ${failed} failed${skipped}`].join("\n");
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}

/** Runs `files`, at most `atOnce` at a time, in order. */
async function runAll(
  files: readonly string[],
  atOnce: number,
  run: (file: string) => Promise<void>,
): Promise<void> {
  const queue = files.values();
  const worker = async () => {
    for (const file of queue) await run(file);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

function seconds(option: string, text: string): number {
  const number = Number(text);
  if (number > 0 && number <= 86400) return number;
  const message = `${option} "${text}" is not a number of seconds up to a day`;
  throw new PollmodeError("OPTION_VALUE", message, `write ${option} 300, for instance`);
}

async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseOptions(argv, optionTable);
  if (values.help) {
    process.stdout.write(
      helpText("node dist/test/run.js [options]", [{ title: "options", table: optionTable }]),
    );
    return 0;
  }
  const folder = dirname(fileURLToPath(import.meta.url));
  const deadlineMs = seconds("--deadline", values.deadline ?? "600") * 1000;
  const endMs = values.within
    ? performance.now() + seconds("--within", values.within) * 1000
    : Number.POSITIVE_INFINITY;
  const tests = findTests(folder, values.filter);
  const runs: FileRun[] = [];
  const runOne = async (file: string): Promise<FileRun> => {
    const leftMs = endMs - performance.now();
    const failure = { name: file, detail: `not run: all ${values.within} s of --within are spent` };
    if (leftMs <= 0) return { file, seconds: 0, passed: 0, skips: [], failures: [failure] };
    return runFile(join(folder, file), file, { deadlineMs: Math.min(deadlineMs, leftMs) });
  };
  const show = (run: FileRun) => {
    runs.push(run);
    console.log([fileLine(run), ...failureLines("FAIL", run.file, run.failures)].join("\n"));
  };
  await runAll(tests.unit, unitTestsAtOnce, async (file) => show(await runOne(file)));
  if (!values.unit) {
    await runAll(tests.acceptance, 1, async (file) => show(await runOne(file)));
    await runAll(tests.bed, 1, async (file) => show(await runBed(() => runOne(file), console.log)));
  }
  if (runs.length === 0) {
    const fix = values.filter.length > 0 ? "give another --filter" : "run `npm run build` first";
    const where = relative(process.cwd(), folder) || ".";
    throw new PollmodeError("NO_TESTS", `there is no matching test file in ${where}`, fix);
  }
  console.log(report(runs));
  return runs.some((run) => run.failures.length > 0) ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  endOnSignals();
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    console.error(describeError(error));
    console.log("0 passed, 1 failed");
    process.exitCode = 1;
  }
}
