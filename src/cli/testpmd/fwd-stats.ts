// Forward statistics: what was forwarded since `start`, by stream and by port. Streams count from 0 each time their
// lcore is given work; what they counted is taken over before (collect) and added up here. display-fwd.ts writes it in
// testpmd's words.
import type { PortStats } from "../../ethdev/port.ts";
import { readStreams, type StreamCounters } from "../../forward/counters.ts";
import { Queue } from "../../hot/layout.ts";
import { BURST_MAX } from "../../limits.ts";
import type { Pollmode } from "../../pollmode.ts";
import type { LcorePlan, Plan, StreamPlan } from "./topology.ts";

/** Packets that came with wrong checksums, which the mode csum counts. */
const BAD = ["badIpChecksum", "badL4Checksum", "badOuterIpChecksum", "badOuterL4Checksum"] as const;
const SUMS = ["rxPackets", "txPackets", "txDropped", ...BAD] as const;
type Sum = (typeof SUMS)[number];

/** What a stream counted since `start`. */
export interface StreamCounts extends Record<Sum, number> {
  /** Bursts by their number of packets; all 0 where they are not recorded. */
  readonly rxBursts: Float64Array;
  readonly txBursts: Float64Array;
}

export interface StreamStats {
  readonly plan: StreamPlan;
  readonly counts: StreamCounts;
}

/** Counters of a port since `start`. */
export interface PortDelta extends PortStats, Record<(typeof BAD)[number], number> {
  /** Packets that streams could not send there. */
  readonly dropped: number;
}

const PORT_SUMS = [
  "rxPackets",
  "txPackets",
  "rxBytes",
  "txBytes",
  "rxErrors",
  "txErrors",
  "rxMissed",
  "rxNoMbuf",
  "txRefused",
] as const satisfies (keyof PortStats)[];

type Reading = Pick<StreamCounters, Sum | "rxBursts" | "txBursts">;

interface Known {
  readonly plan: StreamPlan;
  counts: StreamCounts;
  /** What its lcore had counted when it was last looked at; undefined: nothing yet. */
  last: Reading | undefined;
}

export class FwdStats {
  private readonly engine: Pollmode;
  private current: Plan = { ports: [], lcores: [], app: false };
  /** By receiving and sending queue. */
  private readonly known = new Map<string, Known>();
  private readonly before = new Map<number, PortStats>();

  constructor(engine: Pollmode) {
    this.engine = engine;
  }

  /** What is forwarded, or was when forwarding stopped. */
  get plan(): Plan {
    return this.current;
  }

  /** Forwarding begins: all counts are 0 from here. */
  begin(plan: Plan): void {
    this.known.clear();
    this.before.clear();
    this.follow(plan, plan.lcores);
  }

  /** `clear fwd stats`: counts begin at 0 again, while lcores go on. */
  clear(running: readonly LcorePlan[]): void {
    this.update(running);
    for (const known of this.known.values()) known.counts = noCounts();
    this.before.clear();
    this.follow(this.current, []);
  }

  /** Other streams are forwarded from now on, by lcores of which these are yet to begin. What was counted stays. */
  follow(plan: Plan, beginning: readonly LcorePlan[]): void {
    this.current = plan;
    for (const id of plan.ports) {
      if (!this.before.has(id)) this.before.set(id, this.engine.port(id).stats());
    }
    for (const { streams } of beginning) {
      // queues, by which an application is counted, count on; streams begin at 0
      for (const stream of streams) this.know(stream).last = plan.app ? this.readQueues(stream) : undefined;
    }
  }

  /** The port's counters begin at 0 again. Those of its streams go on. */
  forgetPort(id: number): void {
    if (!this.before.has(id)) return;
    const zero = Object.fromEntries(PORT_SUMS.map((name) => [name, 0]));
    this.before.set(id, zero as unknown as PortStats);
  }

  /** The port is no more; another may have its id. */
  dropPort(id: number): void {
    this.before.delete(id);
    const lcores = this.current.lcores.map(({ lcore, streams }) => {
      return { lcore, streams: streams.filter(({ rxPort, txPort }) => rxPort !== id && txPort !== id) };
    });
    this.current = { ...this.current, ports: this.current.ports.filter((port) => port !== id), lcores };
    for (const [key, { plan }] of this.known) {
      if (plan.rxPort === id || plan.txPort === id) this.known.delete(key);
    }
  }

  /** Takes over what these lcores' streams counted: they have stopped, and count from 0 when they begin again. */
  collect(lcores: readonly LcorePlan[]): void {
    this.update(lcores);
    for (const { streams } of lcores) for (const stream of streams) this.know(stream).last = undefined;
  }

  /** Packets that tx_first could not send. */
  addDropped(stream: StreamPlan, packets: number): void {
    this.know(stream).counts.txDropped += packets;
  }

  /**
   * Adds what was counted since the last look. Bursts are counted in 32 bits, which wrap within minutes: where they
   * are recorded this is called more often.
   */
  update(running: readonly LcorePlan[]): void {
    for (const lcore of running) {
      const readings = this.read(lcore);
      lcore.streams.forEach((stream, k) => {
        const known = this.know(stream);
        const now = readings[k];
        if (now === undefined) return;
        add(known.counts, now, known.last);
        known.last = now;
      });
    }
  }

  /** The streams that are forwarded, with all they counted. */
  streams(running: readonly LcorePlan[]): StreamStats[] {
    this.update(running);
    return this.current.lcores.flatMap(({ streams }) => {
      return streams.map((plan) => ({ plan, counts: this.know(plan).counts }));
    });
  }

  port(id: number, running: readonly LcorePlan[]): PortDelta {
    this.update(running);
    const now = this.engine.port(id).stats();
    const before = this.before.get(id);
    const delta = Object.fromEntries(PORT_SUMS.map((name) => [name, now[name] - (before?.[name] ?? 0)]));
    const sum = (way: "rxPort" | "txPort", name: Sum) =>
      [...this.known.values()]
        .filter(({ plan }) => plan[way] === id)
        .reduce((total, { counts }) => total + counts[name], 0);
    return {
      ...(delta as unknown as PortStats),
      dropped: sum("txPort", "txDropped"),
      badIpChecksum: sum("rxPort", "badIpChecksum"),
      badL4Checksum: sum("rxPort", "badL4Checksum"),
      badOuterIpChecksum: sum("rxPort", "badOuterIpChecksum"),
      badOuterL4Checksum: sum("rxPort", "badOuterL4Checksum"),
    };
  }

  private know(plan: StreamPlan): Known {
    const key = `${plan.rxPort}/${plan.rxQueue}>${plan.txPort}/${plan.txQueue}`;
    const known = this.known.get(key) ?? { plan, counts: noCounts(), last: undefined };
    this.known.set(key, known);
    return known;
  }

  /**
   * An application has no streams: its queues count its packets, and bursts where they are recorded. That is a reading
   * for each queue pair, in the streams' order, by what they receive.
   */
  private read({ lcore, streams }: LcorePlan): Reading[] {
    const readings = readStreams(this.engine.arena, this.engine.lcores.byId(lcore));
    if (!this.current.app) return readings;
    return streams.map((stream, k) => {
      const sends = streams.findIndex(
        ({ rxPort, rxQueue }) => rxPort === stream.txPort && rxQueue === stream.txQueue,
      );
      const { txBursts } = readings[sends] ?? {};
      return { ...this.readQueues(stream), rxBursts: readings[k]?.rxBursts, txBursts };
    });
  }

  private readQueues(stream: StreamPlan): Reading {
    const { rxPort, rxQueue, txPort, txQueue } = stream;
    const packets = (block: number | undefined) =>
      block === undefined ? 0 : this.engine.arena.f64[(block + Queue.PACKETS) >>> 3]!;
    const rxPackets = packets(this.engine.port(rxPort).rxQueues[rxQueue]);
    const txPackets = packets(this.engine.port(txPort).txQueues[txQueue]);
    return { ...noCounts(), rxPackets, txPackets, rxBursts: undefined, txBursts: undefined };
  }
}

function noCounts(): StreamCounts {
  const sums = Object.fromEntries(SUMS.map((name) => [name, 0])) as Record<Sum, number>;
  return { ...sums, rxBursts: new Float64Array(BURST_MAX + 1), txBursts: new Float64Array(BURST_MAX + 1) };
}

function add(counts: StreamCounts, now: Reading, last: Reading | undefined): void {
  for (const name of SUMS) counts[name] += now[name] - (last?.[name] ?? 0);
  for (const way of ["rxBursts", "txBursts"] as const) {
    now[way]?.forEach((count, k) => {
      counts[way][k]! += (count - (last?.[way]?.[k] ?? 0)) >>> 0;
    });
  }
}
