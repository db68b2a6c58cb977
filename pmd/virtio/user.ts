// net_virtio_user: a virtio-net driver whose device is a vhost-user backend at the other end of a socket (DPDK's vhost,
// our net_vhost, a switch such as OVS-DPDK or VPP). Arguments as DPDK's net_virtio_user.
//
//   connect -> negotiate -> share memory -> vrings -> enable -> link up
//   peer gone: link down, queues halted, mbufs back to the pool, then connect again every 100 ms
import { closeSync } from "node:fs";
import type { InterruptLine } from "../../src/bus/pci-function.ts";
import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import { PollmodeError } from "../../src/errors.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  Driver,
  DriverContext,
  EthDevice,
  LinkStatus,
} from "../../src/ethdev/driver.ts";
import { RxInterrupts } from "../../src/ethdev/rx-interrupts.ts";
import { eventfd } from "../../src/libc/libc.ts";
import {
  QUEUES_MAX,
  RECONNECT_INTERVAL_MS,
  RING_SIZE_DEFAULT,
  RING_SIZE_MAX,
  RING_SIZE_MIN,
} from "../../src/limits.ts";
import { iovaOf } from "../../src/memory/iova.ts";
import { VhostUserFrontend } from "../../src/vhostuser/frontend.ts";
import { connectUnix, listenUnix, type UnixListener } from "../../src/vhostuser/listen.ts";
import { Feature } from "../../src/vhostuser/protocol.ts";
import { type RingFeatures, VirtQueue } from "./queue.ts";

export const virtioUserDriver: Driver = {
  name: "net_virtio_user",
  usage: "path=SOCKET,queues=1,queue_size=1024,packed_vq=0|1,mrg_rxbuf=1|0,in_order=1|0,mac=…,server=0|1",
  probe: (devargs, context, events) => VirtioUser.probe(devargs, context, events),
};

interface Arguments {
  readonly path: string;
  readonly queues: number;
  readonly queueSize: number;
  readonly packed: boolean;
  readonly mergeable: boolean;
  readonly inOrder: boolean;
  readonly server: boolean;
  readonly mac: Uint8Array;
}

function readArguments(devargs: Devargs): Arguments {
  const reader = new DevargsReader(devargs);
  const bounds = { default: RING_SIZE_DEFAULT, min: RING_SIZE_MIN, max: RING_SIZE_MAX };
  const args = {
    path: reader.string("path", { required: true }),
    queues: reader.integer("queues", { default: 1, min: 1, max: QUEUES_MAX }),
    queueSize: reader.powerOfTwo("queue_size", bounds),
    packed: reader.flag01("packed_vq", { default: false }),
    mergeable: reader.flag01("mrg_rxbuf", { default: true }),
    inOrder: reader.flag01("in_order", { default: true }),
    server: reader.flag01("server", { default: false }),
    mac: reader.mac("mac") ?? randomMac(),
  };
  reader.end();
  return args;
}

/** A locally administered unicast address. */
function randomMac(): Uint8Array {
  const mac = crypto.getRandomValues(new Uint8Array(6));
  mac[0] = (mac[0]! & 0xfe) | 0x02;
  return mac;
}

class VirtioUser implements EthDevice {
  readonly info;
  readonly mac: Uint8Array;
  private readonly name: string;
  private readonly args: Arguments;
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly interrupts: RxInterrupts;
  private queues: VirtQueue[] = [];
  /** kick and call eventfds, two a virtqueue; each peer gets the same. */
  private fds: number[] = [];
  private frontend: VhostUserFrontend | undefined;
  private listener: UnixListener | undefined;
  private retry: NodeJS.Timeout | undefined;
  private wanted = false;
  private up = false;
  private reconnects = 0;
  /** What happens to the connection happens in turn. */
  private turn: Promise<void> = Promise.resolve();

  private constructor(devargs: Devargs, context: DriverContext, events: DeviceEvents) {
    this.args = readArguments(devargs);
    this.name = devargs.name;
    this.context = context;
    this.events = events;
    this.interrupts = new RxInterrupts(devargs.name);
    this.mac = this.args.mac;
    this.info = {
      driver: "net_virtio_user",
      rxQueuesMax: this.args.queues,
      txQueuesMax: this.args.queues,
      frameBytesMax: this.args.mergeable ? 65535 : context.pool.dataRoom,
      rxInterrupts: true,
    };
  }

  /** Connects once, so that a missing or unfit backend is an error of the start and not of a later moment. */
  static async probe(devargs: Devargs, context: DriverContext, events: DeviceEvents): Promise<VirtioUser> {
    const device = new VirtioUser(devargs, context, events);
    if (device.args.server) device.listen();
    else await device.connect();
    return device;
  }

  get rxQueues(): number[] {
    return this.queues.filter((queue) => queue.receives).map((queue) => queue.block.offset);
  }
  get txQueues(): number[] {
    return this.queues.filter((queue) => !queue.receives).map((queue) => queue.block.offset);
  }

  async configure(config: DeviceConfig): Promise<void> {
    if (config.rxQueues !== config.txQueues) {
      const message = `${this.name}: ${config.rxQueues} receive and ${config.txQueues} transmit queues`;
      throw new PollmodeError("QUEUE_COUNT", message, "virtio queues come in pairs: ask for as many of each");
    }
    this.release();
    const { private: zone, dma, pool } = this.context;
    for (let index = 0; index < 2 * config.rxQueues; index++) {
      this.queues.push(new VirtQueue(zone, dma, pool, { port: 0, index, size: this.args.queueSize }));
      this.fds.push(eventfd(0), eventfd(0));
    }
    if (!config.rxInterrupts) return;
    this.interrupts.configure(config.rxQueues);
    for (let queue = 0; queue < config.rxQueues; queue++)
      this.interrupts.watch(queue, this.fds[4 * queue + 1]!);
  }

  rxInterrupt(queue: number): InterruptLine {
    return this.interrupts.line(queue);
  }

  async start(): Promise<void> {
    this.wanted = true;
    await this.inTurn(async () => {
      if (this.frontend) await this.bringUp(this.frontend);
      else if (!this.args.server) await this.connect(); // which brings it up, too
    });
  }

  async stop(): Promise<void> {
    this.wanted = false;
    clearTimeout(this.retry);
    await this.inTurn(async () => {
      this.halt();
      await this.context.quiesce();
      const { frontend } = this;
      this.frontend = undefined;
      if (frontend) await this.takeDown(frontend);
      for (const queue of this.queues) queue.drain();
    });
  }

  async close(): Promise<void> {
    await this.inTurn(async () => {
      this.frontend?.close();
      this.frontend = undefined;
      this.listener?.close();
      this.release();
    });
  }

  private release(): void {
    this.interrupts.close();
    for (const queue of this.queues) queue.free();
    for (const fd of this.fds) closeSync(fd);
    this.queues = [];
    this.fds = [];
  }

  link(): LinkStatus {
    return { up: this.up, speed: 10_000, duplex: "full" };
  }

  xstats(): Record<string, number> {
    return { reconnects: this.reconnects };
  }

  private inTurn(work: () => Promise<void>): Promise<void> {
    const next = this.turn.then(work);
    this.turn = next.catch(() => {});
    return next;
  }

  private listen(): void {
    this.listener = listenUnix(this.args.path, this.context.poller, (fd) => {
      void this.inTurn(() => this.adopt(fd)).catch((error: Error) => this.events.error(error));
    });
  }

  private async connect(): Promise<void> {
    await this.adopt(connectUnix(this.args.path));
  }

  /** Takes a fresh connection: negotiates, and if the port is started brings the queues up. */
  private async adopt(fd: number): Promise<void> {
    if (this.frontend) {
      closeSync(fd); // server=1: one backend at a time
      return;
    }
    const frontend = new VhostUserFrontend(fd, this.context.poller, {
      name: this.args.path,
      onClose: () => {
        if (this.frontend === frontend) this.lost();
      },
    });
    try {
      const { packed, mergeable, inOrder, queues } = this.args;
      const required = Feature.VERSION_1 | (packed ? Feature.RING_PACKED : 0n);
      const optional = (mergeable ? Feature.NET_MRG_RXBUF : 0n) | (inOrder ? Feature.IN_ORDER : 0n);
      const multiqueue = queues > 1 ? Feature.NET_MQ : 0n;
      await frontend.negotiate(required | optional | multiqueue, required);
      const most = await frontend.queuePairsMax();
      if (most < queues) {
        const message = `${this.name}: queues=${queues}, but the backend at ${this.args.path} has ${most}`;
        throw new PollmodeError("QUEUE_COUNT", message, `use queues=${most}, or start the backend with more`);
      }
      this.frontend = frontend;
      if (this.wanted) await this.bringUp(frontend);
    } catch (error) {
      if (this.frontend === frontend) this.frontend = undefined;
      frontend.close();
      throw error;
    }
  }

  private features(frontend: VhostUserFrontend): RingFeatures {
    const has = (bit: bigint) => (frontend.features & bit) !== 0n;
    return {
      packed: has(Feature.RING_PACKED),
      inOrder: has(Feature.IN_ORDER),
      mergeable: has(Feature.NET_MRG_RXBUF),
    };
  }

  private async bringUp(frontend: VhostUserFrontend): Promise<void> {
    const { dma } = this.context;
    const features = this.features(frontend);
    const start = iovaOf(dma.range.start);
    const size = BigInt(dma.range.bytes);
    await frontend.shareMemory([
      { guestAddress: start, userAddress: start, size, mmapOffset: 0n, fd: dma.fd! },
    ]);
    for (const [k, queue] of this.queues.entries()) {
      const [kickFd, callFd] = [this.fds[2 * k]!, this.fds[2 * k + 1]!];
      queue.reset(features, kickFd);
      const base = VirtQueue.startIndex(features.packed);
      await frontend.setupVring(k, { size: queue.size, base, ...queue.addresses, kickFd, callFd });
    }
    // the rings are run before the device may use them: what it puts in waits, nothing is lost
    for (const queue of this.queues) {
      queue.start(features.packed);
      if (queue.receives) this.interrupts.ring(queue.index >>> 1);
    }
    for (const k of this.queues.keys()) await frontend.enableVring(k, true);
    await frontend.driverOk();
    this.tellLink(true);
  }

  private halt(): void {
    for (const queue of this.queues) queue.block.halt();
    this.tellLink(false);
  }

  private async takeDown(frontend: VhostUserFrontend): Promise<void> {
    try {
      for (const k of this.queues.keys()) await frontend.enableVring(k, false);
      for (const k of this.queues.keys()) await frontend.stopVring(k);
    } catch {
      // the backend went away meanwhile: then it does not use the rings either
    }
    frontend.close();
  }

  private tellLink(up: boolean): void {
    if (this.up === up) return;
    this.up = up;
    this.events.link(this.link());
  }

  /** The backend went away: everything it held comes back, and it is looked for again. */
  private lost(): void {
    this.frontend = undefined;
    this.halt();
    void this.inTurn(async () => {
      await this.context.quiesce();
      for (const queue of this.queues) queue.drain();
      this.lookAgain();
    }).catch((error: Error) => this.events.error(error));
  }

  private lookAgain(): void {
    if (this.args.server || !this.wanted) return;
    this.retry = setTimeout(() => {
      void this.inTurn(async () => {
        if (!this.wanted || this.frontend) return;
        try {
          await this.connect();
          this.reconnects++;
        } catch {
          this.lookAgain();
        }
      });
    }, RECONNECT_INTERVAL_MS);
  }
}
