// Lines from a terminal, edited by Node's readline, or from a pipe. On a terminal all that the process prints while a
// line is being written comes above that line, which is drawn again below.
import { constants } from "node:os";
import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from "node:readline";
import type { Readable } from "node:stream";
import { Writable } from "node:stream";
import type { Session } from "../session.ts";
import { HISTORY_LINES_MAX, History } from "./history.ts";
import { completeLine, explainLine } from "./match.ts";
import type { Command } from "./table.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface LineOptions {
  readonly input: Readable;
  readonly output: Writable;
  readonly session: Session;
  readonly commands: readonly Command[];
  readonly prompt: string;
  /** Runs a line, which stands in the output after the prompt; false: it was the last. */
  run(line: string): Promise<boolean>;
}

/** Reads lines until the last one, the end of the input or Ctrl-C. */
export function readLines(options: LineOptions): Promise<void> {
  const isTerminal = (stream: object) => "isTTY" in stream && stream.isTTY === true;
  return isTerminal(options.input) && isTerminal(options.output) ? fromTerminal(options) : fromPipe(options);
}

/** As DPDK's the line is repeated after the prompt, ended as a terminal would: who reads the output sees what ran. */
async function fromPipe({ input, output, prompt, run }: LineOptions): Promise<void> {
  const lines = createInterface({ input, terminal: false, crlfDelay: Number.POSITIVE_INFINITY });
  output.write(prompt);
  for await (const line of lines) {
    output.write(`${line}\r\n`);
    if (!(await run(line))) return;
    output.write(prompt);
  }
}

/** What readline draws to: the terminal past the writes that go above the line. */
class Screen extends Writable {
  readonly isTTY = true;
  private readonly terminal: NodeJS.WriteStream;
  private readonly raw: NodeJS.WriteStream["write"];
  private readonly onResize = () => this.emit("resize");

  constructor(terminal: NodeJS.WriteStream) {
    super({ decodeStrings: false });
    this.terminal = terminal;
    this.raw = terminal.write.bind(terminal) as NodeJS.WriteStream["write"];
    terminal.on("resize", this.onResize);
  }

  get columns(): number {
    return this.terminal.columns;
  }
  get rows(): number {
    return this.terminal.rows;
  }

  // not through Writable's buffer: the order with other writes is kept
  override write(chunk: unknown, ...rest: unknown[]): boolean {
    return (this.raw as (...all: unknown[]) => boolean)(chunk, ...rest);
  }

  release(): void {
    this.terminal.off("resize", this.onResize);
  }
}

/** Puts what is written to the streams above readline's line. Returns what ends that. */
function keepLine(lines: Interface, screen: Screen, streams: readonly NodeJS.WriteStream[]): () => void {
  let pending = ""; // begun without its newline
  const undo = streams.map((stream) => {
    const { write } = stream;
    stream.write = ((chunk: string | Uint8Array, ...rest: unknown[]) => {
      const text = pending + (typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8"));
      const end = text.lastIndexOf("\n") + 1;
      pending = text.slice(end);
      if (end > 0) {
        moveCursor(screen, 0, -lines.getCursorPos().rows);
        cursorTo(screen, 0);
        clearScreenDown(screen);
        screen.write(text.slice(0, end));
        redraw(lines);
      }
      const done = rest.find((one) => typeof one === "function") as (() => void) | undefined;
      if (done) process.nextTick(done);
      return true;
    }) as typeof stream.write;
    return () => {
      stream.write = write;
    };
  });
  return () => {
    for (const one of undo) one();
    if (pending !== "") screen.write(pending);
  };
}

/** Draws the line where the cursor stands; readline goes up first by the rows of what it drew before. */
function redraw(lines: Interface): void {
  (lines as unknown as { prevRows: number }).prevRows = 0;
  lines.prompt(true);
}

function fromTerminal(options: LineOptions): Promise<void> {
  const { input, session, commands, prompt, run } = options;
  const terminal = options.output as NodeJS.WriteStream;
  const screen = new Screen(terminal);
  const history = new History();
  const lines = createInterface({
    input,
    output: screen,
    prompt,
    history: history.recent(),
    historySize: HISTORY_LINES_MAX,
    removeHistoryDuplicates: true,
    completer: (line: string) => complete(commands, line, session),
  });
  // readline appends what comes as one piece, a paste, to the line's end, wherever the cursor stands: while it does not
  // think of completion (Node 20, kInsertString)
  Object.defineProperty(lines, "isCompletionEnabled", { get: () => true, set: () => {} });
  return new Promise<void>((resolve) => {
    const queue: string[] = [];
    let isRunning = false;
    let isOver = false;
    const release = keepLine(
      lines,
      screen,
      [terminal, process.stderr].filter(({ isTTY }) => isTTY),
    );
    const onKey = (key: string) => {
      if (key === "?" && lines.cursor === lines.line.length) explain(lines, options);
    };
    const finish = () => {
      if (isOver) return;
      isOver = true;
      for (const signal of SIGNALS) process.off(signal, finish);
      input.off("keypress", onKey);
      release();
      lines.close();
      screen.release();
      resolve();
    };
    const drain = async () => {
      if (isRunning) return;
      isRunning = true;
      lines.setPrompt("");
      for (let line = queue.shift(); line !== undefined && !isOver; line = queue.shift()) {
        if (!(await run(line))) return finish();
      }
      isRunning = false;
      if (isOver) return;
      lines.setPrompt(prompt);
      redraw(lines);
    };
    lines.on("line", (line) => {
      history.add(line);
      queue.push(line);
      void drain();
    });
    for (const signal of SIGNALS) process.on(signal, finish); // whoever ends the process wants the terminal back
    lines.on("SIGINT", () => {
      screen.write(`\nSignal ${constants.signals.SIGINT} received, preparing to exit...\n`);
      finish();
    });
    lines.once("close", () => {
      if (!isOver) screen.write("\n"); // Ctrl-D, or the terminal is gone
      finish();
    });
    input.on("keypress", onKey);
    lines.prompt();
  });
}

/** readline's completer: what the last word may become, and that word. */
function complete(commands: readonly Command[], line: string, session: Session): [string[], string] {
  const start = /\S*$/.exec(line)![0];
  const words = completeLine(commands, line, session);
  const [only] = words;
  if (words.length === 1 && only !== undefined && !/[/=]$/.test(only)) return [[`${only} `], start];
  return [words, start];
}

/** `?`: not a part of the line, but the question what may come next. */
function explain(lines: Interface, { output, commands, session }: LineOptions): void {
  lines.write(null, { name: "backspace" });
  const hints = explainLine(commands, lines.line, session);
  const rows = hints.map(({ word, help = "" }) => ` ${word.padEnd(20)} ${help}`.trimEnd());
  output.write(`${rows.length > 0 ? rows.join("\n") : " nothing fits here"}\n`);
}
