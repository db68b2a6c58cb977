// How long frames are: the kernel's interface and this port share the NIC's one limit, so a receive queue must have
// room for the longer of both, or such frames complete in error (Local Length Error). A larger MTU than the
// interface's is given to it, too, for else the NIC drops such frames; a smaller one is this port's alone.
import { PollmodeError } from "../../src/errors.ts";
import type { DeviceEvents, DriverContext } from "../../src/ethdev/driver.ts";
import type { KernelInterface } from "./netdev.ts";

const MTU_DEFAULT = 1500;
const MTU_MIN = 68;
/** What mlx5_core offers as the most: 10240 less its own headers. */
export const MTU_MAX = 9978;
/** Ethernet header and a VLAN tag. */
export const FRAME_HEADER_BYTES = 14 + 4;

export class FrameSizes {
  private readonly port: string;
  private readonly netdev: KernelInterface;
  private readonly context: Pick<DriverContext, "pool" | "warn">;
  /** As setMtu says. */
  private asked: number | undefined;
  /** Bytes that the receive queues have room for; 0: stopped. */
  private room = 0;
  /** The interface's MTU that was complained of. */
  private tooLong = 0;

  constructor(port: string, netdev: KernelInterface, context: Pick<DriverContext, "pool" | "warn">) {
    this.port = port;
    this.netdev = netdev;
    this.context = context;
  }

  private get mtu(): number {
    return this.asked ?? this.netdev.mtu ?? MTU_DEFAULT;
  }

  /** What receive queues are made for. */
  start(): { frameBytes: number; segments: number } {
    const longest = Math.max(this.mtu, this.netdev.mtu ?? 0) + FRAME_HEADER_BYTES;
    const { dataRoom } = this.context.pool;
    const segments = Math.ceil(longest / dataRoom);
    this.room = segments * dataRoom;
    this.tooLong = 0;
    return { frameBytes: this.mtu + FRAME_HEADER_BYTES, segments };
  }

  stop(): void {
    this.room = 0;
  }

  /** Errors: MTU, EPERM. */
  setMtu(mtu: number): void {
    if (!Number.isInteger(mtu) || mtu < MTU_MIN || mtu > MTU_MAX) {
      const fix = `choose one between ${MTU_MIN} and ${MTU_MAX}`;
      throw new PollmodeError("MTU", `${this.port}: MTU ${mtu}`, fix);
    }
    if (this.room > 0 && mtu + FRAME_HEADER_BYTES > this.room) {
      const most = Math.min(MTU_MAX, this.room - FRAME_HEADER_BYTES);
      const message = `${this.port}: an MTU of ${mtu} does not fit the receive queues as they were started`;
      throw new PollmodeError("MTU", message, `stop the port first, or choose ${most} at most`);
    }
    const kernel = this.netdev.mtu;
    if (kernel !== undefined && mtu > kernel && !this.netdev.setMtu(mtu)) {
      const where = `${this.port}: its interface ${this.netdev.name} is in another network namespace`;
      this.context.warn(`${where} and keeps its MTU of ${kernel}: the NIC may drop longer frames`);
    }
    this.asked = mtu;
  }

  /** The interface's MTU may have been raised beyond what the receive queues hold. Said once. */
  follow({ error }: Pick<DeviceEvents, "error">): void {
    const { mtu = 0, name } = this.netdev;
    if (mtu + FRAME_HEADER_BYTES <= this.room || mtu === this.tooLong) return;
    this.tooLong = mtu;
    const message = `${this.port}: interface ${name} has an MTU of ${mtu} now, longer than the receive queues' buffers`;
    error(
      new PollmodeError("MTU", message, "stop and start the port: its queues are made for such frames then"),
    );
  }
}
