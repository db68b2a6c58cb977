// The interactive console: reads lines from a terminal, a pipe or a file, and runs the commands that they are, one
// after the other. A command that fails says why and changes nothing; the next line is read.
import { readFileSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { describeError, PollmodeError } from "../../../errors.ts";
import { periodicStats } from "../display-stats.ts";
import type { Leave, Session } from "../session.ts";
import { commands } from "./commands.ts";
import { pointAt, WordError } from "./grammar.ts";
import { matchLine } from "./match.ts";
import type { CommandContext } from "./table.ts";
import { readLines } from "./terminal.ts";

const PROMPT = "testpmd> ";

/** Files that load files that load files. */
const LOAD_DEPTH_MAX = 8;

export interface ConsoleOptions {
  readonly input: Readable;
  readonly output: Writable;
  /** Run first. */
  readonly cmdlineFile?: string;
  readonly leave?: Leave;
}

type Say = (text: string) => void;

/** Runs lines on a session. */
class Runner {
  private quitting = false;
  private readonly session: Session;
  private readonly say: Say;
  private readonly leave: Leave;
  private timer: NodeJS.Timeout | undefined;
  private depth = 0;

  constructor(session: Session, say: Say, leave: Leave = { asked: false }) {
    this.session = session;
    this.say = say;
    this.leave = leave;
  }

  /** `quit` was one of the lines, or the program is to end. */
  get isOver(): boolean {
    return this.quitting || this.leave.asked;
  }

  private get context(): CommandContext {
    return {
      session: this.session,
      say: this.say,
      commands,
      quit: () => {
        this.quitting = true;
      },
      load: (path) => this.file(path),
      repeatStats: (seconds) => this.repeatStats(seconds),
    };
  }

  /** `fault` says what is wrong with the line. */
  async line(line: string, fault: (error: unknown) => void): Promise<void> {
    await setImmediate(); // signals come between two turns of the event loop, which many commands do not wait for
    if (this.isOver) return;
    try {
      const found = matchLine(commands, line, this.session);
      await found?.command.run(this.context, found.values);
    } catch (error) {
      fault(error);
    }
  }

  /** Runs a file's lines and does not repeat them, as testpmd. A fault has the line's number; the next one is run. */
  async file(path: string): Promise<void> {
    const lines = readCommands(path);
    if (this.depth >= LOAD_DEPTH_MAX) {
      const message = `${path}: files load each other ${LOAD_DEPTH_MAX} deep`;
      throw new PollmodeError("COMMAND_FILE", message, "let no file load itself");
    }
    this.depth++;
    try {
      for (const [k, line] of lines.entries()) {
        if (/^\s*(#|$)/.test(line)) continue;
        await this.line(line, (error) => this.say(`${path}:${k + 1}: ${faultText(line, error)}`));
        if (this.isOver) break;
      }
    } finally {
      this.depth--;
    }
    if (!this.leave.asked) this.say(`Read CLI commands from ${path}`);
  }

  private repeatStats(seconds: number): void {
    clearInterval(this.timer);
    if (seconds === 0) return;
    const show = () => this.say(periodicStats(this.session));
    this.timer = setInterval(show, seconds * 1000);
    this.timer.unref();
  }

  /** No line is run after this: what `load` has begun ends, too. */
  end(): void {
    this.quitting = true;
    clearInterval(this.timer);
  }
}

function readCommands(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split(/\r?\n/);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? describeError(cause);
    const message = `Failed to read the commands in ${path}: ${why}`;
    throw new PollmodeError("COMMAND_FILE", message, "name a text file with a command in each line", {
      cause,
    });
  }
}

function faultText(line: string, error: unknown): string {
  if (!(error instanceof WordError) || error.at < 0) return describeError(error);
  return `${error.message}\n${pointAt(line, error).split("\n").slice(0, 2).join("\n")}\n  fix: ${error.fix}`;
}

/**
 * Runs a file of commands (--cmdline-file); false: one was `quit`, or the program is to end. Error: COMMAND_FILE when
 * it cannot be read.
 */
export async function runFile(session: Session, path: string, say: Say, leave?: Leave): Promise<boolean> {
  const runner = new Runner(session, say, leave);
  try {
    await runner.file(path);
    return !runner.isOver;
  } finally {
    runner.end();
  }
}

/**
 * Reads commands until `quit`, the end of the input or Ctrl-C. On a terminal lines can be edited, completed and
 * recalled; what is printed meanwhile comes above the line that is being written.
 */
export async function runConsole(session: Session, options: ConsoleOptions): Promise<void> {
  const { output, cmdlineFile, leave } = options;
  const say: Say = (text) => void output.write(`${text}\n`);
  const runner = new Runner(session, say, leave);
  try {
    if (cmdlineFile !== undefined) await runner.file(cmdlineFile);
    if (runner.isOver) return;
    await readLines({
      ...options,
      session,
      commands,
      prompt: PROMPT,
      run: async (line) => {
        await runner.line(line, (error) => say(lineFault(line, error)));
        return !runner.isOver;
      },
    });
  } finally {
    runner.end();
  }
}

/** The line stands after the prompt: the caret comes under it. */
function lineFault(line: string, error: unknown): string {
  if (!(error instanceof WordError) || error.at < 0) return describeError(error);
  return pointAt(line, error, PROMPT.length).slice(line.length + 1);
}
