// What every driver does to a queue block: count, and stop a queue whose peer broke the rules.
import { Queue } from "./layout.ts";
import { rf64, toF64, w32, wf64 } from "./mem.ts";

/** Adds `n` to the f64 counter at `p`. */
export function bump(p: u32, n: u32): void {
  wf64(p, rf64(p) + toF64(n));
}

export function countPackets(q: u32, packets: u32, bytes: u32): void {
  bump(q + Queue.PACKETS, packets);
  bump(q + Queue.BYTES, bytes);
}

/** Stops the queue with a QueueError; its mbufs stay where they are until control takes them back. */
export function queueFail(q: u32, error: u32, argument: u32): void {
  w32(q + Queue.ERROR_ARG, argument);
  w32(q + Queue.ERROR, error);
  w32(q + Queue.RUN, 0);
}
