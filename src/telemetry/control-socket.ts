// The control socket: other programs of the same user ask a running engine by JSON lines, and are told.
//
//   → {"id": 1, "method": "ports"}
//   ← {"id": 1, "result": […]}       or {"id": 1, "error": {"code": …, "message": …, "fix": …}}
//   ← {"event": "capture.end", …}    at any time
//
// It lies in the engine's runtime directory, mode 0600. A client that dies, floods or talks nonsense loses its own
// connection and what belonged to it; the engine goes on.
import { chmodSync } from "node:fs";
import { PollmodeError } from "../errors.ts";
import { close } from "../libc/libc.ts";
import type { Poller } from "../libc/poller.ts";
import { CONTROL_CLIENTS_MAX } from "../limits.ts";
import { listenUnix, type UnixListener } from "../vhostuser/listen.ts";
import { JsonLines } from "./json-lines.ts";

/** A program at the other end. */
export interface ControlClient {
  /** Tells it something that it did not ask for. */
  tell(event: Record<string, unknown>): void;
  /** Has `work` done when it is gone, however it went. Returns what takes that back. */
  onGone(work: () => void): () => void;
}

export interface ControlAnswer {
  readonly result: unknown;
  /** File descriptors to go with it; they stay the method's. */
  readonly fds?: readonly number[];
}

/** Answers a request. What it throws goes to the client. */
export type ControlMethod = (
  params: Record<string, unknown>,
  client: ControlClient,
) => ControlAnswer | Promise<ControlAnswer>;

export class ControlSocket {
  private readonly listener: UnixListener;
  private readonly methods: Readonly<Record<string, ControlMethod>>;
  private readonly poller: Poller;
  private readonly clients = new Set<JsonLines>();

  /** Listens at `path` at once; a dead engine's socket there is taken over. */
  constructor(path: string, poller: Poller, methods: Readonly<Record<string, ControlMethod>>) {
    this.poller = poller;
    this.methods = methods;
    this.listener = listenUnix(path, poller, (fd) => this.accept(fd));
    chmodSync(path, 0o600); // the directory is 0700 already
  }

  close(): void {
    this.listener.close();
    for (const client of this.clients) client.close();
  }

  private accept(fd: number): void {
    if (this.clients.size >= CONTROL_CLIENTS_MAX) {
      close(fd);
      return;
    }
    const works = new Set<() => void>();
    const client: ControlClient = {
      tell: (event) => lines.send(event),
      onGone: (work) => {
        if (lines.closed) queueMicrotask(work);
        else works.add(work);
        return () => void works.delete(work);
      },
    };
    const lines = new JsonLines(fd, this.poller, {
      name: this.listener.path,
      onValue: async (value, fds) => {
        fds.forEach(close); // nobody asked for them
        await this.answer(value, client, lines);
      },
      onClose: () => {
        this.clients.delete(lines);
        for (const work of works) work();
      },
    });
    this.clients.add(lines);
  }

  private async answer(request: unknown, client: ControlClient, lines: JsonLines): Promise<void> {
    const { id, method, params = {} } = (isObject(request) ? request : {}) as Record<string, unknown>;
    try {
      if (!Number.isSafeInteger(id) || typeof method !== "string" || !isObject(params)) {
        throw new PollmodeError(
          "CONTROL_REQUEST",
          "control socket: a request is an object with id, method and params",
          'write {"id": 1, "method": "info"}',
        );
      }
      if (!Object.hasOwn(this.methods, method)) {
        const message = `control socket: there is no method ${JSON.stringify(method.slice(0, 40))}`;
        const fix = `methods: ${Object.keys(this.methods).join(", ")}; a newer engine may have more`;
        throw new PollmodeError("CONTROL_REQUEST", message, fix);
      }
      const { result, fds } = await this.methods[method]!(params, client);
      lines.send({ id, result }, fds);
    } catch (error) {
      const { code, message, fix } = asError(error);
      lines.send({ id: Number.isSafeInteger(id) ? id : null, error: { code, message, fix } });
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function asError(error: unknown): { code: string; message: string; fix: string } {
  if (error instanceof PollmodeError) return error;
  return { code: "CONTROL_FAILED", message: String(error), fix: "report a bug of pollmode" };
}
