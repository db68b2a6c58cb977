// net_vhost: the device's side of vhost-user, to which a guest's virtio-net driver (through QEMU) or a net_virtio_user port
// connects. Arguments as DPDK's net_vhost. One peer at a time; when it goes, the port's link is down until the next comes.
import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  Driver,
  DriverContext,
  EthDevice,
  LinkStatus,
} from "../../src/ethdev/driver.ts";
import { QUEUES_MAX, RECONNECT_INTERVAL_MS } from "../../src/limits.ts";
import { VhostUserBackend, type VringState } from "../../src/vhostuser/backend.ts";
import { VirtioFeature } from "../../src/vhostuser/protocol.ts";
import { connectUnix, listenUnix, type UnixListener } from "../../src/vhostuser/socket.ts";
import { GuestMemory } from "./guest-memory.ts";
import { VhostQueue } from "./queue.ts";

export const vhostDriver: Driver = {
  name: "net_vhost",
  usage: "iface=SOCKET,queues=1,client=0|1",
  probe: async (devargs, context, events) => new Vhost(devargs, context, events),
};

const OFFERED =
  VirtioFeature.VERSION_1 |
  VirtioFeature.MRG_RXBUF |
  VirtioFeature.IN_ORDER |
  VirtioFeature.RING_PACKED |
  VirtioFeature.INDIRECT_DESC |
  VirtioFeature.NET_CTRL_VQ |
  VirtioFeature.NET_MQ |
  VirtioFeature.NET_STATUS;

class Vhost implements EthDevice {
  readonly info;
  readonly mac = Uint8Array.of(0x56, 0x48, 0x4f, 0x53, 0x54, 0x00); // "VHOST", as DPDK's
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly path: string;
  private readonly pairs: number;
  private readonly client: boolean;
  private readonly memory: GuestMemory;
  private queues: VhostQueue[] = [];
  private listener: UnixListener | undefined;
  private backend: VhostUserBackend | undefined;
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
    this.mac[5] = Number(/\d+$/.exec(devargs.name)?.[0] ?? 0) & 0xff;
    const queues = { rxQueuesMax: this.pairs, txQueuesMax: this.pairs };
    this.info = { driver: "net_vhost", ...queues, frameBytesMax: 65535 };
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
    const { backend } = this;
    this.backend = undefined;
    await backend?.close();
    await this.forget();
  }

  async close(): Promise<void> {
    this.release();
    this.memory.free();
  }

  private release(): void {
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
    const previous = this.backend;
    this.peers++;
    const backend = new VhostUserBackend(fd, this.context.poller, {
      features: OFFERED,
      queuePairsMax: this.pairs,
      memoryChanged: async (regions) => {
        await this.haltAll();
        this.memory.replace(regions, this.context.warn);
      },
      vringStarted: async (index, state) => this.startRing(index, state),
      vringStopped: async (index) => this.stopRing(index),
      callChanged: (index, callFd) => this.queues[index]?.setCall(callFd),
      closed: async (reason) => this.lost(backend, reason),
    });
    this.backend = backend;
    if (previous) void previous.close(); // a peer that comes anew takes over
  }

  private async startRing(index: number, state: VringState): Promise<void> {
    const queue = this.queues[index];
    if (!queue) return; // beyond the queues that the port was configured with: stays idle
    queue.start(this.memory, state);
    this.refreshLink();
  }

  /** Returns the ring's position, as GET_VRING_BASE wants it. */
  private async stopRing(index: number): Promise<number> {
    const queue = this.queues[index];
    if (!queue) return 0;
    queue.block.halt();
    await this.context.quiesce();
    this.refreshLink();
    return queue.base;
  }

  private async haltAll(): Promise<void> {
    for (const queue of this.queues) queue.block.halt();
    await this.context.quiesce();
    this.refreshLink();
  }

  private async lost(backend: VhostUserBackend, reason: Error | undefined): Promise<void> {
    if (this.backend !== backend) return;
    this.backend = undefined;
    await this.forget();
    if (reason) this.events.error(reason);
    this.lookAgain();
  }

  /** Leaves the peer's memory. */
  private async forget(): Promise<void> {
    await this.haltAll();
    this.memory.clear();
  }

  private refreshLink(): void {
    const up = this.queues.some((queue) => queue.block.running);
    if (up === this.up) return;
    this.up = up;
    this.events.link(this.link());
  }
}
