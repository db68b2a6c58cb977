// Receive from a multi-packet ("striding") RQ: a WQE is one large buffer, cut into strides of equal size, which the NIC
// fills with frame after frame, each from a stride's start on; a frame's completion says in which stride and how many.
// The frames are copied out into mbufs here, so a WQE's buffer is the NIC's again as soon as all its strides are used
// up, and WQEs never change. Small frames take little of the NIC's time so: one WQE fetch for hundreds of them.
import { Buffer, Cache, Mbuf, Queue, QueueError } from "../../src/hot/layout.ts";
import { cacheCount, cacheDrop, cacheFill } from "../../src/hot/mbuf.ts";
import { min32, publish32, r32, swap32, w16, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { copyFrame, writeMbuf } from "../../src/hot/simd.ts";
import { Mpwrq } from "./cqe.ts";
import { annotate } from "./hot-annotate.ts";
import {
  completionBytes,
  completionCounter,
  completionHash,
  completionHashType,
  completionInfo,
  completionWqe,
  consumeTo,
  passCompletion,
  peekCompletion,
} from "./hot-completion.ts";
import { Mlx5Flag, Mlx5Limit, Mlx5Queue } from "./layout.ts";

/** Received packets into the words at `pkts`, at most `n`. */
export function stridingRxBurst(q: u32, pkts: u32, n: u32): u32 {
  const before: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  const room: u32 = r32(q + Mlx5Queue.ROOM);
  const annotated: u32 = r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.ANNOTATED;
  let got: u32 = 0;
  let bytes: u32 = 0;
  for (let seen: u32 = 0; got < n && seen < <u32>Mlx5Limit.COMPLETIONS; seen++) {
    if (peekCompletion(q, stridesLeft(q)) == 0 || strideFits(q) == 0) break;
    const length: u32 = completionBytes & Mpwrq.BYTES;
    const good: u32 = length >= <u32>Mlx5Limit.FRAME_MIN && length <= room ? 1 : 0;
    const filler: u32 = completionBytes & Mpwrq.FILLER;
    if (filler == 0 && good != 0) {
      const mbuf: u32 = copyOut(q, length);
      if (mbuf == 0) break; // it stays until there are mbufs
      if (annotated != 0) annotate(q, mbuf, completionInfo, completionHash, completionHashType);
      w32(pkts + (got << 2), mbuf);
      got++;
      bytes = bytes + length;
    } else if (filler == 0) {
      bump(q + Queue.ERRORS, 1);
    }
    const count: u32 = stridesOf(completionBytes);
    passCompletion(q, count);
    useUp(q, count);
  }
  const index: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  if (index != before) consumeTo(q, index);
  if (got != 0) countPackets(q, got, bytes);
  if (r32(q + Queue.RUN) != 0) refill(q);
  return got;
}

function stridesOf(byteCount: u32): u32 {
  return (byteCount >>> Mpwrq.STRIDES_BIT) & Mpwrq.STRIDES;
}

/** Strides that the NIC holds: as many completions may come. */
function stridesLeft(q: u32): u32 {
  const wqes: u32 = (r32(q + Mlx5Queue.TAIL) - r32(q + Mlx5Queue.HEAD)) >>> 0;
  return (wqes << r32(q + Mlx5Queue.STRIDES_SHIFT)) - r32(q + Mlx5Queue.CONSUMED);
}

/** 1 if the completion names strides of the oldest WQE that are not used up, and its frame fits them; else stops. */
function strideFits(q: u32): u32 {
  const strides: u32 = 1 << r32(q + Mlx5Queue.STRIDES_SHIFT);
  const count: u32 = stridesOf(completionBytes);
  const length: u32 = completionBytes & Mpwrq.BYTES;
  const foreign: u32 = (completionWqe ^ r32(q + Mlx5Queue.HEAD)) & r32(q + Mlx5Queue.MASK);
  if (foreign != 0 || count == 0 || r32(q + Mlx5Queue.CONSUMED) + count > strides) {
    queueFail(q, QueueError.BAD_CQE, completionBytes);
    return 0;
  }
  if ((completionBytes & Mpwrq.FILLER) != 0) return 1;
  if (completionCounter + count > strides) {
    queueFail(q, QueueError.BAD_CQE, completionCounter);
    return 0;
  }
  if (length > count << r32(q + Mlx5Queue.STRIDE_SHIFT)) {
    queueFail(q, QueueError.BAD_LENGTH, length);
    return 0;
  }
  return 1;
}

/** Copies the completion's frame into mbufs. 0 if there are not enough. */
function copyOut(q: u32, length: u32): u32 {
  const cache: u32 = r32(q + Queue.CACHE);
  const buffer: u32 = r32(q + Mlx5Queue.BUFFER_BYTES);
  const pieces: u32 = ((length + buffer - 1) / buffer) >>> 0;
  if (cacheCount(cache) < pieces) {
    cacheFill(cache, Mlx5Limit.LOT + pieces);
    if (cacheCount(cache) < pieces) {
      bump(q + Queue.STALLED, 1);
      return 0;
    }
  }
  const wqe: u32 = r32(q + Mlx5Queue.HEAD) & r32(q + Mlx5Queue.MASK);
  const stride: u32 = (wqe << r32(q + Mlx5Queue.STRIDES_SHIFT)) + completionCounter;
  const from: u32 = r32(q + Mlx5Queue.STRIDES) + (stride << r32(q + Mlx5Queue.STRIDE_SHIFT));
  const ring: u32 = r32(cache + Cache.RING);
  const mask: u32 = r32(cache + Cache.MASK);
  const at: u32 = r32(cache + Cache.HEAD);
  const first: u32 = r32(ring + ((at & mask) << 2));
  let last: u32 = 0;
  for (let k: u32 = 0; k < pieces; k++) {
    const mbuf: u32 = r32(ring + (((at + k) & mask) << 2));
    const done: u32 = k * buffer;
    const part: u32 = min32(length - done, buffer);
    const data: u32 = r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM;
    writeMbuf(mbuf, data, part, r32(q + Queue.ORIGIN));
    copyFrame(data, from + done, part);
    if (last != 0) w32(last + Mbuf.NEXT, mbuf);
    last = mbuf;
  }
  w32(first + Mbuf.PKT_LEN, length);
  w16(first + Mbuf.NB_SEGS, pieces);
  cacheDrop(cache, pieces);
  return first;
}

/** `count` more strides of the oldest WQE are used up; the WQE, too, if they were its last. */
function useUp(q: u32, count: u32): void {
  const consumed: u32 = r32(q + Mlx5Queue.CONSUMED) + count;
  const whole: u32 = consumed >>> r32(q + Mlx5Queue.STRIDES_SHIFT);
  w32(q + Mlx5Queue.CONSUMED, whole != 0 ? 0 : consumed);
  w32(q + Mlx5Queue.HEAD, (r32(q + Mlx5Queue.HEAD) + whole) >>> 0);
}

/** Gives the used up WQEs to the NIC again. */
function refill(q: u32): void {
  const tail: u32 = (r32(q + Mlx5Queue.HEAD) + r32(q + Mlx5Queue.MASK) + 1) >>> 0;
  if (tail == r32(q + Mlx5Queue.TAIL)) return;
  w32(q + Mlx5Queue.TAIL, tail);
  publish32(r32(q + Mlx5Queue.RECORD), swap32(tail & 0xffff));
}
