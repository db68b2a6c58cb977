// Enhanced multi-packet send (opcode ENHANCED_MPSW): one WQE for a run of packets that want the same of the NIC. Behind
// its control and Ethernet segments stands one data segment a packet, so a packet costs 16 bytes and not 64.
//
// Frames are not copied into the WQE. That saves the NIC a fetch over PCIe and costs this core a copy; DPDK does so
// only from 8 queues on, for the same reason (mlx5_prm.h, MLX5_INLINE_MAX_TXQS).
import { Cache, Mbuf, Queue } from "../../src/hot/layout.ts";
import { min32, r32, swap16, w32 } from "../../src/hot/mem.ts";
import { blocksFree, carefulWith, checksumFlags, described, liesInside, packetsFree } from "./hot-send.ts";
import { Asked, Mlx5Limit, Mlx5Queue } from "./layout.ts";
import { describeQuads, notSingle, quadBytes, writeHead, writeSegment } from "./simd.ts";
import { Opcode, Wqe, WqeField, WqeSize } from "./wqe.ts";

/** The packets that a WQE takes. */
const RUN_MAX: u32 = WqeField.SEGMENTS_MAX - WqeField.TITLE_SEGMENTS;

/**
 * Describes packets in one WQE, up to the first that is not ordinary, wants other checksums, or has no room. Returns
 * how many.
 */
export function sendRun(q: u32, pkts: u32, n: u32): u32 {
  const free: u32 = blocksFree(q);
  if (free == 0) return 0;
  const pool: u32 = r32(r32(q + Queue.CACHE) + Cache.POOL);
  const ring: u32 = r32(q + Mlx5Queue.RING);
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const end: u32 = ((mask + 1) << WqeSize.BLOCK_SHIFT) - 1;
  const packets: u32 = r32(q + Mlx5Queue.MBUFS);
  const packetMask: u32 = r32(q + Mlx5Queue.PACKET_MASK);
  const packetTail: u32 = r32(q + Mlx5Queue.PACKET_TAIL);
  const lkey: u32 = r32(q + Mlx5Queue.LKEY);
  const low: u32 = r32(q + Mlx5Queue.BASE_LOW);
  const high: u32 = r32(q + Mlx5Queue.BASE_HIGH);
  const span: u32 = r32(q + Mlx5Queue.BYTES_MAX) - Mlx5Limit.SENT_MIN;
  const tail: u32 = r32(q + Mlx5Queue.TAIL);
  const start: u32 = (tail & mask) << WqeSize.BLOCK_SHIFT;
  const room: u32 = min32(RUN_MAX, (free << 2) - WqeField.TITLE_SEGMENTS);
  const most: u32 = min32(min32(n, room), packetsFree(q));
  const asked: u32 = r32(r32(pkts) + Mbuf.OL_FLAGS) & Asked.ALL;
  if ((asked & carefulWith(q)) != 0) return 0;
  let odd: u32 = 0;
  let k: u32 = asked == 0 ? describeQuads(q, pkts, most, 0) : 0;
  let bytes: u32 = k == 0 ? 0 : quadBytes;
  for (; k < most; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
    const other: u32 = (r32(mbuf + Mbuf.OL_FLAGS) & Asked.ALL) ^ asked;
    if ((notSingle(mbuf) | other) != 0) break;
    if ((length - Mlx5Limit.SENT_MIN) >>> 0 > span || liesInside(mbuf, length) == 0) break;
    const at: u32 = (start + Wqe.DATA + (k << WqeSize.SEGMENT_SHIFT)) & end;
    writeSegment(ring + at, r32(mbuf + Mbuf.DATA), length, lkey, low, high);
    w32(packets + (((packetTail + k) & packetMask) << 2), mbuf);
    odd = odd | (r32(mbuf + Mbuf.POOL) ^ pool);
    bytes = bytes + length;
  }
  if (k == 0) return 0;
  const segments: u32 = k + WqeField.TITLE_SEGMENTS;
  const qpnDs: u32 = (r32(q + Mlx5Queue.QPN) | (segments << WqeField.DS_BIT)) >>> 0;
  writeHead(ring + start, Opcode.ENHANCED_MPSW | (swap16(tail) << 8), qpnDs, checksumFlags(asked), 0);
  w32(q + Mlx5Queue.LOT_ODD, r32(q + Mlx5Queue.LOT_ODD) | odd);
  described(q, k, bytes, (segments + 3) >>> 2, tail);
  return k;
}
