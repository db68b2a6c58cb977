// The pure descriptor-ring loop, rx + application + tx, in C and in pollmode's ways: what the engine itself costs.
//
//   node dist/bench/ring-loop/main.js [--json] [--reps N] [--slices N] [--cpu N]
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { helpText, type OptionTable, parseOptions } from "../../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../../src/errors.ts";
import { describeMachine, formatMachine } from "../machine.ts";
import { measureRingLoop, type RingLoopResult } from "./measure.ts";

const optionTable = {
  json: { meaning: "Print one JSON object." },
  reps: { value: "N", meaning: "Turns of each engine.", byDefault: "9" },
  slices: { value: "N", meaning: "Slices of some half a millisecond a turn.", byDefault: "100" },
  cpu: { value: "N", meaning: "The CPU to run on.", byDefault: "the last one that this process may use" },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

function wholeNumber(option: string, text: string, min: number, max: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= min && number <= max) return number;
  const message = `--${option} "${text}" is no whole number from ${min} to ${max}`;
  throw new PollmodeError("OPTION_VALUE", message, `write --${option} ${min}, for instance`);
}

/** The last CPU that this process may use: the first is where interrupts and other programs go by habit. */
function lastCpu(): number {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return Number(list.split(/[-,]/).at(-1));
}

/** The main thread alone, V8's helpers go elsewhere. taskset and not src/libc: docs/benchmarks.md, "not detached". */
function runOn(cpu: number): void {
  try {
    execFileSync("taskset", ["-cp", `${cpu}`, `${process.pid}`], { stdio: "ignore" });
  } catch (cause) {
    const fix = "choose another --cpu (nproc, taskset -cp $$), and install util-linux";
    throw new PollmodeError("NO_CPU", `taskset cannot put this process on CPU ${cpu}`, fix, { cause });
  }
}

function formatResult(result: RingLoopResult): string {
  const lines = [
    `512 descriptors, batch ${result.batch}; the same packets through every engine: ${result.packetsChecked} compared`,
    `${"application".padEnd(12)} ${"engine".padEnd(16)} ${"ns/packet".padStart(9)} ${"to C".padStart(6)}`,
  ];
  for (const { app, engine, nsPerPacket, ratioToC } of result.rows) {
    const figures = `${nsPerPacket.toFixed(2).padStart(9)} ${ratioToC.toFixed(2).padStart(6)}`;
    lines.push(`${app.padEnd(12)} ${engine.padEnd(16)} ${figures}`);
  }
  return lines.join("\n");
}

function main(argv: readonly string[]): void {
  const { values } = parseOptions(argv, optionTable);
  if (values.help) {
    const sections = [{ title: "options", table: optionTable }];
    process.stdout.write(helpText("node dist/bench/ring-loop/main.js [options]", sections));
    return;
  }
  const reps = wholeNumber("reps", values.reps ?? "9", 1, 1000);
  const slices = wholeNumber("slices", values.slices ?? "100", 1, 100_000);
  const cpu = values.cpu === undefined ? lastCpu() : wholeNumber("cpu", values.cpu, 0, 1023);
  runOn(cpu);
  const machine = describeMachine();
  const result = measureRingLoop({ reps, slices });
  if (values.json) console.log(JSON.stringify({ machine, cpu, ...result }));
  else console.log(`${formatMachine(machine)}\n${formatResult(result)}`);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
