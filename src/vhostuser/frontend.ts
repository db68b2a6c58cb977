// The driver's side of vhost-user: it owns the memory and the rings, the back-end moves the packets.
// The order of a start: negotiate, shareMemory, setupVring for each ring, enableVring for each, driverOk.
import { PollmodeError } from "../errors.ts";
import type { Poller } from "../libc/poller.ts";
import {
  CALL_TIMEOUT_MS,
  decodeVringState,
  encodeRegions,
  encodeSingleRegion,
  encodeU64,
  encodeVringAddress,
  encodeVringState,
  Feature,
  FLAG_NEED_REPLY,
  MESSAGE_FDS_MAX,
  type Message,
  ProtocolFeature,
  type RegionPayload,
  Request,
  requestName,
  Status,
  VRING_NO_FD,
  VRING_STATE_BYTES,
  type VringAddresses,
} from "./protocol.ts";
import { VhostUserSocket } from "./socket.ts";

/** Protocol features that are taken when they are offered. */
const protocolWanted =
  ProtocolFeature.MQ |
  ProtocolFeature.REPLY_ACK |
  ProtocolFeature.STATUS |
  ProtocolFeature.CONFIGURE_MEM_SLOTS |
  ProtocolFeature.NET_MTU;

export interface VhostUserFrontendOptions {
  /** The socket's path, for messages. */
  name?: string;
  timeoutMs?: number;
  /** Once. No reason: it was closed here. */
  onClose?(reason: PollmodeError | undefined): void;
}

/** Memory to share; the fd may be closed when `shareMemory` has resolved. */
export interface SharedRegion extends RegionPayload {
  fd: number;
}

export interface FrontendVring extends VringAddresses {
  size: number;
  /** Split: the next available index. Packed: the position in bits 0-14, the wrap counter in bit 15. */
  base: number;
  /** Without one the back-end has to poll. */
  kickFd?: number;
  /** Without one the back-end does not interrupt. */
  callFd?: number;
}

export class VhostUserFrontend {
  /** What the back-end offers, and what was agreed upon. */
  offered = 0n;
  features = 0n;
  protocolFeatures = 0n;
  private readonly socket: VhostUserSocket;
  private readonly timeoutMs: number;

  /** `fd` is a connected socket, of either role: the front-end may have connected or accepted. */
  constructor(fd: number, poller: Poller, options: VhostUserFrontendOptions) {
    this.timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS;
    this.socket = new VhostUserSocket(fd, poller, {
      name: options.name ?? `on fd ${fd}`,
      onMessage: (message) => {
        const detail = `the back-end sent a request (${message.request}) on the front-end's channel`;
        throw this.socket.violation("VHOST_REQUEST", detail);
      },
      onClose: (reason) => options.onClose?.(reason),
    });
  }

  get closed(): boolean {
    return this.socket.closed;
  }

  /** Agrees on features: of those `wanted`, what the back-end has; without one of those `required` it fails. */
  async negotiate(wanted: bigint, required: bigint): Promise<bigint> {
    await this.command(Request.SET_OWNER);
    this.offered = await this.getU64(Request.GET_FEATURES);
    const missing = required & ~this.offered;
    if (missing !== 0n) {
      const message = `vhost-user ${this.socket.name}: the back-end lacks virtio feature ${bitList(missing)}`;
      throw new PollmodeError(
        "VHOST_FEATURES",
        message,
        "turn it on in the back-end, or off in the port's options",
      );
    }
    this.features = this.offered & (wanted | required | Feature.PROTOCOL_FEATURES);
    if (this.features & Feature.PROTOCOL_FEATURES) {
      const take = (await this.getU64(Request.GET_PROTOCOL_FEATURES)) & protocolWanted;
      await this.command(Request.SET_PROTOCOL_FEATURES, encodeU64(take));
      this.protocolFeatures = take;
    }
    await this.command(Request.SET_FEATURES, encodeU64(this.features));
    if (this.protocolFeatures & ProtocolFeature.STATUS) await this.agreeOnFeatures();
    return this.features;
  }

  /** VIRTIO 1.2, 3.1.1, steps 5 and 6: the device shows by FEATURES_OK whether it can work with these features. */
  private async agreeOnFeatures(): Promise<void> {
    const status = Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK;
    await this.setStatus(status);
    if ((await this.getU64(Request.GET_STATUS)) & BigInt(Status.FEATURES_OK)) return;
    const message = `vhost-user ${this.socket.name}: the back-end refuses the features 0x${this.features.toString(16)}`;
    throw new PollmodeError("VHOST_FEATURES", message, "ask for fewer features in the port's options");
  }

  /** Queue pairs that the back-end serves. */
  async queuePairsMax(): Promise<number> {
    if (!(this.protocolFeatures & ProtocolFeature.MQ)) return 1;
    return Number(await this.getU64(Request.GET_QUEUE_NUM));
  }

  /** Shares memory, in addition to what was shared if CONFIGURE_MEM_SLOTS was agreed upon, else in its place. */
  async shareMemory(regions: readonly SharedRegion[]): Promise<void> {
    if (this.protocolFeatures & ProtocolFeature.CONFIGURE_MEM_SLOTS) {
      for (const region of regions)
        await this.command(Request.ADD_MEM_REG, encodeSingleRegion(region), [region.fd]);
    } else {
      if (regions.length > MESSAGE_FDS_MAX) {
        const detail = `${regions.length} memory regions, ${MESSAGE_FDS_MAX} are the most`;
        const message = `vhost-user ${this.socket.name}: ${detail}`;
        throw new PollmodeError(
          "VHOST_REGIONS",
          message,
          "use one file for the memory (--single-file-segments)",
        );
      }
      const fds = regions.map(({ fd }) => fd);
      await this.command(Request.SET_MEM_TABLE, encodeRegions(regions), fds);
    }
    // Without acknowledgements an answer to anything shows that what came before is done.
    if (!(this.protocolFeatures & ProtocolFeature.REPLY_ACK)) await this.getU64(Request.GET_FEATURES);
  }

  /** Tells the back-end all about a ring, in the order that DPDK's takes; KICK makes the ring start. */
  async setupVring(index: number, vring: FrontendVring): Promise<void> {
    const { desc, avail, used } = vring;
    await this.setVringFd(Request.SET_VRING_CALL, index, vring.callFd);
    await this.command(Request.SET_VRING_NUM, encodeVringState({ index, num: vring.size }));
    await this.command(Request.SET_VRING_BASE, encodeVringState({ index, num: vring.base }));
    await this.command(
      Request.SET_VRING_ADDR,
      encodeVringAddress({ index, flags: 0, desc, avail, used, log: 0n }),
    );
    await this.setVringFd(Request.SET_VRING_KICK, index, vring.kickFd);
  }

  /** Does nothing if PROTOCOL_FEATURES was not agreed upon: rings are then enabled as they start ("Ring states"). */
  async enableVring(index: number, on: boolean): Promise<void> {
    if (!(this.features & Feature.PROTOCOL_FEATURES)) return;
    await this.command(Request.SET_VRING_ENABLE, encodeVringState({ index, num: on ? 1 : 0 }));
  }

  async driverOk(): Promise<void> {
    if (!(this.protocolFeatures & ProtocolFeature.STATUS)) return;
    await this.setStatus(Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | Status.DRIVER_OK);
  }

  /** Stops a ring: when this resolves, the back-end touches it no more. Returns its base. */
  async stopVring(index: number): Promise<number> {
    const payload = encodeVringState({ index, num: 0 });
    const reply = await this.reply(Request.GET_VRING_BASE, payload, VRING_STATE_BYTES);
    const state = decodeVringState(reply.payload);
    if (state.index !== index) {
      const detail = `GET_VRING_BASE: an answer about ring ${state.index}, asked about ${index}`;
      throw this.socket.violation("VHOST_REPLY", detail);
    }
    return state.num;
  }

  /** Tells the back-end the MTU to announce. */
  async setMtu(mtu: number): Promise<void> {
    if (!(this.protocolFeatures & ProtocolFeature.NET_MTU)) {
      const message = `vhost-user ${this.socket.name}: the back-end takes no MTU (no NET_MTU)`;
      throw new PollmodeError("ENOTSUP", message, "leave the MTU as it is, or set it in the back-end");
    }
    await this.command(Request.NET_SET_MTU, encodeU64(BigInt(mtu)));
  }

  setStatus(status: number): Promise<void> {
    return this.command(Request.SET_STATUS, encodeU64(BigInt(status)));
  }

  close(): void {
    this.socket.close();
  }

  private setVringFd(request: number, index: number, fd: number | undefined): Promise<void> {
    const payload = encodeU64(BigInt(fd === undefined ? index | VRING_NO_FD : index));
    return this.command(request, payload, fd === undefined ? [] : [fd]);
  }

  private async getU64(request: number): Promise<bigint> {
    return (await this.reply(request, undefined, 8)).payload.readBigUInt64LE();
  }

  private async reply(request: number, payload: Buffer | undefined, bytes: number): Promise<Message> {
    const reply = await this.socket.call(request, 0, payload, [], this.timeoutMs);
    if (reply.payload.length === bytes) return reply;
    const detail = `${requestName(request)}: a reply of ${reply.payload.length} bytes, not ${bytes}`;
    throw this.socket.violation("VHOST_REPLY", detail);
  }

  /** A request without an answer of its own: with REPLY_ACK it is acknowledged, or fails if the back-end refuses it. */
  private async command(request: number, payload?: Buffer, fds: readonly number[] = []): Promise<void> {
    if (!(this.protocolFeatures & ProtocolFeature.REPLY_ACK)) {
      this.socket.send(request, 0, payload, fds);
      if (this.socket.closed) throw this.closedError(request);
      return;
    }
    const reply = await this.socket.call(request, FLAG_NEED_REPLY, payload, fds, this.timeoutMs);
    if (reply.payload.length === 8 && reply.payload.readBigUInt64LE() === 0n) return;
    const message = `vhost-user ${this.socket.name}: the back-end refuses ${requestName(request)}`;
    throw new PollmodeError("VHOST_REFUSED", message, "see the back-end's log for the reason");
  }

  private closedError(request: number): PollmodeError {
    const message = `vhost-user ${this.socket.name}: ${requestName(request)}: the connection is closed`;
    return new PollmodeError("VHOST_CLOSED", message, "connect again");
  }
}

function bitList(bits: bigint): string {
  const set = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (bits >> BigInt(bit)) & 1n);
  return set.join(", ");
}
