// net_vhost: the device's side of vhost-user, to which a guest's virtio-net driver (through QEMU) or a
// net_virtio_user port connects. Arguments as DPDK's net_vhost. One peer at a time; when it goes, the port's link is
// down until the next comes.
import { closeSync } from "node:fs";
import type { InterruptLine } from "../../src/bus/pci-function.ts";
import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import type { PollmodeError } from "../../src/errors.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  Driver,
  DriverContext,
  EthDevice,
  LinkStatus,
} from "../../src/ethdev/driver.ts";
import { RxInterrupts } from "../../src/ethdev/rx-interrupts.ts";
import { QUEUES_MAX, RECONNECT_INTERVAL_MS } from "../../src/limits.ts";
import { VhostUserBackend } from "../../src/vhostuser/backend.ts";
import { connectUnix, listenUnix, type UnixListener } from "../../src/vhostuser/listen.ts";
import { Feature, ProtocolFeature } from "../../src/vhostuser/protocol.ts";
import type { BackendVring } from "../../src/vhostuser/vring.ts";
import { GuestMemory } from "./guest-memory.ts";
import { VhostQueue } from "./queue.ts";

export const vhostDriver: Driver = {
  name: "net_vhost",
  usage: "iface=SOCKET,queues=1,client=0|1",
  probe: async (devargs, context, events) => new Vhost(devargs, context, events),
};

const FEATURES =
  Feature.VERSION_1 |
  Feature.NET_MRG_RXBUF |
  Feature.IN_ORDER |
  Feature.RING_PACKED |
  Feature.RING_INDIRECT_DESC |
  Feature.NET_CTRL_VQ |
  Feature.NET_MQ |
  Feature.NET_STATUS;

const PROTOCOL_FEATURES =
  ProtocolFeature.MQ |
  ProtocolFeature.REPLY_ACK |
  ProtocolFeature.RESET_DEVICE |
  ProtocolFeature.CONFIGURE_MEM_SLOTS |
  ProtocolFeature.STATUS;

class Vhost implements EthDevice {
  readonly info;
  readonly mac = Uint8Array.of(0x56, 0x48, 0x4f, 0x53, 0x54, 0x00); // "VHOST", as DPDK's
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly path: string;
  private readonly pairs: number;
  private readonly client: boolean;
  private readonly memory: GuestMemory;
  private readonly interrupts: RxInterrupts;
  private queues: VhostQueue[] = [];
  private listener: UnixListener | undefined;
  private backend: VhostUserBackend | undefined;
  /** The next peer's connection, until the present one's end is noticed. */
  private waiting: number | undefined;
  private retry: NodeJS.Timeout | undefined;
  private wanted = false;
  private up = false;
  private peers = 0;

  constructor(devargs: Devargs, context: DriverContext, events: DeviceEvents) {
    const reader = new DevargsReader(devargs);
    this.path = reader.string("iface", { required: true });
    this.pairs = reader.integer("queues", { default: 1, min: 1, max: QUEUES_MAX });
    this.client = reader.flag01("client", { default: false });
    reader.end();
    this.context = context;
    this.events = events;
    this.memory = new GuestMemory(context.private);
    this.interrupts = new RxInterrupts(devargs.name);
    this.mac[5] = Number(/\d+$/.exec(devargs.name)?.[0] ?? 0) & 0xff;
    const queues = { rxQueuesMax: this.pairs, txQueuesMax: this.pairs };
    this.info = { driver: "net_vhost", ...queues, frameBytesMax: 65535, rxInterrupts: true };
  }

  get rxQueues(): number[] {
    return this.queues.filter((queue) => queue.receives).map((queue) => queue.block.offset);
  }
  get txQueues(): number[] {
    return this.queues.filter((queue) => !queue.receives).map((queue) => queue.block.offset);
  }

  /** Virtqueues 2k (the guest receives: our transmit queue k) and 2k + 1 (our receive queue k). */
  async configure(config: DeviceConfig): Promise<void> {
    this.release();
    const pairs = Math.max(config.rxQueues, config.txQueues);
    for (let vring = 0; vring < 2 * pairs; vring++) {
      this.queues.push(new VhostQueue(this.context.private, this.context.pool, this.memory.table, vring));
    }
    if (config.rxInterrupts) this.interrupts.configure(pairs);
  }

  rxInterrupt(queue: number): InterruptLine {
    return this.interrupts.line(queue);
  }

  async start(): Promise<void> {
    this.wanted = true;
    if (this.client) this.connect();
    else this.listener = listenUnix(this.path, this.context.poller, (fd) => this.accept(fd));
  }

  async stop(): Promise<void> {
    this.wanted = false;
    clearTimeout(this.retry);
    this.listener?.close();
    this.listener = undefined;
    this.setWaiting(undefined);
    await this.backend?.close();
  }

  async close(): Promise<void> {
    this.release();
    this.memory.free();
  }

  private release(): void {
    this.interrupts.close();
    for (const queue of this.queues) queue.free();
    this.queues = [];
  }

  link(): LinkStatus {
    return { up: this.up, speed: 10_000, duplex: "full" };
  }

  xstats(): Record<string, number> {
    return { peers: this.peers };
  }

  private connect(): void {
    try {
      this.accept(connectUnix(this.path));
    } catch {
      this.lookAgain(); // client=1: the peer's socket is not there yet
    }
  }

  private lookAgain(): void {
    if (!this.client || !this.wanted) return;
    this.retry = setTimeout(() => this.connect(), RECONNECT_INTERVAL_MS);
  }

  private accept(fd: number): void {
    if (this.backend) {
      this.setWaiting(fd);
      return;
    }
    this.peers++;
    const backend: VhostUserBackend = new VhostUserBackend(fd, this.context.poller, {
      name: this.path,
      features: FEATURES,
      protocolFeatures: PROTOCOL_FEATURES,
      queuePairsMax: this.pairs,
      handlers: {
        featuresSet: () => {},
        memoryChanged: (regions) => this.memory.replace(regions, this.context.warn),
        vringStarted: (index, vring) => {
          const mergeable = (backend.features & Feature.NET_MRG_RXBUF) !== 0n;
          // rings beyond the queues that the port was configured with stay idle
          const queue = this.queues[index];
          if (queue) this.startRing(queue, vring, mergeable);
          this.refreshLink();
        },
        vringStopped: (index) => this.stopRing(index),
        callChanged: (index, callFd) => this.changeCall(index, callFd),
        refused: (error) => this.events.error(error),
        closed: (reason) => this.lost(backend, reason),
      },
    });
    this.backend = backend;
  }

  private setWaiting(fd: number | undefined): void {
    if (this.waiting !== undefined) closeSync(this.waiting);
    this.waiting = fd;
  }

  /** An lcore may be about to signal the old fd: it is closed only when that is over. */
  private async changeCall(index: number, callFd: number | undefined): Promise<void> {
    this.queues[index]?.setCall(callFd);
    await this.context.quiesce();
  }

  private startRing(queue: VhostQueue, vring: BackendVring, mergeable: boolean): void {
    const { receives, index } = queue;
    if (receives && vring.kickFd !== undefined) this.interrupts.watch(index, vring.kickFd);
    try {
      queue.start(this.memory, vring, mergeable);
    } catch (error) {
      this.unwatch(queue);
      throw error;
    }
    if (receives) this.interrupts.ring(index);
  }

  private unwatch({ receives, index }: VhostQueue): void {
    if (receives) this.interrupts.unwatch(index);
  }

  /** Returns the ring's position, as GET_VRING_BASE wants it. */
  private async stopRing(index: number): Promise<number> {
    const queue = this.queues[index];
    if (!queue) return 0;
    queue.block.halt();
    this.unwatch(queue);
    await this.context.quiesce();
    this.refreshLink();
    return queue.base;
  }

  /** The peer is gone and its rings are stopped: its memory is left. */
  private lost(backend: VhostUserBackend, reason: PollmodeError | undefined): void {
    if (this.backend !== backend) return;
    this.backend = undefined;
    this.memory.clear();
    this.refreshLink();
    if (reason && reason.code !== "VHOST_DISCONNECTED") this.events.error(reason);
    const { waiting } = this;
    this.waiting = undefined;
    if (waiting !== undefined && this.wanted) this.accept(waiting);
    else this.lookAgain();
  }

  private refreshLink(): void {
    const up = this.queues.some((queue) => queue.block.running);
    if (up === this.up) return;
    this.up = up;
    this.events.link(this.link());
  }
}
