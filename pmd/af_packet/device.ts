// net_af_packet, control side: a port on an interface of the kernel, by AF_PACKET sockets with TPACKET_V2 rings. The
// rings exist from start to stop, so that a stopped port costs the kernel nothing and a started one has no old frames.
// The interface stays the kernel's: docs/kernel-ports.md.

import { IFF_UP } from "../../src/bus/netdev/abi.ts";
import { NetInterface } from "../../src/bus/netdev/interface.ts";
import { watchInterfaces } from "../../src/bus/netdev/watch.ts";
import type { InterruptLine } from "../../src/bus/pci-function.ts";
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
import { RxInterrupts } from "../../src/ethdev/rx-interrupts.ts";
import { MIB } from "../../src/limits.ts";
import {
  type AfPacketArguments,
  FRAME_HEADER_BYTES,
  type RingShape,
  readArguments,
  ringShape,
  SLOT_META_BYTES,
} from "./arguments.ts";
import { AfPacket } from "./layout.ts";
import { AfPacketQueue } from "./queue.ts";
import { Membership, PacketSocket } from "./socket.ts";

export const afPacketDriver: Driver = {
  name: "net_af_packet",
  usage:
    "iface=NAME,qpairs=1,blocksz=,framesz=,framecnt=512,qdisc_bypass=0|1," +
    "fanout_mode=hash|lb|cpu|rollover|rnd|qm,outgoing=0|1",
  probe: async (devargs, context, events) => new AfPacketDevice(devargs, context, events),
};

/** Ethernet header, which the MTU does not count. */
const ETHER_BYTES = 14;

class AfPacketDevice implements EthDevice {
  readonly info: DeviceInfo;
  private readonly name: string;
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly args: AfPacketArguments;
  /** Not bound to receive anything: memberships live as long as it. */
  private readonly members: PacketSocket;
  private readonly unwatch: () => void;
  private readonly interrupts: RxInterrupts;
  private netdev: NetInterface;
  private present = true;
  private state: LinkStatus;
  private shape: RingShape;
  private strip = false;
  private started = false;
  private rx: AfPacketQueue[] = [];
  private tx: AfPacketQueue[] = [];
  /** Membership modes that are on. */
  private readonly modes = new Set<number>();
  private groups: readonly Uint8Array[] = [];
  /** What setMac and link events last saw. */
  private address: Uint8Array;
  private missedBefore = 0;

  constructor(devargs: Devargs, context: DriverContext, events: DeviceEvents) {
    this.name = devargs.name;
    this.context = context;
    this.events = events;
    this.interrupts = new RxInterrupts(devargs.name);
    this.args = readArguments(devargs);
    this.netdev = new NetInterface(this.name, this.args.iface);
    this.shape = ringShape(this.args, this.netdev.mtu);
    this.state = this.netdev.link();
    this.address = this.netdev.mac;
    this.info = {
      driver: "net_af_packet",
      rxQueuesMax: this.args.queuePairs,
      txQueuesMax: this.args.queuePairs,
      frameBytesMax: (this.args.frameBytes ?? this.args.blockBytes ?? 65536) - SLOT_META_BYTES,
      offloads: ["rxChecksum", "vlanStrip", "vlanInsert"],
      rxInterrupts: true,
    };
    this.members = new PacketSocket(`${this.name}, interface ${this.args.iface}`);
    try {
      this.unwatch = watchInterfaces(context.poller, () => this.refresh());
    } catch (error) {
      this.members.close();
      throw error;
    }
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

  async configure(config: DeviceConfig): Promise<void> {
    this.release();
    this.strip = config.offloads?.includes("vlanStrip") ?? false;
    const make = (way: string, count: number) => {
      return Array.from({ length: count }, (_, index) => {
        const what = `${this.name}, ${way} queue ${index}, interface ${this.netdev.name}`;
        return new AfPacketQueue(this.context.private, what, index);
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
    if (!this.netdev.exists()) this.findAgain();
    this.requireUp();
    this.shape = ringShape(this.args, this.netdev.mtu);
    try {
      this.open();
    } catch (error) {
      this.interrupts.unwatch();
      for (const queue of [...this.rx, ...this.tx]) queue.close();
      throw this.withRoom(error);
    }
    this.present = true;
    this.started = true;
    this.fitFrames();
    for (const queue of [...this.rx, ...this.tx]) queue.run();
    this.refresh();
  }

  /** An interface of the same name in the place of the one that was removed. */
  private findAgain(): void {
    this.netdev = new NetInterface(this.name, this.args.iface);
    const { index } = this.netdev;
    for (const mode of this.modes) this.members.member(index, mode, true);
    for (const mac of this.groups) this.members.member(index, Membership.MULTICAST, true, mac);
  }

  private requireUp(): void {
    const { name } = this.netdev;
    if (this.netdev.up) return;
    const message = `${this.name}: interface ${name} is down, so that nothing comes from it`;
    throw new PollmodeError("INTERFACE_DOWN", message, `ip link set dev ${name} up`);
  }

  private open(): void {
    const { index } = this.netdev;
    const { fanout: mode, rollover, defrag, qdiscBypass } = this.args;
    for (const queue of this.tx) queue.openTransmit(this.shape, index, qdiscBypass);
    let group: number | undefined;
    for (const [k, queue] of this.rx.entries()) {
      queue.block.set(AfPacket.STRIP, this.strip ? 1 : 0);
      const socket = queue.openReceive(this.shape, index, this.args.outgoing);
      this.interrupts.watch(k, socket.fd);
      if (this.rx.length > 1) group = socket.joinFanout({ mode, rollover, defrag }, group);
    }
  }

  /** An arena that is too small is mended by other means than rings that are too large. */
  private withRoom(error: unknown): unknown {
    if (!(error instanceof PollmodeError) || error.code !== "OUT_OF_MEMORY") return error;
    const { blocks, blockBytes } = this.shape;
    const mib = Math.ceil((blocks * blockBytes * (this.rx.length + this.tx.length)) / MIB);
    const fix = `choose a smaller framecnt or framesz, or an arena with ${mib} MiB more (arenaMib)`;
    return new PollmodeError("OUT_OF_MEMORY", error.message, fix, { cause: error });
  }

  async stop(): Promise<void> {
    this.started = false;
    for (const { block } of [...this.rx, ...this.tx]) block.halt();
    await this.context.quiesce();
    this.interrupts.unwatch();
    for (const queue of [...this.rx, ...this.tx]) queue.close();
  }

  async close(): Promise<void> {
    this.unwatch();
    this.release();
    this.members.close();
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
    this.setState(this.netdev.link());
  }

  private setState(state: LinkStatus): void {
    const { up, speed, duplex } = this.state;
    const same = up === state.up && speed === state.speed && duplex === state.duplex;
    this.state = state;
    if (!same) this.events.link(state);
  }

  private lost(): void {
    if (!this.present) return;
    this.present = false;
    for (const { block } of [...this.rx, ...this.tx]) block.halt();
    this.setState({ ...this.state, up: false });
    const message = `${this.name}: interface ${this.netdev.name} was removed`;
    const fix = "make the interface again, then stop and start the port";
    this.events.error(new PollmodeError("INTERFACE_GONE", message, fix));
  }

  /** The longest frame to be sent: what slot and interface both take. */
  private fitFrames(): void {
    const longest = Math.min(this.netdev.mtu + ETHER_BYTES, this.roomOf(this.shape));
    for (const { block } of this.tx) block.set(AfPacket.FRAME_MAX, longest);
  }

  /** The longest frame without a tag that fits a slot both ways. */
  private roomOf({ frameBytes }: RingShape): number {
    return frameBytes - SLOT_META_BYTES - (FRAME_HEADER_BYTES - ETHER_BYTES);
  }

  stats(): DeviceStats {
    const rxMissed = this.missed() - this.missedBefore;
    return { rxMissed, rxErrors: 0, txErrors: 0 };
  }

  clearStats(): void {
    this.missedBefore = this.missed();
  }

  private missed(): number {
    return this.rx.reduce((sum, queue) => sum + queue.dropped(), 0);
  }

  xstats(): Record<string, number> {
    const { f64 } = this.context.arena;
    const stats: Record<string, number> = {};
    const counter = ({ block }: AfPacketQueue, word: number) => f64[(block.offset + word) >>> 3]!;
    this.rx.forEach((queue, k) => {
      stats[`rx_q${k}_ring_full`] = queue.dropped();
      stats[`rx_q${k}_truncated`] = counter(queue, AfPacket.TRUNCATED);
      stats[`rx_q${k}_checksum_completed`] = counter(queue, AfPacket.COMPLETED);
    });
    this.tx.forEach((queue, k) => {
      stats[`tx_q${k}_kernel_refused`] = counter(queue, AfPacket.REFUSED);
    });
    return stats;
  }

  async setLink(up: boolean): Promise<void> {
    if (up) this.netdev.setFlags(IFF_UP, 0);
    else this.netdev.setFlags(0, IFF_UP);
  }

  /** The kernel says beside each frame which tag it took off: whether it is put back is this port's choice. */
  async setVlanStrip(on: boolean): Promise<void> {
    this.strip = on;
    for (const { block } of this.rx) block.set(AfPacket.STRIP, on ? 1 : 0);
  }

  async setPromiscuous(on: boolean): Promise<void> {
    this.setMode(Membership.PROMISCUOUS, on);
  }
  async setAllMulticast(on: boolean): Promise<void> {
    this.setMode(Membership.ALL_MULTICAST, on);
  }
  /** The kernel counts how often it was asked: so not twice. */
  private setMode(mode: number, on: boolean): void {
    if (this.modes.has(mode) === on) return;
    this.members.member(this.netdev.index, mode, on);
    if (on) this.modes.add(mode);
    else this.modes.delete(mode);
  }
  async addMac(mac: Uint8Array): Promise<void> {
    this.members.member(this.netdev.index, Membership.UNICAST, true, mac);
  }
  async removeMac(mac: Uint8Array): Promise<void> {
    this.members.member(this.netdev.index, Membership.UNICAST, false, mac);
  }
  async setMulticast(macs: readonly Uint8Array[]): Promise<void> {
    const { index } = this.netdev;
    for (const mac of macs) this.members.member(index, Membership.MULTICAST, true, mac);
    for (const mac of this.groups) this.members.member(index, Membership.MULTICAST, false, mac);
    this.groups = macs;
  }

  async setMac(mac: Uint8Array): Promise<void> {
    this.netdev.setMac(mac);
    this.address = this.netdev.mac;
  }

  /** The interface's. While the port runs, its slots are as they are. */
  async setMtu(mtu: number): Promise<void> {
    const shape = this.started ? this.shape : ringShape(this.args, mtu);
    const room = this.roomOf(shape) - ETHER_BYTES;
    if (mtu > room) {
      const message = `${this.name}: an MTU of ${mtu} does not fit slots of ${shape.frameBytes} bytes`;
      const fix = `choose ${room} at most, stop the port first, or give a larger framesz`;
      throw new PollmodeError("MTU", message, fix);
    }
    this.netdev.setMtu(mtu);
    if (this.started) this.fitFrames();
  }
}
