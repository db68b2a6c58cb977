// All counters of an engine at one moment, as plain objects. Taking a snapshot disturbs no lcore, costs well below a
// millisecond, and may be done at any time: a port that is detached, reset or closed meanwhile is simply not there, or
// "closed".
import type { LinkStatus } from "../ethdev/driver.ts";
import type { Port, PortStats } from "../ethdev/port.ts";
import { queueFault } from "../ethdev/queue-errors.ts";
import { readStreams } from "../forward/counters.ts";
import { Cache, Pool, Queue } from "../hot/layout.ts";
import type { LcoreControl, LcoreStatus } from "../lcore/lcores.ts";
import { LCORES_MAX } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import { type LcoreCounters, readLcore } from "./counters.ts";

/** What a snapshot is taken of: a Pollmode. */
export interface SnapshotSource {
  /** Where the counters lie. */
  readonly arena: Arena;
  /** Attached ones. */
  readonly ports: readonly Port[];
  /** All of them. */
  readonly lcores: { readonly all: readonly LcoreControl[] };
  /** Where mbufs come from. */
  readonly pool: { readonly name: string; readonly block: number; readonly count: number };
  /** The memory that devices and peers reach. */
  readonly dma: { readonly range: { readonly bytes: number }; readonly usedBytes: number };
}

/** An engine's counters at one moment: plain data, good for JSON. */
export interface Snapshot {
  /** performance.now(): differences are what it is for. */
  readonly timeMs: number;
  /** Ascending by id. */
  readonly ports: readonly PortSnapshot[];
  /** In the order of `-l`. */
  readonly lcores: readonly LcoreSnapshot[];
  /** The mbufs. */
  readonly pool: PoolSnapshot;
  /** The memory that devices and peers reach (-m). */
  readonly dma: { readonly bytes: number; readonly usedBytes: number };
}

/** One port. */
export interface PortSnapshot {
  /** Port.id. */
  readonly id: number;
  /** Port.name. */
  readonly name: string;
  /** `net_tap`. */
  readonly driver: string;
  /** `stopped`: also before its first start. */
  readonly state: "started" | "stopped" | "closed";
  /** As Port.link(). */
  readonly link: LinkStatus;
  /** As Port.stats(). */
  readonly stats: PortStats;
  /** As Port.xstats(). */
  readonly xstats: Readonly<Record<string, number>>;
  /** By number. */
  readonly rxQueues: readonly QueueSnapshot[];
  /** By number. */
  readonly txQueues: readonly QueueSnapshot[];
}

/** One receive or transmit queue, since configure(). */
export interface QueueSnapshot {
  /** Packets that passed it. */
  readonly packets: number;
  /** Bytes of them, without CRC. */
  readonly bytes: number;
  /** Packets dropped for their own fault: runts, oversize. */
  readonly errors: number;
  /** Receive: times that no mbuf was to be had. Transmit: packets refused because the queue was full. */
  readonly stalled: number;
  /** Why the queue stopped itself: `BAD_USED_ID`. */
  readonly fault: string | undefined;
}

/** One lcore. */
export interface LcoreSnapshot extends LcoreStatus {
  /** What it has counted since it was made. */
  readonly counters: LcoreCounters;
  /** What it forwards, or forwarded last. */
  readonly streams: readonly StreamSnapshot[];
}

/** One stream of an lcore, since it was started. */
export interface StreamSnapshot {
  /** Where it receives. */
  readonly rx: QueueEnd | undefined;
  /** Where it sends. */
  readonly tx: QueueEnd | undefined;
  /** Packets that the transmit queue refused and that were dropped therefore. */
  readonly txDropped: number;
  /** Packets that the mode gave back and did not send: it found fault with them, or has no answer (icmpecho). */
  readonly byMode: number;
}

/** A queue by its numbers. */
export interface QueueEnd {
  /** Port.id. */
  readonly port: number;
  /** From 0 on. */
  readonly queue: number;
}

/** The pool of mbufs. */
export interface PoolSnapshot {
  /** For people. */
  readonly name: string;
  /** mbufs in all. */
  readonly count: number;
  /** mbufs that rings, applications and packets under way hold. While lcores run, right to within some bursts. */
  readonly inUse: number;
}

/** All counters of an engine now: `takeSnapshot(engine)`. Costs well below a millisecond and disturbs no lcore. */
export function takeSnapshot(engine: SnapshotSource): Snapshot {
  const { arena, pool, dma } = engine;
  const ends = new Map<number, QueueEnd>();
  for (const port of engine.ports) {
    for (const queues of [port.rxQueues, port.txQueues]) {
      for (const [queue, block] of queues.entries()) ends.set(block, { port: port.id, queue });
    }
  }
  return {
    timeMs: performance.now(),
    ports: engine.ports.map((port) => portSnapshot(arena, port)),
    lcores: engine.lcores.all.map((lcore) => lcoreSnapshot(arena, lcore, ends)),
    pool: {
      name: pool.name,
      count: pool.count,
      inUse: Math.max(0, pool.count - freeMbufs(arena, pool.block)),
    },
    dma: { bytes: dma.range.bytes, usedBytes: dma.usedBytes },
  };
}

const noStats: PortStats = {
  rxPackets: 0,
  txPackets: 0,
  rxBytes: 0,
  txBytes: 0,
  rxErrors: 0,
  txErrors: 0,
  rxMissed: 0,
  rxNoMbuf: 0,
  txRefused: 0,
};

function portSnapshot(arena: Arena, port: Port): PortSnapshot {
  const { id, name, info, closed } = port;
  const { driver } = info;
  if (closed) {
    // its device has given registers and queues back
    const link: LinkStatus = { up: false, speed: 0, duplex: "full" };
    return {
      id,
      name,
      driver,
      state: "closed",
      link,
      stats: noStats,
      xstats: {},
      rxQueues: [],
      txQueues: [],
    };
  }
  const queue = (block: number) => queueSnapshot(arena, block);
  const rxQueues = port.rxQueues.map(queue);
  const txQueues = port.txQueues.map(queue);
  return {
    id,
    name,
    driver,
    state: port.started ? "started" : "stopped",
    link: port.link(),
    // the queues run on: sums of what was just read agree with it
    stats: { ...port.stats(), ...sums(rxQueues, txQueues) },
    xstats: port.xstats(),
    rxQueues,
    txQueues,
  };
}

function sums(rx: readonly QueueSnapshot[], tx: readonly QueueSnapshot[]): Partial<PortStats> {
  const sum = (queues: readonly QueueSnapshot[], counter: "packets" | "bytes" | "stalled") =>
    queues.reduce((total, queue) => total + queue[counter], 0);
  return {
    rxPackets: sum(rx, "packets"),
    rxBytes: sum(rx, "bytes"),
    rxNoMbuf: sum(rx, "stalled"),
    txPackets: sum(tx, "packets"),
    txBytes: sum(tx, "bytes"),
    txRefused: sum(tx, "stalled"),
  };
}

function queueSnapshot({ f64, u32 }: Arena, block: number): QueueSnapshot {
  const counter = (word: number) => f64[(block + word) >>> 3]!;
  const word = (at: number) => u32[(block + at) >>> 2]!;
  return {
    packets: counter(Queue.PACKETS),
    bytes: counter(Queue.BYTES),
    errors: counter(Queue.ERRORS),
    stalled: counter(Queue.STALLED),
    fault: queueFault(word(Queue.ERROR), word(Queue.ERROR_ARG))?.name,
  };
}

function lcoreSnapshot(arena: Arena, lcore: LcoreControl, ends: Map<number, QueueEnd>): LcoreSnapshot {
  const streams = readStreams(arena, lcore).map(({ rxQueue, txQueue, txDropped, rxDropped }) => {
    return { rx: ends.get(rxQueue), tx: ends.get(txQueue), txDropped, byMode: rxDropped };
  });
  return { ...lcore.status(), counters: readLcore(arena, lcore.block), streams };
}

/** On the pool's stack and in the lcores' caches. To count is quick; to walk them, as available() does, is not. */
function freeMbufs({ u32 }: Arena, pool: number): number {
  const at = (p: number) => u32[p >>> 2]!;
  let free = at(pool + Pool.TOP);
  for (let lcore = 0; lcore < LCORES_MAX; lcore++) {
    const cache = at(at(pool + Pool.CACHES) + (lcore << 2));
    if (cache !== 0) free += (at(cache + Cache.TAIL) - at(cache + Cache.HEAD)) >>> 0;
  }
  return free;
}
