// Both sides of direct verbs at once: frames go round from receive to transmit through the modelled device, which sends
// itself what it is given, in bursts of all sizes, past the wraps of all indices.
import { Mlx5Queue } from "../../../pmd/mlx5/layout.ts";
import { makeFrame } from "../../support/engines.ts";
import { Random } from "../../support/random.ts";
import { onPairs, type PairOptions } from "./rings.ts";

const RING = 64;
const striding = { logStrideBytes: 8, logStrides: 4 };
const cases: Record<string, PairOptions> = {
  "one buffer": { size: RING },
  "several buffers, 18 bytes inlined": { size: RING, segments: 3, minInline: 18 },
  "multi-packet both ways": { size: RING, striding, segments: 3, enhancedMpw: true },
  "compressed, multi-packet send": { size: RING, segments: 3, compression: "hash", enhancedMpw: true },
};

onPairs(
  "frames go round, in order and unchanged",
  { mbufs: 520, dataRoom: 1024 },
  cases,
  (t, pair, options) => {
    const { rig } = pair;
    pair.stop();
    pair.start(2 ** 32 - 8 * RING * 16);
    const random = new Random(9);
    const lengths = options.segments === undefined ? [19, 60, 64, 1024] : [19, 60, 64, 1024, 1025, 3000];
    const wire: Buffer[] = Array.from({ length: 40 }, (_, tag) =>
      Buffer.from(makeFrame(tag, random.pick(lengths))),
    );
    const first = [...wire];
    let [moved, faults] = [0, 0];
    pair.fill();
    for (let round = 0; round < 3000; round++) {
      while (wire.length > 0 && random.chance(90)) {
        const some = options.compression ? wire.slice(0, random.between(1, 20)) : [];
        const count = options.compression
          ? pair.nic.rx.deliverCompressed(some, true)
          : pair.nic.rx.deliver(wire[0]!)
            ? 1
            : 0;
        if (count === 0) break;
        wire.splice(0, count);
      }
      const packets = rig.receive(pair.rxq, random.pick([1, 2, 5, 32, 64]));
      let sent = 0;
      while (sent < packets.length) {
        sent += rig.send(pair.txq, packets.slice(sent));
        wire.push(...pair.nic.tx.take().map(({ frame }) => frame));
        pair.nic.tx.complete(random.below(pair.nic.tx.uncompleted + 1));
        if (sent < packets.length) pair.nic.tx.complete();
      }
      moved += sent;
      if (round % 100 === 0) faults += rig.audit(pair.held()).length;
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
    const same = wire.length === first.length && wire.every((frame, k) => frame.equals(order[k]!));
    t.ok(same, `${moved} hops`);
    t.ok(moved > 160 * RING, `${moved} hops`);
    t.ok(pair.rx.block.get(Mlx5Queue.CQ_INDEX) < 2 ** 31, "the running index passed 2^32");
    t.equal(faults, 0);
  },
);
