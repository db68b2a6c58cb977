// Runs a test body on every engine: hot.wasm, hot-plain.wasm (no vectors) and the TypeScript engine, each over an
// arena, zones and a pool of its own.
import t from "tap";
import { compileHot, type Hot, instantiateHot, loadTypeScriptHot } from "../../src/hot/engine.ts";
import { Mbuf, Queue } from "../../src/hot/layout.ts";
import { hotFiles } from "../../src/libc/hot-files.ts";
import { hotVerbs } from "../../src/libc/hot-verbs.ts";
import { BURST_MAX, MIB, SEGMENTS_EXTRA } from "../../src/limits.ts";
import { Arena } from "../../src/memory/arena.ts";
import { IovaMap } from "../../src/memory/iova.ts";
import { MbufPool, type PoolOptions } from "../../src/memory/pool.ts";
import { dmaZone, privateZone, type Zone } from "../../src/memory/zone.ts";

export type Tap = typeof t;
export const engineKinds = ["wasm", "wasm-plain", "ts"] as const;
export type EngineKind = (typeof engineKinds)[number];

export interface RigOptions {
  mbufs?: number;
  dataRoom?: number;
  arenaMib?: number;
  privateMib?: number;
  dmaMib?: number;
  /** Milliseconds for the engine; real time without it. */
  now?: () => number;
}

const modules = new Map<boolean, WebAssembly.Module>();

function moduleOf(plain: boolean): WebAssembly.Module {
  const known = modules.get(plain) ?? compileHot(plain);
  modules.set(plain, known);
  return known;
}

/** An engine over an arena with zones, a pool, lcore 0's cache of it, and room for two bursts' words. */
export class Rig {
  readonly kind: EngineKind;
  readonly hot: Hot;
  readonly arena: Arena;
  readonly private: Zone;
  readonly dma: Zone;
  readonly iova: IovaMap;
  readonly pool: MbufPool;
  readonly cache: number;
  /** Words for a burst to receive into, and for one to send from. */
  readonly pkts: number;
  readonly out: number;
  /** File descriptors that the engine notified, in order. */
  readonly notified: number[];

  private constructor(kind: EngineKind, hot: Hot, arena: Arena, notified: number[], options: RigOptions) {
    const { mbufs = 512, dataRoom = 2048, privateMib = 2, dmaMib = 4 } = options;
    this.kind = kind;
    this.hot = hot;
    this.arena = arena;
    this.notified = notified;
    this.private = privateZone(arena, privateMib * MIB);
    this.dma = dmaZone(arena, { bytes: dmaMib * MIB, noHuge: true, warn: () => {} });
    this.iova = new IovaMap("va", this.dma);
    this.pool = this.makePool({ name: "rig", count: mbufs, dataRoom });
    this.cache = this.pool.cacheOf(0);
    this.pkts = this.private.allocate("packets received", 4 * (BURST_MAX + SEGMENTS_EXTRA));
    this.out = this.private.allocate("packets to send", 4 * (BURST_MAX + SEGMENTS_EXTRA));
  }

  static async make(kind: EngineKind, options: RigOptions = {}): Promise<Rig> {
    const arena = new Arena((options.arenaMib ?? 16) * MIB);
    const notified: number[] = [];
    const now = options.now ?? (() => performance.now());
    const system = { ...hotFiles(arena.memory), ...hotVerbs(arena.memory) };
    const imports = { now, notify: (fd: number) => void notified.push(fd), ...system };
    const hot =
      kind === "ts"
        ? await loadTypeScriptHot(arena.memory, imports)
        : instantiateHot(moduleOf(kind === "wasm-plain"), arena.memory, imports);
    return new Rig(kind, hot, arena, notified, options);
  }

  makePool(options: PoolOptions): MbufPool {
    return new MbufPool(this.private, this.dma, this.iova, options);
  }

  word(p: number): number {
    return this.arena.u32[p >>> 2]!;
  }
  put(p: number, value: number): void {
    this.arena.u32[p >>> 2] = value;
  }
  counter(p: number): number {
    return this.arena.f64[p >>> 3]!;
  }
  /** The `n` words at `p`. */
  words(p: number, n: number): number[] {
    return [...this.arena.u32.subarray(p >>> 2, (p >>> 2) + n)];
  }

  /** Draws `n` single mbufs; fails if there are none. */
  alloc(n: number, cache = this.cache): number[] {
    if (this.hot.mbufAllocBulk(cache, this.out, n) !== n) throw new Error(`no ${n} mbufs`);
    return this.words(this.out, n);
  }

  free(mbufs: readonly number[], cache = this.cache): void {
    mbufs.forEach((mbuf, k) => {
      this.put(this.out + 4 * k, mbuf);
    });
    this.hot.mbufFreeBulk(cache, this.out, mbufs.length);
  }

  /** A packet of the given frame in segments of at most `room` bytes, `shift` bytes behind the headroom's end. */
  packet(frame: Uint8Array, room = this.pool.dataRoom, shift = 0): number {
    const count = Math.max(1, Math.ceil(frame.length / room));
    const mbufs = this.alloc(count);
    mbufs.forEach((mbuf, k) => {
      const part = frame.subarray(k * room, (k + 1) * room);
      const data = this.word(mbuf + Mbuf.DATA) + shift;
      this.arena.u8.set(part, data);
      this.put(mbuf + Mbuf.DATA, data);
      this.put(mbuf + Mbuf.DATA_LEN, part.length);
      this.put(mbuf + Mbuf.NEXT, mbufs[k + 1] ?? 0);
    });
    this.put(mbufs[0]! + Mbuf.PKT_LEN, frame.length);
    this.arena.u16[(mbufs[0]! + Mbuf.NB_SEGS) >>> 1] = count;
    return mbufs[0]!;
  }

  segments(first: number): number[] {
    const list: number[] = [];
    for (let mbuf = first; mbuf !== 0 && list.length < 70000; mbuf = this.word(mbuf + Mbuf.NEXT))
      list.push(mbuf);
    return list;
  }

  /** The bytes of a packet, all segments one after the other. */
  frame(first: number): Buffer {
    return Buffer.concat(
      this.segments(first).map((mbuf) => {
        const at = this.word(mbuf + Mbuf.DATA);
        return this.arena.u8.slice(at, at + this.word(mbuf + Mbuf.DATA_LEN));
      }),
    );
  }

  /** One receive burst: the packets. */
  receive(queue: number, n: number): number[] {
    return this.words(this.pkts, this.hot.rxBurst(queue, this.pkts, n));
  }

  /** One transmit burst; returns how many were taken. */
  send(queue: number, packets: readonly number[]): number {
    packets.forEach((mbuf, k) => {
      this.put(this.out + 4 * k, mbuf);
    });
    return this.hot.txBurst(queue, this.out, packets.length);
  }

  /** A queue's counters. */
  stats(queue: number) {
    const at = (word: number) => this.counter(queue + word);
    return {
      packets: at(Queue.PACKETS),
      bytes: at(Queue.BYTES),
      errors: at(Queue.ERRORS),
      stalled: at(Queue.STALLED),
    };
  }

  /** What Mbuf pool auditing finds, given the packets that somebody holds. */
  audit(packets: Iterable<number> = []): string[] {
    return this.pool.audit([...packets].flatMap((mbuf) => this.segments(mbuf)));
  }

  close(): void {
    this.dma.close();
    this.private.close();
    this.arena.close();
  }
}

/** A subtest on each engine. */
export function onEngines(
  name: string,
  options: RigOptions,
  body: (t: Tap, rig: Rig) => void | Promise<void>,
  kinds: readonly EngineKind[] = engineKinds,
): void {
  t.test(name, async (t) => {
    for (const kind of kinds) {
      await t.test(kind, async (t) => {
        const rig = await Rig.make(kind, options);
        try {
          await body(t as unknown as Tap, rig);
        } finally {
          rig.close();
        }
      });
    }
  });
}

/** A frame that `tag` tells from every other: its length and bytes are drawn from it. */
export function makeFrame(tag: number, length: number): Uint8Array {
  const frame = new Uint8Array(length);
  let x = (Math.imul(tag + 1, 0x9e3779b1) ^ length) >>> 0;
  for (let k = 0; k < length; k++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    frame[k] = x >>> 24;
  }
  return frame;
}
