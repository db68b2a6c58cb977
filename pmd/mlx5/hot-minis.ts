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
/** What takeEntry returns besides its result. */
let entryBytes: u32 = 0;

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
  const title: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  const most: u32 = min32(min32(n, held), minis - taken);
  let bytes: u32 = 0;
  let got: u32 = 0;
  while (got < most) {
    // as peekMini finds it: eight behind the title, and eight more in every eighth entry
    const k: u32 = taken + got;
    const group: u32 = k < <u32>Mini.IN_A_CQE ? 1 : k & 0xfffffff8;
    const mini: u32 = cqeAt(q, (title + group) >>> 0) + ((k & 7) << Mini.SHIFT);
    const slot: u32 = (head + got) & mask;
    const run: u32 = min32(min32(most - got, Mini.IN_A_CQE - (k & 7)), mask + 1 - slot);
    const took: u32 = takeEntry(q, mini, slot, pkts + (got << 2), run);
    bytes = bytes + entryBytes;
    got = got + took;
    if (took < run) break;
  }
  if (got == 0) return 0;
  miniBytes = bytes;
  w32(q + Mlx5Queue.HEAD, (head + got) >>> 0);
  w32(q + Mlx5Queue.MINI, taken + got - 1);
  w32(q + Mlx5Queue.MINI_COUNTER, (counter + got - 1) & 0xffff);
  passCompletion(q, 1);
  return got;
}

/** The same of `n` minis that stand in one entry, and whose mbufs stand together from `slot` on. */
function takeEntry(q: u32, minis: u32, slot: u32, pkts: u32, n: u32): u32 {
  const mbufs: u32 = r32(q + Mlx5Queue.MBUFS) + (slot << 2);
  const origin: u32 = r32(q + Queue.ORIGIN);
  const span: u32 = r32(q + Mlx5Queue.ROOM) - Mlx5Limit.FRAME_MIN;
  let got: u32 = takeMiniQuads(minis, mbufs, pkts, n, span, origin);
  let bytes: u32 = quadBytes;
  for (; got < n; got++) {
    const length: u32 = swap32(r32(minis + (got << Mini.SHIFT) + Mini.BYTE_CNT));
    if ((length - Mlx5Limit.FRAME_MIN) >>> 0 > span) break;
    const mbuf: u32 = r32(mbufs + (got << 2));
    writeMbuf(mbuf, r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM, length, origin);
    w32(pkts + (got << 2), mbuf);
    bytes = bytes + length;
  }
  entryBytes = bytes;
  const flags: u32 = r32(q + Mlx5Queue.FLAGS);
  if ((flags & Mlx5Flag.ANNOTATED) == 0) return got;
  const info: u32 = r32(q + Mlx5Queue.TITLE_INFO);
  const hashType: u32 = (flags & Mlx5Flag.MINI_HASH) != 0 ? r32(q + Mlx5Queue.TITLE_HASH_TYPE) : 0;
  for (let k: u32 = 0; k < got; k++) {
    const hash: u32 = hashType != 0 ? swap32(r32(minis + (k << Mini.SHIFT))) : 0;
    annotate(q, r32(pkts + (k << 2)), info, hash, hashType);
  }
  return got;
}
