// A log-linear histogram of times: exact below 64 ns, then 32 steps each power of two.
import { Histogram } from "./layout.ts";
import { clz32, r32, toU32, w32 } from "./mem.ts";

/** Counts a time in the u32[Histogram.BUCKETS] at `histogram`. */
export function recordNs(histogram: u32, ns: f64): void {
  const v: u32 = ns < 1 ? 0 : ns > 4e9 ? 4000000000 : toU32(ns);
  const bits: u32 = 32 - clz32(v | 1);
  const shift: u32 = bits > <u32>Histogram.SUB_BITS ? bits - Histogram.SUB_BITS : 0;
  const bucket: u32 = histogram + (((shift << Histogram.SUB_BITS) + (v >>> shift)) << 2);
  w32(bucket, r32(bucket) + 1);
}
