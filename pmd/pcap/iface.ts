// A queue on an interface of the kernel (rx_iface, tx_iface, iface): one side of a net_af_packet device of its own,
// with its rings. Promiscuous, as what DPDK opens by libpcap.
import type {
  DeviceEvents,
  DeviceStats,
  DriverContext,
  EthDevice,
  LinkStatus,
} from "../../src/ethdev/driver.ts";
import { afPacketDriver } from "../af_packet/device.ts";

type Way = "rx" | "tx";

export interface IfacePlan {
  /** The port: for messages. */
  readonly port: string;
  readonly index: number;
  readonly way: Way;
  readonly iface: string;
  /** Receive: what this machine sends by the interface too. */
  readonly outgoing: boolean;
}

export class IfaceQueue {
  readonly device: EthDevice;
  private readonly plan: IfacePlan;

  private constructor(device: EthDevice, plan: IfacePlan) {
    this.device = device;
    this.plan = plan;
  }

  static async open(context: DriverContext, events: DeviceEvents, plan: IfacePlan): Promise<IfaceQueue> {
    const args = new Map([["iface", plan.iface]]);
    if (plan.outgoing) args.set("outgoing", "1");
    const devargs = { bus: "vdev", driver: "net_pcap", name: plan.port, args, repeated: [] } as const;
    const device = await afPacketDriver.probe(devargs, context, events);
    try {
      if (plan.way === "rx") await device.setPromiscuous?.(true);
      return new IfaceQueue(device, plan);
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  async configure(): Promise<void> {
    const receives = this.plan.way === "rx";
    await this.device.configure({ rxQueues: receives ? 1 : 0, txQueues: receives ? 0 : 1 });
  }

  get offset(): number {
    const { rxQueues, txQueues } = this.device;
    return (this.plan.way === "rx" ? rxQueues : txQueues)[0]!;
  }

  async start(): Promise<void> {
    await this.device.start();
  }
  /** Stopping the device does it. */
  halt(): void {}
  async stop(): Promise<undefined> {
    await this.device.stop();
  }
  /** The device tells its faults itself. */
  takeFault(): undefined {}
  /** It lives until close(). */
  free(): void {}

  link(): LinkStatus {
    return this.device.link();
  }
  stats(): DeviceStats {
    return this.device.stats?.() ?? { rxMissed: 0, rxErrors: 0, txErrors: 0 };
  }
  xstats(): Record<string, number> {
    const { way, index } = this.plan;
    const all = Object.entries(this.device.xstats?.() ?? {});
    const own = all.filter(([name]) => name.startsWith(`${way}_q0_`));
    return Object.fromEntries(own.map(([name, value]) => [name.replace("q0", `q${index}`), value]));
  }
}
