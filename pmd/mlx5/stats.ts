// Counters that the NIC keeps of its port, as the kernel shows them in sysfs: `hw_counters` of the queues of this and
// other programs on the device (Documentation/infiniband: out_of_buffer and others), `counters` of the port.
import { rdmaSysfs } from "../../src/bus/rdma/devices.ts";
import type { DeviceStats } from "../../src/ethdev/driver.ts";
import { type KernelInterface, readSysfs } from "./netdev.ts";

const FOLDERS = ["hw_counters", "counters"] as const;
/** How often hw_counters are read from the NIC: the kernel keeps the values for so long; it is no counter. */
const NO_COUNTER = "lifespan";

export class PortCounters {
  private readonly ibdev: string;
  private readonly netdev: KernelInterface;
  private before: Readonly<Record<string, number>> = {};
  private errorsBefore = 0;

  /** Counts from now on: what the kernel and others had before is not the port's. */
  constructor(ibdev: string, netdev: KernelInterface) {
    this.ibdev = ibdev;
    this.netdev = netdev;
    this.clear();
  }

  /** rxMissed: frames that found no free buffer in a receive queue. */
  summary(): DeviceStats {
    const missed = this.counter("hw_counters", "out_of_buffer");
    return {
      rxMissed: missed - (this.before.out_of_buffer ?? 0),
      rxErrors: this.netdev.errors() - this.errorsBefore,
      txErrors: 0,
    };
  }

  /** By their names in sysfs. */
  values(): Record<string, number> {
    const now = this.read();
    return Object.fromEntries(
      Object.entries(now).map(([name, value]) => [name, value - (this.before[name] ?? 0)]),
    );
  }

  clear(): void {
    this.before = this.read();
    this.errorsBefore = this.netdev.errors();
  }

  private read(): Record<string, number> {
    const found: Record<string, number> = {};
    for (const folder of FOLDERS) {
      for (const name of this.list(folder)) if (name !== NO_COUNTER) found[name] = this.counter(folder, name);
    }
    return found;
  }

  private list(folder: string): string[] {
    try {
      return rdmaSysfs().list(this.path(folder));
    } catch {
      return []; // not to be read, or the device went
    }
  }

  private counter(folder: string, name: string): number {
    const value = Number(readSysfs(this.path(`${folder}/${name}`)));
    return Number.isFinite(value) ? value : 0;
  }

  private path(name: string): string {
    return `class/infiniband/${this.ibdev}/ports/1/${name}`;
  }
}
