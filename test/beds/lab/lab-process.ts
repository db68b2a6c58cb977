// A program that runs in the lab's guest, as the host sees it.
import { PollmodeError } from "../../../src/errors.ts";
import { describeStatus, type ExitStatus } from "../child.ts";
import type { Reply, Request } from "./protocol.ts";

/** Output beyond this is forgotten from its beginning. */
const outputCharsMax = 8 * 2 ** 20;
const tailLines = 20;
const killedWithinMs = 10_000;

export class LabProcess implements AsyncDisposable {
  /** The command, for messages. */
  readonly name: string;
  /** Settles when the program has ended and all its output is here; rejects when the guest ends before. */
  readonly exited: Promise<ExitStatus>;
  readonly #id: number;
  readonly #send: (request: Request) => void;
  readonly #onHang: (error: Error) => void;
  #resolve!: (status: ExitStatus) => void;
  #reject!: (error: Error) => void;
  readonly #decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  readonly #text = { stdout: "", stderr: "" };
  readonly #watchers = new Set<() => void>();
  #pid: number | undefined;
  #status: ExitStatus | undefined;
  #failure: Error | undefined;
  /** Called with the program's output as it comes. */
  onOutput: ((stream: "stdout" | "stderr", bytes: Buffer) => void) | undefined;

  /** `onHang`: the guest hangs. */
  constructor(id: number, name: string, send: (request: Request) => void, onHang: (error: Error) => void) {
    this.#id = id;
    this.name = name;
    this.#send = send;
    this.#onHang = onHang;
    this.exited = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.exited.catch(() => {}); // whoever waits for it gets the error
  }

  get stdout(): string {
    return this.#text.stdout;
  }

  get stderr(): string {
    return this.#text.stderr;
  }

  /** Its process id in the guest. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** Set once the program has ended. */
  get status(): ExitStatus | undefined {
    return this.#status;
  }

  /** For lab.ts: what the agent says about this program. */
  receive(reply: Reply): void {
    if (reply.op === "started") this.#pid = reply.pid;
    else if (reply.op === "output") {
      const bytes = Buffer.from(reply.bytes, "base64");
      const text = this.#text[reply.stream] + this.#decoders[reply.stream].decode(bytes, { stream: true });
      this.#text[reply.stream] = text.slice(-outputCharsMax);
      this.onOutput?.(reply.stream, bytes);
    } else if (reply.op === "exit") {
      this.#status = { code: reply.code, signal: reply.signal };
      this.#resolve(this.#status);
    } else if (reply.op === "failed") this.fail(this.error(`cannot be run: ${reply.message}`));
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** For lab.ts: nothing more is to be heard of this program. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#reject(error);
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Waits until stdout, or else stderr, matches; fails when the program ends or time is up first. */
  waitFor(pattern: RegExp, timeoutMs = 60_000): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        settle();
      };
      const fail = (why: string) => done(() => reject(this.error(`${why} before it printed ${pattern}`)));
      const look = () => {
        const match = this.stdout.match(pattern) ?? this.stderr.match(pattern);
        if (match) done(() => resolve(match));
        else if (this.#failure) done(() => reject(this.#failure));
        else if (this.#status) fail(`ended (${describeStatus(this.#status)})`);
      };
      const timer = setTimeout(() => fail(`ran for ${timeoutMs} ms`), timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }

  /** Sends text or bytes to its stdin. */
  write(input: string | Buffer): void {
    const bytes = Buffer.from(input as string).toString("base64");
    if (bytes !== "") this.#send({ op: "input", id: this.#id, bytes });
  }

  /** Ends its stdin. */
  end(): void {
    this.#send({ op: "input", id: this.#id, bytes: "" });
  }

  /** Sends a signal to the process, or to all of its process group. */
  signal(signal: NodeJS.Signals, to: "process" | "group" = "process"): void {
    if (!this.#status && !this.#failure)
      this.#send({ op: "signal", id: this.#id, signal, group: to === "group" });
  }

  /** Asks with `signal`, insists with SIGKILL after `graceMs`. */
  async stop(signal: NodeJS.Signals, graceMs: number): Promise<ExitStatus> {
    this.signal(signal);
    const insist = setTimeout(() => this.signal("SIGKILL", "group"), graceMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(insist);
    }
  }

  /** An error that names the program and shows how its output ended. */
  error(why: string, code = "BED_PROCESS_FAILED"): PollmodeError {
    const ends = `stdout ends:\n${tail(this.stdout)}\nstderr ends:\n${tail(this.stderr)}`;
    const fix = "read the program's output in the message";
    return new PollmodeError(code, `\`${this.name}\` in the lab's guest ${why}; its ${ends}`, fix);
  }

  /** Kills it and all that it has started. Throws when the guest does not report its end: it hangs, and is lost. */
  async kill(): Promise<void> {
    this.signal("SIGKILL", "group");
    const why = `is not reported dead ${killedWithinMs} ms after SIGKILL: the guest hangs`;
    const hang = this.error(why, "BED_CRASHED");
    const timer = setTimeout(() => this.#onHang(hang), killedWithinMs);
    try {
      await this.exited.catch(() => {}); // it could not be run, or the guest has ended: its waiters know
    } finally {
      clearTimeout(timer);
    }
    if (this.#failure === hang) throw hang;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

function tail(output: string): string {
  return output.trimEnd().split("\n").slice(-tailLines).join("\n");
}
