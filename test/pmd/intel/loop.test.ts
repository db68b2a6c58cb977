// Both sides of pmd/intel at once: frames go round from receive to transmit through the model NIC, which sends itself
// what it is given, in bursts of all sizes.
import { IntelQueue } from "../../../pmd/intel/layout.ts";
import { makeFrame, onEngines } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import { formats, IntelPair } from "./rings.ts";

const RING = 64;

onEngines("frames go round, in order and unchanged", { mbufs: 320, dataRoom: 1024 }, async (t, rig) => {
  for (const format of formats) {
    await t.test(format, async (t) => {
      const pair = new IntelPair(rig, format, { size: RING });
      pair.start(2 ** 32 - 8 * RING);
      const random = new Random(9);
      const wire: Buffer[] = Array.from({ length: 40 }, (_, tag) =>
        Buffer.from(makeFrame(tag, random.pick([17, 60, 64, 1024, 1025, 3000]))),
      );
      const first = [...wire];
      let moved = 0;
      let faults = 0;
      for (let round = 0; round < 1500; round++) {
        while (wire.length > 0 && random.chance(90)) {
          if (!pair.nic.rx.deliver(wire[0]!)) break;
          wire.shift();
        }
        const packets = rig.receive(pair.rxq, random.pick([1, 2, 5, 32, 64]));
        let sent = 0;
        while (sent < packets.length) {
          sent += rig.send(pair.txq, packets.slice(sent));
          wire.push(...pair.nic.tx.take().map(({ frame }) => frame));
          pair.nic.tx.report(random.below(pair.nic.tx.unreported + 1));
          if (sent < packets.length) pair.nic.tx.report();
        }
        moved += sent;
        if (round % 50 === 0) faults += rig.audit(pair.held()).length;
      }
      for (let idle = 0; idle < 3; idle++) {
        for (const mbuf of rig.receive(pair.rxq, RING)) {
          wire.push(rig.frame(mbuf));
          rig.free([mbuf]);
          idle = 0;
        }
      }
      const start = first.findIndex((frame) => frame.equals(wire[0]!));
      const order = [...first.slice(start), ...first.slice(0, start)];
      t.ok(
        wire.length === first.length && wire.every((frame, k) => frame.equals(order[k]!)),
        `${moved} hops`,
      );
      t.ok(moved > 20 * RING);
      t.ok(pair.rx.block.get(IntelQueue.HEAD) < 2 ** 31, "the running index passed 2^32");
      t.equal(faults, 0);
      t.same(rig.audit(pair.held()), []);
      pair.stop();
      t.same(rig.audit(), []);
      pair.free();
    });
  }
});
