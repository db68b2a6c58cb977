// net_null, control side. Arguments as DPDK's: size (64), copy (0), no-rx (0).
import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import type { DeviceConfig, Driver, DriverContext, EthDevice, LinkStatus } from "../../src/ethdev/driver.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import { QUEUES_MAX } from "../../src/limits.ts";
import { Null } from "./hot.ts";

export const nullDriver: Driver = {
  name: "net_null",
  usage: "size=64,copy=0|1,no-rx=0|1",
  probe: async (devargs, context) => new NullDevice(devargs, context),
};

class NullDevice implements EthDevice {
  readonly info;
  readonly mac = Uint8Array.of(0x02, 0, 0, 0, 0, 0);
  private readonly context: DriverContext;
  private readonly size: number;
  private readonly copy: boolean;
  private readonly noRx: boolean;
  private readonly dummy: number;
  private rx: QueueBlock[] = [];
  private tx: QueueBlock[] = [];
  private up = false;

  constructor(devargs: Devargs, context: DriverContext) {
    const reader = new DevargsReader(devargs);
    this.size = reader.integer("size", { default: 64, min: 14, max: context.pool.dataRoom });
    this.copy = reader.flag01("copy", { default: false });
    this.noRx = reader.flag01("no-rx", { default: false });
    reader.end();
    this.context = context;
    this.info = {
      driver: "net_null",
      rxQueuesMax: QUEUES_MAX,
      txQueuesMax: QUEUES_MAX,
      frameBytesMax: context.pool.dataRoom,
    };
    this.dummy = context.private.allocate("dummy packet of net_null", context.pool.dataRoom);
  }

  get rxQueues(): number[] {
    return this.rx.map((queue) => queue.offset);
  }
  get txQueues(): number[] {
    return this.tx.map((queue) => queue.offset);
  }

  async configure(config: DeviceConfig): Promise<void> {
    this.release();
    this.rx = this.queues("rx", config.rxQueues);
    this.tx = this.queues("tx", config.txQueues);
  }

  private queues(way: string, count: number): QueueBlock[] {
    return Array.from({ length: count }, (_, index) => {
      const queue = new QueueBlock(this.context.private, `${way} queue ${index} of net_null`, 0, index);
      queue.set(Null.SIZE, this.size);
      queue.set(Null.COPY, this.copy ? 1 : 0);
      queue.set(Null.NO_RX, this.noRx ? 1 : 0);
      queue.set(Null.DUMMY, this.dummy);
      return queue;
    });
  }

  async start(): Promise<void> {
    for (const queue of [...this.rx, ...this.tx]) queue.run(QueueKind.NULL);
    this.up = true;
  }

  async stop(): Promise<void> {
    for (const queue of [...this.rx, ...this.tx]) queue.halt();
    this.up = false;
    await this.context.quiesce();
  }

  async close(): Promise<void> {
    this.release();
    this.context.private.free(this.dummy);
  }

  private release(): void {
    for (const queue of [...this.rx, ...this.tx]) queue.free();
    this.rx = [];
    this.tx = [];
  }

  link(): LinkStatus {
    return { up: this.up, speed: 10_000, duplex: "full" };
  }
}
