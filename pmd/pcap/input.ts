// A receive queue that reads a file: opened with the port's start, from its beginning, and closed with its stop.
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import type { PollmodeError } from "../../src/errors.ts";
import type { DriverContext } from "../../src/ethdev/driver.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import { PAGE_BYTES, PCAP_INTERFACES_MAX, PCAP_KEPT_BYTES_MAX, PCAP_WINDOW_BYTES } from "../../src/limits.ts";
import type { Range } from "../../src/memory/ranges.ts";
import { readU32 } from "../../src/pcap/bytes.ts";
import { captureFault } from "../../src/pcap/fault.ts";
import { FileHeader, LinkType } from "../../src/pcap/format.ts";
import { fileFormat } from "../../src/pcap/reader.ts";
import { readFaultError } from "./faults.ts";
import { fileError } from "./file-error.ts";
import { Interface, Loops, PcapRx, ReadFault, ReadState } from "./layout.ts";

export interface InputPlan {
  /** `net_pcap0, rx 1`: for messages. */
  readonly name: string;
  readonly index: number;
  readonly path: string;
  /** Passes over the file; Infinity for no end. */
  readonly loops: number;
  readonly pace: boolean;
}

export class InputQueue {
  readonly block: QueueBlock;
  private readonly context: DriverContext;
  private readonly plan: InputPlan;
  private readonly interfaces: number;
  private fd: number | undefined;
  private window: Range | undefined;
  private told = false;

  constructor(context: DriverContext, plan: InputPlan) {
    this.context = context;
    this.plan = plan;
    this.block = new QueueBlock(context.private, `${plan.name} of net_pcap`, 0, plan.index);
    const bytes = PCAP_INTERFACES_MAX * Interface.BYTES;
    try {
      this.interfaces = context.private.allocate(`interfaces of ${plan.name}`, bytes);
    } catch (error) {
      this.block.free();
      throw error;
    }
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
    const { name, path, loops, pace } = this.plan;
    this.fd = openInput(name, path);
    const stat = fstatSync(this.fd);
    const keep = loops > 1 && stat.isFile() && stat.size < PCAP_KEPT_BYTES_MAX;
    // one byte more than the file has: its end is seen without sliding
    const bytes = keep ? Math.max(PCAP_WINDOW_BYTES, stat.size + 1) : PCAP_WINDOW_BYTES;
    try {
      this.window = arena.reserve(`window of ${name}`, bytes, PAGE_BYTES);
    } catch (error) {
      this.stop();
      throw error;
    }
    const { block } = this;
    arena.u8.fill(0, block.offset + PcapRx.FD, block.offset + PcapRx.KEEP + 4);
    block.set(PcapRx.FD, this.fd);
    block.set(PcapRx.WINDOW, this.window.start);
    block.set(PcapRx.WINDOW_BYTES, this.window.bytes);
    block.set(PcapRx.KEEP, keep ? 1 : 0);
    block.set(PcapRx.LOOPS_LEFT, loops === Number.POSITIVE_INFINITY ? Loops.FOREVER >>> 0 : loops - 1);
    block.set(PcapRx.PACE, pace ? 1 : 0);
    block.set(PcapRx.INTERFACES, this.interfaces);
    block.set(PcapRx.INTERFACES_MAX, PCAP_INTERFACES_MAX);
    this.told = false;
    block.run(QueueKind.PCAP);
  }

  /** No lcore is in the queue any more. */
  stop(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    if (this.window) this.context.arena.release(this.window);
    this.fd = undefined;
    this.window = undefined;
  }

  free(): void {
    this.block.free();
    this.context.private.free(this.interfaces);
  }

  /** Whether nothing more will come: the file was read as often as asked, or is at fault. */
  get ended(): boolean {
    return this.fd !== undefined && this.block.get(PcapRx.STATE) !== ReadState.READING;
  }

  /** What is wrong with the file, once. */
  takeFault(): PollmodeError | undefined {
    if (this.told || this.fd === undefined || this.block.get(PcapRx.STATE) !== ReadState.FAILED)
      return undefined;
    this.told = true;
    const { name, path } = this.plan;
    const [fault, value] = [this.block.get(PcapRx.FAULT), this.block.get(PcapRx.FAULT_ARG)];
    return readFaultError(`${name}: ${path}`, fault, value, this.position);
  }

  /** Bytes of the file before the next record, or before the one that is at fault. */
  private get position(): number {
    return this.counter(PcapRx.BASE) + this.block.get(PcapRx.POS);
  }

  private counter(word: number): number {
    return this.context.arena.f64[(this.block.offset + word) >>> 3]!;
  }

  xstats(): Record<string, number> {
    const name = `rx_q${this.plan.index}`;
    return {
      [`${name}_passes`]: this.counter(PcapRx.LOOPS),
      [`${name}_file_ended`]: this.ended ? 1 : 0,
      [`${name}_other_link_type`]: this.counter(PcapRx.FOREIGN),
    };
  }
}

/** Never waits for a FIFO's writer, nor for its bytes. */
function openInput(name: string, path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw fileError(name, path, "open", cause);
  }
}

/** Throws if the file cannot be read, or is none of packets of an Ethernet. Of a FIFO nothing is read yet. */
export function checkInput({ name, path, loops }: InputPlan): Stats {
  const where = `${name}: ${path}`;
  let stat: Stats;
  try {
    stat = statSync(path);
  } catch (cause) {
    throw fileError(name, path, "open", cause);
  }
  if (stat.isDirectory()) throw captureFault(where, "PCAP_FORMAT", "a directory", 0);
  if (!stat.isFile()) {
    if (loops > 1) throw captureFault(where, "PCAP_LOOPS", "no file, so it can be read only once", 0);
    return stat;
  }
  const fd = openInput(name, path);
  try {
    const head = Buffer.alloc(FileHeader.BYTES);
    const bytes = head.subarray(0, readSync(fd, head, 0, head.length, 0));
    if (bytes.length === 0) throw readFaultError(where, ReadFault.EMPTY, 0, 0);
    const found = fileFormat(bytes);
    if (!found && bytes.length >= 4)
      throw readFaultError(where, ReadFault.NOT_CAPTURE, bytes.readUInt32LE(0), 0);
    if (bytes.length < head.length) throw readFaultError(where, ReadFault.TRUNCATED, bytes.length, 0);
    if (!found || found.format === "pcapng") return stat;
    const linkType = readU32(bytes, FileHeader.LINKTYPE, found.bigEndian) & 0xffff;
    if (linkType !== LinkType.ETHERNET) throw readFaultError(where, ReadFault.LINK_TYPE, linkType, 0);
    return stat;
  } finally {
    closeSync(fd);
  }
}
