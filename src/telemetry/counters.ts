// What an lcore counts in its block of the arena, as plain objects. Reading never disturbs the lcore; a reading taken
// while it polls may be a round (256 polls) apart between one counter and the next.
import { Histogram, Lcore } from "../hot/layout.ts";
import { BURST_MAX } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";

/** One lcore's counters: a reading, or the difference or sum of readings. */
export interface LcoreCounters {
  /** Turns of its loop. */
  readonly polls: number;
  /** Turns that brought no packet. */
  readonly emptyPolls: number;
  /** Packets that it received. */
  readonly packets: number;
  /** ns that those clocked polls took which brought packets. One round in 64 is clocked. */
  readonly busyNs: number;
  /** The packets that those polls brought. */
  readonly busyPackets: number;
  /** How many polls those were. */
  readonly busyPolls: number;
  /** Longest time between two rounds of 256 polls, since last cleared. */
  readonly roundNsMax: number;
  /** Polls that brought so many packets, by that number; 0 is not counted here. */
  readonly bursts: Float64Array;
  /** Clocked polls by bucket of poll-to-poll time: see histogram.ts. */
  readonly pollTimes: Float64Array;
  /** Stamped packets that came in, by bucket of their age. */
  readonly latency: Float64Array;
}

const sums = { polls: 1, emptyPolls: 1, packets: 1, busyNs: 1, busyPackets: 1, busyPolls: 1 } as const;
type Sum = keyof typeof sums;
const sumNames = Object.keys(sums) as Sum[];

const READS_MAX = 8;

/** Reads the Lcore block at `block`. */
export function readLcore(arena: Arena, block: number): LcoreCounters {
  const counter = (word: number) => arena.f64[(block + word) >>> 3]!;
  const words = (word: number, count: number) => {
    const at = arena.u32[(block + word) >>> 2]! >>> 2;
    return at === 0 ? new Float64Array(count) : Float64Array.from(arena.u32.subarray(at, at + count));
  };
  const sums = () => ({
    polls: counter(Lcore.POLLS),
    emptyPolls: counter(Lcore.EMPTY_POLLS),
    packets: counter(Lcore.PACKETS),
    busyNs: counter(Lcore.BUSY_NS),
    busyPackets: counter(Lcore.BUSY_PACKETS),
    busyPolls: counter(Lcore.BUSY_POLLS),
  });
  // of one round, if this thread is not put off again and again: shares of polls would be wrong otherwise
  const beat = () => arena.u32[(block + Lcore.HEARTBEAT) >>> 2]!;
  let [before, read] = [beat(), sums()];
  for (let k = 0; k < READS_MAX && before !== beat(); k++) [before, read] = [beat(), sums()];
  return {
    ...read,
    roundNsMax: counter(Lcore.ROUND_NS_MAX),
    bursts: words(Lcore.BURST_HISTOGRAM, BURST_MAX + 1),
    pollTimes: words(Lcore.POLL_HISTOGRAM, Histogram.BUCKETS),
    latency: words(Lcore.LATENCY_HISTOGRAM, Histogram.BUCKETS),
  };
}

/** Forgets the longest round: the one number that no difference of two readings gives. */
export function clearRoundMax(arena: Arena, block: number): void {
  arena.f64[(block + Lcore.ROUND_NS_MAX) >>> 3] = 0;
}

/**
 * What was counted between two readings of the same lcore. The arena's histograms are 32 bits wide: right as long as no
 * bucket is hit 2^32 times in between, which takes more than a minute at any rate.
 */
export function difference(after: LcoreCounters, before: LcoreCounters): LcoreCounters {
  const wrap = (now: Float64Array, then: Float64Array) => now.map((count, k) => (count - then[k]!) >>> 0);
  return {
    ...combine(after, before, (a, b) => a - b),
    roundNsMax: after.roundNsMax,
    bursts: wrap(after.bursts, before.bursts),
    pollTimes: wrap(after.pollTimes, before.pollTimes),
    latency: wrap(after.latency, before.latency),
  };
}

/** Adds up lcores, or windows of time. */
export function merge(...parts: readonly LcoreCounters[]): LcoreCounters {
  return parts.reduce(
    (a, b) => ({
      ...combine(a, b, (x, y) => x + y),
      roundNsMax: Math.max(a.roundNsMax, b.roundNsMax),
      bursts: a.bursts.map((count, k) => count + b.bursts[k]!),
      pollTimes: a.pollTimes.map((count, k) => count + b.pollTimes[k]!),
      latency: a.latency.map((count, k) => count + b.latency[k]!),
    }),
    noCounters(),
  );
}

/** All zeros. */
export function noCounters(): LcoreCounters {
  const zeros = Object.fromEntries(sumNames.map((name) => [name, 0])) as Record<Sum, number>;
  const bursts = new Float64Array(BURST_MAX + 1);
  const times = () => new Float64Array(Histogram.BUCKETS);
  return { ...zeros, roundNsMax: 0, bursts, pollTimes: times(), latency: times() };
}

function combine(
  a: LcoreCounters,
  b: LcoreCounters,
  operation: (a: number, b: number) => number,
): Record<Sum, number> {
  return Object.fromEntries(sumNames.map((name) => [name, operation(a[name], b[name])])) as Record<
    Sum,
    number
  >;
}
