// Snapshots made by hand, for what no engine does on demand.
import { noCounters } from "../../src/telemetry/counters.ts";
import type {
  LcoreSnapshot,
  PortSnapshot,
  QueueSnapshot,
  Snapshot,
  StreamSnapshot,
} from "../../src/telemetry/snapshot.ts";

export function queueOf(values: Partial<QueueSnapshot> = {}): QueueSnapshot {
  return { packets: 0, bytes: 0, errors: 0, stalled: 0, fault: undefined, ...values };
}

const noStats = {
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

type PortValues = Omit<Partial<PortSnapshot>, "stats"> & { stats?: Partial<PortSnapshot["stats"]> };

export function portOf(values: PortValues = {}): PortSnapshot {
  const { id = 0, stats, ...others } = values;
  return {
    id,
    name: `net_fake${id}`,
    driver: "net_fake",
    state: "started",
    link: { up: true, speed: 10_000, duplex: "full" },
    xstats: {},
    rxQueues: [queueOf()],
    txQueues: [queueOf()],
    ...others,
    stats: { ...noStats, ...stats },
  };
}

export function streamOf(rx: number, tx: number, txDropped = 0, byMode = 0): StreamSnapshot {
  return { rx: { port: rx, queue: 0 }, tx: { port: tx, queue: 0 }, txDropped, byMode };
}

type LcoreValues = Omit<Partial<LcoreSnapshot>, "counters"> & {
  counters?: Partial<LcoreSnapshot["counters"]>;
};

export function lcoreOf(values: LcoreValues = {}): LcoreSnapshot {
  const { counters, ...others } = values;
  const all = { ...noCounters(), ...counters };
  const { polls, emptyPolls, packets } = all;
  return {
    lcore: 0,
    cpus: [0],
    state: "running",
    reason: undefined,
    heartbeat: 0,
    polls,
    emptyPolls,
    packets,
    sleeps: 0,
    streams: [],
    ...others,
    counters: all,
  };
}

export function snapshotOf(timeMs: number, ports: PortSnapshot[], lcores: LcoreSnapshot[] = []): Snapshot {
  const pool = { name: "mbufs", count: 1024, inUse: 100 };
  return { timeMs, ports, lcores, pool, dma: { bytes: 2 ** 21, usedBytes: 2 ** 20 } };
}
