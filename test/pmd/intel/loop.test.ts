// Both sides of pmd/intel at once: frames go round from receive to transmit through the model NIC, which sends itself
// what it is given, in bursts of all sizes.
import { IntelQueue } from "../../../pmd/intel/layout.ts";
import { onEngines } from "../../support/engines.ts";
import { sendRound } from "../../support/round-trip.ts";
import { formats, IntelPair } from "./rings.ts";

const RING = 64;

onEngines("frames go round, in order and unchanged", { mbufs: 320, dataRoom: 1024 }, async (t, rig) => {
  for (const format of formats) {
    await t.test(format, async (t) => {
      const pair = new IntelPair(rig, format, { size: RING });
      pair.start(2 ** 32 - 8 * RING);
      const { rx, tx } = pair.nic;
      const moved = sendRound(t, {
        rig,
        queues: pair,
        lengths: [17, 60, 64, 1024, 1025, 3000],
        rounds: 1500,
        ring: RING,
        deliver: ([frame]) => (rx.deliver(frame!) ? 1 : 0),
        take: () => tx.take().map(({ frame }) => frame),
        report: (random, all) => tx.report(all ? undefined : random.below(tx.unreported + 1)),
      });
      t.ok(moved > 20 * RING);
      t.ok(pair.rx.block.get(IntelQueue.HEAD) < 2 ** 31, "the running index passed 2^32");
      t.same(rig.audit(pair.held()), []);
      pair.stop();
      t.same(rig.audit(), []);
      pair.free();
    });
  }
});
