// A port of net_rdma on the software ConnectX whose wire leads back to it, without lcores: a test sends frames and sees
// at which queues they come back. For device-loop.ts.
import { rdmaDriver } from "../../../pmd/mlx5/driver.ts";
import { Mlx5Queue } from "../../../pmd/mlx5/layout.ts";
import { VerbsQueue } from "../../../pmd/mlx5/verbs-layout.ts";
import { parseDevargs } from "../../../src/eal/devargs.ts";
import type { DeviceConfig, EthDevice, LinkStatus } from "../../../src/ethdev/driver.ts";
import { Mbuf, OlFlag, Queue, QueueKind } from "../../../src/hot/layout.ts";
import { Poller } from "../../../src/libc/poller.ts";
import { Rig } from "../../support/engines.ts";

export type Mode = "dv" | "ibv";

export interface Received {
  readonly queue: number;
  readonly frame: Buffer;
  /** undefined: no tag was stripped. */
  readonly vlan: number | undefined;
  readonly rssHash: number | undefined;
  readonly flags: number;
}

const BURST = 32;
const SENT_MS_MAX = 5000;
/** A round of the device takes microseconds. */
const QUIET_MS = 3;

export class LoopPort implements AsyncDisposable {
  readonly rig: Rig;
  readonly device: EthDevice;
  readonly errors: Error[] = [];
  readonly links: LinkStatus[] = [];
  readonly warnings: string[];
  private readonly poller: Poller;

  private constructor(rig: Rig, device: EthDevice, poller: Poller, warnings: string[]) {
    this.rig = rig;
    this.device = device;
    this.poller = poller;
    this.warnings = warnings;
  }

  static async open(args: string, mbufs = 4096): Promise<LoopPort> {
    const rig = await Rig.make("wasm", { mbufs, arenaMib: 64, privateMib: 8, dmaMib: 32 });
    const poller = new Poller((error) => {
      throw error;
    });
    const warnings: string[] = [];
    const { arena, dma, pool } = rig;
    const context = {
      ...{ arena, dma, pool, poller, private: rig.private },
      openPci: () => {
        throw new Error("it opens no PCI function");
      },
      quiesce: async () => {},
      warn: (text: string) => void warnings.push(text),
    };
    const told: { port?: LoopPort } = {};
    try {
      const device = await rdmaDriver.probe(parseDevargs(`net_rdma0,${args}`), context, {
        link: (status) => void told.port?.links.push(status),
        error: (error) => void told.port?.errors.push(error),
      });
      told.port = new LoopPort(rig, device, poller, warnings);
      return told.port;
    } catch (error) {
      poller.close();
      throw error;
    }
  }

  /** Configured and started, with its receive rings filled. */
  async start(config: Partial<DeviceConfig> = {}): Promise<void> {
    await this.device.configure({ rxQueues: 1, txQueues: 1, ...config });
    await this.restart();
  }

  async restart(): Promise<void> {
    await this.device.start();
    for (const queue of [...this.device.rxQueues, ...this.device.txQueues]) {
      this.rig.put(queue + Queue.CACHE, this.rig.cache);
    }
    this.poll();
  }

  /**
   * Sends frames, and gives back what the port receives of them. What is reported as sent has been delivered, but for
   * completions that the device still compresses: those come with the end of its round.
   */
  pass(...frames: Uint8Array[]): Received[] {
    return this.passMbufs(frames.map((frame) => this.rig.packet(frame)));
  }

  passMbufs(mbufs: readonly number[]): Received[] {
    const [queue] = this.device.txQueues;
    const found: Received[] = [];
    for (let sent = 0; sent < mbufs.length; ) {
      sent += this.rig.send(queue!, mbufs.slice(sent, sent + BURST));
      found.push(...this.poll());
    }
    for (const end = performance.now() + SENT_MS_MAX; this.sending(queue!); ) {
      if (performance.now() > end) throw new Error("what was sent is not reported as sent");
      found.push(...this.poll());
    }
    for (let end = performance.now() + QUIET_MS; performance.now() < end; ) {
      const now = this.poll();
      if (now.length > 0) end = performance.now() + QUIET_MS;
      found.push(...now);
    }
    return found;
  }

  /** The NIC has not reported all packets of the queue as sent. */
  private sending(queue: number): boolean {
    const { rig } = this;
    rig.hot.txIdle(queue);
    const isDirect = rig.word(queue) === QueueKind.MLX5;
    const [head, tail] = isDirect
      ? [Mlx5Queue.PACKET_HEAD, Mlx5Queue.PACKET_TAIL]
      : [VerbsQueue.HEAD, VerbsQueue.TAIL];
    return rig.word(queue + head) !== rig.word(queue + tail);
  }

  private poll(): Received[] {
    return this.device.rxQueues.flatMap((offset, queue) =>
      this.rig.receive(offset, BURST).map((mbuf) => this.take(queue, mbuf)),
    );
  }

  private take(queue: number, mbuf: number): Received {
    const { rig } = this;
    const flags = rig.word(mbuf + Mbuf.OL_FLAGS);
    const received = {
      queue,
      frame: rig.frame(mbuf),
      vlan: flags & OlFlag.RX_VLAN_STRIPPED ? rig.word(mbuf + Mbuf.VLAN_TCI) & 0xffff : undefined,
      rssHash: flags & OlFlag.RX_RSS_HASH ? rig.word(mbuf + Mbuf.RSS_HASH) : undefined,
      flags,
    };
    rig.free([mbuf]);
    return received;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.device.stop();
    await this.device.close();
    this.poller.close();
  }
}
