// What the soak would not let pass: each of its criteria is seen to fail.
import { readFileSync } from "node:fs";
import t from "tap";
import { growth, ownStalls, type Sample, type Size, stallBetween, takeSize, watchStalls } from "./soak.ts";

const threads = { main: 1, lcores: new Set([2]) };

/** A sample at `nowMs`; of each thread the ms that it ran and waited for a CPU since the one at 0. */
function sample(nowMs: number, times: Record<number, [ran: number, waited: number]> = {}): Sample {
  const all = Object.entries({ 1: [0, 0], 2: [0, 0], 3: [0, 0], ...times });
  return {
    nowMs,
    threads: new Map(all.map(([id, [ran, waited]]) => [Number(id), { ran: ran!, waited: waited! }])),
  };
}

/** What the soak makes of a timer that came after `nowMs` and not after 10. */
function judge(
  nowMs: number,
  times: Record<number, [ran: number, waited: number]>,
): [late: boolean, own: boolean] {
  const stall = stallBetween(sample(0), sample(nowMs, times), threads);
  return [stall !== undefined, stall !== undefined && ownStalls([stall]).length > 0];
}

t.test("a stall of the event loop", async (t) => {
  t.same(judge(12, { 1: [1, 0] }), [false, false], "in time");
  t.same(judge(60, { 1: [60, 0] }), [false, false], "50 ms late, which it may be");
  t.same(judge(70, { 1: [70, 0] }), [true, true], "it ran for 70 ms without returning");
  t.same(judge(90, { 1: [1, 0] }), [true, true], "it slept in a system call");
  t.same(judge(90, { 1: [20, 68] }), [true, false], "others had its CPU");
  t.same(judge(90, { 1: [1, 0], 3: [2, 85] }), [true, false], "it waited for a helper that had none");
  t.same(judge(90, { 1: [1, 0], 2: [2, 85] }), [true, true], "an lcore that has no CPU is no excuse");
  t.same(judge(200, { 1: [80, 60], 3: [0, 60] }), [true, true], "it waited, but ran for too long as well");
  const [stall] = [stallBetween(sample(0), sample(110, { 1: [60, 30], 3: [0, 5] }), threads)];
  t.same(stall, { lateMs: 100, ownMs: 75 });
});

/** ms that the main thread has run. */
const ranMs = () => Number(readFileSync("/proc/self/schedstat", "utf8").split(" ")[0]) / 1e6;
const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

t.test("a thread that is really held up", async (t) => {
  const watch = watchStalls(new Set());
  await pause(50);
  const before = ranMs();
  while (ranMs() - before < 100);
  await pause(50);
  watch.end();
  const found = ownStalls(watch.stalls);
  t.equal(found.length, 1);
  t.ok(found[0]!.ownMs >= 90 && found[0]!.ownMs <= found[0]!.lateMs + 11, JSON.stringify(found));
});

t.test("what grows or is left over", async (t) => {
  const warm: Size = { heapMib: 20, rssMib: 200, maps: 900, fds: 30, memfds: 4, threads: 12, hugetlbKib: 0 };
  t.same(growth(warm, warm), []);
  t.same(growth(warm, { ...warm, heapMib: 23.9, rssMib: 231, maps: 939 }), [], "it breathes");
  t.same(growth(warm, { ...warm, heapMib: 10, rssMib: 100, maps: 100 }), [], "it shrinks");
  t.same(growth(warm, { ...warm, heapMib: 24.04 }), ["heapMib: 20, then 24"]);
  t.same(growth(warm, { ...warm, rssMib: 232 }), ["rssMib: 200, then 232"]);
  t.same(growth(warm, { ...warm, maps: 940 }), ["maps: 900, then 940"]);
  for (const what of ["fds", "memfds", "threads", "hugetlbKib"] as const) {
    t.equal(growth(warm, { ...warm, [what]: warm[what] + 1 }).length, 1, `one more of ${what}`);
    t.equal(growth(warm, { ...warm, [what]: warm[what] - 1 }).length, 1, `one of ${what} less`);
  }
});

t.test("memory that is really kept", async (t) => {
  const warm = takeSize();
  const kept = Array.from({ length: 10 }, (_, k) => new Array(2 ** 17).fill(k + 0.5)); // 1 MiB each
  const grown = growth(warm, takeSize());
  t.ok(
    grown.some((what) => what.startsWith("heapMib: ")),
    grown.join("; "),
  );
  t.equal(kept.length, 10);
});
