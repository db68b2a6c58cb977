// One NIC in the lab's guest, driven frame by frame on the main thread: what the tests of the control side look at.
import { setTimeout as pause } from "node:timers/promises";
import type { Port } from "../../../../src/ethdev/port.ts";
import { type Hot, loadTypeScriptHot } from "../../../../src/hot/engine.ts";
import { Mbuf, Queue, TxOffload } from "../../../../src/hot/layout.ts";
import { hotFiles } from "../../../../src/libc/hot-files.ts";
import { hotVerbs } from "../../../../src/libc/hot-verbs.ts";
import type { Pollmode } from "../../../../src/pollmode.ts";

const BURST = 32;
/** QEMU carries a frame over before the write of the tail register returns; nothing comes after so long. */
const QUIET_MS = 30;

export interface SendOptions {
  /** OlFlag's bits. */
  readonly flags?: number;
  readonly vlan?: number;
  /** Header lengths, for checksums. */
  readonly l2?: number;
  readonly l3?: number;
}

export interface Received {
  readonly frame: Buffer;
  readonly queue: number;
  readonly flags: number;
  readonly hash: number;
  readonly vlan: number;
  readonly segments: number;
}

export class Nic {
  readonly port: Port;
  private readonly pm: Pollmode;
  private readonly hot: Hot;
  private readonly cache: number;
  private readonly list: number;

  private constructor(pm: Pollmode, port: Port, hot: Hot) {
    this.pm = pm;
    this.port = port;
    this.hot = hot;
    this.cache = pm.pool.cacheOf(0); // lcore 0 has nothing to do
    this.list = pm.private.allocate("packets", 4 * (BURST + 64));
  }

  /** All of an engine's NICs, started with these queues. */
  static async open(pm: Pollmode): Promise<Nic[]> {
    const hot = await loadTypeScriptHot(pm.arena.memory, {
      now: () => performance.now(),
      notify: () => {},
      ...hotFiles(pm.arena.memory),
      ...hotVerbs(pm.arena.memory),
    });
    return pm.ports.map((port) => new Nic(pm, port, hot));
  }

  /** After each configuration: the queues draw from our cache, and the chip is given its buffers. */
  prime(): void {
    for (const queue of [...this.port.rxQueues, ...this.port.txQueues])
      this.put(queue + Queue.CACHE, this.cache);
    for (const queue of this.port.rxQueues) this.hot.rxBurst(queue, this.list, BURST);
  }

  send(frame: Uint8Array, { flags = 0, vlan = 0, l2 = 0, l3 = 0 }: SendOptions = {}): void {
    const { arena, pool } = this.pm;
    const count = Math.ceil(frame.length / pool.dataRoom);
    if (this.hot.mbufAllocBulk(this.cache, this.list, count) !== count) throw new Error("no mbufs");
    const mbufs = Array.from({ length: count }, (_, k) => this.word(this.list + 4 * k));
    mbufs.forEach((mbuf, k) => {
      const part = frame.subarray(k * pool.dataRoom, (k + 1) * pool.dataRoom);
      arena.u8.set(part, this.word(mbuf + Mbuf.DATA));
      this.put(mbuf + Mbuf.DATA_LEN, part.length);
      this.put(mbuf + Mbuf.NEXT, mbufs[k + 1] ?? 0);
    });
    const first = mbufs[0]!;
    this.put(first + Mbuf.PKT_LEN, frame.length);
    arena.u16[(first + Mbuf.NB_SEGS) >>> 1] = count;
    this.put(first + Mbuf.OL_FLAGS, flags);
    arena.u16[(first + Mbuf.VLAN_TCI) >>> 1] = vlan;
    this.put(first + Mbuf.TX_OFFLOAD, l2 | (l3 << TxOffload.L3_SHIFT));
    this.put(this.list, first);
    if (this.hot.txBurst(this.port.txQueues[0]!, this.list, 1) !== 1)
      throw new Error("the frame is not taken");
  }

  /** What has come, once nothing more comes. */
  async receive(): Promise<Received[]> {
    const packets: Received[] = [];
    for (let quiet = 0; quiet < 2; ) {
      const before = packets.length;
      this.port.rxQueues.forEach((block, queue) => {
        const count = this.hot.rxBurst(block, this.list, BURST);
        for (let k = 0; k < count; k++) packets.push(this.read(this.word(this.list + 4 * k), queue));
        this.hot.mbufFreeBulk(this.cache, this.list, count);
      });
      quiet = packets.length === before ? quiet + 1 : 0;
      if (quiet > 0) await pause(QUIET_MS);
    }
    return packets;
  }

  private read(mbuf: number, queue: number): Received {
    const parts: Buffer[] = [];
    for (let one = mbuf; one !== 0; one = this.word(one + Mbuf.NEXT)) {
      const at = this.word(one + Mbuf.DATA);
      parts.push(Buffer.from(this.pm.arena.u8.slice(at, at + this.word(one + Mbuf.DATA_LEN))));
    }
    const flags = this.word(mbuf + Mbuf.OL_FLAGS);
    const hash = this.word(mbuf + Mbuf.RSS_HASH);
    const vlan = this.pm.arena.u16[(mbuf + Mbuf.VLAN_TCI) >>> 1]!;
    return { frame: Buffer.concat(parts), queue, flags, hash, vlan, segments: parts.length };
  }

  private word(at: number): number {
    return this.pm.arena.u32[at >>> 2]!;
  }
  private put(at: number, value: number): void {
    this.pm.arena.u32[at >>> 2] = value;
  }
}
