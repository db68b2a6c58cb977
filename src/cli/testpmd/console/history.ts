// The lines that were typed, kept from one session to the next.
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

export const HISTORY_LINES_MAX = 1000;
/** Lines in the file before it is written anew, shorter. */
const FILE_LINES_MAX = 4 * HISTORY_LINES_MAX;
/** Nobody types more: what was pasted is not kept. */
const LINE_BYTES_MAX = 4096;

/** By the XDG base directory specification. */
function historyFile(env: NodeJS.ProcessEnv): string {
  const { XDG_STATE_HOME: state } = env;
  const folder = state?.startsWith("/") ? state : join(homedir(), ".local", "state");
  return join(folder, "pollmode", "testpmd_history");
}

/** Without a writable home nothing is kept, and nothing else is amiss. */
export class History {
  private readonly path: string;
  private last = "";

  constructor(env: NodeJS.ProcessEnv = process.env) {
    this.path = historyFile(env);
  }

  /** Lines of earlier sessions, the newest first. */
  recent(): string[] {
    const lines = this.read();
    if (lines.length > FILE_LINES_MAX) this.rewrite(lines.slice(-HISTORY_LINES_MAX));
    this.last = lines.at(-1) ?? "";
    return [...new Set(lines.reverse())].slice(0, HISTORY_LINES_MAX);
  }

  add(line: string): void {
    const text = line.trim();
    if (text === "" || text === this.last || Buffer.byteLength(text) > LINE_BYTES_MAX) return;
    this.last = text;
    try {
      mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
      appendFileSync(this.path, `${text}\n`, { mode: 0o600 });
    } catch {
      // no place to keep it
    }
  }

  private read(): string[] {
    try {
      return readFileSync(this.path, "utf8").split("\n").filter(Boolean);
    } catch {
      return []; // the first session
    }
  }

  private rewrite(lines: readonly string[]): void {
    try {
      writeFileSync(this.path, `${lines.join("\n")}\n`, { mode: 0o600 });
    } catch {
      // it stays long
    }
  }
}
