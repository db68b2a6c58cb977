// A port: one device as applications see it. Checks what is asked, keeps the order of states, names what a device has
// not.
import { EventEmitter } from "node:events";
import type { InterruptLine } from "../bus/pci-function.ts";
import { PollmodeError } from "../errors.ts";
import { Queue, QueueError } from "../hot/layout.ts";
import type { Arena } from "../memory/arena.ts";
import { checkConfig, checkRss } from "./config.ts";
import type { DeviceConfig, DeviceInfo, EthDevice, LinkStatus, RssConfig } from "./driver.ts";
import { PortFlow } from "./port-flow.ts";
import { type QueueFault, queueFault } from "./queue-errors.ts";

/** A port's counters, over all of its queues, since configure() or clearStats(). Bytes are the frames', without CRC. */
export interface PortStats {
  /** Packets that were received. */
  rxPackets: number;
  /** Packets that were sent. */
  txPackets: number;
  /** Bytes of the received packets. */
  rxBytes: number;
  /** Bytes of the sent packets. */
  txBytes: number;
  /** Received frames that were dropped for their own fault. */
  rxErrors: number;
  /** Frames that could not be sent for their own fault or the device's. */
  txErrors: number;
  /** Frames that the device dropped because the receive rings were full. */
  rxMissed: number;
  /** Times that a receive queue found no mbuf. */
  rxNoMbuf: number;
  /** Packets that a transmit queue refused because it was full. They went back to who sent them. */
  txRefused: number;
}

/** What a Port tells its listeners, by event: the arguments. */
export interface PortEvents {
  /** The link went up or down, or changed its speed. */
  link: [LinkStatus];
  /** A queue stopped itself, or the device reports something of its own. */
  error: [PollmodeError];
  /** It has new queues. */
  configured: [];
  /** It is gone. */
  closed: [];
  /** Nothing more will be received: all input files were read to their ends. */
  end: [];
}

/**
 * A device as programs see it: made by Pollmode.attach(), configured, started; its queues are then served by lcores.
 * What is asked for in the wrong state throws PORT_STATE, what its device has not NOT_SUPPORTED; can() says which.
 */
export class Port extends EventEmitter<PortEvents> {
  /** Its number, from 0 on: Pollmode.port(id). */
  readonly id: number;
  /** The device's: `net_tap0`, `0000:03:00.0`. */
  readonly name: string;
  /** Flow rules: which received packets the device treats otherwise. */
  readonly flow: PortFlow;
  private readonly device: EthDevice;
  private readonly arena: Arena;
  private state: "new" | "configured" | "started" | "closed" = "new";
  /** Faults that were reported, by queue block. */
  private readonly reported = new Map<number, number>();
  /** Counters when they were last cleared, by arena offset. */
  private readonly cleared = new Map<number, number>();

  /** The lcore that runs a queue now, if any. */
  private readonly ownerOf: (queue: number) => number | undefined;

  /** @internal Ports are made by Pollmode.attach(). */
  constructor(
    id: number,
    name: string,
    device: EthDevice,
    arena: Arena,
    ownerOf: (queue: number) => number | undefined = () => undefined,
  ) {
    super();
    this.ownerOf = ownerOf;
    this.id = id;
    this.name = name;
    this.device = device;
    this.arena = arena;
    this.flow = new PortFlow(() => ({
      title: `port ${id} (${name})`,
      driver: device.info.driver,
      device: device.flow,
      rxQueues: device.rxQueues.length,
    }));
  }

  /** What the device is and can do. */
  get info(): DeviceInfo {
    return this.device.info;
  }

  /** The MAC address, 6 bytes: macOf() makes a number of them. */
  get mac(): Uint8Array {
    return this.device.mac;
  }

  /** Between start() and stop(). */
  get started(): boolean {
    return this.state === "started";
  }
  /** It was closed, and cannot be used again. */
  get closed(): boolean {
    return this.state === "closed";
  }

  /** Arena offsets of the receive queues' blocks; none before configure(). */
  get rxQueues(): readonly number[] {
    return this.device.rxQueues;
  }
  /** Arena offsets of the transmit queues' blocks; none before configure(). */
  get txQueues(): readonly number[] {
    return this.device.txQueues;
  }

  /** The link as it is now. Changes come as the event `link`. */
  link(): LinkStatus {
    return this.device.link();
  }

  /** Sets the number of queues, one each way by default. The port is stopped, and no lcore runs its queues. */
  async configure(config: DeviceConfig = { rxQueues: 1, txQueues: 1 }): Promise<void> {
    this.require("new", "configured");
    this.requireIdle();
    checkConfig(`port ${this.id} (${this.name})`, this.info, config);
    this.flow.requireQueues(config.rxQueues);
    await this.device.configure(config);
    this.cleared.clear();
    for (const queue of [...this.rxQueues, ...this.txQueues]) {
      this.arena.u32[(queue + Queue.PORT) >>> 2] = this.id;
      this.arena.u32[(queue + Queue.ORIGIN) >>> 2] = 0x10000 | this.id;
    }
    this.state = "configured";
    this.emit("configured");
  }

  /**
   * Throws QUEUE_BUSY while an lcore runs one of the queues.
   * @internal
   */
  requireIdle(): void {
    for (const queue of [...this.rxQueues, ...this.txQueues]) {
      const owner = this.ownerOf(queue);
      if (owner === undefined) continue;
      const message = `port ${this.id} (${this.name}): lcore ${owner} runs one of its queues`;
      throw new PollmodeError("QUEUE_BUSY", message, `stop lcore ${owner} first`);
    }
  }

  /** Lets it receive and send. It must have been configured (PORT_STATE). */
  async start(): Promise<void> {
    this.require("configured");
    await this.device.start();
    this.state = "started";
  }

  /** Its queues give nothing and take nothing until start(); packets in them are dropped. Nothing if it is stopped. */
  async stop(): Promise<void> {
    if (this.state !== "started") return;
    this.state = "configured";
    await this.device.stop();
  }

  /** Stops it and gives the device back. Emits `closed`. May be called more than once; Pollmode.close() does it too. */
  async close(): Promise<void> {
    if (this.state === "closed") return;
    await this.stop();
    this.state = "closed";
    await this.device.close();
    this.emit("closed");
  }

  /** For `await using`: close(). */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Its counters now. Costs microseconds, disturbs no lcore. */
  stats(): PortStats {
    const sum = (queues: readonly number[], word: number) =>
      queues.reduce((total, queue) => total + this.counter(queue + word), 0);
    const { rxQueues, txQueues } = this;
    const own = this.device.stats?.() ?? { rxMissed: 0, rxErrors: 0, txErrors: 0 };
    return {
      rxPackets: sum(rxQueues, Queue.PACKETS),
      txPackets: sum(txQueues, Queue.PACKETS),
      rxBytes: sum(rxQueues, Queue.BYTES),
      txBytes: sum(txQueues, Queue.BYTES),
      rxErrors: sum(rxQueues, Queue.ERRORS) + own.rxErrors,
      txErrors: sum(txQueues, Queue.ERRORS) + own.txErrors,
      rxMissed: own.rxMissed,
      rxNoMbuf: sum(rxQueues, Queue.STALLED),
      txRefused: sum(txQueues, Queue.STALLED),
    };
  }

  /** The basic counters by queue (`rx_q0_packets`, …), and the driver's own. */
  xstats(): Record<string, number> {
    const stats: Record<string, number> = {};
    const words = { packets: Queue.PACKETS, bytes: Queue.BYTES, errors: Queue.ERRORS };
    const add = (way: string, queues: readonly number[], stalled: string) => {
      queues.forEach((queue, k) => {
        for (const [name, word] of Object.entries({ ...words, [stalled]: Queue.STALLED })) {
          stats[`${way}_q${k}_${name}`] = this.counter(queue + word);
        }
      });
    };
    add("rx", this.rxQueues, "no_mbuf");
    add("tx", this.txQueues, "refused");
    return { ...stats, ...this.device.xstats?.() };
  }

  /** Counts from 0. What lies in the arena goes on: an lcore that is about to add to it would undo a clearing. */
  clearStats(): void {
    this.device.clearStats?.();
    for (const queue of [...this.rxQueues, ...this.txQueues]) {
      for (let at = queue + Queue.PACKETS; at < queue + Queue.DRIVER; at += 8) {
        this.cleared.set(at, this.arena.f64[at >>> 3]!);
      }
    }
  }

  private counter(at: number): number {
    return this.arena.f64[at >>> 3]! - (this.cleared.get(at) ?? 0);
  }

  /** Queues that stopped themselves, by name (`rx 0`). */
  faults(): Record<string, QueueFault> {
    const faults: Record<string, QueueFault> = {};
    this.eachFault((name, fault) => {
      faults[name] = fault;
    });
    return faults;
  }

  /**
   * Emits `error` for each queue that stopped itself since the last call. The engine's monitor calls it.
   * @internal
   */
  reportFaults(): void {
    this.eachFault((name, fault, queue, code) => {
      if (this.reported.get(queue) === code) return;
      this.reported.set(queue, code);
      const what = `${fault.text} (${fault.name}, ${fault.argument})`;
      const message = `port ${this.id} (${this.name}): queue ${name} stopped: ${what}`;
      this.report(new PollmodeError(`QUEUE_${fault.name}`, message, fault.fix));
    });
  }

  /**
   * The IOMMU stopped the device's access to `iova`: none of its queues can be trusted any more.
   * @internal
   */
  stopForDmaFault(access: "read" | "write", iova: bigint): void {
    for (const queue of [...this.rxQueues, ...this.txQueues]) {
      const word = (at: number) => (queue + at) >>> 2;
      if (this.arena.u32[word(Queue.RUN)] === 0) continue;
      this.arena.u32[word(Queue.ERROR_ARG)] = Number(iova & 0xffff_ffffn);
      this.arena.u32[word(Queue.ERROR)] = QueueError.DMA_ERROR;
      Atomics.store(this.arena.u32, word(Queue.RUN), 0);
    }
    const message = `port ${this.id} (${this.name}): the IOMMU stopped its ${access} at 0x${iova.toString(16)}`;
    const fix = "stop and start the port; a driver or device that does it again is broken";
    this.report(new PollmodeError("DMA_FAULT", message, fix));
  }

  /**
   * Passes an error on to listeners; without any it is a warning, for a peer's fault must not end the process.
   * @internal
   */
  report(error: PollmodeError): void {
    if (this.listenerCount("error") > 0) this.emit("error", error);
    else process.emitWarning(error.message, { code: error.code, detail: `fix: ${error.fix}` });
  }

  private eachFault(visit: (name: string, fault: QueueFault, queue: number, code: number) => void): void {
    const look = (way: string) => (queue: number, k: number) => {
      const code = this.arena.u32[(queue + Queue.ERROR) >>> 2]!;
      const fault = queueFault(code, this.arena.u32[(queue + Queue.ERROR_ARG) >>> 2]!);
      if (fault) visit(`${way} ${k}`, fault, queue, code);
      else this.reported.delete(queue);
    };
    this.rxQueues.forEach(look("rx"));
    this.txQueues.forEach(look("tx"));
  }

  /** Takes the link down or up again, as seen by the peer. Queues go on as far as the device lets them. */
  async setLink(up: boolean): Promise<void> {
    await this.has("setLink", "a link that can be set").call(this.device, up);
  }
  /** On: frames to any address are received. */
  async setPromiscuous(on: boolean): Promise<void> {
    await this.has("setPromiscuous", "promiscuous mode").call(this.device, on);
  }
  /** On: frames to any group are received. */
  async setAllMulticast(on: boolean): Promise<void> {
    await this.has("setAllMulticast", "all-multicast mode").call(this.device, on);
  }
  /** The port's own unicast address: 6 bytes. */
  async setMac(mac: Uint8Array): Promise<void> {
    await this.has("setMac", "a changeable MAC address").call(this.device, mac);
  }
  /** Bytes of an IP packet: the frame without its header of 14 bytes. */
  async setMtu(mtu: number): Promise<void> {
    await this.has("setMtu", "a changeable MTU").call(this.device, mtu);
  }
  /** A further unicast address that is received: 6 bytes. */
  async addMac(mac: Uint8Array): Promise<void> {
    await this.has("addMac", "further MAC addresses").call(this.device, mac);
  }
  /** An address that addMac() has added. */
  async removeMac(mac: Uint8Array): Promise<void> {
    await this.has("removeMac", "further MAC addresses").call(this.device, mac);
  }
  /** The multicast groups that are received, 6 bytes each, instead of those before. */
  async setMulticast(macs: readonly Uint8Array[]): Promise<void> {
    await this.has("setMulticast", "a multicast filter").call(this.device, macs);
  }
  /** On: of tagged frames only those are received whose VLAN setVlan has let in. */
  async setVlanFilter(on: boolean): Promise<void> {
    await this.has("setVlanFilter", "a VLAN filter").call(this.device, on);
  }
  /** Lets tagged frames of a VLAN in or no longer, where setVlanFilter is on: 0 to 4095 (VLAN_ID). */
  async setVlan(vlan: number, on: boolean): Promise<void> {
    const set = this.has("setVlan", "a VLAN filter");
    if (!Number.isInteger(vlan) || vlan < 0 || vlan > 4095) {
      throw new PollmodeError(
        "VLAN_ID",
        `port ${this.id} (${this.name}): VLAN ${vlan}`,
        "VLANs are 0 to 4095",
      );
    }
    await set.call(this.device, vlan, on);
  }
  /** Whether tags of received packets go to VLAN_TCI; also while packets come. */
  async setVlanStrip(on: boolean): Promise<void> {
    await this.has("setVlanStrip", "VLAN stripping that is switched while it runs").call(this.device, on);
  }
  /** Changes the hash's key, its types or the redirection table; what is left out becomes the default. */
  async setRss(rss: RssConfig): Promise<void> {
    const set = this.has("setRss", "receive-side scaling");
    checkRss(`port ${this.id} (${this.name})`, this.info, rss, this.rxQueues.length);
    await set.call(this.device, rss);
  }
  /** Receive-side scaling as it stands in the device. */
  rss(): Required<RssConfig> {
    return this.has("rss", "receive-side scaling").call(this.device);
  }
  /**
   * What wakes an lcore that sleeps on a receive queue.
   * @internal
   */
  rxInterrupt(queue: number): InterruptLine {
    return this.has("rxInterrupt", "receive interrupts").call(this.device, queue);
  }

  /** Whether the device has a method that not all devices have: `port.can("setMtu")`. */
  can(method: keyof EthDevice): boolean {
    return this.device[method] !== undefined;
  }

  private has<K extends keyof EthDevice>(method: K, what: string): NonNullable<EthDevice[K]> {
    const found = this.device[method];
    if (found) return found;
    const message = `port ${this.id} (${this.name}): ${this.info.driver} has not ${what}`;
    throw new PollmodeError("NOT_SUPPORTED", message, "use a port whose driver has it");
  }

  private require(...states: (typeof this.state)[]): void {
    if (states.includes(this.state)) return;
    const fixes = {
      new: "configure it first",
      configured: "it is stopped",
      started: "stop it first",
      closed: "attach it again",
    };
    const message = `port ${this.id} (${this.name}) is ${this.state}`;
    throw new PollmodeError("PORT_STATE", message, fixes[this.state]);
  }
}
