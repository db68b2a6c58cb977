// What the live page shows, once a second: rates since the reading before, in a form that JSON carries. All pages that
// are open share the readings, so many of them cost no more than one.
import type { PortStats } from "../ethdev/port.ts";
import { byPowerOfTwo, type Times, timesOf } from "./histogram.ts";
import { type LcoreRates, type PortRates, type Rates, rates } from "./rates.ts";
import {
  type LcoreSnapshot,
  type PortSnapshot,
  type Snapshot,
  type SnapshotSource,
  takeSnapshot,
} from "./snapshot.ts";
import { type LoopDelay, StallWatch } from "./stall.ts";

/** Readings are at least so far apart. A page asks every second; a bit less lets no request get the one before. */
const AGE_MS_MIN = 900;

export interface LiveReading {
  readonly pid: number;
  /** performance.now() of the engine's process. */
  readonly timeMs: number;
  /** That the rates are taken over. */
  readonly seconds: number;
  readonly ports: readonly LivePort[];
  readonly lcores: readonly LiveLcore[];
  readonly pool: Snapshot["pool"];
  readonly loop: LoopDelay;
}

export interface LivePort extends Omit<PortRates, "link"> {
  readonly driver: string;
  readonly state: PortSnapshot["state"];
  readonly link: PortSnapshot["link"];
  /** Since the counters were cleared. */
  readonly total: PortStats;
  /** Queues that stopped themselves: `rx 0: BAD_USED_ID`. */
  readonly faults: readonly string[];
}

export interface LiveLcore extends Omit<LcoreRates, "counters" | "busyShare"> {
  readonly cpus: readonly number[];
  readonly state: LcoreSnapshot["state"];
  readonly reason: string | null;
  readonly busyShare: number | null;
  /** Polls a second that brought 1, 2-3, 4-7, … packets: by the power of two. */
  readonly bursts: readonly number[];
  /** Time from poll to poll, ns; null where nothing was clocked. */
  readonly pollNs: Times | null;
  /** Age of stamped packets, ns; null where none came. */
  readonly latencyNs: Times | null;
}

export class LiveReadings {
  private readonly engine: SnapshotSource;
  private readonly watch = new StallWatch();
  private snapshot: Snapshot;
  private latest: LiveReading | undefined;

  constructor(engine: SnapshotSource) {
    this.engine = engine;
    this.snapshot = takeSnapshot(engine);
  }

  /** The latest reading, made anew when it is a second old. */
  read(): LiveReading {
    const age = performance.now() - this.snapshot.timeMs;
    if (this.latest && age < AGE_MS_MIN) return this.latest;
    const before = this.snapshot;
    this.snapshot = takeSnapshot(this.engine);
    this.latest = liveReading(this.snapshot, rates(before, this.snapshot), this.watch.take());
    return this.latest;
  }

  close(): void {
    this.watch.close();
  }
}

function liveReading(snapshot: Snapshot, { seconds, ports, lcores }: Rates, loop: LoopDelay): LiveReading {
  return {
    pid: process.pid,
    timeMs: snapshot.timeMs,
    seconds,
    ports: ports.map((port, k) => livePort(port, snapshot.ports[k]!)),
    lcores: lcores.map((lcore, k) => liveLcore(lcore, snapshot.lcores[k]!, seconds)),
    pool: snapshot.pool,
    loop,
  };
}

function livePort(rates: PortRates, port: PortSnapshot): LivePort {
  const { driver, state, link, stats, rxQueues, txQueues } = port;
  const faults = Object.entries({ rx: rxQueues, tx: txQueues }).flatMap(([way, queues]) =>
    queues.flatMap(({ fault }, k) => (fault ? [`${way} ${k}: ${fault}`] : [])),
  );
  return { ...rates, driver, state, link, total: stats, faults };
}

function liveLcore({ counters, ...rates }: LcoreRates, lcore: LcoreSnapshot, seconds: number): LiveLcore {
  return {
    ...rates,
    busyShare: rates.busyShare ?? null,
    cpus: lcore.cpus,
    state: lcore.state,
    reason: lcore.reason ?? null,
    bursts: byPowerOfTwo(counters.bursts).map((polls) => (seconds > 0 ? polls / seconds : 0)),
    pollNs: timesOf(counters.pollTimes) ?? null,
    latencyNs: timesOf(counters.latency) ?? null,
  };
}
