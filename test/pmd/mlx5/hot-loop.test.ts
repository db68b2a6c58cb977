// Both sides of direct verbs at once: frames go round from receive to transmit through the modelled device, which sends
// itself what it is given, in bursts of all sizes, past the wraps of all indices.
import { Mlx5Queue } from "../../../pmd/mlx5/layout.ts";
import { sendRound } from "../../support/round-trip.ts";
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
    pair.fill();
    const { rx, tx } = pair.nic;
    const moved = sendRound(t, {
      rig,
      queues: pair,
      lengths: options.segments === undefined ? [19, 60, 64, 1024] : [19, 60, 64, 1024, 1025, 3000],
      rounds: 3000,
      ring: RING,
      deliver(wire, random) {
        if (!options.compression) return rx.deliver(wire[0]!) ? 1 : 0;
        return rx.deliverCompressed(wire.slice(0, random.between(1, 20)), true);
      },
      take: () => tx.take().map(({ frame }) => frame),
      report: (random, all) => tx.complete(all ? undefined : random.below(tx.uncompleted + 1)),
    });
    t.ok(moved > 160 * RING, `${moved} hops`);
    t.ok(pair.rx.block.get(Mlx5Queue.CQ_INDEX) < 2 ** 31, "the running index passed 2^32");
  },
);
