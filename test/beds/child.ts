// A long-running program that a test owns: its output is collected, and it cannot outlive the test.
import { type ChildProcess, spawn } from "node:child_process";
import { PollmodeError } from "../../src/errors.ts";
import { atEnd } from "./lifetime.ts";

export interface ExitStatus {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface ProcessOptions {
  /** Default: this process's own. */
  env?: NodeJS.ProcessEnv;
  /** Away from this process's terminal, whose Ctrl-C it then does not get. */
  ownSession?: boolean;
}

/** Output beyond this is forgotten from its beginning. */
const outputCharsMax = 8 * 2 ** 20;
/** Of each stream, in an error: a kernel panic fits. */
const tailLines = 100;

export class OwnedProcess implements AsyncDisposable {
  /** Settles when the program has ended and all its output has been read. Never rejects. */
  readonly exited: Promise<ExitStatus>;
  readonly name: string;
  #child: ChildProcess;
  #output = "";
  #stdout = "";
  #stderr = "";
  #status: ExitStatus | undefined;
  #watchers = new Set<() => void>();

  constructor(name: string, command: string, args: string[], options: ProcessOptions = {}) {
    const { env = process.env, ownSession = false } = options;
    this.name = name;
    // The kernel kills it too when this process dies without a chance to: setpriv becomes the program itself.
    const wrapped = ["--pdeathsig", "KILL", "--", command, ...args];
    const child = spawn("setpriv", wrapped, { env, detached: ownSession, stdio: ["pipe", "pipe", "pipe"] });
    this.#child = child;
    const forget = atEnd(() => child.kill("SIGKILL"));
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout = append(this.#stdout, text);
      this.#collect(text);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = append(this.#stderr, text);
      this.#collect(text);
    });
    child.stdin.on("error", () => {}); // written to after its end
    this.exited = new Promise((resolve) => {
      const settle = (status: ExitStatus) => {
        forget();
        this.#status = status;
        for (const watcher of [...this.#watchers]) watcher();
        resolve(status);
      };
      child.once("close", (code, signal) => settle({ code, signal }));
      child.once("error", (error) => {
        this.#stderr = append(this.#stderr, `${error.message}\n`);
        settle({ code: -1, signal: null });
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Set once the program has ended. */
  get status(): ExitStatus | undefined {
    return this.#status;
  }

  /** stdout and stderr as they came, without carriage returns: a line of one may break a line of the other. */
  get output(): string {
    return this.#output;
  }

  /** stdout alone: no line of it is broken by one of stderr. */
  get stdout(): string {
    return this.#stdout;
  }

  /** stderr alone. */
  get stderr(): string {
    return this.#stderr;
  }

  #collect(text: string): void {
    this.#output = append(this.#output, text);
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Sends text to the program's stdin. */
  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** The program reads the end of its stdin. */
  endInput(): void {
    this.#child.stdin?.end();
  }

  /**
   * Waits until the output, or one stream of it alone, matches; fails with the output's tail when the program ends or
   * time is up first.
   */
  waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        settle();
      };
      const fail = (why: string) => done(() => reject(this.error(`${why} before it printed ${pattern}`)));
      const look = () => {
        const texts = [this.#output, this.#stdout, this.#stderr];
        const match = texts.map((text) => text.match(pattern)).find((found) => found !== null);
        if (match) done(() => resolve(match));
        else if (this.#status) fail(`ended (${describeStatus(this.#status)})`);
      };
      const timer = setTimeout(() => fail(`ran for ${timeoutMs} ms`), timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }

  /** An error that names the program and shows how its output ended. */
  error(why: string, code = "BED_PROCESS_FAILED"): PollmodeError {
    const ends = `stdout ends:\n${tail(this.#stdout)}\nstderr ends:\n${tail(this.#stderr)}`;
    const fix = `read the output of ${this.name} in the message`;
    return new PollmodeError(code, `${this.name} ${why}; its ${ends}`, fix);
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.#status) this.#child.kill(signal);
  }

  /** Asks with `signal`, insists with SIGKILL after `graceMs`. */
  stop(signal: NodeJS.Signals, graceMs: number): Promise<ExitStatus> {
    this.signal(signal);
    return this.endWithin(graceMs);
  }

  /** Waits for the program to end by itself, insists with SIGKILL after `graceMs`. */
  async endWithin(graceMs: number): Promise<ExitStatus> {
    const insist = setTimeout(() => this.signal("SIGKILL"), graceMs);
    const status = await this.exited;
    clearTimeout(insist);
    return status;
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

function append(output: string, text: string): string {
  return (output + text.replaceAll("\r", "")).slice(-outputCharsMax);
}

function tail(output: string): string {
  return output.trimEnd().split("\n").slice(-tailLines).join("\n");
}

export function describeStatus(status: ExitStatus): string {
  return status.signal ? `by ${status.signal}` : `with exit code ${status.code}`;
}
