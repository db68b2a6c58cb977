// What happened between two snapshots, per second. Counters may have been cleared in between, ports attached, detached
// or configured with other queues: what is new counts from 0.
import type { LinkStatus } from "../ethdev/driver.ts";
import { Histogram } from "../hot/layout.ts";
import { difference, type LcoreCounters, noCounters } from "./counters.ts";
import { bucketBounds } from "./histogram.ts";
import type {
  LcoreSnapshot,
  PortSnapshot,
  QueueEnd,
  QueueSnapshot,
  Snapshot,
  StreamSnapshot,
} from "./snapshot.ts";

/** What rates() makes of two snapshots. */
export interface Rates {
  /** From one snapshot to the other. */
  readonly seconds: number;
  /** As the second snapshot has them. */
  readonly ports: readonly PortRates[];
  /** As the second snapshot has them. */
  readonly lcores: readonly LcoreRates[];
}

/** Packets and bits of frames (no preamble, no CRC) a second, as testpmd's Rx-pps and Rx-bps. */
export interface WayRates {
  /** Packets a second. */
  readonly pps: number;
  /** Bits a second. */
  readonly bps: number;
}

/** One port's. */
export interface PortRates {
  /** Port.id. */
  readonly id: number;
  /** Port.name. */
  readonly name: string;
  /** As it was in the second snapshot. */
  readonly link: LinkStatus;
  /** Received. */
  readonly rx: WayRates;
  /** Sent. */
  readonly tx: WayRates;
  /** Lost, by cause. */
  readonly drops: PortDrops;
  /** Packets a second that full transmit queues refused. Back-pressure; a loss only where drops.txFull says so. */
  readonly txRefused: number;
  /** By number. */
  readonly rxQueues: readonly QueueRates[];
  /** By number. */
  readonly txQueues: readonly QueueRates[];
}

/** Packets a second that were lost, by cause. */
export interface PortDrops {
  /** By the device, for no receive descriptor was free. */
  readonly rxMissed: number;
  /** For their own fault. */
  readonly rxErrors: number;
  /** Times that a receive queue found no mbuf. */
  readonly rxNoMbuf: number;
  /** Received, and dropped by the forwarding mode: at fault, or without an answer (icmpecho). */
  readonly byMode: number;
  /** That could not be sent, for their own fault or the device's. */
  readonly txErrors: number;
  /** Refused by a full transmit queue and dropped by the forwarding mode. Applications count their own drops. */
  readonly txFull: number;
}

/** One queue's, a second. */
export interface QueueRates extends WayRates {
  /** Packets dropped for their own fault. */
  readonly errors: number;
  /** Receive: times without an mbuf. Transmit: packets refused. */
  readonly stalled: number;
  /** Its part of the port's drops, as far as they have a queue: the device's own have none. */
  readonly dropped: number;
}

/** One lcore's. */
export interface LcoreRates {
  /** Its number. */
  readonly lcore: number;
  /** Packets a second. */
  readonly pps: number;
  /** Polls a second. */
  readonly polls: number;
  /** Which part of the polls found nothing, 0 to 1; 0 without polls. */
  readonly emptyShare: number;
  /** Which part of its time it worked on packets, 0 to 1; undefined where it clocks no polls: applications do not. */
  readonly busyShare: number | undefined;
  /** Packets a poll that brought any; 0 without packets. */
  readonly burst: number;
  /** Packets a second that its streams dropped: see PortDrops. */
  readonly drops: { readonly byMode: number; readonly txFull: number };
  /** All that it counted in between. */
  readonly counters: LcoreCounters;
}

/**
 * Packets, bits and drops a second between two snapshots of one engine. `before` undefined: nothing has happened yet,
 * all rates are 0.
 */
export function rates(before: Snapshot | undefined, after: Snapshot): Rates {
  const then = before ?? after;
  const seconds = (after.timeMs - then.timeMs) / 1000;
  const perSecond = (now: number, past: number) => (seconds > 0 ? counted(now, past) / seconds : 0);
  const past = (lcore: LcoreSnapshot) => then.lcores.find((one) => one.lcore === lcore.lcore);
  const streams = after.lcores.flatMap((lcore) => streamDrops(lcore, past(lcore), perSecond));
  return {
    seconds,
    ports: after.ports.map((port) => {
      const before = then.ports.find(({ id, name }) => id === port.id && name === port.name);
      return portRates(port, before, streams, perSecond);
    }),
    lcores: after.lcores.map((lcore) => lcoreRates(lcore, past(lcore), streams, perSecond, seconds)),
  };
}

/** What a counter that only grows has counted; one that is lower than before was cleared in between. */
export function counted(now: number, past: number): number {
  return now >= past ? now - past : now;
}

type PerSecond = (now: number, past: number) => number;

interface StreamDrops {
  readonly lcore: number;
  readonly rx: QueueEnd | undefined;
  readonly tx: QueueEnd | undefined;
  readonly byMode: number;
  readonly txFull: number;
}

function streamDrops(
  lcore: LcoreSnapshot,
  past: LcoreSnapshot | undefined,
  perSecond: PerSecond,
): StreamDrops[] {
  return lcore.streams.map((stream, k) => {
    const before = sameStream(stream, past, k);
    return {
      lcore: lcore.lcore,
      rx: stream.rx,
      tx: stream.tx,
      byMode: perSecond(stream.byMode, before?.byMode ?? 0),
      txFull: perSecond(stream.txDropped, before?.txDropped ?? 0),
    };
  });
}

function sum(streams: readonly StreamDrops[], cause: "byMode" | "txFull"): number {
  return streams.reduce((total, stream) => total + stream[cause], 0);
}

function portRates(
  port: PortSnapshot,
  past: PortSnapshot | undefined,
  streams: readonly StreamDrops[],
  perSecond: PerSecond,
): PortRates {
  const rate = (name: keyof PortSnapshot["stats"]) => perSecond(port.stats[name], past?.stats[name] ?? 0);
  const at = (way: "rx" | "tx") => streams.filter((stream) => stream[way]?.port === port.id);
  const atQueue = (way: "rx" | "tx", k: number) => at(way).filter((stream) => stream[way]?.queue === k);
  const queues = (way: "rx" | "tx", name: "rxQueues" | "txQueues", cause: "byMode" | "txFull") =>
    port[name].map((queue, k) => {
      const rates = queueRates(queue, past?.[name][k], perSecond);
      const lost = rates.errors + (way === "rx" ? rates.stalled : 0);
      return { ...rates, dropped: lost + sum(atQueue(way, k), cause) };
    });
  return {
    id: port.id,
    name: port.name,
    link: port.link,
    rx: { pps: rate("rxPackets"), bps: 8 * rate("rxBytes") },
    tx: { pps: rate("txPackets"), bps: 8 * rate("txBytes") },
    drops: {
      rxMissed: rate("rxMissed"),
      rxErrors: rate("rxErrors"),
      rxNoMbuf: rate("rxNoMbuf"),
      byMode: sum(at("rx"), "byMode"),
      txErrors: rate("txErrors"),
      txFull: sum(at("tx"), "txFull"),
    },
    txRefused: rate("txRefused"),
    rxQueues: queues("rx", "rxQueues", "byMode"),
    txQueues: queues("tx", "txQueues", "txFull"),
  };
}

function queueRates(
  queue: QueueSnapshot,
  past: QueueSnapshot | undefined,
  perSecond: PerSecond,
): Omit<QueueRates, "dropped"> {
  return {
    pps: perSecond(queue.packets, past?.packets ?? 0),
    bps: 8 * perSecond(queue.bytes, past?.bytes ?? 0),
    errors: perSecond(queue.errors, past?.errors ?? 0),
    stalled: perSecond(queue.stalled, past?.stalled ?? 0),
  };
}

function lcoreRates(
  lcore: LcoreSnapshot,
  past: LcoreSnapshot | undefined,
  streams: readonly StreamDrops[],
  perSecond: PerSecond,
  seconds: number,
): LcoreRates {
  const isCleared = past !== undefined && lcore.counters.polls < past.counters.polls;
  const counters = difference(lcore.counters, isCleared || !past ? noCounters() : past.counters);
  const filled = filledPolls(counters);
  const own = streams.filter((stream) => stream.lcore === lcore.lcore);
  return {
    lcore: lcore.lcore,
    pps: perSecond(counters.packets, 0),
    polls: perSecond(counters.polls, 0),
    emptyShare: counters.polls > 0 ? 1 - filled / counters.polls : 0,
    busyShare: busyShare(counters, seconds),
    burst: filled > 0 ? counters.packets / filled : 0,
    drops: { byMode: sum(own, "byMode"), txFull: sum(own, "txFull") },
    counters,
  };
}

/** The stream in the same place, unless the lcore was given other queues since. */
function sameStream(
  stream: StreamSnapshot,
  past: LcoreSnapshot | undefined,
  k: number,
): StreamSnapshot | undefined {
  const before = past?.streams[k];
  const isSame = (way: "rx" | "tx") =>
    before?.[way]?.port === stream[way]?.port && before?.[way]?.queue === stream[way]?.queue;
  return isSame("rx") && isSame("tx") ? before : undefined;
}

/** Polls that brought packets. The counters may be some polls apart from one another: see counters.ts. */
function filledPolls({ polls, emptyPolls, packets }: LcoreCounters): number {
  return packets > 0 ? Math.max(0, polls - emptyPolls) : 0;
}

/** Longer polls were interrupted: the system ran something else on the lcore's CPU. As PUT_OFF_NS of the poll loop. */
const PUT_OFF_NS = 1e6;

/**
 * Which part of the time an lcore was at work on packets, rather than looking for some: a poll-mode thread always uses
 * its whole CPU, so the system's load says nothing about it.
 *
 * Polls that brought packets are all counted; how long such a poll takes is known from those that were clocked, in one
 * round of 64. Their product is the time at work. A clocked poll is longer by what the clock costs, which matters where
 * bursts are short: it is taken off, as far as it can be told from the difference between a clocked poll and any poll.
 * An lcore that sleeps or waits is not busy. Undefined where packets came and none of their polls was clocked.
 */
export function busyShare(counters: LcoreCounters, seconds: number): number | undefined {
  const { busyPolls, busyNs } = counters;
  const filled = filledPolls(counters);
  if (filled <= 0 || seconds <= 0) return 0;
  if (busyPolls === 0) return undefined;
  const pollNs = busyNs / busyPolls - clockNs(counters, seconds);
  return Math.min(1, (filled * pollNs) / (seconds * 1e9));
}

/** What reading the clock adds to a clocked poll, ns. At most the shortest clocked poll, which contains it too. */
function clockNs({ polls, pollTimes }: LcoreCounters, seconds: number): number {
  let clocked = 0;
  let clockedNs = 0;
  let shortest = Number.POSITIVE_INFINITY;
  for (let bucket = 0; bucket < Histogram.BUCKETS; bucket++) {
    const count = pollTimes[bucket]!;
    if (count === 0) continue;
    const { from, to } = bucketBounds(bucket);
    if (from >= PUT_OFF_NS) break;
    shortest = Math.min(shortest, from);
    clocked += count;
    clockedNs += (count * (from + to)) / 2;
  }
  const plain = polls - clocked;
  if (clocked === 0 || plain <= 0) return 0;
  const extra = clockedNs / clocked - (seconds * 1e9 - clockedNs) / plain;
  return Math.max(0, Math.min(extra, shortest));
}
