// The host's end of the port to the guest's agent: sends requests, and hands each reply to whom it is for.
import type { Socket } from "node:net";
import { PollmodeError } from "../../../src/errors.ts";
import { LabProcess } from "./lab-process.ts";
import { lineSplitter, type Reply, type Request, type StartRequest } from "./protocol.ts";

type Asked = { op: "read"; path: string } | { op: "write"; path: string; bytes: string };

const answerMs = 30_000;

export class AgentLink {
  /** Settles with true when the agent is there, or with false when the guest is lost before. */
  readonly ready: Promise<boolean>;
  readonly #socket: Socket;
  readonly #processes = new Map<number, LabProcess>();
  readonly #answers = new Map<number, { resolve(reply: Reply): void; reject(error: Error): void }>();
  #lastId = 0;
  #onReady!: (ready: boolean) => void;
  #lost: Error | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.ready = new Promise((resolve) => {
      this.#onReady = resolve;
    });
    const split = lineSplitter((line) => this.#receive(JSON.parse(line) as Reply));
    socket.setEncoding("utf8").on("data", (text) => split(`${text}`));
    socket.on("error", () => {}); // QEMU has ended, and its exit tells why
  }

  #receive(reply: Reply): void {
    if (reply.op === "ready") {
      this.#onReady(true);
      return;
    }
    const answer = this.#answers.get(reply.id);
    if (answer) {
      this.#answers.delete(reply.id);
      if (reply.op === "failed") answer.reject(guestFileError(reply.message));
      else answer.resolve(reply);
      return;
    }
    this.#processes.get(reply.id)?.receive(reply);
    if (reply.op === "exit" || reply.op === "failed") this.#processes.delete(reply.id);
  }

  #send(request: Request): void {
    this.#socket.write(`${JSON.stringify(request)}\n`);
  }

  start(request: Omit<StartRequest, "op" | "id">, name: string): LabProcess {
    const id = ++this.#lastId;
    const send = (request: Request) => this.#send(request);
    const child = new LabProcess(id, name, send, (error) => this.lost(error));
    if (this.#lost) child.fail(this.#lost);
    else {
      this.#processes.set(id, child);
      this.#send({ op: "start", id, ...request });
    }
    return child;
  }

  ask(request: Asked): Promise<Reply> {
    const id = ++this.#lastId;
    return new Promise<Reply>((resolve, reject) => {
      if (this.#lost) return reject(this.#lost);
      const late = () =>
        reject(guestFileError(`${request.op} of ${request.path} took longer than ${answerMs} ms`));
      const timer = setTimeout(late, answerMs);
      const settled = (settle: () => void) => {
        clearTimeout(timer);
        settle();
      };
      this.#answers.set(id, {
        resolve: (reply) => settled(() => resolve(reply)),
        reject: (error) => settled(() => reject(error)),
      });
      this.#send({ ...request, id });
    });
  }

  /** The guest is gone, or hangs: all that waits for it fails with `error`. */
  lost(error: Error): void {
    this.#lost ??= error;
    this.#onReady(false);
    for (const child of this.#processes.values()) child.fail(error);
    for (const { reject } of this.#answers.values()) reject(error);
    this.#processes.clear();
    this.#answers.clear();
    this.#socket.destroy();
  }
}

function guestFileError(message: string): PollmodeError {
  return new PollmodeError("BED_FILE", `in the lab's guest: ${message}`, "look at the path with lab.exec");
}
