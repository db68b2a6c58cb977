// The device's side of vhost-user: a peer, perhaps a hostile one, tells where its memory and its rings are. Everything
// is checked here but the translation of addresses, which is for whoever maps the memory; what cannot be right is
// refused by name. Handlers are called one at a time, in the order of the messages.
import { PollmodeError } from "../errors.ts";
import { close } from "../libc/libc.ts";
import type { Poller } from "../libc/poller.ts";
import type { VhostUserBackendHandlers, VhostUserBackendOptions } from "./handlers.ts";
import { type BackendRegion, checkRegions, sameRegion } from "./memory-table.ts";
import {
  decodeRegions,
  decodeSingleRegion,
  decodeVringAddress,
  decodeVringState,
  encodeU64,
  encodeVringState,
  Feature,
  FLAG_NEED_REPLY,
  FLAG_REPLY,
  MEM_SLOTS_MAX,
  type Message,
  MTU_MAX,
  MTU_MIN,
  ProtocolFeature,
  QUEUE_PAIRS_MAX,
  Request,
  requestName,
  VRING_INDEX_MASK,
  VRING_NO_FD,
} from "./protocol.ts";
import { checkForm, type Reply, requestForm } from "./requests.ts";
import { peerFix, VhostUserSocket } from "./socket.ts";
import { checkEventfd, freshBase, sizeProblem, Vring } from "./vring.ts";

export class VhostUserBackend {
  /** What was agreed upon. */
  features = 0n;
  protocolFeatures = 0n;
  readonly name: string;
  private readonly handlers: VhostUserBackendHandlers;
  private readonly offered: bigint;
  private readonly protocolOffered: bigint;
  private readonly socket: VhostUserSocket;
  private readonly vrings: Vring[];
  private regions: BackendRegion[] = [];
  private statusByte = 0;
  private readonly whenClosed: Promise<void>;

  /** `fd` is a connected socket, of either role; it is the back-end's from now on. */
  constructor(fd: number, poller: Poller, options: VhostUserBackendOptions) {
    this.name = options.name;
    this.handlers = options.handlers;
    this.offered = options.features | Feature.PROTOCOL_FEATURES;
    this.protocolOffered = options.protocolFeatures;
    const pairs = Math.min(options.queuePairsMax, QUEUE_PAIRS_MAX);
    this.vrings = Array.from({ length: 2 * pairs }, (_, index) => new Vring(index));
    let done: () => void;
    this.whenClosed = new Promise((resolve) => {
      done = resolve;
    });
    this.socket = new VhostUserSocket(fd, poller, {
      name: this.name,
      onMessage: (message) => this.handle(message),
      onClose: (reason) => void this.finish(reason).then(done, done),
    });
  }

  private get packed(): boolean {
    return (this.features & Feature.RING_PACKED) !== 0n;
  }

  /** Resolves when all rings are stopped and `closed` has settled. */
  close(): Promise<void> {
    this.socket.close();
    return this.whenClosed;
  }

  private refuse(code: string, detail: string): PollmodeError {
    return new PollmodeError(code, `vhost-user ${this.name}: ${detail}`, peerFix);
  }

  /** One message from check to answer. Without a way to say no, a fault ends the connection. */
  private async handle(message: Message): Promise<void> {
    const { request, flags } = message;
    let failure: PollmodeError | undefined;
    let reply: Reply;
    try {
      checkForm(this.name, message, this.protocolOffered);
      reply = await this.execute(message);
    } catch (error) {
      failure = this.asFailure(request, error);
    }
    const acknowledge = flags & FLAG_NEED_REPLY && this.protocolOffered & ProtocolFeature.REPLY_ACK;
    if (failure) {
      if (!acknowledge || requestForm(request)?.answers) throw failure;
      this.handlers.refused?.(failure);
      this.socket.send(request, FLAG_REPLY, encodeU64(1n));
    } else if (reply) this.socket.send(request, FLAG_REPLY, reply);
    else if (acknowledge) this.socket.send(request, FLAG_REPLY, encodeU64(0n));
  }

  private asFailure(request: number, error: unknown): PollmodeError {
    if (error instanceof PollmodeError) return error;
    const text = error instanceof Error ? error.message : String(error);
    const message = `vhost-user ${this.name}: ${requestName(request)}: ${text}`;
    return new PollmodeError("VHOST_HANDLER", message, "report a bug of pollmode", { cause: error });
  }

  private async execute(message: Message): Promise<Reply> {
    const { request, payload } = message;
    switch (request) {
      case Request.GET_FEATURES:
        return encodeU64(this.offered);
      case Request.SET_FEATURES:
        return this.setFeatures(payload.readBigUInt64LE());
      case Request.GET_PROTOCOL_FEATURES:
        return encodeU64(this.protocolOffered);
      case Request.SET_PROTOCOL_FEATURES:
        return this.setProtocolFeatures(payload.readBigUInt64LE());
      case Request.GET_QUEUE_NUM:
        return encodeU64(BigInt(this.vrings.length / 2));
      case Request.GET_MAX_MEM_SLOTS:
        return encodeU64(BigInt(MEM_SLOTS_MAX));
      case Request.GET_STATUS:
        return encodeU64(BigInt(this.statusByte));
      case Request.SET_STATUS:
        return this.setStatus(payload.readBigUInt64LE());
      case Request.RESET_OWNER: // "It is recommended that back-ends [...] use it to disable all rings"
      case Request.RESET_DEVICE:
        return this.reset(request === Request.RESET_DEVICE);
      case Request.NET_SET_MTU:
        return this.setMtu(payload.readBigUInt64LE());
      case Request.SEND_RARP:
        await this.handlers.rarp?.(Uint8Array.from(payload.subarray(0, 6)));
        return undefined;
      case Request.SET_OWNER:
        return undefined;
      default:
        return this.executeMemory(message);
    }
  }

  private async executeMemory(message: Message): Promise<Reply> {
    const { request, payload, fds } = message;
    switch (request) {
      case Request.SET_MEM_TABLE: {
        const regions = decodeRegions(payload);
        if (!regions)
          throw this.refuse("VHOST_SIZE", "SET_MEM_TABLE: it does not hold as many regions as it says");
        if (regions.length !== fds.length) {
          const detail = `SET_MEM_TABLE: ${regions.length} regions with ${fds.length} fds`;
          throw this.refuse("VHOST_FDS", detail);
        }
        checkRegions(this.name, regions, fds, []);
        return this.changeMemory(() => regions.map((region) => ({ ...region, fd: fds.shift()! })));
      }
      case Request.ADD_MEM_REG: {
        if (this.regions.length >= MEM_SLOTS_MAX) {
          throw this.refuse("VHOST_REGIONS", `ADD_MEM_REG: more than ${MEM_SLOTS_MAX} regions`);
        }
        const region = decodeSingleRegion(payload);
        const others = this.regions.filter((other) => !sameRegion(region, other));
        checkRegions(this.name, [region], fds, others);
        // QEMU before 9.0 adds each region once for every queue pair; the fd is closed with the message
        if (others.length < this.regions.length) return undefined;
        return this.changeMemory(() => [...this.regions, { ...region, fd: fds.shift()! }]);
      }
      case Request.REM_MEM_REG: {
        const region = decodeSingleRegion(payload);
        const left = this.regions.filter((other) => !sameRegion(region, other));
        if (left.length === this.regions.length)
          throw this.refuse("VHOST_REGION", "REM_MEM_REG: no such region");
        return this.changeMemory(() => left);
      }
      default:
        return this.executeVring(message);
    }
  }

  private async executeVring(message: Message): Promise<Reply> {
    const { request, payload } = message;
    switch (request) {
      case Request.SET_VRING_NUM: {
        const { index, num } = decodeVringState(payload);
        const vring = this.stopped(request, index);
        // Features may come later: what is no power of two is decided when the ring starts.
        const problem = sizeProblem(num, this.packed || this.features === 0n);
        if (problem) throw this.refuse("VHOST_RING", `${requestName(request)}: ring ${index}: ${problem}`);
        vring.size = num;
        return undefined;
      }
      case Request.SET_VRING_BASE: {
        const { index, num } = decodeVringState(payload);
        this.stopped(request, index).base = num;
        return undefined;
      }
      case Request.SET_VRING_ADDR:
        return this.setAddress(payload);
      case Request.SET_VRING_ENABLE: {
        const { index, num } = decodeVringState(payload);
        if (num > 1)
          throw this.refuse("VHOST_VALUE", `${requestName(request)}: ring ${index}: ${num}, not 0 or 1`);
        return this.reconfigure(this.vring(request, index), (vring) => {
          vring.enabled = num === 1;
        });
      }
      case Request.GET_VRING_BASE: {
        const vring = this.vring(request, decodeVringState(payload).index);
        await this.stop(vring);
        vring.unkick();
        return encodeVringState({ index: vring.index, num: vring.base ?? freshBase(this.packed) });
      }
      default:
        return this.setVringFd(message);
    }
  }

  private vring(request: number, index: number): Vring {
    const vring = this.vrings[index];
    if (vring) return vring;
    const detail = `${requestName(request)}: ring ${index}, there are ${this.vrings.length}`;
    throw this.refuse("VHOST_INDEX", detail);
  }

  private stopped(request: number, index: number): Vring {
    const vring = this.vring(request, index);
    if (!vring.running) return vring;
    throw this.refuse("VHOST_RUNNING", `${requestName(request)}: ring ${index} is running`);
  }

  private async setFeatures(features: bigint): Promise<undefined> {
    const unknown = features & ~this.offered;
    if (unknown)
      throw this.refuse("VHOST_FEATURES", `SET_FEATURES: 0x${unknown.toString(16)} was not offered`);
    // QEMU says it again for each queue pair.
    if (features === this.features) return;
    if (this.vrings.some(({ running }) => running)) {
      throw this.refuse("VHOST_RUNNING", "SET_FEATURES: other features while a ring is running");
    }
    await this.handlers.featuresSet(features);
    this.features = features;
  }

  private setProtocolFeatures(features: bigint): undefined {
    const unknown = features & ~this.protocolOffered;
    if (unknown)
      throw this.refuse("VHOST_FEATURES", `SET_PROTOCOL_FEATURES: 0x${unknown.toString(16)} was not offered`);
    this.protocolFeatures = features;
  }

  private async setStatus(status: bigint): Promise<undefined> {
    if (status > 0xffn) throw this.refuse("VHOST_VALUE", `SET_STATUS: 0x${status.toString(16)} is no byte`);
    if (status === 0n) await this.stopAll(); // VIRTIO 1.2, 2.1: a reset
    this.statusByte = Number(status);
    await this.handlers.status?.(this.statusByte);
  }

  private async setMtu(mtu: bigint): Promise<undefined> {
    if (mtu < MTU_MIN || mtu > MTU_MAX) throw this.refuse("VHOST_VALUE", `NET_SET_MTU: ${mtu} is no MTU`);
    await this.handlers.mtuSet?.(Number(mtu));
  }

  private async reset(device: boolean): Promise<undefined> {
    await this.stopAll();
    for (const vring of this.vrings) {
      vring.enabled = false;
      if (device) vring.unkick();
    }
    if (!device) return;
    this.features = 0n;
    this.statusByte = 0;
  }

  private setAddress(payload: Buffer): Promise<undefined> {
    const { index, flags, desc, avail, used } = decodeVringAddress(payload);
    const vring = this.vring(Request.SET_VRING_ADDR, index);
    if (flags !== 0) {
      const detail = `SET_VRING_ADDR: ring ${index}: flags 0x${flags.toString(16)}; logging was not offered`;
      throw this.refuse("VHOST_VALUE", detail);
    }
    return this.reconfigure(vring, () => {
      vring.addresses = { desc, avail, used };
    });
  }

  private async setVringFd({ request, payload, fds }: Message): Promise<undefined> {
    const value = payload.readBigUInt64LE();
    const index = Number(value) & VRING_INDEX_MASK;
    const none = (value & BigInt(VRING_NO_FD)) !== 0n;
    const what = `${requestName(request)}: ring ${index}`;
    if (value >> 9n) throw this.refuse("VHOST_VALUE", `${what}: 0x${value.toString(16)} has unknown bits`);
    if (fds.length !== (none ? 0 : 1)) throw this.refuse("VHOST_FDS", `${what}: ${fds.length} fds`);
    const vring = this.vring(request, index);
    if (fds[0] !== undefined) checkEventfd(this.name, what, fds[0]);
    if (request === Request.SET_VRING_KICK) {
      return this.reconfigure(vring, () => {
        vring.unkick();
        vring.kicked = true;
        vring.kickFd = fds.shift();
      });
    }
    const slot = request === Request.SET_VRING_CALL ? "callFd" : "errFd";
    const old = vring[slot];
    const fd = (vring[slot] = fds.shift());
    try {
      if (slot === "callFd" && vring.running) await this.handlers.callChanged(index, fd);
    } finally {
      if (old !== undefined) close(old);
    }
  }

  private async changeMemory(table: () => BackendRegion[]): Promise<undefined> {
    await this.stopAll();
    const regions = table();
    let failure: unknown;
    try {
      await this.handlers.memoryChanged(regions);
      this.regions = regions;
    } catch (error) {
      failure = error;
    }
    try {
      await this.startAll();
    } catch (error) {
      failure ??= error;
    }
    if (failure) throw failure;
  }

  /** Stops the ring for a change, and starts it if it can run with it. */
  private async reconfigure(vring: Vring, change: (vring: Vring) => void): Promise<undefined> {
    await this.stop(vring);
    change(vring);
    await this.start(vring);
  }

  private async start(vring: Vring): Promise<void> {
    const enabled = vring.enabled || !(this.features & Feature.PROTOCOL_FEATURES);
    if (vring.running || !enabled || !vring.complete || this.regions.length === 0) return;
    await this.handlers.vringStarted(vring.index, vring.describe(this.name, this.packed));
    vring.running = true;
  }

  private async stop(vring: Vring): Promise<void> {
    if (!vring.running) return;
    vring.running = false;
    vring.base = await this.handlers.vringStopped(vring.index);
  }

  private stopAll(): Promise<void> {
    return this.forAll((vring) => this.stop(vring));
  }

  private startAll(): Promise<void> {
    return this.forAll((vring) => this.start(vring));
  }

  /** One ring's failure does not keep the others from their turn. */
  private async forAll(action: (vring: Vring) => Promise<void>): Promise<void> {
    const failures: unknown[] = [];
    for (const vring of this.vrings) {
      try {
        await action(vring);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  private async finish(reason: PollmodeError | undefined): Promise<void> {
    try {
      await this.stopAll();
    } catch {
      // they count as stopped: there is nobody left to tell
    }
    this.regions = [];
    for (const vring of this.vrings) vring.closeFds();
    await this.handlers.closed(reason);
  }
}
