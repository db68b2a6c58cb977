// Frames made of fresh mbufs.
import { Mbuf } from "../hot/layout.ts";
import { min32, r32, w16, w32 } from "../hot/mem.ts";
import { copyFrame } from "../hot/simd.ts";

/** Makes one packet of `size` bytes of the `count` fresh mbufs at `segments`, each of which holds `room` bytes. */
export function chainSegments(segments: u32, count: u32, size: u32, room: u32): u32 {
  const first: u32 = r32(segments);
  let rest: u32 = size;
  for (let k: u32 = 0; k < count; k++) {
    const bytes: u32 = min32(rest, room);
    link(segments, count, k, bytes);
    rest = rest - bytes;
  }
  w32(first + Mbuf.PKT_LEN, size);
  w16(first + Mbuf.NB_SEGS, count);
  return first;
}

/** The same with the bytes of each segment at `lengths`, `size` in all. */
export function chainLengths(segments: u32, count: u32, size: u32, lengths: u32): u32 {
  const first: u32 = r32(segments);
  for (let k: u32 = 0; k < count; k++) link(segments, count, k, r32(lengths + (k << 2)));
  w32(first + Mbuf.PKT_LEN, size);
  w16(first + Mbuf.NB_SEGS, count);
  return first;
}

function link(segments: u32, count: u32, k: u32, bytes: u32): void {
  const mbuf: u32 = r32(segments + (k << 2));
  w32(mbuf + Mbuf.DATA_LEN, bytes);
  w32(mbuf + Mbuf.NEXT, k + 1 < count ? r32(segments + ((k + 1) << 2)) : 0);
}

/** Copies `n` bytes into a packet, `offset` bytes behind its beginning, across segments. It is long enough. */
export function copyInto(mbuf: u32, offset: u32, from: u32, n: u32): void {
  let segment: u32 = mbuf;
  let skip: u32 = offset;
  let done: u32 = 0;
  while (done < n && segment != 0) {
    const length: u32 = r32(segment + Mbuf.DATA_LEN);
    if (skip < length) {
      const bytes: u32 = min32(length - skip, n - done);
      copyFrame(r32(segment + Mbuf.DATA) + skip, from + done, bytes);
      done = done + bytes;
      skip = 0;
    } else skip = skip - length;
    segment = r32(segment + Mbuf.NEXT);
  }
}
