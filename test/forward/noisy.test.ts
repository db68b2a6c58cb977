// noisy: order, the FIFO's size, the flush, and that nothing is lost when it is stopped.
import { Noisy } from "../../src/forward/noisy.ts";
import { Lcore } from "../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig } from "../support/engines.ts";
import { StreamRun } from "../support/stream.ts";

const frames = (from: number, n: number) => Array.from({ length: n }, (_, k) => makeFrame(from + k, 60));
const put = (rig: Rig, run: StreamRun, list: readonly Uint8Array[]) =>
  run.pass(list.map((frame) => rig.packet(frame)));

function take(rig: Rig, sent: readonly number[]): Buffer[] {
  const seen = sent.map((mbuf) => rig.frame(mbuf));
  rig.free(sent);
  return seen;
}

const buffers = (list: readonly Uint8Array[]) => list.map((frame) => Buffer.from(frame));

onEngines("without a FIFO: io", {}, (t, rig) => {
  const run = new StreamRun(rig, { mode: "noisy" });
  t.same(run.frames(frames(0, 100)), buffers(frames(0, 100)));
  t.same(rig.audit(), []);
});

onEngines("a FIFO of any size keeps order; later packets push out", {}, (t, rig) => {
  for (const bufferPackets of [1, 5, 31, 32, 33, 100]) {
    const run = new StreamRun(rig, { mode: "noisy", noisy: { bufferPackets } });
    const seen: Buffer[] = [];
    let count = 0;
    for (const n of [3, 1, 40, 0, 64, 7, 90, 1]) {
      seen.push(...take(rig, put(rig, run, frames(count, n))));
      count += n;
      t.equal(seen.length, Math.max(0, count - bufferPackets), `${bufferPackets} wait`);
    }
    t.same(seen, buffers(frames(0, seen.length)), "in order");
    t.equal(run.counters.txDropped, 0);
    run.stop();
    t.same(rig.audit(), [], "what waited is back");
    t.same(take(rig, put(rig, run, frames(0, 1))), []);
    run.assign({ mode: "io" });
    t.same(rig.audit(), [], "also when the lcore is given other work");
  }
});

let timeMs = 1000;

onEngines("flushed when nothing was sent for so long", { now: () => timeMs }, (t, rig) => {
  const noisy = { bufferPackets: 100, flushMs: 10 };
  const run = new StreamRun(rig, { mode: "noisy", noisy });
  t.same(put(rig, run, frames(0, 70)), []);
  timeMs += 9;
  t.same(put(rig, run, frames(70, 20)), [], "not yet");
  timeMs += 2;
  t.same(run.frames([]), buffers(frames(0, 90)), "all at once, in order");
  timeMs += 50;
  t.same(put(rig, run, frames(0, 10)), [], "an empty FIFO does not count time");
  timeMs += 9;
  const pushed = put(rig, run, frames(10, 95));
  t.same(take(rig, pushed), buffers(frames(0, 5)), "pushed out");
  timeMs += 9;
  t.same(run.frames([]), [], "counted from there");
  timeMs += 1;
  t.same(run.frames([]), buffers(frames(5, 100)));
  t.equal(run.control.counter(Lcore.PACKETS) >= 195, true);
  t.same(rig.audit(), []);
});

onEngines("no flush time: they wait for ever", { now: () => timeMs }, (t, rig) => {
  const run = new StreamRun(rig, { mode: "noisy", noisy: { bufferPackets: 8 } });
  put(rig, run, frames(0, 8));
  timeMs += 1e6;
  t.same(run.frames([]), []);
  run.stop();
  t.same(rig.audit(), []);
});

onEngines("a flush into a queue that is full drops and counts", { now: () => timeMs }, (t, rig) => {
  const run = new StreamRun(
    rig,
    { mode: "noisy", noisy: { bufferPackets: 64, flushMs: 1 } },
    { txEntries: 32 },
  );
  put(rig, run, frames(0, 64));
  timeMs += 2;
  t.same(run.frames([]), buffers(frames(0, 32)));
  t.match(run.counters, { rxPackets: 64, txPackets: 32, txDropped: 32 });
  t.same(rig.audit(), []);
});

onEngines("reads and writes stay within the memory", { arenaMib: 32 }, (t, rig) => {
  const run = new StreamRun(rig, {
    mode: "noisy",
    noisy: { memoryMib: 2, writes: 3, reads: 5, readWrites: 2 },
  });
  const stream = run.control.get(Lcore.STREAM);
  const memory = rig.word(stream + Noisy.MEMORY);
  const touched = () => rig.words(memory, 2 << 18).filter((word) => word !== 0).length;
  t.equal(touched(), 0);
  for (let k = 0; k < 20; k++) run.frames(frames(0, 200));
  const lines = touched();
  // 20,000 lines drawn of 32,768: 1 - e^-0.61 of them
  t.ok(lines > 13_000 && lines < 16_500, `${lines} lines were written`);
  const before = rig.word(memory - 4);
  t.equal(before, 0);
  t.not(rig.word(stream + Noisy.SEEN), 0, "and read");
  t.same(rig.audit(), []);
  run.assign({ mode: "io" });
  const again = new StreamRun(rig, { mode: "noisy", noisy: { memoryMib: 20, reads: 1 } });
  t.same(again.frames(frames(0, 3)), buffers(frames(0, 3)), "the memory was given back");
});
