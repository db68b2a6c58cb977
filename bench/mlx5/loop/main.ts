// What a CQE and a WQE cost without a device, in C and in pollmode's two ways. bench:mlx5 runs it, in a process of its
// own: what a process has loaded may slow TypeScript down (docs/benchmarks.md, "not detached").
//
//   node dist/bench/mlx5/loop/main.js [--reps N] [--slices N]
import { type OptionTable, parseOptions } from "../../../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../../../src/errors.ts";
import { measureLoop } from "./measure.ts";

const optionTable = {
  reps: { value: "N", meaning: "Turns of each engine.", byDefault: "9" },
  slices: { value: "N", meaning: "Slices of some half a millisecond a turn.", byDefault: "100" },
} as const satisfies OptionTable;

function wholeNumber(option: string, text: string): number {
  const number = Number(text);
  if (/^\d{1,5}$/.test(text) && number > 0) return number;
  const message = `--${option} "${text}" is no whole number from 1 to 99999`;
  throw new PollmodeError("OPTION_VALUE", message, `write --${option} 9, for instance`);
}

try {
  const { values } = parseOptions(process.argv.slice(2), optionTable);
  const reps = wholeNumber("reps", values.reps ?? "9");
  const slices = wholeNumber("slices", values.slices ?? "100");
  console.log(JSON.stringify(measureLoop({ reps, slices })));
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
