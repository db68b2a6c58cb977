// A port: one device as applications see it. Checks what is asked, keeps the order of states, names what a device has
// not.
import { EventEmitter } from "node:events";
import { PollmodeError } from "../errors.ts";
import { Queue } from "../hot/layout.ts";
import type { Arena } from "../memory/arena.ts";
import type { DeviceConfig, DeviceInfo, EthDevice, LinkStatus } from "./driver.ts";
import { type QueueFault, queueFault } from "./queue-errors.ts";

export interface PortStats {
  rxPackets: number;
  txPackets: number;
  rxBytes: number;
  txBytes: number;
  /** Frames dropped for their own fault. */
  rxErrors: number;
  txErrors: number;
  /** Times that a receive queue found no mbuf. */
  rxNoMbuf: number;
  /** Packets that a transmit queue refused because it was full. They went back to who sent them. */
  txRefused: number;
}

interface PortEvents {
  link: [LinkStatus];
  /** A queue stopped itself, or the device reports something of its own. */
  error: [PollmodeError];
}

export class Port extends EventEmitter<PortEvents> {
  readonly id: number;
  readonly name: string;
  private readonly device: EthDevice;
  private readonly arena: Arena;
  private state: "new" | "configured" | "started" | "closed" = "new";
  /** Faults that were reported, by queue block. */
  private readonly reported = new Map<number, number>();

  /** The lcore that runs a queue now, if any. */
  private readonly ownerOf: (queue: number) => number | undefined;

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
  }

  get info(): DeviceInfo {
    return this.device.info;
  }

  /** 6 bytes. */
  get mac(): Uint8Array {
    return this.device.mac;
  }

  get started(): boolean {
    return this.state === "started";
  }

  /** Arena offsets of the queue blocks. */
  get rxQueues(): readonly number[] {
    return this.device.rxQueues;
  }
  get txQueues(): readonly number[] {
    return this.device.txQueues;
  }

  link(): LinkStatus {
    return this.device.link();
  }

  /** Sets the number of queues, one each way by default. The port is stopped, and no lcore runs its queues. */
  async configure(config: DeviceConfig = { rxQueues: 1, txQueues: 1 }): Promise<void> {
    this.require("new", "configured");
    for (const queue of [...this.rxQueues, ...this.txQueues]) {
      const owner = this.ownerOf(queue);
      if (owner === undefined) continue;
      const message = `port ${this.id} (${this.name}): lcore ${owner} runs one of its queues`;
      throw new PollmodeError("QUEUE_BUSY", message, `stop lcore ${owner} first`);
    }
    this.bound("rxQueues", config.rxQueues, this.info.rxQueuesMax);
    this.bound("txQueues", config.txQueues, this.info.txQueuesMax);
    await this.device.configure(config);
    for (const queue of [...this.rxQueues, ...this.txQueues])
      this.arena.u32[(queue + Queue.PORT) >>> 2] = this.id;
    this.state = "configured";
  }

  async start(): Promise<void> {
    this.require("configured");
    await this.device.start();
    this.state = "started";
  }

  async stop(): Promise<void> {
    if (this.state !== "started") return;
    this.state = "configured";
    await this.device.stop();
  }

  async close(): Promise<void> {
    if (this.state === "closed") return;
    await this.stop();
    this.state = "closed";
    await this.device.close();
  }

  stats(): PortStats {
    const sum = (queues: readonly number[], word: number) =>
      queues.reduce((total, queue) => total + this.arena.f64[(queue + word) >>> 3]!, 0);
    const { rxQueues, txQueues } = this;
    return {
      rxPackets: sum(rxQueues, Queue.PACKETS),
      txPackets: sum(txQueues, Queue.PACKETS),
      rxBytes: sum(rxQueues, Queue.BYTES),
      txBytes: sum(txQueues, Queue.BYTES),
      rxErrors: sum(rxQueues, Queue.ERRORS),
      txErrors: sum(txQueues, Queue.ERRORS),
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
          stats[`${way}_q${k}_${name}`] = this.arena.f64[(queue + word) >>> 3]!;
        }
      });
    };
    add("rx", this.rxQueues, "no_mbuf");
    add("tx", this.txQueues, "refused");
    return { ...stats, ...this.device.xstats?.() };
  }

  clearStats(): void {
    for (const queue of [...this.rxQueues, ...this.txQueues]) {
      this.arena.f64.fill(0, (queue + Queue.PACKETS) >>> 3, (queue + Queue.DRIVER) >>> 3);
    }
  }

  /** Queues that stopped themselves, by name (`rx 0`). */
  faults(): Record<string, QueueFault> {
    const faults: Record<string, QueueFault> = {};
    this.eachFault((name, fault) => {
      faults[name] = fault;
    });
    return faults;
  }

  /** Emits `error` for each queue that stopped itself since the last call. The engine's monitor calls it. */
  reportFaults(): void {
    this.eachFault((name, fault, queue, code) => {
      if (this.reported.get(queue) === code) return;
      this.reported.set(queue, code);
      const what = `${fault.text} (${fault.name}, ${fault.argument})`;
      const message = `port ${this.id} (${this.name}): queue ${name} stopped: ${what}`;
      const fix =
        "the peer breaks the virtio rules: mend or restart it; the queue runs again when it reconnects";
      this.report(new PollmodeError(`QUEUE_${fault.name}`, message, fix));
    });
  }

  /** Passes an error on to listeners; without any it is a warning, for a peer's fault must not end the process. */
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

  async setPromiscuous(on: boolean): Promise<void> {
    await this.has("setPromiscuous", "promiscuous mode").call(this.device, on);
  }
  async setAllMulticast(on: boolean): Promise<void> {
    await this.has("setAllMulticast", "all-multicast mode").call(this.device, on);
  }
  async setMac(mac: Uint8Array): Promise<void> {
    await this.has("setMac", "a changeable MAC address").call(this.device, mac);
  }
  async setMtu(mtu: number): Promise<void> {
    await this.has("setMtu", "a changeable MTU").call(this.device, mtu);
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

  private bound(what: string, value: number, max: number): void {
    if (Number.isInteger(value) && value >= 1 && value <= max) return;
    const message = `port ${this.id} (${this.name}): ${what} ${value}, but ${this.info.driver} has 1 to ${max}`;
    throw new PollmodeError("QUEUE_COUNT", message, `choose ${what} between 1 and ${max}`);
  }
}
