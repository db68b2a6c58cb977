// An application of the tests: compares each frame it receives with a template, and frees it.
import { type AppContext, Mbuf } from "../../src/index.ts";

export interface CompareOptions {
  /** The first bytes that each frame has. */
  template: Uint8Array;
  /** Bytes of each frame. */
  length: number;
  /** Arena offset of two words: frames received, frames that differ. */
  counters: number;
}

export default function compare(context: AppContext) {
  const { template, length, counters } = context.options as CompareOptions;
  const { u8, u32, pkts } = context;
  const queue = context.queues[0]!;
  const same = (mbuf: number) => {
    if (context.length(mbuf) !== length || u32[(mbuf + Mbuf.NEXT) >>> 2] !== 0) return false;
    const at = context.data(mbuf);
    for (let k = 0; k < template.length; k++) if (u8[at + k] !== template[k]) return false;
    return true;
  };
  return () => {
    const got = context.rxBurst(queue, 32);
    let differ = 0;
    for (let k = 0; k < got; k++) if (!same(pkts[k]!)) differ++;
    context.free(got);
    u32[counters >>> 2]! += got;
    u32[(counters >>> 2) + 1]! += differ;
    return got;
  };
}
