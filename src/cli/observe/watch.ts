// --watch: one report after the other, until a signal or q. On a terminal each takes the place of the one before.
import type { ToolCall } from "../tool/command.ts";
import { Output } from "../tool/output.ts";
import { render } from "./render.ts";
import { type Report, rated } from "./report.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** ECMA-48, and DEC's private modes: 7 wrapping of long lines, 25 cursor, 2026 synchronized update. */
const [HOME, CLEAR_REST_OF_LINE, CLEAR_BELOW] = ["\x1b[H", "\x1b[K", "\x1b[J"];
const [TAKE, GIVE_BACK, BEGIN, END] = [
  "\x1b[?7l\x1b[?25l",
  "\x1b[?7h\x1b[?25h",
  "\x1b[?2026h",
  "\x1b[?2026l",
];
const [CTRL_C, CTRL_D] = ["\x03", "\x04"];

export async function watch(
  { out, json }: ToolCall,
  intervalMs: number,
  look: () => Promise<Report>,
): Promise<number> {
  const end = endAsked();
  const inPlace = !json && out.isTerminal;
  let before: Report | undefined;
  let next = performance.now();
  try {
    if (inPlace) process.stdout.write(`${TAKE}${"\n".repeat(screen().rows - 1)}`);
    while (!end.isAsked) {
      const now = await look();
      const report = before ? rated(before, now) : now;
      before = now;
      if (json) process.stdout.write(`${JSON.stringify(report)}\n`);
      else if (inPlace) paint(report);
      else {
        out.line(`--- ${new Date().toISOString()}`);
        render(out, report);
      }
      next = Math.max(next + intervalMs, performance.now());
      await end.within(next - performance.now());
    }
    return 0;
  } finally {
    if (inPlace) process.stdout.write(GIVE_BACK);
    end.close();
  }
}

/** A terminal that does not know its size says 0. */
const screen = () => ({ columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 });

/** At most what the screen has room for. */
function paint(report: Report): void {
  const { columns, rows } = screen();
  const lines: string[] = [];
  const write = (text: string) => lines.push(...text.replace(/\n$/, "").split("\n")) > 0;
  const stdout = { isTTY: true, columns, write } as unknown as NodeJS.WriteStream;
  render(new Output(false, { stdout, stderr: process.stderr, env: process.env }), report);
  const room = rows - 2;
  const hidden = lines.length - room;
  const shown =
    hidden > 0 ? [...lines.slice(0, room - 1), `… ${hidden + 1} more lines: a taller terminal`] : lines;
  const text = [...shown, "", "q ends"].map((line) => `${line}${CLEAR_REST_OF_LINE}`).join("\n");
  process.stdout.write(`${BEGIN}${HOME}${text}${CLEAR_BELOW}${END}`);
}

/** Asked by a signal, or on a terminal by q. */
function endAsked() {
  const { stdin } = process;
  const hasKeys = stdin.isTTY === true;
  let wake = () => {};
  const state = {
    isAsked: false,
    /** Resolves after that time, or as soon as the end is asked for. */
    within: (timeMs: number) =>
      new Promise<void>((resolve) => {
        if (state.isAsked) return resolve();
        const timer = setTimeout(resolve, timeMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
    close: () => {
      for (const signal of signals) process.off(signal, ask);
      if (!hasKeys) return;
      stdin.off("data", key);
      stdin.setRawMode(false).pause();
    },
  };
  const ask = () => {
    state.isAsked = true;
    wake();
  };
  const key = (bytes: Buffer) => {
    if (["q", "Q", CTRL_C, CTRL_D].some((one) => bytes.toString("latin1").includes(one))) ask();
  };
  for (const signal of signals) process.on(signal, ask);
  if (hasKeys) stdin.setRawMode(true).on("data", key).resume();
  return state;
}
