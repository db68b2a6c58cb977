// Where captured blocks go: a file, a ring of files as tcpdump makes them, standard output, or a stream of a program.
import { closeSync, constants, fstatSync, openSync, write as writeFd } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Writable } from "node:stream";
import { isatty } from "node:tty";
import { promisify } from "node:util";
import { PollmodeError } from "../errors.ts";
import { POLLERR, POLLHUP } from "../libc/abi.ts";
import { poll, sendmsg } from "../libc/libc.ts";
import { libc } from "../libc/native.ts";

export interface CaptureOutput {
  /** Bytes that the file at hand takes before it is full; at least 1. */
  readonly room: number;
  /** Whether the next packet belongs into another file. */
  readonly due: boolean;
  /** Whether the capture ends when the file at hand does. */
  readonly last: boolean;
  /** Whether nobody reads it any more; told also while there is nothing to write. */
  readonly gone: boolean;
  /** Begins the first or the next file. */
  next(): Promise<void>;
  /** All of `bytes`, which may be used anew when it has resolved. */
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** The program that reads what we write has gone: a capture's ordinary end. */
export class ReaderGone extends Error {
  override name = "ReaderGone";
}

function asFault(name: string, error: unknown): Error {
  const code = (error as NodeJS.ErrnoException).code ?? "EIO";
  if (code === "EPIPE" || code === "ECONNRESET") return new ReaderGone(`${name}: nobody reads it any more`);
  const fixes: Record<string, string> = {
    ENOSPC: "free space, capture less (-f, -s, -c), or keep a ring of files: -C 100 -W 10",
    ENOENT: "make the folder first",
    EACCES: "choose a file that you may write",
    EISDIR: "name a file",
  };
  const why = error instanceof Error ? error.message : String(error);
  return new PollmodeError(
    "CAPTURE_OUTPUT",
    `capture file ${name}: ${why}`,
    fixes[code] ?? "choose another file",
    {
      cause: error,
    },
  );
}

export interface FileRing {
  /** -C: a file that has more is full. */
  readonly bytes?: number | undefined;
  /** -G: a file is for so long; its name is a template of strftime(3). */
  readonly seconds?: number | undefined;
  /** -W: with `bytes`, files are used again after so many; with `seconds` alone the capture ends after so many. */
  readonly files?: number | undefined;
}

/** Files, named as tcpdump(8) says under -C, -G and -W. */
export class FileOutput implements CaptureOutput {
  readonly gone = false;
  private readonly template: string;
  private readonly ring: FileRing;
  private file: FileHandle | undefined;
  private name = "";
  private written = 0;
  private begunMs = 0;
  private count = -1;
  private periods = 0;

  constructor(template: string, ring: FileRing = {}) {
    this.template = template;
    this.ring = ring;
  }

  get room(): number {
    const { bytes } = this.ring;
    return bytes === undefined ? Number.POSITIVE_INFINITY : Math.max(1, bytes - this.written + 1);
  }
  private get full(): boolean {
    return this.written > (this.ring.bytes ?? Number.POSITIVE_INFINITY);
  }
  private get old(): boolean {
    return Date.now() - this.begunMs >= (this.ring.seconds ?? Number.POSITIVE_INFINITY) * 1000;
  }
  get due(): boolean {
    return this.full || this.old;
  }
  get last(): boolean {
    const { bytes, seconds, files } = this.ring;
    return bytes === undefined && seconds !== undefined && files !== undefined && this.periods >= files;
  }

  async next(): Promise<void> {
    const { seconds, files, bytes } = this.ring;
    if (this.begunMs === 0 || this.old) {
      this.begunMs = Date.now();
      this.periods++;
      this.count = 0;
    } else this.count++;
    if (bytes !== undefined && seconds === undefined && files !== undefined) this.count %= files;
    const stem = seconds === undefined ? this.template : strftime(this.template, this.begunMs);
    const digits = bytes === undefined || files === undefined ? 0 : String(files - 1).length;
    this.name = this.count === 0 && digits === 0 ? stem : stem + String(this.count).padStart(digits, "0");
    await this.close();
    try {
      this.file = await open(this.name, "w");
    } catch (error) {
      throw asFault(this.name, error);
    }
    this.written = 0;
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length; ) at += (await this.file!.write(bytes, at)).bytesWritten;
    } catch (error) {
      throw asFault(this.name, error);
    }
    this.written += bytes.length;
  }

  async close(): Promise<void> {
    const { file } = this;
    this.file = undefined;
    await file?.close();
  }
}

/** struct tm of glibc has 56 bytes; the longest name a file can have is 255. */
const c = {
  localtime: libc.func("void *localtime_r(void *, void *)"),
  strftime: libc.func("size_t strftime(void *, size_t, const char *, void *)"),
};

function strftime(template: string, ms: number): string {
  const seconds = Buffer.alloc(8);
  seconds.writeBigInt64LE(BigInt(Math.floor(ms / 1000)));
  const tm = Buffer.alloc(64);
  c.localtime(seconds, tm);
  const text = Buffer.alloc(4096);
  return text.subarray(0, Number(c.strftime(text, text.length, template, tm))).toString();
}

abstract class OneStream implements CaptureOutput {
  readonly room = Number.POSITIVE_INFINITY;
  readonly due = false;
  readonly last = false;
  abstract readonly gone: boolean;
  async next(): Promise<void> {}
  abstract write(bytes: Uint8Array): Promise<void>;
  async close(): Promise<void> {}
}

/** A stream of the program's own. It is not ended: it is the program's. */
export class StreamOutput extends OneStream {
  private readonly stream: Writable;

  constructor(stream: Writable) {
    super();
    this.stream = stream;
  }

  get gone(): boolean {
    return this.stream.destroyed || this.stream.writableEnded;
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const stream = this.stream;
      const failed = (error?: Error | null) =>
        reject(asFault("(stream)", error ?? new Error("it was closed")));
      const gone = () => reject(new ReaderGone("(stream): it was closed"));
      if (this.gone) return gone();
      stream.once("error", failed);
      stream.once("close", gone);
      // a copy: a stream may keep what it is given
      stream.write(Buffer.from(bytes), (error) => {
        stream.off("error", failed);
        stream.off("close", gone);
        if (error) failed(error);
        else resolve();
      });
    });
  }
}

const retryMs = 2;
const pause = () => new Promise<void>((resolve) => setTimeout(resolve, retryMs));
const write = promisify(writeFd);

/**
 * Standard output. It is never waited for in a system call, so that Ctrl-C works whatever the reader does: a pipe is
 * opened anew without blocking (its other users keep theirs as it is), a socket is sent to.
 */
export class StandardOutput extends OneStream {
  private readonly fd: number;
  private readonly socket: boolean;
  private readonly own: boolean;
  private ended = false;

  constructor() {
    super();
    if (isatty(1)) {
      const message = "standard output is a terminal, and packets are no text";
      throw new PollmodeError("CAPTURE_OUTPUT", message, "pipe it: pollmode capture 0 -w - | tshark -i -");
    }
    const stat = fstatSync(1);
    this.socket = stat.isSocket();
    this.own = stat.isFIFO();
    this.fd = this.own ? openSync("/proc/self/fd/1", constants.O_WRONLY | constants.O_NONBLOCK) : 1;
  }

  /** poll(2) tells of a pipe's or socket's closed other end without being asked for it. */
  get gone(): boolean {
    const [events = 0] = poll([{ fd: this.fd, events: 0 }], 0);
    return (events & (POLLERR | POLLHUP)) !== 0;
  }

  /** What is still to be written is given up. */
  abandon(): void {
    this.ended = true;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const rest = bytes.subarray(at);
      const sent = await this.attempt(rest);
      if (sent === undefined) {
        if (this.ended) throw new ReaderGone("standard output: nobody reads it");
        await pause();
      } else at += sent;
    }
  }

  private async attempt(bytes: Uint8Array): Promise<number | undefined> {
    try {
      if (this.socket) return sendmsg(this.fd, bytes);
      return (await write(this.fd, bytes)).bytesWritten;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return undefined;
      throw asFault("standard output", error);
    }
  }

  override async close(): Promise<void> {
    if (this.own) closeSync(this.fd);
  }
}
