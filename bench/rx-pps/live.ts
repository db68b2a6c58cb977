// What rx-pps says while it measures, on stderr: a line repainted in place on a terminal. Elsewhere nothing is painted,
// and messages are plain lines.
import { count, percent, rate } from "../../src/telemetry/units.ts";

interface Terminal {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const REPAINT_S = 1;

export interface Progress {
  readonly seconds: number;
  readonly packets: number;
  readonly bytes: number;
  readonly drops: object;
  readonly emptyShare: number;
}

export class Live {
  private readonly out: Terminal;
  private painted = false;
  private last = { seconds: 0, packets: 0, bytes: 0 };

  constructor(out: Terminal) {
    this.out = out;
  }

  /** A message, on a line of its own. */
  say(text: string): void {
    this.clear();
    this.out.write(`${text}\n`);
  }

  /** Repaints once a second: the rate since the last time. */
  progress({ seconds, packets, bytes, drops, emptyShare }: Progress): void {
    const passed = seconds - this.last.seconds;
    if (!this.out.isTTY || passed < REPAINT_S * 0.99) return;
    const dropped = Object.values(drops).reduce((sum: number, n: number) => sum + n, 0);
    const line = [
      `${seconds.toFixed(0).padStart(4)} s`,
      rate((packets - this.last.packets) / passed, "pps"),
      rate(((bytes - this.last.bytes) * 8) / passed, "bit/s"),
      `empty polls ${percent(emptyShare)}`,
      `dropped ${count(dropped)}`,
    ].join("   ");
    this.last = { seconds, packets, bytes };
    this.out.write(`\r${line}\x1b[K`);
    this.painted = true;
  }

  /** Takes the line away, so that what follows starts a clean one. */
  clear(): void {
    if (this.painted) this.out.write("\r\x1b[K");
    this.painted = false;
  }
}
