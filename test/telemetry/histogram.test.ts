import t from "tap";
import { Histogram } from "../../src/hot/layout.ts";
import { BURST_MAX } from "../../src/limits.ts";
import { bucketBounds, byPowerOfTwo, percentile, timesOf, toHdr } from "../../src/telemetry/histogram.ts";

/** As record() in src/hot/loop.ts. */
function bucketOf(ns: number): number {
  const bits = 32 - Math.clz32(ns | 1);
  const shift = Math.max(0, bits - Histogram.SUB_BITS);
  return (shift << Histogram.SUB_BITS) + (ns >>> shift);
}

t.test("a bucket's bounds hold what is recorded into it", async (t) => {
  const wrong: number[] = [];
  for (let ns = 0; ns <= 4e9; ns = Math.max(ns + 1, Math.floor(ns * 1.01))) {
    const { from, to } = bucketBounds(bucketOf(ns));
    if (!(from <= ns && ns < to && to - from <= Math.max(1, ns / 32))) wrong.push(ns);
  }
  t.same(wrong, []);
  t.ok(bucketOf(4e9) < Histogram.BUCKETS);
  t.same(bucketBounds(63), { from: 63, to: 64 }, "exact below 64 ns");
});

t.test("percentiles", async (t) => {
  const counts = new Float64Array(Histogram.BUCKETS);
  t.equal(toHdr(counts).totalCount, 0);
  counts[bucketOf(12)] = 980;
  counts[bucketOf(1000)] = 19;
  counts[bucketOf(4_000_000_000)] = 1;
  const hdr = toHdr(counts);
  t.equal(hdr.totalCount, 1000);
  t.equal(hdr.getValueAtPercentile(50), 12);
  t.equal(hdr.getValueAtPercentile(98), 12);
  const close = (value: number, wanted: number) => Math.abs(value - wanted) < wanted * 0.017;
  t.ok(close(hdr.getValueAtPercentile(99.9), 1000));
  t.ok(close(hdr.maxValue, 4e9), `${hdr.maxValue}`);
  counts[bucketOf(12)] = 1e11;
  t.equal(toHdr(counts).totalCount, 1e11 + 20, "a run of hours");
});

t.test("percentiles without an HDR histogram: the same, and cheap", async (t) => {
  const counts = new Float64Array(Histogram.BUCKETS);
  t.equal(percentile(counts, 0.5), undefined);
  t.equal(timesOf(counts), undefined);
  let seed = 1;
  for (let k = 0; k < 5000; k++) {
    seed = (seed * 48_271) % 0x7fff_ffff;
    counts[bucketOf(Math.floor(2 ** ((seed / 0x7fff_ffff) * 24)))]!++;
  }
  const hdr = toHdr(counts);
  for (const share of [0, 0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
    const [mine, its] = [percentile(counts, share)!, hdr.getValueAtPercentile(share * 100)];
    t.ok(Math.abs(mine - its) <= its * 0.002 + 1, `${share}: ${mine}, ${its}`);
  }
  counts.fill(0);
  counts[7] = 999;
  counts[8] = 1;
  t.same(timesOf(counts), { p50: 7, p99: 7, p999: 7, max: 8 });
});

t.test("bursts by powers of two", async (t) => {
  const bursts = new Float64Array(BURST_MAX + 1);
  bursts[0] = 100;
  for (const size of [1, 2, 3, 4, 255, 256, 511, 512]) bursts[size] = size;
  t.same(byPowerOfTwo(bursts), [1, 5, 4, 0, 0, 0, 0, 255, 767, 512]);
});
