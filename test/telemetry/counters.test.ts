import t from "tap";
import { Histogram, Lcore } from "../../src/hot/layout.ts";
import { BURST_MAX } from "../../src/limits.ts";
import { Arena } from "../../src/memory/arena.ts";
import { clearRoundMax, difference, merge, readLcore } from "../../src/telemetry/counters.ts";

const BLOCK = 1 << 16;
const BURSTS = BLOCK + 4096;
const TIMES = BURSTS + 4096;
const AGES = TIMES + 8192;

function fakeLcore(t: { teardown(end: () => void): void }) {
  const arena = new Arena(1 << 21);
  t.teardown(() => arena.close());
  arena.clear(BLOCK, 1 << 15); // the test before left its own
  arena.u32[(BLOCK + Lcore.BURST_HISTOGRAM) >>> 2] = BURSTS;
  arena.u32[(BLOCK + Lcore.POLL_HISTOGRAM) >>> 2] = TIMES;
  arena.u32[(BLOCK + Lcore.LATENCY_HISTOGRAM) >>> 2] = AGES;
  const set = (values: Partial<Record<number, number>>) => {
    for (const [word, value] of Object.entries(values)) arena.f64[(BLOCK + Number(word)) >>> 3] = value!;
  };
  const bucket = (base: number, k: number, value: number) => {
    arena.u32[(base >>> 2) + k] = value;
  };
  return { arena, set, bucket };
}

t.test("a reading, and what came between two", async (t) => {
  const { arena, set, bucket } = fakeLcore(t);
  set({ [Lcore.POLLS]: 512, [Lcore.EMPTY_POLLS]: 500, [Lcore.PACKETS]: 12, [Lcore.ROUND_NS_MAX]: 700 });
  bucket(BURSTS, 32, 0xffff_fffe);
  bucket(TIMES, 5, 7);
  const before = readLcore(arena, BLOCK);
  t.match(before, { polls: 512, emptyPolls: 500, packets: 12, busyNs: 0, roundNsMax: 700 });
  t.equal(before.bursts.length, BURST_MAX + 1);
  t.equal(before.pollTimes.length, Histogram.BUCKETS);
  set({ [Lcore.POLLS]: 1024, [Lcore.PACKETS]: 52, [Lcore.ROUND_NS_MAX]: 900 });
  set({ [Lcore.BUSY_NS]: 40.5, [Lcore.BUSY_PACKETS]: 4, [Lcore.BUSY_POLLS]: 2 });
  bucket(BURSTS, 32, 3);
  bucket(TIMES, 5, 10);
  bucket(TIMES, Histogram.BUCKETS - 1, 1);
  bucket(AGES, 100, 2);
  const between = difference(readLcore(arena, BLOCK), before);
  t.match(between, { polls: 512, emptyPolls: 0, packets: 40, busyNs: 40.5, busyPackets: 4, busyPolls: 2 });
  t.equal(between.roundNsMax, 900, "no difference: the longest so far");
  t.equal(between.bursts[32], 5, "32 bits that overflowed");
  t.same([between.pollTimes[5], between.pollTimes[Histogram.BUCKETS - 1]], [3, 1]);
  t.same([between.latency[99], between.latency[100]], [0, 2]);
  t.equal(before.bursts[32], 0xffff_fffe, "a reading does not change any more");
  clearRoundMax(arena, BLOCK);
  t.equal(readLcore(arena, BLOCK).roundNsMax, 0);
});

t.test("adding up lcores", async (t) => {
  const { arena, set, bucket } = fakeLcore(t);
  set({ [Lcore.POLLS]: 10, [Lcore.ROUND_NS_MAX]: 5 });
  bucket(BURSTS, 1, 4);
  const one = readLcore(arena, BLOCK);
  set({ [Lcore.POLLS]: 1, [Lcore.ROUND_NS_MAX]: 9 });
  bucket(BURSTS, 1, 0xffff_ffff);
  const sum = merge(one, readLcore(arena, BLOCK));
  t.match(sum, { polls: 11, roundNsMax: 9, packets: 0 });
  t.equal(sum.bursts[1], 2 ** 32 + 3, "sums have more than 32 bits");
  t.match(merge(), { polls: 0, emptyPolls: 0, roundNsMax: 0 });
});
