// A Unix socket that QEMU connects to when it starts.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { atEnd } from "../lifetime.ts";

/** Not needed any more once QEMU has connected: the connection outlives it. */
export class HostSocket implements Disposable {
  readonly path: string;
  readonly connected: Promise<Socket>;
  readonly #server: Server;
  readonly #remove: () => void;

  private constructor(folder: string) {
    this.path = join(folder, "socket");
    this.#server = createServer().listen(this.path);
    this.connected = new Promise((resolve) => this.#server.once("connection", resolve));
    const remove = () => rmSync(folder, { recursive: true, force: true });
    const forget = atEnd(remove);
    this.#remove = () => {
      forget();
      remove();
    };
  }

  static async listen(): Promise<HostSocket> {
    const socket = new HostSocket(mkdtempSync(join(tmpdir(), "pollmode-lab-")));
    await once(socket.#server, "listening");
    return socket;
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#remove();
  }
}
