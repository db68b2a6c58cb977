// `npm run softmlx5:verify`: programs that are not ours run on the software ConnectX and must find a ConnectX. Prints
// a table of what they said; the exit code is 0 when all were content and the emulator complained of nothing.
//
//   node dist/test/softmlx5/verify/main.js [--short] [--filter TEXT]...
import { helpText, type OptionTable, parseOptions } from "../../../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../../../src/errors.ts";
import { type Verdict, verdict } from "./check.ts";
import { checks, loads, verifyBed } from "./gate.ts";

const optionTable = {
  short: { meaning: "As few frames and pings as in CI." },
  filter: { value: "TEXT", multiple: true, meaning: "Only checks whose program or name contains TEXT." },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

const programColumns = 20;
const nameColumns = 42;

function row({ check, ok, words, seconds }: Verdict): string {
  const state = ok ? "ok  " : "FAIL";
  const cells = [state, `${seconds.toFixed(1)} s`.padStart(7), check.program.padEnd(programColumns)];
  return `${[...cells, check.name.padEnd(nameColumns)].join("  ")}  ${words}\n`;
}

async function main(argv: readonly string[]): Promise<number> {
  const { values: options } = parseOptions(argv, optionTable);
  if (options.help) {
    process.stdout.write(
      helpText("npm run softmlx5:verify -- [options]", [{ title: "options", table: optionTable }]),
    );
    return 0;
  }
  const missing = verifyBed.missing();
  if (missing) throw new PollmodeError("BED_MISSING", missing, "run it as root on Debian 12");
  await verifyBed.setup();
  const { filter } = options;
  const wanted = checks.filter(({ program, name }) => {
    return filter.length === 0 || filter.some((text) => `${program} ${name}`.includes(text));
  });
  let failed = 0;
  for (const check of wanted) {
    const result = await verdict(check, options.short ? loads.short : loads.full);
    if (!result.ok) failed++;
    process.stdout.write(row(result));
  }
  process.stdout.write(`${wanted.length - failed} checks passed, ${failed} failed\n`);
  return failed === 0 && wanted.length > 0 ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
