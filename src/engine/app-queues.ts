// From ports to the queue pairs that an application's lcore is launched with.
import { PollmodeError } from "../errors.ts";
import { Port } from "../ethdev/port.ts";
import type { LcoreControl } from "../lcore/lcores.ts";
import type { SleepPlan } from "../lcore/sleep.ts";
import type { AppQueue } from "../lcore/task.ts";

/** All queue pairs of a port, or one of them. */
export type AppEnds = Port | { port: Port; queue: number };

/** How an lcore that serves these receive queues may sleep. */
export function sleepPlan(lcore: LcoreControl, ends: readonly { port: Port; queue: number }[]): SleepPlan {
  const lines = new Map(
    ends.map(({ port, queue }) => port.rxInterrupt(queue)).map((line) => [line.fd, line]),
  );
  const queues = ends.map(({ port, queue }) => port.rxQueues[queue]!);
  return { wakeFd: lcore.wakeFd, queues, lines: [...lines.values()] };
}

/** The queue pairs that these are. */
export function appQueues(one: AppEnds): AppQueue[] {
  if (one instanceof Port) {
    const pairs = Math.max(one.rxQueues.length, one.txQueues.length);
    return Array.from({ length: pairs }, (_, queue) => appQueue(one, queue));
  }
  return [appQueue(one.port, one.queue)];
}

function appQueue(port: Port, queue: number): AppQueue {
  const { id, rxQueues, txQueues, mac } = port;
  if (rxQueues[queue] === undefined && txQueues[queue] === undefined) {
    const message = `port ${id} (${port.name}) has no queue pair ${queue}`;
    throw new PollmodeError("QUEUE_UNKNOWN", message, "configure the port with enough queues first");
  }
  return { port: id, queue, rx: rxQueues[queue] ?? 0, tx: txQueues[queue] ?? 0, mac: Uint8Array.from(mac) };
}
