// A frame made of fresh mbufs.
import { Mbuf } from "../hot/layout.ts";
import { min32, r32, w16, w32 } from "../hot/mem.ts";

/** Makes one packet of `size` bytes of the `count` fresh mbufs at `segments`, each of which holds `room` bytes. */
export function chainSegments(segments: u32, count: u32, size: u32, room: u32): u32 {
  const first: u32 = r32(segments);
  let rest: u32 = size;
  for (let k: u32 = 0; k < count; k++) {
    const mbuf: u32 = r32(segments + (k << 2));
    const bytes: u32 = min32(rest, room);
    w32(mbuf + Mbuf.DATA_LEN, bytes);
    w32(mbuf + Mbuf.NEXT, k + 1 < count ? r32(segments + ((k + 1) << 2)) : 0);
    rest = rest - bytes;
  }
  w32(first + Mbuf.PKT_LEN, size);
  w16(first + Mbuf.NB_SEGS, count);
  return first;
}
