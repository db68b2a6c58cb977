// An application's view of the arena and of the hot path, on its lcore.
import type { Hot } from "../hot/engine.ts";
import { Lcore, Mbuf, Queue } from "../hot/layout.ts";
import { BURST_MAX, SEGMENTS_EXTRA } from "../limits.ts";
import type { AppContext, AppQueue, Launch, LcoreTask } from "./task.ts";

type Bursts = Pick<AppContext, "rxBurst" | "txBurst" | "stamp">;

/** Bursts of queues at which nobody looks: as cheap as can be. */
function plainBursts(hot: Hot, at: number): Bursts {
  return {
    rxBurst: (queue, n) => hot.rxBurst(queue.rx, at, n),
    txBurst: (queue, n, from = 0) => hot.txBurst(queue.tx, at + (from << 2), n),
    stamp: () => false,
  };
}

/** The same by the stream blocks in `watch`, which stand in the queues' order. */
function watchedBursts(hot: Hot, at: number, queues: readonly AppQueue[], watch: readonly number[]): Bursts {
  const rx = new Map(queues.map((queue, k) => [queue.rx, watch[k]!]));
  const tx = new Map(queues.map((queue, k) => [queue.tx, watch[k]!]));
  return {
    rxBurst: (queue, n) => hot.watchedRxBurst(rx.get(queue.rx) ?? 0, at, n),
    txBurst: (queue, n, from = 0) => hot.watchedTxBurst(tx.get(queue.tx) ?? 0, at + (from << 2), n),
    stamp: (mbuf) => hot.stampFrame(watch[0]!, mbuf) !== 0,
  };
}

export function makeContext(task: LcoreTask, hot: Hot, launch: Extract<Launch, { kind: "app" }>): AppContext {
  const { buffer } = task.memory;
  const bytes = buffer.byteLength;
  const u32 = new Uint32Array(buffer, 0, bytes / 4);
  const at = u32[(task.block + Lcore.PKTS) >>> 2]!;
  const first = launch.queues[0];
  const cache = first ? u32[((first.rx || first.tx) + Queue.CACHE) >>> 2]! : 0;
  const { queues, watch } = launch;
  const { rxBurst, txBurst, stamp } = watch ? watchedBursts(hot, at, queues, watch) : plainBursts(hot, at);
  return {
    lcore: task.lcore,
    queues,
    options: launch.options,
    state: undefined,
    u8: new Uint8Array(buffer, 0, bytes),
    u16: new Uint16Array(buffer, 0, bytes / 2),
    u32,
    f64: new Float64Array(buffer, 0, bytes / 8),
    pkts: new Uint32Array(buffer, at, BURST_MAX + SEGMENTS_EXTRA),
    rxBurst,
    txBurst,
    stamp,
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
