// The packets of a compressed session, all in one go: receive's fast path where the NIC compresses CQEs. A packet is 8
// bytes here and not 64; what a mini CQE does not say stands in the session's title.
import { Buffer, Mbuf, Queue } from "../../src/hot/layout.ts";
import { min32, r32, swap32, w32 } from "../../src/hot/mem.ts";
import { writeMbuf } from "../../src/hot/simd.ts";
import { Mini } from "./cqe.ts";
import { annotate } from "./hot-annotate.ts";
import { cqeAt, passCompletion, peekCompletion } from "./hot-completion.ts";
import { Mlx5Flag, Mlx5Limit, Mlx5Queue } from "./layout.ts";
import { quadBytes, takeMiniQuads } from "./simd.ts";

/** Bytes of the packets that takeMinis took. */
export let miniBytes: u32 = 0;

/**
 * Takes packets of the session at hand, or of one that begins here, one buffer each, up to the first that is not
 * ordinary. Returns how many. What makes them ordinary is asked as takeRun does (hot-receive.ts).
 */
export function takeMinis(q: u32, pkts: u32, n: u32): u32 {
  const head: u32 = r32(q + Mlx5Queue.HEAD);
  const held: u32 = (r32(q + Mlx5Queue.TAIL) - head) >>> 0;
  miniBytes = 0;
  if (r32(q + Mlx5Queue.MINIS) == 0 && peekCompletion(q, held) == 0) return 0;
  const taken: u32 = r32(q + Mlx5Queue.MINI);
  const counter: u32 = r32(q + Mlx5Queue.MINI_COUNTER);
  const minis: u32 = r32(q + Mlx5Queue.MINIS);
  if (minis == 0 || counter != (head & 0xffff)) return 0;
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const mbufs: u32 = r32(q + Mlx5Queue.MBUFS);
  const origin: u32 = r32(q + Queue.ORIGIN);
  const span: u32 = r32(q + Mlx5Queue.ROOM) - Mlx5Limit.FRAME_MIN;
  const most: u32 = min32(min32(n, held), minis - taken);
  let bytes: u32 = 0;
  let got: u32 = 0;
  let end: u32 = 0;
  while (got < most && got == end) {
    // of an entry's eight as many as are wanted, and whose mbufs stand together
    const mini: u32 = miniAt(q, taken + got);
    const slot: u32 = (head + got) & mask;
    const run: u32 = min32(min32(most - got, Mini.IN_A_CQE - ((taken + got) & 7)), mask + 1 - slot);
    const start: u32 = got;
    end = start + run;
    got = start + takeMiniQuads(mini, mbufs + (slot << 2), pkts + (start << 2), run, span, origin);
    bytes = bytes + quadBytes;
    for (; got < end; got++) {
      const length: u32 = swap32(r32(mini + ((got - start) << Mini.SHIFT) + Mini.BYTE_CNT));
      if ((length - Mlx5Limit.FRAME_MIN) >>> 0 > span) break;
      const mbuf: u32 = r32(mbufs + ((slot + got - start) << 2));
      writeMbuf(mbuf, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, length, origin);
      w32(pkts + (got << 2), mbuf);
      bytes = bytes + length;
    }
  }
  if (got == 0) return 0;
  if ((r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.ANNOTATED) != 0) annotateMinis(q, pkts, taken, got);
  miniBytes = bytes;
  w32(q + Mlx5Queue.HEAD, (head + got) >>> 0);
  w32(q + Mlx5Queue.MINI, taken + got - 1);
  w32(q + Mlx5Queue.MINI_COUNTER, (counter + got - 1) & 0xffff);
  passCompletion(q, 1);
  return got;
}

/** The session's k-th mini: as peekMini finds it, eight behind the title, and eight more in every eighth entry. */
function miniAt(q: u32, k: u32): u32 {
  const group: u32 = k < <u32>Mini.IN_A_CQE ? 1 : k & 0xfffffff8;
  return cqeAt(q, (r32(q + Mlx5Queue.CQ_INDEX) + group) >>> 0) + ((k & 7) << Mini.SHIFT);
}

/** Writes down what the NIC found out about the `n` packets at `pkts`, the first of which is the session's k-th. */
function annotateMinis(q: u32, pkts: u32, k: u32, n: u32): void {
  const info: u32 = r32(q + Mlx5Queue.TITLE_INFO);
  const hashes: u32 = r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.MINI_HASH;
  const hashType: u32 = hashes != 0 ? r32(q + Mlx5Queue.TITLE_HASH_TYPE) : 0;
  for (let j: u32 = 0; j < n; j++) {
    const hash: u32 = hashes != 0 ? swap32(r32(miniAt(q, k + j))) : 0;
    annotate(q, r32(pkts + (j << 2)), info, hash, hashType);
  }
}
