// The ring between two lcores, against a plain queue.
import { Ring } from "../../src/hot/ring.ts";
import { onEngines } from "../support/engines.ts";
import { makeRing } from "../support/lcore.ts";
import { Random } from "../support/random.ts";

onEngines("words come out as they went in, over the end and past 2^32", {}, (t, rig) => {
  for (const start of [0, 0xffffffe0, 0xffffffff, 0x7ffffff0]) {
    const ring = makeRing(rig, 64);
    for (const word of [Ring.TAIL, Ring.SEEN_HEAD, Ring.HEAD, Ring.SEEN_TAIL]) rig.put(ring + word, start);
    const random = new Random(start);
    const model: number[] = [];
    let next = 1;
    let bad = 0;
    for (let step = 0; step < 3000; step++) {
      const n = random.below(81);
      if (random.chance(50)) {
        for (let k = 0; k < n; k++) rig.put(rig.out + 4 * k, next + k);
        const took = rig.hot.ringEnqueue(ring, rig.out, n);
        if (took !== Math.min(n, 64 - model.length)) bad++;
        for (let k = 0; k < took; k++) model.push(next++);
      } else {
        rig.arena.u32.fill(0xeeeeeeee, rig.pkts >>> 2, (rig.pkts >>> 2) + 82);
        const got = rig.words(rig.pkts, rig.hot.ringDequeue(ring, rig.pkts, n));
        const wanted = model.splice(0, n);
        if (got.length !== wanted.length || got.some((word, k) => word !== wanted[k])) bad++;
        if (rig.word(rig.pkts + 4 * got.length) !== 0xeeeeeeee) bad++;
      }
    }
    t.equal(bad, 0, `from index ${start}`);
    t.ok(next > 10 * 64);
  }
});

onEngines("each side reads the other's index only when it must", {}, (t, rig) => {
  const ring = makeRing(rig, 64);
  t.equal(rig.hot.ringEnqueue(ring, rig.out, 64), 64);
  t.equal(rig.hot.ringEnqueue(ring, rig.out, 1), 0, "full");
  t.equal(rig.hot.ringDequeue(ring, rig.pkts, 10), 10);
  t.equal(rig.word(ring + Ring.SEEN_HEAD), 0);
  t.equal(rig.hot.ringEnqueue(ring, rig.out, 20), 10);
  t.equal(rig.word(ring + Ring.SEEN_HEAD), 10);
});
