// QEMU's own control port (QMP: JSON lines), for what nobody in the guest can do, such as pulling a cable.
import type { Socket } from "node:net";
import { PollmodeError } from "../../../src/errors.ts";
import { lineSplitter } from "./protocol.ts";

interface QmpReply {
  readonly id?: number;
  readonly error?: { readonly desc: string };
}

export class Monitor {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, (reply: QmpReply) => void>();
  #lastId = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    const split = lineSplitter((line) => {
      const reply = JSON.parse(line) as QmpReply; // or the greeting, or an event: those have no id
      if (reply.id === undefined) return;
      this.#waiting.get(reply.id)?.(reply);
      this.#waiting.delete(reply.id);
    });
    socket.setEncoding("utf8").on("data", (text) => split(`${text}`));
    socket.on("error", () => {}); // QEMU has ended: closed follows
    socket.on("close", () => {
      for (const answer of this.#waiting.values()) answer({ error: { desc: "QEMU has ended" } });
    });
    this.execute("qmp_capabilities").catch(() => {}); // must come first; fails only when QEMU ends
  }

  async execute(command: string, words: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const id = ++this.#lastId;
    const reply = await new Promise<QmpReply>((resolve) => {
      if (this.#socket.destroyed) return resolve({ error: { desc: "QEMU has ended" } });
      this.#waiting.set(id, resolve);
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: words, id })}\n`);
    });
    if (!reply.error) return;
    const message = `QEMU refuses ${command} ${JSON.stringify(words)}: ${reply.error.desc}`;
    throw new PollmodeError("BED_UNSUPPORTED", message, "see QEMU's QMP reference");
  }
}
