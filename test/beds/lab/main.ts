// `npm run lab`: runs a command of the checkout in the VFIO lab's guest, as if it ran here: its input, output, exit
// code and Ctrl-C are passed through. docs/lab.md is its manual.
//
//   npm run lab -- [options] -- command…
import { constants } from "node:os";
import { helpText } from "../../../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../../../src/errors.ts";
import type { ExitStatus } from "../child.ts";
import { handleSignals } from "../lifetime.ts";
import { Lab, type LabProcess, labBed } from "./lab.ts";
import { optionTable, readOptions, type Settings } from "./options.ts";
import { labReady } from "./setup.ts";

/** So many signals it may ignore; the next one ends the guest with it. */
const patience = 3;

const say = (text: string) => void process.stderr.write(`lab: ${text}\n`);

async function main(argv: readonly string[]): Promise<number> {
  const settings = readOptions(argv);
  if (settings.help) {
    const usage = "npm run lab -- [options] [-- command…]\n\nWithout a command: a shell.";
    process.stdout.write(helpText(usage, [{ title: "options", table: optionTable }]));
    return 0;
  }
  const missing = labBed.missing();
  if (missing) throw new PollmodeError("BED_MISSING", missing, "run it as root on Debian 12");
  if (!labReady()) say("setting up, which takes about a minute, but only the first time");
  await labBed.setup();
  await using lab = await Lab.boot(settings.lab);
  for (const { address, model, mac } of lab.nics) {
    if (settings.driver !== undefined) await lab.bind(address, settings.driver);
    if (!settings.quiet) say(`${address} ${model} ${mac}${settings.driver ? ` (${settings.driver})` : ""}`);
  }
  return exitCode(await runCommand(lab, settings));
}

function runCommand(lab: Lab, { command }: Settings): Promise<ExitStatus> {
  if (command.length > 0) return passThrough(lab.start(command), false);
  const { columns = 80, rows = 24, isTTY } = process.stdout;
  const terminal = Boolean(isTTY && process.stdin.isTTY);
  if (!terminal) return passThrough(lab.start(["bash"]), false);
  const shell = `stty rows ${rows} columns ${columns}; exec bash`;
  const env = { TERM: process.env.TERM ?? "linux" };
  return passThrough(lab.start(shell, { terminal, env }), true);
}

async function passThrough(child: LabProcess, raw: boolean): Promise<ExitStatus> {
  child.onOutput = (stream, bytes) => void process[stream].write(bytes);
  if (raw) process.stdin.setRawMode(true);
  process.stdin.on("data", (bytes: Buffer) => child.write(bytes)).on("end", () => child.end());
  let received = 0;
  handleSignals((signal) => {
    if (++received > patience) process.exit(128 + constants.signals[signal]);
    child.signal(signal, "group");
  });
  try {
    return await child.exited;
  } finally {
    if (raw) process.stdin.setRawMode(false);
    process.stdin.destroy();
  }
}

/** As a shell puts it: a program ended by a signal has 128 and the signal's number. */
function exitCode({ code, signal }: ExitStatus): number {
  return signal ? 128 + constants.signals[signal] : (code ?? 1);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
