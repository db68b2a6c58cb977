// JSON values over a unix socket, one a line, with file descriptors beside them. Both ends of the control socket. It
// trusts nothing that it reads: a line has a length, output has a bound, and a fault closes this connection alone.
import { PollmodeError } from "../errors.ts";
import { POLLIN, POLLOUT } from "../libc/abi.ts";
import { close, dup, recvmsg, sendmsg } from "../libc/libc.ts";
import type { Poller } from "../libc/poller.ts";
import { CONTROL_LINE_BYTES_MAX, CONTROL_OUTPUT_BYTES_MAX } from "../limits.ts";

/** After so many lines without a pause the event loop gets its turn. */
const linesAtOnce = 16;
const readBytes = 64 * 1024;
const fdsAtOnce = 4;

export interface JsonLinesOptions {
  /** The socket's path, for messages. */
  readonly name: string;
  /** A line. The next one comes when this has settled. `fds` came with it or shortly before and are the receiver's. */
  onValue(value: unknown, fds: number[]): void | Promise<void>;
  /** Once. No reason: it was closed here. */
  onClose(reason: PollmodeError | undefined): void;
}

export class JsonLines {
  private readonly fd: number;
  private readonly poller: Poller;
  private readonly options: JsonLinesOptions;
  private readonly lines: Buffer[] = [];
  private readonly fds: number[] = [];
  private readonly output: { bytes: Buffer; fds: number[] }[] = [];
  private partial: Buffer[] = [];
  private partialBytes = 0;
  private busy = false;
  private watched = 0;
  private reason: PollmodeError | undefined;
  private ended = false;

  /** `fd` is connected and non-blocking; it belongs to this from now on. */
  constructor(fd: number, poller: Poller, options: JsonLinesOptions) {
    this.fd = fd;
    this.poller = poller;
    this.options = options;
    this.watch();
  }

  get closed(): boolean {
    return this.ended;
  }

  /** Sends a line, later if the other end does not read yet. The fds stay the caller's. */
  send(value: unknown, fds: readonly number[] = []): void {
    if (this.ended) return;
    this.output.push({ bytes: Buffer.from(`${JSON.stringify(value)}\n`), fds: fds.map((fd) => dup(fd)) });
    this.attempt(() => {
      this.flush();
      const waiting = this.output.reduce((sum, { bytes }) => sum + bytes.length, 0);
      if (waiting > CONTROL_OUTPUT_BYTES_MAX) throw this.fault("the other end does not read its answers");
    });
  }

  close(): void {
    this.end(undefined);
  }

  private fault(what: string): PollmodeError {
    const fix = "speak the control socket's protocol: a JSON object a line (docs/capture.md)";
    return new PollmodeError("CONTROL_PROTOCOL", `control socket ${this.options.name}: ${what}`, fix);
  }

  private attempt(work: () => void): void {
    try {
      work();
      this.watch();
    } catch (error) {
      this.end(error instanceof PollmodeError ? error : this.fault(String(error)));
    }
  }

  private flush(): void {
    for (let next = this.output[0]; next; next = this.output[0]) {
      const sent = sendmsg(this.fd, next.bytes, next.fds);
      if (sent === undefined) return;
      next.fds.splice(0).forEach(close); // they went with the first byte
      next.bytes = next.bytes.subarray(sent);
      if (next.bytes.length === 0) this.output.shift();
    }
  }

  /** It reads on only when the lines before are dealt with and their answers sent: who floods waits. */
  private watch(): void {
    const reading = !this.busy && this.lines.length === 0 && this.output.length === 0;
    const events = this.ended ? 0 : (reading ? POLLIN : 0) | (this.output.length > 0 ? POLLOUT : 0);
    if (events === this.watched) return;
    if (events === 0) this.poller.remove(this.fd);
    else if (this.watched === 0) this.poller.add(this.fd, events, () => this.ready());
    else this.poller.modify(this.fd, events);
    this.watched = events;
  }

  private ready(): void {
    this.attempt(() => {
      this.flush();
      if (!this.busy && this.lines.length === 0 && this.output.length === 0) this.receive();
    });
    void this.deliver();
  }

  private receive(): void {
    const into = Buffer.allocUnsafe(readBytes);
    const received = recvmsg(this.fd, into, fdsAtOnce);
    if (!received) return;
    this.fds.push(...received.fds);
    if (this.fds.length > fdsAtOnce || received.truncated)
      throw this.fault("more file descriptors than belong there");
    if (received.bytes === 0) {
      const message = `control socket ${this.options.name}: the other end has closed it`;
      throw new PollmodeError("CONTROL_CLOSED", message, "start the other program again");
    }
    let rest = into.subarray(0, received.bytes);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      this.lines.push(Buffer.concat([...this.partial, rest.subarray(0, end)]));
      this.partial = [];
      this.partialBytes = 0;
      rest = rest.subarray(end + 1);
    }
    // a copy: one byte of a slow sender must not hold on to all of `into`
    if (rest.length > 0) this.partial.push(Buffer.from(rest));
    this.partialBytes += rest.length;
    if (this.partialBytes > CONTROL_LINE_BYTES_MAX) {
      throw this.fault(`a line of more than ${CONTROL_LINE_BYTES_MAX} bytes`);
    }
  }

  private async deliver(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      for (let count = 1; !this.ended; count++) {
        const line = this.lines.shift();
        if (!line) break;
        await this.options.onValue(this.parse(line), this.fds.splice(0));
        if (count % linesAtOnce === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      this.end(error instanceof PollmodeError ? error : this.fault(String(error)));
    }
    this.busy = false;
    this.attempt(() => {});
  }

  private parse(line: Buffer): unknown {
    try {
      return JSON.parse(line.toString());
    } catch {
      throw this.fault(`a line that is no JSON: ${JSON.stringify(line.toString("latin1").slice(0, 40))}`);
    }
  }

  private end(reason: PollmodeError | undefined): void {
    if (this.ended) return;
    this.ended = true;
    this.reason = reason;
    this.watch();
    close(this.fd);
    this.lines.length = 0;
    this.fds.splice(0).forEach(close);
    for (const { fds } of this.output.splice(0)) fds.forEach(close);
    // not from within the caller, who is not done yet
    queueMicrotask(() => this.options.onClose(this.reason));
  }
}
