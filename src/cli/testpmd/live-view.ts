// What --stats-period shows. Into a pipe or a file: testpmd's blocks, one after the other, for scripts. On a terminal:
// the same in place, with tables of queues and lcores below.
//
// The screen is never cleared: each line is written over the one before, within a "synchronized update" where the
// terminal knows it, so nothing flickers. What was on the screen moves into the scrollback first.
import type { Rates } from "../../telemetry/rates.ts";
import { rates } from "../../telemetry/rates.ts";
import { type Snapshot, type SnapshotSource, takeSnapshot } from "../../telemetry/snapshot.ts";
import { liveTables } from "./live-tables.ts";

/** ECMA-48, and DEC's private modes: 25 cursor, 2026 synchronized update. */
const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
const BEGIN = "\x1b[?2026h";
const END = "\x1b[?2026l";
const HOME = "\x1b[H";
const CLEAR_REST_OF_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

/** Messages that stay in sight. */
const NOTES_MAX = 3;

/** process.stdout, or what stands in for it. */
export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
  on(event: "resize", listener: () => void): unknown;
  off(event: "resize", listener: () => void): unknown;
}

export class LiveView {
  private readonly engine: SnapshotSource;
  private readonly out: Terminal;
  private before: Snapshot | undefined;
  private block = "";
  private shown: { snapshot: Snapshot; rates: Rates } | undefined;
  private notes: string[] = [];
  private painted = false;
  private readonly repaint = () => this.paint();
  private readonly restore = () => this.end();

  constructor(engine: SnapshotSource, out: Terminal) {
    this.engine = engine;
    this.out = out;
  }

  /** Shows testpmd's block of now, and what happened since the last call. */
  show(block: string): void {
    if (!this.out.isTTY) {
      this.out.write(`${block}\n`);
      return;
    }
    this.block = block;
    const snapshot = takeSnapshot(this.engine);
    this.shown = { snapshot, rates: rates(this.before, snapshot) };
    this.before = snapshot;
    this.paint();
  }

  /** A message, below the tables, where the latest stay in sight. False: nothing is painted; say it another way. */
  note(text: string): boolean {
    if (!this.painted) return false;
    this.notes = [...this.notes, ...text.split("\n")].slice(-NOTES_MAX);
    this.paint();
    return true;
  }

  /** Gives the terminal back: cursor below what was painted, and seen. Also when the process ends without it. */
  end(): void {
    if (!this.painted) return;
    this.painted = false;
    this.out.off("resize", this.repaint);
    process.off("exit", this.restore);
    this.out.write(SHOW_CURSOR);
  }

  private paint(): void {
    if (!this.shown) return;
    const { columns = 80, rows = 24 } = this.out;
    if (!this.painted) {
      this.painted = true;
      this.out.on("resize", this.repaint);
      process.once("exit", this.restore);
      this.out.write(`${HIDE_CURSOR}${"\n".repeat(rows - 1)}`);
    }
    const text = this.lines(columns, rows - 1)
      .map((line) => `${line}${CLEAR_REST_OF_LINE}\n`)
      .join("");
    this.out.write(`${BEGIN}${HOME}${text}${CLEAR_BELOW}${END}`);
  }

  /** At most `height` lines. The tables say all that testpmd's blocks say: these give way first. */
  private lines(columns: number, height: number): string[] {
    const { snapshot, rates } = this.shown!;
    const blocks = this.block.split("\n").filter((line, k) => k > 0 || line !== "");
    const tables = [
      ...liveTables(snapshot, rates, columns),
      ...this.notes.map((note) => note.slice(0, columns)),
    ];
    const all = [...blocks.map((line) => line.slice(0, columns)), "", ...tables];
    if (all.length <= height) return all;
    if (tables.length <= height) return tables;
    const left = tables.length - height + 1;
    return [
      ...tables.slice(0, height - 1),
      `… ${left} more lines: a taller terminal shows them`.slice(0, columns),
    ];
  }
}
