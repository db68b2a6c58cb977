// `pollmode capture` as a child process of a test.
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export class Command {
  readonly child: ChildProcess;
  readonly ended: Promise<number | string>;
  err = "";
  readonly out: Buffer[] = [];

  constructor(prefix: string, ...args: string[]) {
    this.child = spawn(process.execPath, [program, "capture", "--file-prefix", prefix, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stderr!.on("data", (text: Buffer) => (this.err += text.toString()));
    this.child.stdout!.on("data", (bytes: Buffer) => this.out.push(bytes));
    this.ended = new Promise((resolve) =>
      this.child.on("close", (code, signal) => resolve(code ?? signal ?? "?")),
    );
  }

  async ready(): Promise<void> {
    for (let k = 0; k < 1000 && !this.err.includes("listening on"); k++) await pause(10);
    if (!this.err.includes("listening on")) throw new Error(this.err);
  }

  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<number | string> {
    this.child.kill(signal);
    return this.ended;
  }

  /** The counts that it printed: captured, received, dropped. */
  get counts(): number[] {
    return [...this.err.matchAll(/^(\d+) packets? /gm)].map(([, n]) => Number(n));
  }
}
