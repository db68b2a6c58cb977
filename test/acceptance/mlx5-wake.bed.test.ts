// Receive interrupts of mlx5 ports on the software ConnectX, in each mode: an lcore sleeps while nothing comes, misses
// no frame, whenever it comes, and polls under load.
import t from "tap";
import { softMlx5, softMlx5Bed } from "../beds/softmlx5.ts";
import { runOn } from "./mlx5.ts";
import { VAIN_MAX } from "./mlx5-wake.ts";
import type { WakeJob, WakeReport } from "./mlx5-wake-node.ts";

const missing = softMlx5Bed.missing();
t.setTimeout(240_000);
if (!missing) await softMlx5Bed.setup();

/** A sleeper wakes five times a second to show that it is alive, which costs a few milliseconds; one that polls: 1. */
const IDLE_SHARE_MAX = 0.3;
/** Of most frames, on a loaded machine. */
const WAKE_MS_MAX = 50;

for (const mode of ["dv", "ibv"]) {
  for (const queues of [1, 2]) {
    t.test(`mode=${mode}, ${queues} queues`, { skip: missing ?? false }, async (t) => {
      await using bed = await softMlx5({ ports: [{ wire: "loop" }], lossless: true });
      const device = `net_rdma0,ibdev=${bed.ports[0]!.ibdev},mode=${mode}`;
      const report = await runOn<WakeReport>(bed, "mlx5-wake-node", { device, queues } satisfies WakeJob, {
        timeoutMs: 100_000,
      });
      t.comment(JSON.stringify(report));
      const { first, idle, trickle, race, many, restarted, stopMs, load, leaks, lost } = report;
      t.match(first, { came: 8, wrong: 0 });
      for (const [name, { vain }] of Object.entries({ first, trickle, race, restarted })) {
        t.ok(vain <= VAIN_MAX, `${name}: ${vain} frames woke nobody`);
      }
      t.ok(idle.share < IDLE_SHARE_MAX, `idle: ${idle.share.toFixed(3)} of the time on a CPU`);
      t.ok(idle.sleeps >= 3, `idle: ${idle.sleeps} sleeps`);
      t.match(trickle, { came: 24, wrong: 0 });
      t.ok(trickle.sleeps >= 12, `${trickle.sleeps} sleeps between 24 frames`);
      t.ok(trickle.medianMs < WAKE_MS_MAX, `woken after ${trickle.medianMs} ms`);
      t.match(race, { came: 1_500, wrong: 0 }, "frames at the very moment of the arming");
      t.ok(race.sleeps >= 20, `${race.sleeps} sleeps`);
      t.match(many, { came: 10_000, wrong: 0 });
      t.match(restarted, { came: 24, wrong: 0 }, "the port was restarted while the lcore slept");
      t.ok(stopMs < 2 * WAKE_MS_MAX, `stopped asleep, after ${stopMs} ms`);
      for (const { found, wanted } of load.results) t.same(found, wanted, "under load");
      t.same(report.faults, {});
      t.same(report.audit, [], "every mbuf is back");
      t.equal(lost.codes[0], "DEVICE_LOST");
      t.ok(lost.slept >= 1 && lost.slept < 50, `${lost.slept} sleeps in half a second without a device`);
      t.same(leaks.after, leaks.before, "descriptors, and pages of registers in the arena");
    });
  }
}
