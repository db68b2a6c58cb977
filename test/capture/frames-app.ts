// Sends given frames to its first queue, one every so many milliseconds, again and again, and receives them.
import type { AppContext } from "../../src/lcore/task.ts";

export interface FramesOptions {
  frames: Uint8Array[];
  everyMs: number;
  /** Frames in all. */
  count: number;
}

export default function sendFrames(context: AppContext): () => number {
  const { frames, everyMs, count } = context.options as FramesOptions;
  const [queue] = context.queues;
  const start = performance.now();
  let sent = 0;
  return () => {
    if (sent < count && performance.now() - start >= sent * everyMs && context.alloc(1) === 1) {
      const frame = frames[sent % frames.length]!;
      const mbuf = context.pkts[0]!;
      context.u8.set(frame, context.data(mbuf));
      context.setLength(mbuf, frame.length);
      if (context.txBurst(queue!, 1) === 1) sent++;
      else context.free(1);
    }
    const got = context.rxBurst(queue!, 32);
    context.free(got);
    return got;
  };
}
