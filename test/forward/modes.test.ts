// The plainest modes, over rings that the test fills and empties. The others have files of their own.
import { Mode } from "../../src/forward/modes.ts";
import { Mbuf, Stream } from "../../src/hot/layout.ts";
import { makeFrame, onEngines, type Rig } from "../support/engines.ts";
import { makeRing, RingEnd, type StreamWords, TestLcore } from "../support/lcore.ts";

/** A mode between two rings. */
function between(rig: Rig, mode: Mode, words: StreamWords["words"] = []) {
  const [rx, tx] = [new RingEnd(rig), new RingEnd(rig, makeRing(rig, 64))];
  const lcore = new TestLcore(rig, [{ mode, rx: rx.block, tx: tx.block, words }]);
  return { rx, tx, lcore, stream: lcore.streams[0]! };
}

const frames = [60, 61, 64, 300, 1500, 14].map((length) => makeFrame(length, length));

onEngines("io: every frame unchanged; what is refused is freed and counted", {}, (t, rig) => {
  const { rx, tx, lcore, stream } = between(rig, Mode.IO);
  rx.put(frames.map((frame) => rig.packet(frame)));
  lcore.run();
  const sent = tx.take();
  t.same(
    sent.map((mbuf) => rig.frame(mbuf)),
    frames.map((frame) => Buffer.from(frame)),
  );
  t.ok(sent.every((mbuf) => rig.arena.u16[(mbuf + Mbuf.PORT) >>> 1] === 1));
  rig.free(sent);
  rx.put(Array.from({ length: 100 }, (_, k) => rig.packet(makeFrame(k, 60))));
  lcore.run();
  t.equal(rig.counter(stream + Stream.TX_DROPPED), 36);
  t.equal(rig.stats(tx.block.offset).stalled, 36);
  t.equal(rig.stats(tx.block.offset).packets, 70);
  t.equal(rig.stats(tx.block.offset).bytes, 1999 + 64 * 60);
  rig.free(tx.take());
  t.same(rig.audit(), []);
});

onEngines("macswap", {}, (t, rig) => {
  const { rx, tx, lcore } = between(rig, Mode.MACSWAP);
  rx.put(frames.map((frame) => rig.packet(frame)));
  lcore.run();
  const sent = tx.take();
  const swapped = frames.map((f) => Buffer.concat([f.subarray(6, 12), f.subarray(0, 6), f.subarray(12)]));
  t.same(
    sent.map((mbuf) => rig.frame(mbuf)),
    swapped,
  );
  rig.free(sent);
  t.same(rig.audit(), []);
});

onEngines("count and touch free what comes", {}, (t, rig) => {
  for (const mode of [Mode.COUNT, Mode.TOUCH]) {
    const { rx, tx, lcore } = between(rig, mode);
    rx.put(frames.map((frame) => rig.packet(frame, 128)));
    lcore.run();
    t.same(tx.take(), []);
    t.equal(rig.stats(rx.block.offset).packets, frames.length);
  }
  t.same(rig.audit(), []);
});
