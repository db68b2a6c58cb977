// What a command says: text for people, aligned and, on a terminal, coloured; or JSON for programs, and then nothing
// else on stdout.
import { styleText } from "node:util";
import Table from "cli-table3";

export type Style = Parameters<typeof styleText>[0];

export interface Streams {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: NodeJS.ProcessEnv;
}

export interface TableOptions {
  /** Headings of columns whose text stands at their right end: numbers. */
  readonly right?: readonly string[];
}

/** Spaces between columns, no lines: what cut and awk can read. */
const border = ["top", "bottom", "left", "right", "mid"] as const;
const corners = ["", "-mid", "-left", "-right"] as const;
const noBorders = Object.fromEntries(border.flatMap((side) => corners.map((c) => [`${side}${c}`, ""])));

export class Output {
  /** Only JSON goes to stdout. */
  readonly isJson: boolean;
  readonly #streams: Streams;
  readonly #hold: ((value: unknown) => void) | undefined;
  #hasProgress = false;

  /** With `hold`, results are handed to it and not written. */
  constructor(isJson: boolean, streams: Streams = process, hold?: (value: unknown) => void) {
    this.isJson = isJson;
    this.#streams = streams;
    this.#hold = hold;
  }

  get isTerminal(): boolean {
    return this.#streams.stdout.isTTY === true;
  }

  /** Of a terminal; else there is room for all. */
  get columns(): number {
    return (this.isTerminal && this.#streams.stdout.columns) || Number.POSITIVE_INFINITY;
  }

  line(text = ""): void {
    this.#clearProgress();
    if (!this.isJson) this.#streams.stdout.write(`${text}\n`);
  }

  /** The command's result. Numbers of 64 bits are written as 0x… */
  json(value: unknown): void {
    if (this.#hold) {
      this.#hold(value);
      return;
    }
    const plain = (_key: string, part: unknown) =>
      typeof part === "bigint" ? `0x${part.toString(16)}` : part;
    if (this.isJson) this.#streams.stdout.write(`${JSON.stringify(value, plain, 2)}\n`);
  }

  /** Rows below their headings, each column as wide as it must be. */
  table(
    headings: readonly string[],
    rows: readonly (readonly string[])[],
    { right = [] }: TableOptions = {},
  ): void {
    const table = new Table({
      head: headings.map((text) => this.paint("bold", text)),
      colAligns: headings.map((text) => (right.includes(text) ? "right" : "left")),
      style: { head: [], border: [], compact: true, "padding-left": 0, "padding-right": 0 },
      chars: { ...noBorders, middle: "  " },
    });
    for (const row of rows) table.push([...row]);
    for (const line of table.toString().split("\n")) this.line(line.trimEnd());
  }

  /** The text, in a style of util.styleText where it is for a terminal and NO_COLOR is not set. */
  paint(style: Style, text: string): string {
    return this.isTerminal && !this.#streams.env.NO_COLOR
      ? styleText(style, text, { validateStream: false })
      : text;
  }

  /** What must be read, and is no result. */
  warn(text: string): void {
    this.#clearProgress();
    this.#streams.stderr.write(`${text}\n`);
  }

  /** What is being done now, in one line that the next one replaces: on a terminal only. */
  progress(text: string): void {
    if (!this.#streams.stderr.isTTY) return;
    this.#streams.stderr.write(`\r\x1b[K${text}`);
    this.#hasProgress = true;
  }

  #clearProgress(): void {
    if (this.#hasProgress) this.#streams.stderr.write("\r\x1b[K");
    this.#hasProgress = false;
  }
}
