import t from "tap";
import { percentileCurve, rates } from "../../../bench/rx-pps/plot.ts";

t.test("rates between points", async (t) => {
  const points = [
    { seconds: 0, packets: 0 },
    { seconds: 0.5, packets: 1_000_000 },
    { seconds: 1.5, packets: 2_000_000 },
  ];
  t.same(rates(points), [
    { seconds: 0, mpps: 2 },
    { seconds: 0.5, mpps: 1 },
    { seconds: 1.5, mpps: 1 },
  ]);
  t.same(rates(points.slice(0, 1)), []);
});

t.test("percentiles by rarity", async (t) => {
  const times = new Float64Array(1728);
  t.same(percentileCurve(times), []);
  times[10] = 99_000;
  times[50] = 1000;
  const curve = percentileCurve(times);
  t.match(curve[0], { odds: 1, ns: 10 });
  t.equal(curve.at(-1)?.ns, 50);
  t.ok(curve.at(-1)!.odds <= 100_000, "no rarer than one poll");
  t.equal(curve.find(({ odds }) => odds > 110)?.ns, 50);
});
