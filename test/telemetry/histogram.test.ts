import t from "tap";
import { Histogram } from "../../src/hot/layout.ts";
import { bucketBounds, toHdr } from "../../src/telemetry/histogram.ts";

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
