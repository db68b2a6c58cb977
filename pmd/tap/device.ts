// net_tap, control side: an interface that this port makes in the kernel, and that is the other end of its cable. What
// the kernel sends by it is received here, and the other way round: docs/kernel-ports.md.
import { closeSync } from "node:fs";
import { IFF_ALLMULTI, IFF_PROMISC, IFF_UP } from "../../src/bus/netdev/abi.ts";
import { checkInterfaceName, NetInterface } from "../../src/bus/netdev/interface.ts";
import { watchInterfaces } from "../../src/bus/netdev/watch.ts";
import type { InterruptLine } from "../../src/bus/pci-function.ts";
import { type Devargs, DevargsReader } from "../../src/eal/devargs.ts";
import { PollmodeError } from "../../src/errors.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  DeviceInfo,
  Driver,
  DriverContext,
  EthDevice,
  LinkStatus,
} from "../../src/ethdev/driver.ts";
import { RxInterrupts } from "../../src/ethdev/rx-interrupts.ts";
import { QUEUES_MAX } from "../../src/limits.ts";
import { Tap } from "./layout.ts";
import { TapQueue } from "./queue.ts";
import { hasInterface, openTap, setPersistent } from "./tun.ts";

export const tapDriver: Driver = {
  name: "net_tap",
  usage: "iface=dtap%d,mac=fixed|XX:XX:XX:XX:XX:XX,persist=0|1",
  probe: async (devargs, context, events) => new TapDevice(devargs, context, events),
};

/** What no cable limits; as DPDK's. */
const SPEED_MBPS = 10_000;

class TapDevice implements EthDevice {
  readonly info: DeviceInfo = {
    driver: "net_tap",
    rxQueuesMax: QUEUES_MAX,
    txQueuesMax: QUEUES_MAX,
    frameBytesMax: 65535,
    rxInterrupts: true,
  };
  private readonly name: string;
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly wanted: string;
  private readonly fixedMac: Uint8Array | undefined;
  private readonly persist: boolean;
  private readonly unwatch: () => void;
  private readonly interrupts: RxInterrupts;
  private netdev!: NetInterface;
  /** Queue k's file; the first one is open from the beginning and keeps the interface. */
  private fds: number[] = [];
  private rx: TapQueue[] = [];
  private tx: TapQueue[] = [];
  private address: Uint8Array = new Uint8Array(6);
  private state: LinkStatus = { up: false, speed: SPEED_MBPS, duplex: "full" };
  private started = false;
  private present = true;

  constructor(devargs: Devargs, context: DriverContext, events: DeviceEvents) {
    this.name = devargs.name;
    this.context = context;
    this.events = events;
    this.interrupts = new RxInterrupts(devargs.name);
    const reader = new DevargsReader(devargs);
    this.wanted = reader.string("iface", { default: "dtap%d" });
    checkInterfaceName(this.name, this.wanted);
    const fixed = devargs.args.get("mac") === "fixed";
    if (fixed) reader.string("mac");
    this.fixedMac = fixed ? fixedMac(devargs.name) : reader.mac("mac");
    this.persist = readPersist(devargs, reader);
    requireNoRemote(devargs);
    reader.end();
    this.makeInterface();
    try {
      this.unwatch = watchInterfaces(context.poller, () => this.refresh());
    } catch (error) {
      this.closeFiles(0);
      throw error;
    }
  }

  /** Makes the interface, with one queue. */
  private makeInterface(): void {
    const { fd, name } = openTap(this.name, this.wanted);
    this.fds = [fd];
    try {
      this.netdev = new NetInterface(this.name, name);
      if (this.fixedMac) this.netdev.setMac(this.fixedMac);
      if (this.persist) setPersistent(fd, `${this.name}, interface ${name}`, true);
      this.address = this.netdev.mac;
    } catch (error) {
      this.closeFiles(0);
      throw error;
    }
  }

  /** It was moved to another network namespace: packets go on, what it is there is not ours to see. */
  private isAway(): boolean {
    return !this.netdev.exists() && this.fds.length > 0 && hasInterface(this.fds[0]!);
  }

  private awayError(): PollmodeError {
    const where = "is in another network namespace, and has too few queues";
    const message = `${this.name}: interface ${this.netdev.name} ${where}`;
    const fix = "move it back to start it with more queues, or detach the port and attach it again";
    return new PollmodeError("INTERFACE_AWAY", message, fix);
  }

  private closeFiles(from: number): void {
    for (const fd of this.fds.splice(from)) closeSync(fd);
  }

  get mac(): Uint8Array {
    return this.address;
  }
  get rxQueues(): number[] {
    return this.rx.map(({ block }) => block.offset);
  }
  get txQueues(): number[] {
    return this.tx.map(({ block }) => block.offset);
  }

  /** As many files as receive queues: the kernel spreads over all that are open. More transmit queues share them. */
  async configure(config: DeviceConfig): Promise<void> {
    this.release();
    const make = (way: string, count: number) => {
      return Array.from({ length: count }, (_, index) => {
        return new TapQueue(this.context, `${way} queue ${index} of ${this.name}`, index);
      });
    };
    this.rx = make("rx", config.rxQueues);
    this.tx = make("tx", config.txQueues);
    if (config.rxInterrupts) this.interrupts.configure(config.rxQueues);
  }

  rxInterrupt(queue: number): InterruptLine {
    return this.interrupts.line(queue);
  }

  async start(): Promise<void> {
    const count = Math.max(1, this.rx.length);
    const isAway = this.isAway();
    if (isAway && this.fds.length < count) throw this.awayError();
    if (!isAway && !this.netdev.exists()) {
      this.closeFiles(0);
      this.makeInterface();
    }
    this.closeFiles(count);
    try {
      while (this.fds.length < count) this.fds.push(openTap(this.name, this.netdev.name).fd);
      this.rx.forEach((_, queue) => {
        this.interrupts.watch(queue, this.fds[queue]!);
      });
    } catch (error) {
      this.interrupts.unwatch();
      this.closeFiles(1);
      throw error;
    }
    [this.rx, this.tx].forEach((queues) => {
      queues.forEach(({ block }, k) => {
        block.set(Tap.FD, this.fds[k % count]!);
      });
    });
    if (!isAway) this.netdev.setFlags(IFF_UP, 0);
    this.present = true;
    this.started = true;
    if (!isAway) this.fitFrames();
    for (const queue of [...this.rx, ...this.tx]) queue.run();
    this.refresh();
  }

  /** As DPDK: the kernel sees the interface go down. */
  async stop(): Promise<void> {
    this.started = false;
    for (const { block } of [...this.rx, ...this.tx]) block.halt();
    await this.context.quiesce();
    for (const queue of [...this.rx, ...this.tx]) queue.drain();
    if (this.netdev.exists()) this.netdev.setFlags(0, IFF_UP);
    this.interrupts.unwatch();
    this.closeFiles(1);
    this.refresh();
  }

  async close(): Promise<void> {
    this.unwatch();
    this.release();
    this.closeFiles(0);
  }

  private release(): void {
    this.interrupts.close();
    for (const queue of [...this.rx, ...this.tx]) queue.free();
    this.rx = [];
    this.tx = [];
  }

  link(): LinkStatus {
    return this.state;
  }

  /** Some interface has changed. */
  private refresh(): void {
    if (this.isAway()) {
      this.setUp(this.started);
      return;
    }
    if (!this.netdev.exists()) {
      this.lost();
      return;
    }
    try {
      this.address = this.netdev.mac;
      if (this.started) this.fitFrames();
    } catch {
      return; // it went meanwhile: that has a change of its own
    }
    this.setUp(this.netdev.link().up);
  }

  private setUp(up: boolean): void {
    if (up === this.state.up) return;
    this.state = { ...this.state, up };
    this.events.link(this.state);
  }

  private lost(): void {
    if (!this.present) return;
    this.present = false;
    for (const { block } of [...this.rx, ...this.tx]) block.halt();
    this.setUp(false);
    const message = `${this.name}: interface ${this.netdev.name} was removed`;
    const fix = "stop and start the port: that makes it again";
    this.events.error(new PollmodeError("INTERFACE_GONE", message, fix));
  }

  private fitFrames(): void {
    const { mtu } = this.netdev;
    for (const queue of [...this.rx, ...this.tx]) queue.fit(mtu);
  }

  xstats(): Record<string, number> {
    const stats: Record<string, number> = {};
    this.rx.forEach((queue, k) => {
      stats[`rx_q${k}_truncated`] = queue.truncated;
    });
    return stats;
  }

  async setLink(up: boolean): Promise<void> {
    if (up) this.netdev.setFlags(IFF_UP, 0);
    else this.netdev.setFlags(0, IFF_UP);
  }
  async setPromiscuous(on: boolean): Promise<void> {
    this.netdev.setFlags(on ? IFF_PROMISC : 0, on ? 0 : IFF_PROMISC);
  }
  async setAllMulticast(on: boolean): Promise<void> {
    this.netdev.setFlags(on ? IFF_ALLMULTI : 0, on ? 0 : IFF_ALLMULTI);
  }
  async setMac(mac: Uint8Array): Promise<void> {
    this.netdev.setMac(mac);
    this.address = this.netdev.mac;
  }
  async setMtu(mtu: number): Promise<void> {
    this.netdev.setMtu(mtu);
    if (this.started) this.fitFrames();
  }
}

/** DPDK's: "\0dtap" and the device's number. */
function fixedMac(port: string): Uint8Array {
  return Uint8Array.of(0x00, 0x64, 0x74, 0x61, 0x70, Number(/\d+$/.exec(port)?.[0] ?? 0) & 0xff);
}

/** DPDK's has no value: `net_tap0,persist`. */
function readPersist(devargs: Devargs, reader: DevargsReader): boolean {
  if (devargs.args.get("persist") !== "") return reader.flag01("persist", { default: false });
  return reader.oneOf("persist", [""], { default: "" }) === "";
}

function requireNoRemote(devargs: Devargs): void {
  const remote = devargs.args.get("remote");
  if (remote === undefined) return;
  const message = `${devargs.name}: remote=${remote}: net_tap mirrors no other interface`;
  const fix = `use a port on it in place of the TAP: --vdev net_af_packet0,iface=${remote}`;
  throw new PollmodeError("NOT_SUPPORTED", message, fix);
}
