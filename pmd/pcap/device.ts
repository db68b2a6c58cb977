// net_pcap, control side: ports whose packets come from files and go into files, in pcap and pcapng. Arguments as
// DPDK's: docs/pcap.md.
import type { Devargs } from "../../src/eal/devargs.ts";
import { PollmodeError } from "../../src/errors.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  DeviceInfo,
  DeviceStats,
  Driver,
  DriverContext,
  EthDevice,
  LinkStatus,
} from "../../src/ethdev/driver.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import { PCAP_FRAME_BYTES_MAX, PCAP_WATCH_INTERVAL_MS } from "../../src/limits.ts";
import { Null } from "../null/hot.ts";
import { type PcapArguments, pcapUsage, readArguments } from "./arguments.ts";
import { IfaceQueue } from "./iface.ts";
import { checkInput, type InputPlan, InputQueue } from "./input.ts";
import { checkOutput, type OutputPlan, OutputQueue } from "./output.ts";

export const pcapDriver: Driver = {
  name: "net_pcap",
  usage: pcapUsage,
  probe: async (devargs, context, events) => {
    const device = new PcapDevice(devargs, context, events);
    await device.open();
    return device;
  },
};

/** Ports made by this process: DPDK's addresses count them in the last byte. */
let made = 0;

type RxQueue = InputQueue | IfaceQueue | IdleQueue;
type TxQueue = OutputQueue | IfaceQueue | IdleQueue;

class PcapDevice implements EthDevice {
  readonly info: DeviceInfo;
  private readonly name: string;
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly args: PcapArguments;
  /** 02, then "pcap", as DPDK. */
  private readonly ownMac = Uint8Array.of(0x02, 0x70, 0x63, 0x61, 0x70, made++ & 0xff);
  /** Queues on interfaces, by their numbers: they are there from probe to close. */
  private readonly rxIfaces: IfaceQueue[] = [];
  private readonly txIfaces: IfaceQueue[] = [];
  private rx: RxQueue[] = [];
  private tx: TxQueue[] = [];
  private watch: NodeJS.Timeout | undefined;
  /** All input files were read to their ends, and that was told. */
  private ended = false;

  constructor(devargs: Devargs, context: DriverContext, events: DeviceEvents) {
    this.name = devargs.name;
    this.context = context;
    this.events = events;
    this.args = readArguments(devargs);
    this.checkFiles();
    this.info = {
      driver: "net_pcap",
      rxQueuesMax: this.args.sources.length,
      txQueuesMax: this.args.sinks.length,
      frameBytesMax: PCAP_FRAME_BYTES_MAX,
    };
  }

  /** Opens the interfaces. */
  async open(): Promise<void> {
    const { sources, sinks } = this.args;
    const { context, name: port } = this;
    const events = { link: () => this.events.link(this.link()), error: this.events.error };
    try {
      for (const [index, source] of sources.entries()) {
        if (source.kind !== "iface") continue;
        const plan = { port, index, way: "rx", iface: source.name, outgoing: source.outgoing } as const;
        this.rxIfaces.push(await IfaceQueue.open(context, events, plan));
      }
      for (const [index, sink] of sinks.entries()) {
        if (sink.kind !== "iface") continue;
        const plan = { port, index, way: "tx", iface: sink.name, outgoing: false } as const;
        this.txIfaces.push(await IfaceQueue.open(context, events, plan));
      }
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  get mac(): Uint8Array {
    return this.args.phyMac ? this.rxIfaces[0]!.device.mac : this.ownMac;
  }

  private inputPlan(index: number, path: string): InputPlan {
    const { loops, pace } = this.args;
    return { name: `${this.name}, rx ${index}`, index, path, loops, pace };
  }

  private outputPlan(index: number, sink: { path: string; format: OutputPlan["format"] }): OutputPlan {
    const { path, format } = sink;
    return { name: `${this.name}, tx ${index}`, index, path, format, snaplen: this.args.snaplen };
  }

  /** Every file can be opened, and none is written that another queue of the port reads or writes. */
  private checkFiles(): void {
    const { sources, sinks } = this.args;
    const known = new Map<string, string>();
    sources.forEach((source, k) => {
      if (source.kind !== "file") return;
      const { dev, ino } = checkInput(this.inputPlan(k, source.path));
      known.set(`${dev}:${ino}`, source.path);
    });
    sinks.forEach((sink, k) => {
      if (sink.kind !== "file") return;
      const stat = checkOutput(this.outputPlan(k, sink));
      const key = stat ? `${stat.dev}:${stat.ino}` : sink.path;
      const other = known.get(key);
      known.set(key, sink.path);
      if (other === undefined || stat?.isCharacterDevice()) return;
      const message = `${this.name}: tx_pcap=${sink.path} is a file that another queue has: ${other}`;
      throw new PollmodeError("PCAP_SAME_FILE", message, "give each queue a file of its own to write");
    });
  }

  get rxQueues(): number[] {
    return this.rx.map(({ offset }) => offset);
  }
  get txQueues(): number[] {
    return this.tx.map(({ offset }) => offset);
  }

  async configure(config: DeviceConfig): Promise<void> {
    this.release();
    const { sources, sinks } = this.args;
    const { context } = this;
    for (const queue of [...this.rxIfaces, ...this.txIfaces]) await queue.configure();
    for (const [k, source] of sources.slice(0, config.rxQueues).entries()) {
      if (source.kind === "file") this.rx.push(new InputQueue(context, this.inputPlan(k, source.path)));
      else this.rx.push(this.rxIfaces[k] ?? new IdleQueue(context, `${this.name}, rx ${k}`, k));
    }
    for (const [k, sink] of sinks.slice(0, config.txQueues).entries()) {
      if (sink.kind === "file") this.tx.push(new OutputQueue(context, this.outputPlan(k, sink)));
      else this.tx.push(this.txIfaces[k] ?? new IdleQueue(context, `${this.name}, tx ${k}`, k));
    }
  }

  async start(): Promise<void> {
    const started: (RxQueue | TxQueue)[] = [];
    try {
      for (const queue of [...this.rx, ...this.tx]) {
        await queue.start();
        started.push(queue);
      }
    } catch (error) {
      for (const queue of started) queue.halt();
      await this.context.quiesce();
      for (const queue of started) await queue.stop();
      throw error;
    }
    this.ended = false;
    this.watch = setInterval(() => this.look(), PCAP_WATCH_INTERVAL_MS);
    this.watch.unref();
  }

  /** Tells what happened to the files since the last look. */
  private look(): void {
    for (const queue of [...this.rx, ...this.tx]) {
      const fault = queue.takeFault();
      if (fault) this.events.error(fault);
    }
    const inputs = this.rx.filter((queue) => queue instanceof InputQueue);
    if (this.ended || inputs.length === 0 || !inputs.every((queue) => queue.ended)) return;
    this.ended = true;
    this.events.end?.();
  }

  async stop(): Promise<void> {
    clearInterval(this.watch);
    this.watch = undefined;
    for (const queue of [...this.rx, ...this.tx]) queue.halt();
    await this.context.quiesce();
    this.look();
    for (const queue of [...this.rx, ...this.tx]) {
      const fault = await queue.stop();
      if (fault) this.events.error(fault);
    }
  }

  async close(): Promise<void> {
    this.release();
    for (const { device } of [...this.rxIfaces, ...this.txIfaces]) await device.close();
  }

  private release(): void {
    for (const queue of [...this.rx, ...this.tx]) queue.free();
    this.rx = [];
    this.tx = [];
  }

  /** Of files: up while the port runs. Of interfaces: as theirs. */
  link(): LinkStatus {
    const ifaces = [...this.rxIfaces, ...this.txIfaces].map((queue) => queue.link());
    const status = ifaces[0] ?? { up: true, speed: 10_000, duplex: "full" };
    return { ...status, up: this.watch !== undefined && ifaces.every(({ up }) => up) };
  }

  stats(): DeviceStats {
    const rxMissed = this.rxIfaces.reduce((sum, queue) => sum + queue.stats().rxMissed, 0);
    return { rxMissed, rxErrors: 0, txErrors: 0 };
  }

  clearStats(): void {
    for (const { device } of this.rxIfaces) device.clearStats?.();
  }

  xstats(): Record<string, number> {
    return Object.assign({}, ...[...this.rx, ...this.tx].map((queue) => queue.xstats()));
  }
}

/** The side that no argument names: it receives nothing, and drops what it is to send. */
class IdleQueue {
  private readonly block: QueueBlock;

  constructor(context: DriverContext, name: string, index: number) {
    this.block = new QueueBlock(context.private, `${name} of net_pcap`, 0, index);
    this.block.set(Null.NO_RX, 1);
  }

  get offset(): number {
    return this.block.offset;
  }
  start(): void {
    this.block.run(QueueKind.NULL);
  }
  halt(): void {
    this.block.halt();
  }
  stop(): void {}
  takeFault(): undefined {}
  xstats(): Record<string, number> {
    return {};
  }
  free(): void {
    this.block.free();
  }
}
