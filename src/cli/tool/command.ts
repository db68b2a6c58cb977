// What the device tool's commands have in common: --json, --dry-run, --root and --help, errors and exit codes. A
// command is a description (from which --help and the reference page are made) and a function.
import { statSync } from "node:fs";
import { type Change, Machine } from "../../devices/machine.ts";
import { type HelpSection, helpText, type OptionTable, parseOptions, wrap } from "../../eal/option-table.ts";
import { describeError, PollmodeError } from "../../errors.ts";
import { shellLine } from "./dry-run.ts";
import { Exit, exitCodeOf } from "./exit.ts";
import { Output } from "./output.ts";

export type Values = Readonly<Record<string, string | string[] | boolean | undefined>>;

export interface ToolCall {
  readonly values: Values;
  /** What stands on the command line besides options. */
  readonly words: readonly string[];
  readonly machine: Machine;
  readonly out: Output;
  readonly json: boolean;
  readonly dryRun: boolean;
}

export interface ToolCommand {
  readonly name: string;
  /** Lines without the program's name: `devbind [OPTIONS] DEVICE…`. */
  readonly usage: readonly string[];
  /** One sentence or more. */
  readonly meaning: string;
  readonly sections: readonly HelpSection[];
  /** Operands and sub-commands with their meanings. Without it no word may be given. */
  readonly words?: readonly (readonly [word: string, meaning: string])[];
  /** It can change something, and so has --dry-run. */
  readonly changes: boolean;
  readonly examples: readonly (readonly [command: string, meaning: string])[];
  /** Returns the exit code; undefined is 0. */
  run(call: ToolCall): Promise<number | undefined> | number | undefined;
}

const common = {
  json: { meaning: "Write the result to stdout as JSON, and nothing else." },
  root: {
    value: "DIR",
    meaning:
      "Look at the machine whose /sys, /proc, /dev, /etc and /boot are below DIR, a copy; changes are only shown.",
  },
  help: { short: "h", meaning: "Show this text." },
} as const satisfies OptionTable;

const dryRun = {
  "dry-run": { meaning: "Change nothing: print what would be written and run, as shell lines." },
} as const satisfies OptionTable;

/**
 * Who reads it may stop early (`| head`): then nobody is told. A full disk is told, and the exit code says so. What is
 * to be done is done all the same.
 */
function outputFailed({ code, message }: NodeJS.ErrnoException): void {
  if (code === "EPIPE" || hasFailedOutput) return;
  hasFailedOutput = true;
  process.stderr.write(`pollmode: the output cannot be written: ${message}\n`);
  process.once("exit", (exitCode) => {
    process.exitCode = exitCode || Exit.FAILED;
  });
}
let hasFailedOutput = false;

/** Runs one command to its end. Never rejects. */
export async function runTool(command: ToolCommand, argv: readonly string[]): Promise<number> {
  for (const stream of [process.stdout, process.stderr]) {
    stream.off("error", outputFailed).on("error", outputFailed);
  }
  let out = new Output(argv.includes("--json"));
  try {
    const parsed = parseOptions(argv, optionsOf(command), { words: command.words !== undefined });
    const { words } = parsed;
    const values = parsed.values as Values; // the table's own type is not known here
    if (values.help) {
      process.stdout.write(toolHelp(command));
      return Exit.DONE;
    }
    const root = rootOf(values.root as string | undefined);
    const isDryRun = values["dry-run"] === true || (root !== undefined && command.changes);
    const say = new Output(values.json === true);
    out = say;
    const changes: string[] = [];
    let result: unknown;
    const hold = (value: unknown) => {
      result = value;
    };
    const record = (change: Change) => {
      const text = shellLine(change, root);
      changes.push(text);
      say.line(text);
    };
    const machine = new Machine({ ...(root !== undefined && { root }), ...(isDryRun && { record }) });
    const toHold = isDryRun ? new Output(say.isJson, process, hold) : say;
    const call = { values, words, machine, out: toHold, json: say.isJson, dryRun: isDryRun };
    const code = (await command.run(call)) ?? Exit.DONE;
    const asked = values["dry-run"] === true;
    if (isDryRun) say.json(asked || changes.length > 0 ? { result, changes } : result);
    if (asked && changes.length === 0 && code === Exit.DONE) say.line("# nothing to change");
    return code;
  } catch (error) {
    return fail(command.name, error, out);
  }
}

function fail(name: string, error: unknown, out: Output): number {
  out.warn(`pollmode ${name}: ${describeError(error)}`);
  const exitCode = exitCodeOf(error);
  const { code, message, fix } =
    error instanceof PollmodeError ? error : { code: "BUG", message: String(error) };
  out.json({ error: { code, message, fix }, exitCode });
  return exitCode;
}

function rootOf(root: string | undefined): string | undefined {
  if (root === undefined) return undefined;
  if (statSync(root, { throwIfNoEntry: false })?.isDirectory()) return root;
  const fix = "name a folder that holds a copy of a machine's sys, proc, dev and etc";
  throw new PollmodeError("OPTION_VALUE", `--root ${root}: there is no such folder`, fix);
}

function optionsOf(command: ToolCommand): OptionTable {
  const tables = sectionsOf(command).map(({ table }) => table);
  return Object.assign({}, ...tables) as OptionTable;
}

/** A command's own options, then those of all. */
export function sectionsOf({ sections, changes }: ToolCommand): HelpSection[] {
  return [...sections, { title: "Common", table: changes ? { ...dryRun, ...common } : common }];
}

const HELP_COLUMNS = 100;
/** Longer words stand in a line of their own. */
const LEFT_COLUMNS_MAX = 30;

export function toolHelp(command: ToolCommand): string {
  const { usage, meaning, words = [], examples } = command;
  const [first = "", ...more] = usage.map((text) => `pollmode ${text}`);
  const options = helpText([first, ...more].join("\n       "), sectionsOf(command));
  const [usageLines = "", ...rest] = options.split("\n\n");
  const aligned = (rows: readonly (readonly [string, string])[]) => {
    const width = Math.min(LEFT_COLUMNS_MAX, Math.max(...rows.map(([left]) => left.length))) + 4;
    const row = ([left, right]: readonly [string, string]) => {
      const [first = "", ...others] = wrap(right, HELP_COLUMNS - width);
      const head = `  ${left}`;
      const start = head.length < width ? [head.padEnd(width) + first] : [head, " ".repeat(width) + first];
      return [...start, ...others.map((line) => " ".repeat(width) + line)].join("\n");
    };
    return rows.map(row).join("\n");
  };
  const parts = [
    usageLines,
    wrap(meaning, HELP_COLUMNS).join("\n"),
    ...(words.length > 0 ? [`Words:\n${aligned(words)}`] : []),
    ...rest.map((text) => text.trimEnd()),
    `Examples:\n${examples.map(([line, text]) => `  ${line}\n      ${text}`).join("\n")}`,
    `Exit codes:\n${aligned(exitMeanings(command))}`,
  ];
  return `${parts.join("\n\n")}\n`;
}

/** A command that changes nothing has nothing to roll back. */
export function exitMeanings({ changes }: Pick<ToolCommand, "changes">): [code: string, meaning: string][] {
  return [
    ["0", "done, or nothing was to do"],
    ["1", changes ? "failed, and rolled back" : "failed"],
    ["2", "the command line is wrong"],
    ["3", "refused for safety: nothing was changed"],
  ];
}
