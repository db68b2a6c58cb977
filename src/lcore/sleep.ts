// Lets an lcore sleep while its receive queues are idle, and polls again under load (--rx-interrupt). In the worker's
// thread: after idle turns each queue's interrupt is armed, the queues are looked at once more (a packet that came
// before the arming raises none), then the thread waits for the first interrupt, or for control's wake. While it polls,
// peers need not interrupt it.
import { drainInterrupt, rearmInterrupt, waitInterrupts } from "../bus/interrupt.ts";
import type { InterruptLine } from "../bus/pci-function.ts";
import type { Hot } from "../hot/engine.ts";
import { Lcore } from "../hot/layout.ts";
import { IDLE_TURNS, SLEEP_MS_MAX } from "../limits.ts";

/** What an lcore that may sleep is launched with. Plain data. */
export interface SleepPlan {
  /** eventfd by which control wakes it. */
  readonly wakeFd: number;
  /** Arena offsets of the receive queues' blocks. */
  readonly queues: readonly number[];
  /** Their interrupts, each once: queues may share one. */
  readonly lines: readonly InterruptLine[];
}

/** Wraps a turn of polls so that the lcore sleeps after idle ones. */
export function sleepyTurn(
  turn: () => void,
  plan: SleepPlan,
  hot: Hot,
  counters: Float64Array,
  words: Int32Array,
) {
  let idleTurns = 0;
  let before = -1;
  return () => {
    turn();
    const packets = counters[Lcore.PACKETS >>> 3]!;
    idleTurns = packets === before ? idleTurns + 1 : 0;
    before = packets;
    if (idleTurns < IDLE_TURNS) return;
    idleTurns = 0;
    for (const queue of plan.queues) hot.rxArm(queue);
    if (plan.queues.every((queue) => hot.rxPending(queue) === 0)) {
      counters[Lcore.SLEEPS >>> 3]!++;
      const fired = waitInterrupts(plan.lines, plan.wakeFd, SLEEP_MS_MAX);
      words[Lcore.HEARTBEAT >>> 2]!++;
      for (const line of fired) {
        drainInterrupt(line);
        rearmInterrupt(line);
      }
      idleTurns = IDLE_TURNS - 1; // whatever woke it has brought a packet by now, or one more idle turn shows it
    }
    for (const queue of plan.queues) hot.rxDisarm(queue);
  };
}
