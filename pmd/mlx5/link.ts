// A port's link: the NIC tells by async events, and the kernel by rtnetlink, that something has changed; what it is now
// is asked then.
import { watchInterfaces } from "../../src/bus/netdev/watch.ts";
import type { RdmaContext } from "../../src/bus/rdma/context.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { DeviceEvents, LinkStatus } from "../../src/ethdev/driver.ts";
import type { Poller } from "../../src/libc/poller.ts";
import type { KernelInterface } from "./netdev.ts";

interface LinkHost {
  readonly port: string;
  readonly rdma: RdmaContext;
  readonly netdev: KernelInterface;
  readonly events: DeviceEvents;
  /** Something of the interface is another now. */
  readonly changed: () => void;
}

const DOWN: LinkStatus = { up: false, speed: 0, duplex: "full" };

export class PortLink {
  private readonly host: LinkHost;
  private readonly unwatch: () => void;
  private state: LinkStatus;
  private present = true;
  private lost = false;

  constructor(host: LinkHost, poller: Poller) {
    this.host = host;
    this.state = this.look();
    this.unwatch = watchInterfaces(poller, () => this.interfaceChanged());
  }

  get now(): LinkStatus {
    return this.state;
  }

  /** Asks the NIC, and tells of a change. */
  refresh(): void {
    this.set(this.look());
  }

  /** The device is gone: no link any more. */
  lose(): void {
    this.lost = true;
    this.set(DOWN);
  }

  close(): void {
    this.unwatch();
  }

  private look(): LinkStatus {
    if (this.lost) return DOWN;
    try {
      const { up, speed } = this.host.rdma.queryPort();
      return { up, speed: up ? speed : 0, duplex: "full" };
    } catch {
      return DOWN; // it is about to report why
    }
  }

  private set(state: LinkStatus): void {
    const same = state.up === this.state.up && state.speed === this.state.speed;
    this.state = state;
    if (!same) this.host.events.link(state);
  }

  /** Its queues go on without it: they are the RDMA device's. That one reports by itself when it goes. */
  private interfaceChanged(): void {
    const { netdev, changed } = this.host;
    if (this.present && !netdev.exists()) {
      this.present = false;
      this.gone();
    }
    this.refresh();
    if (this.present) changed();
  }

  private gone(): void {
    const { port, netdev, events } = this.host;
    const message = `${port}: interface ${netdev.name} was removed, or moved to another network namespace`;
    const fix =
      "frames go on; for its MTU and link to be set from here, move it back and attach the port anew";
    events.error(new PollmodeError("INTERFACE_GONE", message, fix));
  }
}
