// What the vhost-user tests share: connected pairs, a back-end that writes down what happens to it, and a raw peer that
// can say anything.
import { readdirSync } from "node:fs";
import type { PollmodeError } from "../../src/errors.ts";
import { close, eventfd, ftruncate, memfdCreate, recvmsg, sendmsg, socketpair } from "../../src/libc/libc.ts";
import { Poller } from "../../src/libc/poller.ts";
import { VhostUserBackend } from "../../src/vhostuser/backend.ts";
import type { VhostUserBackendHandlers } from "../../src/vhostuser/handlers.ts";
import type { BackendRegion } from "../../src/vhostuser/memory-table.ts";
import {
  encodeHeader,
  encodeSingleRegion,
  encodeU64,
  encodeVringAddress,
  encodeVringState,
  Feature,
  HEADER_BYTES,
  ProtocolFeature,
  type RegionPayload,
  Request,
} from "../../src/vhostuser/protocol.ts";
import type { BackendVring } from "../../src/vhostuser/vring.ts";

export const openFds = () => readdirSync("/proc/self/fd").length;
export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export async function until(condition: () => boolean, what = "it"): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 2000) throw new Error(`${what} does not come`);
    await pause(1);
  }
}

export function newPoller(): Poller {
  return new Poller((error) => {
    throw error; // a callback must never throw: the process says so
  });
}

export const allFeatures =
  Feature.VERSION_1 | Feature.RING_PACKED | Feature.NET_MRG_RXBUF | Feature.NET_MQ | Feature.NET_MTU;
export const allProtocolFeatures = Object.values(ProtocolFeature).reduce((all, bit) => all | bit, 0n);

/** A back-end that maps nothing; `log` tells what its handlers were called with. */
export class TestBackend implements VhostUserBackendHandlers {
  readonly log: string[] = [];
  readonly refusals: PollmodeError[] = [];
  readonly running = new Map<number, BackendVring>();
  regions: readonly BackendRegion[] = [];
  reason: PollmodeError | undefined;
  ended = 0;
  /** The next call of this handler throws it. */
  failNext: { handler: string; error: unknown } | undefined;
  /** What vringStopped answers. */
  base = 77;
  delayMs = 0;
  readonly backend: VhostUserBackend;

  constructor(fd: number, poller: Poller, protocolFeatures = allProtocolFeatures, features = allFeatures) {
    const options = { name: "test", features, protocolFeatures, queuePairsMax: 4, handlers: this };
    this.backend = new VhostUserBackend(fd, poller, options);
  }

  private note(handler: string, detail: unknown): void {
    this.log.push(`${handler} ${detail}`);
    const { failNext } = this;
    if (failNext?.handler !== handler) return;
    this.failNext = undefined;
    throw failNext.error;
  }

  featuresSet(features: bigint): void {
    this.note("features", `0x${features.toString(16)}`);
  }
  memoryChanged(regions: readonly BackendRegion[]): void {
    if (this.running.size > 0) throw new Error("memory changed under a running ring");
    for (const region of regions) if (!this.regions.includes(region)) close(region.fd);
    this.note("memory", regions.map(({ guestAddress }) => `0x${guestAddress.toString(16)}`).join(","));
    this.regions = regions;
  }
  async vringStarted(index: number, vring: BackendVring): Promise<void> {
    if (this.running.has(index)) throw new Error(`ring ${index} started twice`);
    if (this.delayMs) await pause(this.delayMs);
    this.note("start", `${index} size ${vring.size} base ${vring.base}`);
    this.running.set(index, vring);
  }
  async vringStopped(index: number): Promise<number> {
    if (!this.running.delete(index)) throw new Error(`ring ${index} was not running`);
    if (this.delayMs) await pause(this.delayMs);
    this.note("stop", index);
    return this.base;
  }
  callChanged(index: number, callFd: number | undefined): void {
    this.note("call", `${index} ${callFd === undefined ? "none" : "fd"}`);
  }
  status(status: number): void {
    this.note("status", status);
  }
  mtuSet(mtu: number): void {
    this.note("mtu", mtu);
  }
  rarp(mac: Uint8Array): void {
    this.note("rarp", Buffer.from(mac).toString("hex"));
  }
  refused(error: PollmodeError): void {
    this.refusals.push(error);
  }
  closed(reason: PollmodeError | undefined): void {
    this.ended++;
    this.reason = reason;
  }
}

/** The other end of a connection, without a protocol of its own. */
export class RawPeer {
  readonly fd: number;
  private open = true;

  constructor(fd: number) {
    this.fd = fd;
  }

  send(request: number, flags: number, payload: Buffer = Buffer.alloc(0), fds: number[] = []): void {
    const message = Buffer.concat([encodeHeader(request, flags, payload.length), payload]);
    const sent = sendmsg(this.fd, message, fds);
    if (sent !== message.length) throw new Error(`${sent} of ${message.length} bytes sent`);
  }

  /** Sends with need_reply; resolves with the u64 that comes back. */
  async ack(request: number, payload?: Buffer, fds?: number[]): Promise<bigint> {
    this.send(request, 1 | 8, payload, fds);
    return (await this.receive()).readBigUInt64LE();
  }

  async receive(): Promise<Buffer> {
    const header = await this.bytes(HEADER_BYTES);
    return this.bytes(header.readUInt32LE(8));
  }

  private async bytes(count: number): Promise<Buffer> {
    const into = Buffer.alloc(count);
    let have = 0;
    await until(() => {
      const received = have < count ? recvmsg(this.fd, into.subarray(have), 0) : undefined;
      if (received?.bytes === 0) throw new Error("the connection is closed");
      have += received?.bytes ?? 0;
      return have === count;
    }, "an answer");
    return into;
  }

  /** Throws away what has come; false when the other side has closed. */
  drain(): boolean {
    try {
      for (;;) {
        const received = recvmsg(this.fd, Buffer.alloc(4096), 0);
        if (!received) return true;
        if (received.bytes === 0) return false;
      }
    } catch {
      return false;
    }
  }

  close(): void {
    if (this.open) close(this.fd);
    this.open = false;
  }
}

export function rawPair(poller: Poller, protocolFeatures?: bigint): { peer: RawPeer; device: TestBackend } {
  const [a, b] = socketpair();
  return { peer: new RawPeer(a), device: new TestBackend(b, poller, protocolFeatures) };
}

export function memoryFile(bytes = 1 << 20): number {
  const fd = memfdCreate("test", 1);
  ftruncate(fd, bytes);
  return fd;
}

export const region = (over: Partial<RegionPayload> = {}): RegionPayload => ({
  guestAddress: 0x1000n,
  size: 0x10000n,
  userAddress: 0x7000_0000n,
  mmapOffset: 0n,
  ...over,
});

/** Says all that makes ring `index` run; the memory is there already. */
export async function startRing(peer: RawPeer, index: number, size = 256, base = 0): Promise<void> {
  const fds = [eventfd(), eventfd()];
  const addresses = { desc: 0x7000_0000n, avail: 0x7000_8000n, used: 0x7000_9000n };
  const address = encodeVringAddress({ index, flags: 0, ...addresses, log: 0n });
  await peer.ack(Request.SET_VRING_CALL, encodeU64(BigInt(index)), [fds[0]!]);
  await peer.ack(Request.SET_VRING_NUM, encodeVringState({ index, num: size }));
  await peer.ack(Request.SET_VRING_BASE, encodeVringState({ index, num: base }));
  await peer.ack(Request.SET_VRING_ADDR, address);
  await peer.ack(Request.SET_VRING_KICK, encodeU64(BigInt(index)), [fds[1]!]);
  await peer.ack(Request.SET_VRING_ENABLE, encodeVringState({ index, num: 1 }));
  fds.forEach(close);
}

export async function addMemory(peer: RawPeer, over: Partial<RegionPayload> = {}): Promise<bigint> {
  const fd = memoryFile();
  const answer = await peer.ack(Request.ADD_MEM_REG, encodeSingleRegion(region(over)), [fd]);
  close(fd);
  return answer;
}
