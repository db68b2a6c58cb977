// What a PacketStream costs: frames a second through the async iterator and Node.js' streams, and what each takes of
// the main thread, beside an application on an lcore.
//
//   node dist/bench/streams/main.js [--json] [--seconds N] [--sizes 64,1500]
import { helpText, type OptionTable, parseOptions } from "../../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../../src/errors.ts";
import { describeMachine, formatMachine } from "../machine.ts";
import { table } from "../markdown.ts";
import { measureStreams, type StreamRow } from "./measure.ts";

const optionTable = {
  json: { meaning: "Print one JSON object." },
  seconds: { value: "N", meaning: "How long each row is measured.", byDefault: "3" },
  sizes: { value: "BYTES,…", meaning: "Frames' sizes without CRC, 60 to 2048.", byDefault: "64,1500" },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

function wrong(option: string, text: string, fix: string): PollmodeError {
  return new PollmodeError("OPTION_VALUE", `--${option} "${text}" cannot be`, fix);
}

function readSeconds(text = "3"): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 3600) return seconds;
  throw wrong("seconds", text, "write a number above 0 and up to 3600: --seconds 3");
}

function readSizes(text = "64,1500"): number[] {
  const sizes = text.split(",").map(Number);
  if (sizes.every((bytes) => Number.isInteger(bytes) && bytes >= 60 && bytes <= 2048)) return sizes;
  throw wrong("sizes", text, "write whole numbers from 60 to 2048: --sizes 64,1500");
}

function formatRows(rows: readonly StreamRow[]): string {
  const count = (value: number) => Math.round(value).toLocaleString("en");
  const body = rows.map(({ name, frameBytes, framesPerSecond, mainNsPerFrame, droppedPerSecond }) => [
    name,
    `${frameBytes}`,
    count(framesPerSecond),
    mainNsPerFrame === undefined ? "-" : count(mainNsPerFrame),
    count(droppedPerSecond),
  ]);
  return table(["", "bytes", "frames/s", "main thread, ns a frame", "not read in time, /s"], body);
}

async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseOptions(argv, optionTable);
  if (values.help) {
    const sections = [{ title: "options", table: optionTable }];
    process.stdout.write(helpText("node dist/bench/streams/main.js [options]", sections));
    return;
  }
  const machine = describeMachine();
  const settings = { seconds: readSeconds(values.seconds), sizes: readSizes(values.sizes) };
  const rows = await measureStreams(settings);
  if (values.json) console.log(JSON.stringify({ machine, rows }));
  else console.log(`${formatMachine(machine)}\n\n${formatRows(rows)}`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
