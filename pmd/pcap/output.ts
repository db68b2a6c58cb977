// A transmit queue that writes a file: begun anew with the port's start, finished with its stop.
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  type Stats,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { PollmodeError } from "../../src/errors.ts";
import type { DriverContext } from "../../src/ethdev/driver.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { Queue, QueueKind } from "../../src/hot/layout.ts";
import { PAGE_BYTES, PCAP_BATCH_BYTES, PCAP_DRAIN_MS } from "../../src/limits.ts";
import type { Range } from "../../src/memory/ranges.ts";
import { Record as PcapRecord } from "../../src/pcap/format.ts";
import { pcapHeader } from "../../src/pcap/pcap.ts";
import { interfaceDescription, sectionHeader } from "../../src/pcap/pcapng.ts";
import type { OutputFormat } from "./arguments.ts";
import { fileError } from "./file-error.ts";
import { Errno, PcapTx, WriteFormat } from "./layout.ts";

const FORMATS = { pcap: WriteFormat.NANO, "pcap-us": WriteFormat.MICRO, pcapng: WriteFormat.PCAPNG } as const;

export interface OutputPlan {
  /** `net_pcap0, tx 1`: for messages. */
  readonly name: string;
  readonly index: number;
  readonly path: string;
  readonly format: OutputFormat;
  /** Bytes kept of a frame. */
  readonly snaplen: number;
}

export class OutputQueue {
  readonly block: QueueBlock;
  private readonly context: DriverContext;
  private readonly plan: OutputPlan;
  private fd: number | undefined;
  private batch: Range | undefined;
  /** The errno that was told last. */
  private told = 0;

  constructor(context: DriverContext, plan: OutputPlan) {
    this.context = context;
    this.plan = plan;
    this.block = new QueueBlock(context.private, `${plan.name} of net_pcap`, 0, plan.index);
  }

  get offset(): number {
    return this.block.offset;
  }

  /** Keeps the lcore out; the caller waits for it, and then stops the queue. */
  halt(): void {
    this.block.halt();
  }

  start(): void {
    const { arena } = this.context;
    const { name, path, format, snaplen } = this.plan;
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NONBLOCK;
    let head: Buffer;
    try {
      this.fd = openSync(path, flags, 0o666);
      head = this.header();
      writeSync(this.fd, head);
      this.batch = arena.reserve(`batch of ${name}`, PCAP_BATCH_BYTES, PAGE_BYTES);
    } catch (cause) {
      this.release();
      throw cause instanceof PollmodeError ? cause : fileError(name, path, "write", cause);
    }
    const { block } = this;
    arena.u8.fill(0, block.offset + PcapTx.FD, block.offset + PcapTx.EPOCH_MS + 8);
    block.set(PcapTx.FD, this.fd);
    block.set(PcapTx.BATCH, this.batch.start);
    block.set(PcapTx.BATCH_BYTES, this.batch.bytes);
    block.set(PcapTx.FORMAT, FORMATS[format]);
    block.set(PcapTx.SNAPLEN, snaplen);
    this.setCounter(PcapTx.WRITTEN, head.length);
    // The lcores' clock counts from performance.timeOrigin, as this thread's does.
    const seconds = Math.floor(performance.timeOrigin / 1000);
    block.set(PcapTx.EPOCH_SECONDS, seconds);
    this.setCounter(PcapTx.EPOCH_MS, performance.timeOrigin - seconds * 1000);
    this.told = 0;
    block.run(QueueKind.PCAP);
  }

  private header(): Buffer {
    const { format, snaplen, name } = this.plan;
    if (format !== "pcapng") return pcapHeader({ micro: format === "pcap-us", snaplen });
    const section = sectionHeader({ application: "pollmode" });
    return Buffer.concat([section, interfaceDescription({ name, snaplen, tsresol: 9 })]);
  }

  /** No lcore is in the queue any more: writes out what is left. Returns what went wrong. */
  async stop(): Promise<PollmodeError | undefined> {
    try {
      return await this.finish();
    } finally {
      this.release();
    }
  }

  private async finish(): Promise<PollmodeError | undefined> {
    const { fd, block, batch } = this;
    if (fd === undefined || !batch) return undefined;
    const { u8 } = this.context.arena;
    const fill = block.get(PcapTx.FILL);
    let done = block.get(PcapTx.DONE);
    for (const deadline = performance.now() + PCAP_DRAIN_MS; done < fill; ) {
      try {
        done += writeSync(fd, u8.subarray(batch.start + done, batch.start + fill));
      } catch (cause) {
        const again = (cause as NodeJS.ErrnoException).code === "EAGAIN" && performance.now() < deadline;
        if (!again) return this.giveUp(fd, batch, fill, done, cause);
        await pause(5); // a FIFO whose reader is slow
      }
    }
    block.set(PcapTx.FILL, 0);
    block.set(PcapTx.DONE, 0);
    return undefined;
  }

  /** Cuts the file behind its last whole record. The packets behind that are errors. */
  private giveUp(fd: number, batch: Range, fill: number, done: number, cause: unknown): PollmodeError {
    const { plan, block } = this;
    const { ends, lost } = this.records(batch, fill, done);
    const packets = this.counter(Queue.PACKETS);
    this.setCounter(Queue.PACKETS, Math.max(0, packets - lost));
    this.setCounter(Queue.ERRORS, this.counter(Queue.ERRORS) + lost);
    block.set(PcapTx.FILL, 0);
    block.set(PcapTx.DONE, 0);
    try {
      if (fstatSync(fd).isFile()) ftruncateSync(fd, this.counter(PcapTx.WRITTEN) + ends);
    } catch {
      // the file keeps the beginning of a record; what failed before is what matters
    }
    return fileError(plan.name, plan.path, `${lost} packets were not written to`, cause);
  }

  /** Where the last record ends of which all was written, in the batch, and how many there are behind it. */
  private records(batch: Range, fill: number, done: number): { ends: number; lost: number } {
    const view = new DataView(this.context.arena.memory.buffer, batch.start, batch.bytes);
    const size = (at: number) =>
      this.plan.format === "pcapng"
        ? view.getUint32(at + 4, true)
        : PcapRecord.BYTES + view.getUint32(at + PcapRecord.CAPTURED, true);
    let ends = 0;
    let lost = 0;
    for (let at = 0; at < fill; at += size(at)) {
      if (at + size(at) <= done) ends = at + size(at);
      else lost++;
    }
    return { ends, lost };
  }

  private release(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    if (this.batch) this.context.arena.release(this.batch);
    this.fd = undefined;
    this.batch = undefined;
  }

  free(): void {
    this.block.free();
  }

  /** Why the file does not take more, once for each reason. That a FIFO is full is none. */
  takeFault(): PollmodeError | undefined {
    const errno = this.fd === undefined ? 0 : this.block.get(PcapTx.ERRNO);
    if (errno === this.told || errno === Errno.EAGAIN) return undefined;
    this.told = errno;
    return errno === 0 ? undefined : fileError(this.plan.name, this.plan.path, "write", errno);
  }

  xstats(): Record<string, number> {
    const name = `tx_q${this.plan.index}`;
    return {
      [`${name}_file_bytes`]: this.counter(PcapTx.WRITTEN) + this.block.get(PcapTx.DONE),
      [`${name}_cut_packets`]: this.counter(PcapTx.CUT),
    };
  }

  private counter(word: number): number {
    return this.context.arena.f64[(this.block.offset + word) >>> 3]!;
  }
  private setCounter(word: number, value: number): void {
    this.context.arena.f64[(this.block.offset + word) >>> 3] = value;
  }
}

/** Throws if the file cannot be written. It is left as it is: only the port's start begins it anew. */
export function checkOutput({ name, path }: OutputPlan): Stats | undefined {
  try {
    const stat = statSync(path);
    accessSync(path, constants.W_OK);
    if (stat.isDirectory()) throw Object.assign(new Error("a directory"), { code: "EISDIR" });
    return stat;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw fileError(name, path, "open", cause);
  }
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
    return undefined;
  } catch (cause) {
    throw fileError(name, path, "open", cause);
  }
}
