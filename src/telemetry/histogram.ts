// The arena's histograms as HDR histograms. An lcore records with a shift and an add (src/hot/loop.ts, record); here
// its buckets get their values back.
import { build, type Histogram as Hdr } from "hdr-histogram-js";
import { Histogram } from "../hot/layout.ts";

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
