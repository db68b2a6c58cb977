// What pings in echo.test.ts: sends the request that it is handed until an answer comes, and hands that over.
import { Mbuf } from "../../src/hot/layout.ts";
import type { AppFactory } from "../../src/lcore/task.ts";

export interface PingOptions {
  readonly request: Uint8Array;
  /** Shared: how long the answer is, and then the answer. */
  readonly answerBytes: Int32Array;
  readonly answer: Uint8Array;
}

const ping: AppFactory = ({
  queues,
  options,
  pkts,
  u8,
  u32,
  data,
  length,
  alloc,
  rxBurst,
  txBurst,
  free,
}) => {
  const { request, answerBytes, answer } = options as PingOptions;
  const queue = queues[0]!;
  let polls = 0;
  return () => {
    const n = rxBurst(queue, 32);
    for (let k = 0; k < n; k++) {
      const [p, bytes] = [data(pkts[k]!), length(pkts[k]!)];
      answer.set(u8.subarray(p, p + Math.min(bytes, answer.length)));
      Atomics.store(answerBytes, 0, bytes);
    }
    free(n);
    if (Atomics.load(answerBytes, 0) !== 0 || polls++ % 4096 !== 0 || alloc(1) === 0) return n;
    const mbuf = pkts[0]!;
    u8.set(request, data(mbuf));
    u32[(mbuf + Mbuf.DATA_LEN) >>> 2] = request.length;
    u32[(mbuf + Mbuf.PKT_LEN) >>> 2] = request.length;
    free(1 - txBurst(queue, 1));
    return n;
  };
};
export default ping;
