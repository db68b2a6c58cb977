// A port on an RDMA device: the kernel keeps the NIC and its interface, and this port takes frames by rules. Nothing of
// it is bound to VFIO.
//
//   probe      device opened, protection domain, the DMA zone registered
//   configure  queue blocks
//   start      CQs, send queues, receive queues (queues.ts); then rules, with indirection tables and queue pairs that
//              hash (rules.ts, rss.ts)
//   stop       the reverse; whatever was asked for is kept here and made again by the next start
//
// Whatever fails is undone in reverse.
import type { InterruptLine } from "../../src/bus/pci-function.ts";
import type { RdmaContext } from "../../src/bus/rdma/context.ts";
import type { RdmaEvent } from "../../src/bus/rdma/types.ts";
import { PollmodeError } from "../../src/errors.ts";
import type {
  DeviceConfig,
  DeviceEvents,
  DeviceInfo,
  DeviceStats,
  DriverContext,
  EthDevice,
  LinkStatus,
  OffloadName,
  RssConfig,
} from "../../src/ethdev/driver.ts";
import { QUEUES_MAX, RING_SIZE_MAX, RING_SIZE_MIN } from "../../src/limits.ts";
import type { Mlx5Arguments } from "./arguments.ts";
import { Flows } from "./flows.ts";
import { FRAME_HEADER_BYTES, FrameSizes, MTU_MAX } from "./frame-sizes.ts";
import { PortLink } from "./link.ts";
import { PortMacs } from "./macs.ts";
import type { KernelInterface } from "./netdev.ts";
import type { Mode, PortQueues } from "./queues.ts";
import { completeRss, rssLimits, Spreaders, UNSPREAD } from "./rss.ts";
import { RuleSet } from "./rules.ts";
import { PortCounters } from "./stats.ts";
import { Steering, type SteeringState, steeringRules } from "./steering.ts";

/** What probe() has opened (driver.ts). */
export interface Mlx5Parts {
  /** `net_rdma0`, `0000:03:00.0`. */
  readonly port: string;
  readonly driver: string;
  readonly args: Mlx5Arguments;
  readonly mode: Mode;
  readonly rdma: RdmaContext;
  readonly queues: PortQueues;
  readonly netdev: KernelInterface;
}

export class Mlx5Device implements EthDevice {
  readonly info: DeviceInfo;
  readonly flow: Flows;
  /** Plain verbs give no tag beside a packet. */
  readonly setVlanStrip?: (on: boolean) => Promise<void>;
  /** Where the kernel's interface is in this network namespace. */
  readonly setLink?: (up: boolean) => Promise<void>;
  private readonly parts: Mlx5Parts;
  private readonly context: DriverContext;
  private readonly events: DeviceEvents;
  private readonly steering: Steering;
  private readonly macs: PortMacs;
  private readonly sizes: FrameSizes;
  private readonly counters: PortCounters;
  private readonly portLink: PortLink;
  private config: DeviceConfig = { rxQueues: 1, txQueues: 1 };
  private rssConfig: Required<RssConfig> | undefined;
  /** Of a started port. */
  private rules: RuleSet | undefined;
  private lost: PollmodeError | undefined;

  /** Errors: RDMA_NO_MAC, and those of a netlink socket. */
  constructor(parts: Mlx5Parts, context: DriverContext, events: DeviceEvents) {
    const { port, args, mode, rdma, netdev } = parts;
    this.parts = parts;
    this.context = context;
    this.events = events;
    this.info = deviceInfo(parts);
    this.steering = new Steering(port, args.mac ?? netdev.mac, mode === "dv");
    this.macs = new PortMacs(rdma.info.ibdev, port);
    this.sizes = new FrameSizes(port, netdev, context);
    this.counters = new PortCounters(rdma.info.ibdev, netdev);
    this.flow = new Flows({
      port,
      hasDefaultMiss: mode === "dv",
      rss: () => this.rssConfig ?? UNSPREAD,
      apply: () => this.apply(),
      isolate: (isolated) => this.change({ isolated }),
    });
    if (this.info.offloads?.includes("vlanStrip")) this.setVlanStrip = (on) => this.stripVlan(on);
    if (netdev.isHere) this.setLink = async (up) => netdev.setUp(up);
    const portLink = { port, rdma, netdev, events, changed: () => this.follow() };
    this.portLink = new PortLink(portLink, context.poller);
    try {
      rdma.onAsyncEvent(context.poller, (event) => this.happened(event));
    } catch (error) {
      this.portLink.close();
      throw error;
    }
  }

  get mac(): Uint8Array {
    return this.steering.mac;
  }
  get rxQueues(): readonly number[] {
    return this.parts.queues.rxOffsets;
  }
  get txQueues(): readonly number[] {
    return this.parts.queues.txOffsets;
  }

  rxInterrupt(queue: number): InterruptLine {
    return this.parts.queues.rxInterrupt(queue);
  }

  async configure(config: DeviceConfig): Promise<void> {
    const { queues, args } = this.parts;
    const { rxQueues, txQueues, rxDescriptors = args.rxSize, txDescriptors = args.txSize } = config;
    const { rxInterrupts = false } = config;
    queues.configure({ rxQueues, txQueues, rxSize: rxDescriptors, txSize: txDescriptors, rxInterrupts });
    this.config = config;
    const spreads = this.info.rss && (rxQueues > 1 || config.rss !== undefined);
    this.rssConfig = spreads ? completeRss(config.rss ?? {}, this.info.rss!, rxQueues) : undefined;
  }

  async start(): Promise<void> {
    if (this.lost) throw this.lost;
    const { queues, rdma, netdev, port } = this.parts;
    const { offloads } = this.config;
    queues.open({
      ...this.sizes.start(),
      rxChecksum: offloads?.includes("rxChecksum") ?? false,
      vlanStrip: offloads?.includes("vlanStrip") ?? false,
      rss: this.rssConfig !== undefined && this.parts.mode === "dv",
    });
    try {
      this.rules = new RuleSet(rdma, new Spreaders(rdma, queues.pd, queues.wqs));
      queues.run();
      this.apply();
    } catch (error) {
      await this.stop().catch(() => {}); // the first error is the one to tell
      throw error;
    }
    if (!netdev.up) {
      const name = netdev.name;
      this.context.warn(
        `${port}: its interface ${name} is down, so the NIC's port is: ip link set dev ${name} up`,
      );
    }
    this.portLink.refresh();
  }

  /** Brings the NIC what flow rules and steering come to, where the port is started. */
  private apply(): void {
    if (!this.rules || this.lost) return;
    const rss = this.rssConfig ?? UNSPREAD;
    const state = this.steering.now;
    this.macs.claim(state.isolated || state.promiscuous ? [] : state.macs);
    this.rules.sync([...this.flow.now, ...steeringRules(state, rss)], rss.key);
    this.parts.netdev.follow(state);
  }

  async stop(): Promise<void> {
    const { queues, netdev } = this.parts;
    queues.halt();
    await this.context.quiesce();
    try {
      this.destroyAll();
    } finally {
      this.sizes.stop();
      queues.drain();
      netdev.close();
    }
  }

  /** Rules, then queues. Of a lost device nothing can be destroyed but by closing it, which the kernel then does. */
  private destroyAll(): void {
    const faults: unknown[] = [];
    for (const step of [() => this.rules?.clear(), () => this.parts.queues.shut()]) {
      try {
        step();
      } catch (error) {
        faults.push(error);
      }
    }
    this.rules = undefined;
    this.macs.claim([]);
    if (faults.length > 0 && !this.lost) throw faults[0];
  }

  async close(): Promise<void> {
    const { queues, rdma, netdev } = this.parts;
    this.portLink.close();
    try {
      this.destroyAll();
    } finally {
      netdev.close();
      try {
        rdma.close();
      } finally {
        queues.free();
      }
    }
  }

  link(): LinkStatus {
    return this.portLink.now;
  }
  stats(): DeviceStats {
    return this.counters.summary();
  }
  xstats(): Record<string, number> {
    return this.counters.values();
  }
  clearStats(): void {
    this.counters.clear();
  }

  async setMac(mac: Uint8Array): Promise<void> {
    this.change(this.steering.withMac(mac));
  }
  async addMac(mac: Uint8Array): Promise<void> {
    this.change(this.steering.withAddedMac(mac));
  }
  async removeMac(mac: Uint8Array): Promise<void> {
    this.change(this.steering.withoutMac(mac));
  }
  async setMulticast(macs: readonly Uint8Array[]): Promise<void> {
    this.change(this.steering.withGroups(macs));
  }
  async setPromiscuous(promiscuous: boolean): Promise<void> {
    this.change({ promiscuous });
  }
  async setAllMulticast(allMulticast: boolean): Promise<void> {
    this.change({ allMulticast });
  }
  async setVlanFilter(on: boolean): Promise<void> {
    this.change(this.steering.withVlanFilter(on));
  }
  async setVlan(vlan: number, on: boolean): Promise<void> {
    this.change(this.steering.withVlan(vlan, on));
  }
  private change(edit: Partial<SteeringState>): void {
    this.steering.change(edit, () => this.apply());
  }

  /** Bytes of an IP packet. The kernel's interface gets a larger MTU with it, never a smaller one. Error: MTU. */
  async setMtu(mtu: number): Promise<void> {
    this.sizes.setMtu(mtu);
    if (this.rules) this.parts.queues.setFrameBytes(mtu + FRAME_HEADER_BYTES);
  }

  private async stripVlan(on: boolean): Promise<void> {
    const others = this.config.offloads?.filter((name) => name !== "vlanStrip") ?? [];
    if (this.rules) this.parts.queues.setStripVlan(on);
    this.config = { ...this.config, offloads: on ? [...others, "vlanStrip"] : others };
  }

  async setRss(rss: RssConfig): Promise<void> {
    const before = this.requireRss();
    this.rssConfig = completeRss(rss, this.info.rss!, this.config.rxQueues);
    try {
      this.apply();
    } catch (error) {
      this.rssConfig = before;
      throw error;
    }
  }

  rss(): Required<RssConfig> {
    const { key, table, types } = this.requireRss();
    return { key: key.slice(), table: [...table], types: [...types] };
  }

  private requireRss(): Required<RssConfig> {
    if (this.rssConfig) return this.rssConfig;
    const message = `${this.parts.port}: the port was configured without RSS`;
    const fix = "configure it with several receive queues, or with rss";
    throw new PollmodeError("NOT_SUPPORTED", message, fix);
  }

  private happened({ type, object }: RdmaEvent): void {
    const { port, queues } = this.parts;
    if (type === "port-active" || type === "port-error") this.portLink.refresh();
    else if (type === "device-fatal") this.lose();
    else if (type === "cq-error" || type === "qp-fatal" || type === "wq-fatal") {
      const queue = object === undefined ? undefined : queues.fail(object);
      const message = `${port}: the NIC reports ${type} of ${queue ?? "a queue"}, which stopped`;
      const fix = "stop and start the port: that makes new queues; look at dmesg for mlx5_core";
      this.events.error(new PollmodeError("RDMA_QUEUE_ERROR", message, fix));
    }
  }

  /** The kernel has reset the NIC, or it was pulled out: its queues stop. Said once. */
  private lose(): void {
    if (this.lost) return;
    const { port, queues, rdma } = this.parts;
    const message = `${port}: ${rdma.info.ibdev} reports a fatal error: the device was reset or is gone`;
    const fix = "look at dmesg for mlx5_core; detach the port, and attach it again when the device is back";
    this.lost = new PollmodeError("DEVICE_LOST", message, fix);
    queues.failAll();
    this.portLink.lose();
    this.events.error(this.lost);
  }

  /** Something of the kernel's interface has changed. */
  private follow(): void {
    if (this.rules) this.sizes.follow(this.events);
  }
}

function deviceInfo({ driver, args, mode, rdma }: Mlx5Parts): DeviceInfo {
  const { raw, rss, maxQpWr, maxWq } = rdma.limits;
  const limits = rss.supported && maxWq > 0 ? rssLimits(rss.fields, rss.tableMax) : undefined;
  const offloads: OffloadName[] = raw.checksum ? ["txChecksum"] : [];
  // plain verbs tell nothing beside a packet of a work queue: libmlx5's handle_responder() leaves IP_CSUM_OK to QPs
  if (mode === "dv") {
    if (raw.checksum) offloads.unshift("rxChecksum");
    if (raw.vlanStrip) offloads.push("vlanStrip");
    offloads.push("vlanInsert");
  }
  return {
    driver,
    rxQueuesMax: limits ? args.rxQueuesMax : 1,
    txQueuesMax: QUEUES_MAX,
    frameBytesMax: MTU_MAX + FRAME_HEADER_BYTES,
    descriptors: { min: RING_SIZE_MIN, max: Math.min(RING_SIZE_MAX, maxQpWr), multiple: 1 },
    offloads,
    ...(limits ? { rss: limits } : {}),
    rxInterrupts: true,
  };
}
