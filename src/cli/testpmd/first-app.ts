// What an lcore does once before it forwards: it empties receive queues (without --no-flush-rx), or sends the first
// bursts (tx_first). It is an application that says when it has done its work and then idles until it is stopped.
import { Mbuf } from "../../hot/layout.ts";
import type { AppContext, AppPoll, AppQueue } from "../../lcore/task.ts";

/** As testpmd: what is still under way when the queues are emptied first gets a second chance. */
const FLUSH_AGAIN_MS = 10;

export interface FirstOptions {
  readonly burst: number;
  /** Empty the receive queues, for so long at most each. */
  readonly flushMs?: number;
  /** Bursts to send on each transmit queue. */
  readonly bursts?: number;
  /** By queue of the launch: the frame, in segments. */
  readonly frames?: readonly (readonly Uint8Array[])[];
  /** Word 0: done; word 1 + k: packets that queue k did not take. */
  readonly done: Int32Array<SharedArrayBuffer>;
}

export default function makeFirst(context: AppContext): AppPoll {
  const options = context.options as FirstOptions;
  const began = performance.now();
  let passes = 0;
  return () => {
    if (options.flushMs !== undefined && passes < 2) {
      if (passes === 1 && performance.now() < began + FLUSH_AGAIN_MS) return 0;
      for (const queue of context.queues) flush(context, queue, options.flushMs, options.burst);
      if (++passes < 2) return 0;
    }
    if (Atomics.load(options.done, 0) === 0) {
      context.queues.forEach((queue, k) => {
        Atomics.store(options.done, 1 + k, sendBursts(context, queue, options, k));
      });
      Atomics.store(options.done, 0, 1);
    }
    return 0;
  };
}

function flush(context: AppContext, queue: AppQueue, limitMs: number, burst: number): void {
  if (queue.rx === 0) return;
  const end = performance.now() + limitMs;
  for (;;) {
    const got = context.rxBurst(queue, burst);
    context.free(got);
    if (got === 0 || performance.now() > end) return;
  }
}

/** Returns the packets that were not taken. */
function sendBursts(context: AppContext, queue: AppQueue, options: FirstOptions, k: number): number {
  const { burst, bursts = 0 } = options;
  const segments = options.frames?.[k];
  if (segments === undefined || queue.tx === 0) return 0;
  let lost = 0;
  for (let n = 0; n < bursts; n++) {
    let made = 0;
    while (made < burst && makePacket(context, segments, made)) made++;
    const sent = context.txBurst(queue, made);
    if (sent < made) context.free(made - sent, sent);
    lost += burst - sent;
  }
  return lost;
}

/** Draws and fills in a packet at pkts[at]; false where there is no mbuf for it. */
function makePacket(context: AppContext, segments: readonly Uint8Array[], at: number): boolean {
  const { u8, u16, u32, pkts } = context;
  if (context.alloc(segments.length, at) === 0) return false;
  const mbufs = [...pkts.subarray(at, at + segments.length)];
  mbufs.forEach((mbuf, k) => {
    const bytes = segments[k]!;
    u8.set(bytes, context.data(mbuf));
    u32[(mbuf + Mbuf.DATA_LEN) >>> 2] = bytes.length;
    u32[(mbuf + Mbuf.NEXT) >>> 2] = mbufs[k + 1] ?? 0;
  });
  const first = mbufs[0]!;
  u32[(first + Mbuf.PKT_LEN) >>> 2] = segments.reduce((sum, bytes) => sum + bytes.length, 0);
  u16[(first + Mbuf.NB_SEGS) >>> 1] = segments.length;
  return true;
}
