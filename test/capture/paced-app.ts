// Sends numbered frames to its first queue, a few at a time, and receives them again: at a rate that a capture can keep
// up with whatever else the machine does.
import type { AppContext } from "../../src/lcore/task.ts";

export interface PacedOptions {
  packets: number;
  perMs: number;
  bytes: number;
}

export default function paced(context: AppContext): () => number {
  const { packets, perMs, bytes } = context.options as PacedOptions;
  const [queue] = context.queues;
  const { pkts, u8, u32 } = context;
  const start = performance.now();
  let sent = 0;

  function send(n: number): void {
    if (context.alloc(n) === 0) return;
    for (let k = 0; k < n; k++) {
      const data = context.data(pkts[k]!);
      context.setLength(pkts[k]!, bytes);
      u8.fill(0, data, data + bytes);
      u8[data + 12] = 0x88;
      u8[data + 13] = (sent + k) & 1 ? 0xb5 : 0xb6; // local experimental ethertypes, in turns
      u32[(data + 16) >>> 2] = sent + k;
    }
    const taken = context.txBurst(queue!, n);
    if (taken < n) context.free(n - taken, taken);
    sent += taken;
  }

  return () => {
    const due = Math.min(packets, Math.floor((performance.now() - start) * perMs)) - sent;
    if (due > 0) send(Math.min(due, 32));
    const got = context.rxBurst(queue!, 32);
    context.free(got);
    return got;
  };
}
