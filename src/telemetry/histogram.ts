// The arena's histograms as HDR histograms. An lcore records with a shift and an add (src/hot/loop.ts, record); here
// its buckets get their values back.
import { build, type Histogram as Hdr } from "hdr-histogram-js";
import { Histogram } from "../hot/layout.ts";
import { BURST_MAX } from "../limits.ts";

/** The longest time that an lcore tells apart, ns: longer ones count as this. */
const NS_MAX = 4e9;

/** The times (ns) that fall into a bucket: from `from` up to, not including, `to`. */
export function bucketBounds(bucket: number): { from: number; to: number } {
  const shift = bucket >>> Histogram.SUB_BITS;
  const from = (bucket & ((1 << Histogram.SUB_BITS) - 1)) * 2 ** shift;
  return { from, to: from + 2 ** shift };
}

/** Counts by bucket as an HDR histogram of ns; a bucket counts as its middle. */
export function toHdr(counts: ArrayLike<number>): Hdr {
  const hdr = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: NS_MAX * 1.1,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 64, // counts of a long run exceed 32 bits
  });
  for (let bucket = 0; bucket < counts.length; bucket++) {
    const { from, to } = bucketBounds(bucket);
    const count = counts[bucket]!;
    if (count > 0) hdr.recordValueWithCount(Math.floor((from + to) / 2), count);
  }
  return hdr;
}

/** The value that `share` (0 to 1) of what was counted is at or below; undefined where nothing was. */
export function percentile(counts: ArrayLike<number>, share: number): number | undefined {
  let total = 0;
  for (let bucket = 0; bucket < counts.length; bucket++) total += counts[bucket]!;
  let left = Math.max(1, Math.ceil(total * share));
  for (let bucket = 0; total > 0 && bucket < counts.length; bucket++) {
    left -= counts[bucket]!;
    const { from, to } = bucketBounds(bucket);
    if (left <= 0) return Math.floor((from + to) / 2);
  }
  return undefined;
}

/** What people ask of a distribution of times, ns; undefined where nothing was counted. */
export interface Times {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export function timesOf(counts: ArrayLike<number>): Times | undefined {
  const at = (share: number) => percentile(counts, share)!;
  if (percentile(counts, 1) === undefined) return undefined;
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) };
}

/** Counts by size, summed over 1, 2-3, 4-7, … up to BURST_MAX. */
export function byPowerOfTwo(bursts: ArrayLike<number>): number[] {
  const sums = Array.from({ length: Math.log2(BURST_MAX) + 1 }, () => 0);
  for (let size = 1; size < bursts.length; size++) sums[Math.floor(Math.log2(size))]! += bursts[size]!;
  return sums;
}
