// An application's view of the arena and of the hot path, on its lcore.
import type { Hot } from "../hot/engine.ts";
import { Lcore, Mbuf, Queue } from "../hot/layout.ts";
import { BURST_MAX, SEGMENTS_EXTRA } from "../limits.ts";
import type { AppContext, AppQueue, Launch, LcoreTask } from "./task.ts";

export function makeContext(task: LcoreTask, hot: Hot, launch: Extract<Launch, { kind: "app" }>): AppContext {
  const { buffer } = task.memory;
  const bytes = buffer.byteLength;
  const u32 = new Uint32Array(buffer, 0, bytes / 4);
  const at = u32[(task.block + Lcore.PKTS) >>> 2]!;
  const first = launch.queues[0];
  const cache = first ? u32[((first.rx || first.tx) + Queue.CACHE) >>> 2]! : 0;
  return {
    lcore: task.lcore,
    queues: launch.queues,
    options: launch.options,
    state: undefined,
    u8: new Uint8Array(buffer, 0, bytes),
    u16: new Uint16Array(buffer, 0, bytes / 2),
    u32,
    f64: new Float64Array(buffer, 0, bytes / 8),
    pkts: new Uint32Array(buffer, at, BURST_MAX + SEGMENTS_EXTRA),
    rxBurst: (queue: AppQueue, n: number) => hot.rxBurst(queue.rx, at, n),
    txBurst: (queue: AppQueue, n: number, from = 0) => hot.txBurst(queue.tx, at + (from << 2), n),
    free: (n: number, from = 0) => hot.mbufFreeBulk(cache, at + (from << 2), n),
    alloc: (n: number, from = 0) => hot.mbufAllocBulk(cache, at + (from << 2), n),
    data: (mbuf: number) => u32[(mbuf + Mbuf.DATA) >>> 2]!,
    setLength: (mbuf: number, bytes: number) => {
      u32[(mbuf + Mbuf.DATA_LEN) >>> 2] = bytes;
      u32[(mbuf + Mbuf.PKT_LEN) >>> 2] = bytes;
    },
    length: (mbuf: number) => u32[(mbuf + Mbuf.PKT_LEN) >>> 2]!,
  };
}
