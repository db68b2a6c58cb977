// The asking end of the control socket.
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { runtimePath } from "../eal/runtime-dir.ts";
import { PollmodeError } from "../errors.ts";
import { close } from "../libc/libc.ts";
import { Poller } from "../libc/poller.ts";
import { connectUnix } from "../vhostuser/listen.ts";
import { JsonLines } from "./json-lines.ts";

export const CONTROL_SOCKET_NAME = "control.sock";

const answerTimeoutMs = 5000;

interface Waiting {
  resolve(answer: { result: unknown; fds: number[] }): void;
  reject(error: PollmodeError): void;
}

export interface ControlEvents {
  onEvent(event: Record<string, unknown>): void;
  /** The engine has gone, or the connection was closed here (no reason). */
  onClose(reason: PollmodeError | undefined): void;
}

export class ControlConnection {
  private readonly lines: JsonLines;
  private readonly poller = new Poller(() => {});
  private readonly waiting = new Map<number, Waiting>();
  private readonly path: string;
  private last = 0;

  /** Connects to the engine with this --file-prefix; throws CONTROL_NO_ENGINE if there is none. */
  constructor(filePrefix: string, events: ControlEvents) {
    this.path = join(runtimePath(filePrefix), CONTROL_SOCKET_NAME);
    this.lines = new JsonLines(connect(filePrefix, this.path), this.poller, {
      name: this.path,
      onValue: (value, fds) => this.receive(value as Record<string, unknown>, fds, events),
      onClose: (reason) => {
        this.poller.close();
        for (const { reject } of this.waiting.values()) reject(reason ?? gone(this.path));
        this.waiting.clear();
        events.onClose(reason);
      },
    });
  }

  /** Asks; rejects with the engine's error, or CONTROL_TIMEOUT. The fds belong to the caller. */
  async ask(
    method: string,
    params: Record<string, unknown> = {},
  ): Promise<{ result: unknown; fds: number[] }> {
    const id = ++this.last;
    let timer: NodeJS.Timeout | undefined;
    const answered = new Promise<{ result: unknown; fds: number[] }>((resolve, reject) => {
      if (this.lines.closed) throw gone(this.path);
      this.waiting.set(id, { resolve, reject });
      timer = setTimeout(() => {
        const message = `control socket ${this.path}: no answer to ${method} within ${answerTimeoutMs} ms`;
        reject(
          new PollmodeError("CONTROL_TIMEOUT", message, "the engine's main thread is busy: see what it does"),
        );
      }, answerTimeoutMs);
      this.lines.send({ id, method, params });
    });
    try {
      return await answered;
    } finally {
      clearTimeout(timer);
      this.waiting.delete(id);
    }
  }

  close(): void {
    this.lines.close();
  }

  private receive(value: Record<string, unknown>, fds: number[], events: ControlEvents): void {
    const waiting = this.waiting.get(value.id as number);
    if (typeof value.event === "string") events.onEvent(value);
    if (!waiting) {
      fds.forEach(close);
      return;
    }
    const error = value.error as { code: string; message: string; fix: string } | undefined;
    if (error) waiting.reject(new PollmodeError(error.code, error.message, error.fix));
    else waiting.resolve({ result: value.result, fds });
  }
}

function gone(path: string): PollmodeError {
  return new PollmodeError(
    "CONTROL_CLOSED",
    `control socket ${path}: it is closed`,
    "start the engine again",
  );
}

function connect(filePrefix: string, path: string): number {
  try {
    return connectUnix(path);
  } catch (cause) {
    const code = cause instanceof PollmodeError ? cause.code : "";
    if (code !== "ENOENT" && code !== "ECONNREFUSED") throw cause;
    const others = runningPrefixes(dirname(dirname(path))).filter((name) => name !== filePrefix);
    const message = `--file-prefix ${filePrefix}: no engine listens at ${path}`;
    const list =
      others.length > 0 ? `running: ${others.map((name) => `--file-prefix ${name}`).join(", ")}; ` : "";
    const fix = `${list}start one: pollmode testpmd (without --in-memory), or Pollmode.start({ filePrefix })`;
    throw new PollmodeError("CONTROL_NO_ENGINE", message, fix, { cause });
  }
}

/** File prefixes whose engine listens. */
function runningPrefixes(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => {
      try {
        close(connectUnix(join(folder, name, CONTROL_SOCKET_NAME)));
        return true;
      } catch {
        return false;
      }
    });
  } catch {
    return [];
  }
}
