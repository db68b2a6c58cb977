import t from "tap";
import { describeLcore, mainCpus, place } from "../../../bench/rx-pps/placement.ts";
import { parseLcoreList } from "../../../src/eal/lcore-list.ts";

const run = (cpus: number[], queues: number, generator: boolean, list?: string) =>
  place({ cpus, queues, generator, lcores: list === undefined ? undefined : parseLcoreList(list) });
const on = (lcore: number, cpu = lcore) => ({ lcore, cpus: [cpu] });

t.test("chosen by the program", async (t) => {
  const two = run([0, 1], 1, true);
  t.match(two, { receivers: [on(1)], generator: on(0), lcores: [on(1), on(0)], note: undefined });
  t.same(mainCpus([0, 1], two), [0], "the main thread shares with the generator");
  t.match(run([2, 5, 7, 9], 2, true), { receivers: [on(5), on(7)], generator: on(2) });
  t.match(run([2, 5], 4, true), { receivers: [on(5)], generator: on(2) });
  t.match(run([0, 1, 2], 8, false), { receivers: [on(1), on(2)], generator: undefined });
});

t.test("one CPU", async (t) => {
  const one = run([3], 2, true);
  t.match(one, { receivers: [on(3)], generator: on(0, 3), note: /take turns on CPU 3/ });
  t.same(mainCpus([3], one), [3]);
  t.equal(run([3], 1, false).note, undefined, "nobody to share with");
});

t.test("by -l", async (t) => {
  t.match(run([0, 1, 2, 3], 1, true, "1,3"), { receivers: [on(1)], generator: on(3) });
  t.match(run([0, 1, 2, 3], 4, true, "0-3"), { receivers: [on(0), on(1), on(2)], generator: on(3) });
  t.match(run([0, 1, 2, 3], 4, false, "0-3"), { lcores: [on(0), on(1), on(2), on(3)] });
  t.match(run([0, 1], 1, true, "0"), { receivers: [on(0)], generator: on(1), note: undefined });
  t.match(run([0, 1], 1, true, "1@0"), { receivers: [on(1, 0)], generator: on(0, 1) });
  t.match(run([0], 1, true, "0"), { generator: on(1, 0), note: /take turns on CPU 0/ });
});

t.test("in words", async (t) => {
  t.equal(describeLcore(on(1)), "lcore 1");
  t.equal(describeLcore(on(1, 3)), "lcore 1 (CPU 3)");
  t.equal(describeLcore({ lcore: 0, cpus: [0, 1] }), "lcore 0 (CPU 0-1)");
});
