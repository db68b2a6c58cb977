// An application of the tests that receives and frees, and after some packets throws, blocks, or ends its thread.
import type { AppContext } from "../../src/index.ts";

export interface MisbehaviourOptions {
  /** "none": it never does. */
  what: "none" | "throw" | "block" | "exit";
  afterPackets: number;
  blockMs?: number;
}

export default function misbehave(context: AppContext) {
  const { what, afterPackets, blockMs = 0 } = context.options as MisbehaviourOptions;
  const queue = context.queues[0]!;
  let packets = 0;
  let done = what === "none";
  return () => {
    const got = context.rxBurst(queue, 32);
    context.free(got);
    packets += got;
    if (done || packets < afterPackets) return got;
    done = true;
    if (what === "throw") throw new RangeError("an application's own mistake");
    if (what === "exit") process.exit(3);
    const end = performance.now() + blockMs;
    while (performance.now() < end); // as a slow computation would
    return got;
  };
}
