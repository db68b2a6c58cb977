// What streams are compared with: the same work by an application on the lcore.
import type { AppContext, AppPoll } from "../../src/lcore/task.ts";

export interface ReferenceOptions {
  /** It sends copies of a frame; else it receives and reads each frame's first byte. */
  readonly sends: boolean;
  readonly frameBytes: number;
}

const BURST = 32;

export default function reference(context: AppContext): AppPoll {
  const { queues, options, pkts, u8, rxBurst, txBurst, alloc, free, data, setLength } = context;
  const { sends, frameBytes } = options as ReferenceOptions;
  const queue = queues[0]!;
  const frame = new Uint8Array(frameBytes);
  let sum = 0;
  const receive = () => {
    const n = rxBurst(queue, BURST);
    for (let k = 0; k < n; k++) sum = (sum + u8[data(pkts[k]!)]!) | 0;
    free(n);
    return n;
  };
  const send = () => {
    if (alloc(BURST) === 0) return 0;
    for (let k = 0; k < BURST; k++) {
      u8.set(frame, data(pkts[k]!));
      setLength(pkts[k]!, frameBytes);
    }
    const n = txBurst(queue, BURST);
    free(BURST - n, n);
    return n;
  };
  return sends ? send : receive;
}
