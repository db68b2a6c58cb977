// One vhost-user connection: bytes and fds to whole messages and back. It trusts nothing that it reads. A fault of the
// peer closes the connection with a named reason; it never throws out of the event loop.
//
// Messages are read one at a time, the next one only when the handler of the last has settled and its answers are sent:
// a peer that floods us, or does not read what we answer, waits in its own sendmsg.
import { PollmodeError } from "../errors.ts";
import { POLLIN, POLLOUT } from "../libc/abi.ts";
import { close, dup, recvmsg, sendmsg } from "../libc/libc.ts";
import type { Poller } from "../libc/poller.ts";
import {
  CALL_TIMEOUT_MS,
  encodeHeader,
  FLAG_REPLY,
  HEADER_BYTES,
  MESSAGE_FDS_MAX,
  type Message,
  PAYLOAD_BYTES_MAX,
  requestName,
  VERSION,
  VERSION_MASK,
} from "./protocol.ts";

export const peerFix = "check that the peer speaks vhost-user, and its version; then connect again";

/** After so many messages without a pause the event loop gets its turn. */
const messagesAtOnce = 16;

export interface VhostUserSocketOptions {
  /** The socket's path, for messages. */
  name: string;
  /** A request of the peer. A failure closes the connection with it as the reason. */
  onMessage(message: Message): void | Promise<void>;
  /** Once, after the handler of the last message has settled. No reason: it was closed here. */
  onClose(reason: PollmodeError | undefined): void;
}

interface Output {
  bytes: Buffer;
  /** Duplicates, so that the caller may close its own at once. */
  fds: number[];
}

interface PendingCall {
  request: number;
  resolve(reply: Message): void;
  reject(error: PollmodeError): void;
  timer: NodeJS.Timeout;
}

export class VhostUserSocket {
  readonly name: string;
  private readonly fd: number;
  private readonly poller: Poller;
  private readonly options: VhostUserSocketOptions;
  private readonly header = Buffer.alloc(HEADER_BYTES);
  private headerBytes = 0;
  private payload: Buffer | undefined;
  private payloadBytes = 0;
  private fds: number[] = [];
  private output: Output[] = [];
  private calls: PendingCall[] = [];
  /** The events that the poller watches for; 0: none, it does not watch. */
  private watched = 0;
  /** A handler is at work, or the event loop has its turn. */
  private busy = false;
  private ended = false;
  private reason: PollmodeError | undefined;

  /** `fd` is connected and non-blocking; it belongs to the socket from now on. */
  constructor(fd: number, poller: Poller, options: VhostUserSocketOptions) {
    this.fd = fd;
    this.poller = poller;
    this.options = options;
    this.name = options.name;
    this.watch();
  }

  get closed(): boolean {
    return this.ended;
  }

  /** Sends a message, later if the peer does not read yet. The fds stay the caller's. */
  send(
    request: number,
    flags: number,
    payload: Uint8Array = Buffer.alloc(0),
    fds: readonly number[] = [],
  ): void {
    if (this.ended) return;
    const bytes = Buffer.concat([encodeHeader(request, flags | VERSION, payload.length), payload]);
    try {
      const sent = this.output.length > 0 ? undefined : sendmsg(this.fd, bytes, fds);
      if (sent !== bytes.length) this.queue(bytes.subarray(sent ?? 0), sent === undefined ? fds : []);
    } catch (error) {
      this.end(this.asReason(error));
      return;
    }
    this.watch();
  }

  /** Sends a request and resolves with its reply; replies come in the order of the calls. */
  call(
    request: number,
    flags: number,
    payload?: Uint8Array,
    fds?: readonly number[],
    timeoutMs = CALL_TIMEOUT_MS,
  ): Promise<Message> {
    if (this.ended) return Promise.reject(this.closedError(request));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.timeout(request, timeoutMs), timeoutMs);
      this.calls.push({ request, resolve, reject, timer });
      this.send(request, flags, payload, fds);
    });
  }

  close(): void {
    this.end(undefined);
  }

  /** A violation of the protocol by the peer. */
  violation(code: string, detail: string): PollmodeError {
    return new PollmodeError(code, `vhost-user ${this.name}: ${detail}`, peerFix);
  }

  private closedError(request: number): PollmodeError {
    const message = `vhost-user ${this.name}: ${requestName(request)}: the connection is closed`;
    return new PollmodeError("VHOST_CLOSED", message, "connect again");
  }

  /** Later answers could no longer be told apart, so the connection ends. */
  private timeout(request: number, timeoutMs: number): void {
    const message = `vhost-user ${this.name}: no answer to ${requestName(request)} within ${timeoutMs} ms`;
    this.end(new PollmodeError("VHOST_TIMEOUT", message, "check whether the peer hangs, start it again"));
  }

  private asReason(error: unknown): PollmodeError {
    if (error instanceof PollmodeError) {
      const message = `vhost-user ${this.name}: ${error.message}`;
      return error.message.startsWith("vhost-user ")
        ? error
        : new PollmodeError(error.code, message, error.fix, { cause: error });
    }
    const message = `vhost-user ${this.name}: ${error instanceof Error ? error.message : String(error)}`;
    return new PollmodeError("VHOST_HANDLER", message, "report a bug of pollmode", { cause: error });
  }

  private queue(bytes: Buffer, fds: readonly number[]): void {
    const output: Output = { bytes, fds: [] };
    this.output.push(output);
    for (const fd of fds) output.fds.push(dup(fd));
  }

  /** Sends what fits of what waits. */
  private flush(): void {
    for (let next = this.output[0]; next; next = this.output[0]) {
      const sent = sendmsg(this.fd, next.bytes, next.fds);
      if (sent === undefined) return;
      next.fds.splice(0).forEach(close); // they went with the first byte
      next.bytes = next.bytes.subarray(sent);
      if (next.bytes.length === 0) this.output.shift();
    }
  }

  /** Tells the poller what is waited for now. */
  private watch(): void {
    const reading = !this.busy && this.output.length === 0;
    const events = this.ended ? 0 : (reading ? POLLIN : 0) | (this.output.length > 0 ? POLLOUT : 0);
    if (events === this.watched) return;
    // Without events the fd is not watched at all: poll(2) would report a hang-up without end.
    if (events === 0) this.poller.remove(this.fd);
    else if (this.watched === 0) this.poller.add(this.fd, events, () => this.ready());
    else this.poller.modify(this.fd, events);
    this.watched = events;
  }

  private ready(): void {
    try {
      this.flush();
    } catch (error) {
      this.end(this.asReason(error));
      return;
    }
    if (!this.busy && this.output.length === 0) void this.readAll();
    else this.watch();
  }

  private async readAll(): Promise<void> {
    this.busy = true;
    try {
      for (let count = 1; !this.ended && this.output.length === 0; count++) {
        const message = this.readMessage();
        if (!message) break;
        await this.deliver(message);
        if (count % messagesAtOnce === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      this.end(this.asReason(error));
    }
    this.busy = false;
    if (this.ended) this.notify();
    else this.watch();
  }

  private async deliver(message: Message): Promise<void> {
    try {
      if (message.flags & FLAG_REPLY) this.reply(message);
      else await this.options.onMessage(message);
    } finally {
      message.fds.splice(0).forEach(close);
    }
  }

  private reply(message: Message): void {
    const call = this.calls[0];
    if (call?.request !== message.request) {
      const wanted = call ? `to ${requestName(call.request)}` : "to nothing";
      throw this.violation(
        "VHOST_REPLY",
        `a reply to ${requestName(message.request)}, where one ${wanted} is due`,
      );
    }
    this.calls.shift();
    clearTimeout(call.timer);
    call.resolve(message);
  }

  /** The next whole message; undefined if it is not there yet. Reads no byte beyond it, so that fds are its own. */
  private readMessage(): Message | undefined {
    while (this.headerBytes < HEADER_BYTES) {
      const bytes = this.receive(this.header.subarray(this.headerBytes));
      if (bytes === undefined) return undefined;
      this.headerBytes += bytes;
    }
    this.payload ??= this.checkHeader();
    while (this.payloadBytes < this.payload.length) {
      const bytes = this.receive(this.payload.subarray(this.payloadBytes));
      if (bytes === undefined) return undefined;
      this.payloadBytes += bytes;
    }
    const { payload, fds } = this;
    this.payload = undefined;
    this.headerBytes = this.payloadBytes = 0;
    this.fds = [];
    return { request: this.header.readUInt32LE(0), flags: this.header.readUInt32LE(4), payload, fds };
  }

  private checkHeader(): Buffer {
    const request = requestName(this.header.readUInt32LE(0));
    const version = this.header.readUInt32LE(4) & VERSION_MASK;
    const size = this.header.readUInt32LE(8);
    if (version !== VERSION)
      throw this.violation("VHOST_VERSION", `${request}: version ${version}, not ${VERSION}`);
    if (size > PAYLOAD_BYTES_MAX) {
      throw this.violation(
        "VHOST_SIZE",
        `${request}: a payload of ${size} bytes, ${PAYLOAD_BYTES_MAX} are the most`,
      );
    }
    return Buffer.alloc(size);
  }

  private receive(into: Buffer): number | undefined {
    const received = recvmsg(this.fd, into, MESSAGE_FDS_MAX);
    if (!received) return undefined;
    this.fds.push(...received.fds);
    if (received.truncated || this.fds.length > MESSAGE_FDS_MAX) {
      const detail = `a message with more than ${MESSAGE_FDS_MAX} fds, or this process has no room for them`;
      const fix = "check that the peer speaks vhost-user; raise the limit of open files: ulimit -n 65536";
      throw new PollmodeError("VHOST_FDS", `vhost-user ${this.name}: ${detail}`, fix);
    }
    if (received.bytes > 0) return received.bytes;
    const where = this.headerBytes > 0 ? " within a message" : "";
    const message = `vhost-user ${this.name}: the peer has closed the connection${where}`;
    throw new PollmodeError("VHOST_DISCONNECTED", message, "start the peer again");
  }

  private end(reason: PollmodeError | undefined): void {
    if (this.ended) return;
    this.ended = true;
    this.reason = reason;
    this.watch();
    this.closeFd();
    this.fds.splice(0).forEach(close);
    for (const { fds } of this.output.splice(0)) fds.forEach(close);
    for (const call of this.calls.splice(0)) {
      clearTimeout(call.timer);
      call.reject(reason ?? this.closedError(call.request));
    }
    if (!this.busy) this.notify();
  }

  private closeFd(): void {
    try {
      close(this.fd);
    } catch {
      // somebody else has closed it: there is nothing left to do
    }
  }

  /** Not from within the caller of `end`, who is not done yet. */
  private notify(): void {
    queueMicrotask(() => {
      try {
        this.options.onClose(this.reason);
      } catch {
        // the owner's own failure: the connection is closed all the same
      }
    });
  }
}
