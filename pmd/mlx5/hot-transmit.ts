// Transmit, on a packet's way: it is described to the NIC by a work queue entry, alone or together with others that
// want the same (hot-mpw.ts). Once a burst the NIC is told, in this order: the entries, the doorbell record, the
// BlueFlame register. Packets are sent in lots; the last entry of each asks for a completion, and when that has come
// the lot's mbufs go back to the cache.
import { Queue } from "../../src/hot/layout.ts";
import { cachePut, mbufFree } from "../../src/hot/mbuf.ts";
import { fence, min32, publish32, r32, swap16, swap32, w32, w64 } from "../../src/hot/mem.ts";
import { bump, countPackets } from "../../src/hot/queue.ts";
import { Owner } from "./cqe.ts";
import { completedWord, completionFail, consumeTo, cqeAt, ownerOf } from "./hot-completion.ts";
import { sendRun } from "./hot-mpw.ts";
import { packetsFree, sendPacket, sendSingles } from "./hot-send.ts";
import { Lot, Mlx5Flag, Mlx5Limit, Mlx5Queue } from "./layout.ts";
import { Wqe, WqeField, WqeSize } from "./wqe.ts";

/** Packets from the words at `pkts` to the NIC, as many as there is room for. Returns how many. */
export function mlx5TxBurst(q: u32, pkts: u32, n: u32): u32 {
  const before: u32 = r32(q + Mlx5Queue.TAIL);
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  let cleaned: u32 = 0;
  if (packetsFree(q) < n || (before - r32(q + Mlx5Queue.HEAD)) >>> 0 > mask >>> 1) {
    mlx5TxClean(q);
    cleaned = 1;
  }
  let bytes: u32 = 0;
  let dropped: u32 = 0;
  let k: u32 = 0;
  while (k < n && r32(q + Queue.RUN) != 0) {
    const lot: u32 = min32(n - k, Mlx5Limit.LOT);
    const taken: u32 = sendLot(q, pkts + (k << 2), lot);
    k = k + taken;
    bytes = bytes + r32(q + Mlx5Queue.LOT_BYTES);
    dropped = dropped + r32(q + Mlx5Queue.LOT_DROPPED);
    if (taken == lot) continue;
    if (cleaned != 0) break; // the ring is full
    mlx5TxClean(q);
    cleaned = 1;
  }
  if (r32(q + Mlx5Queue.TAIL) != before) ringDoorbell(q);
  if (k != 0) countPackets(q, k - dropped, bytes);
  if (k < n) bump(q + Queue.STALLED, n - k);
  return k;
}

/** Describes up to `n` packets and asks for a completion of the last. Returns how many there was room for. */
function sendLot(q: u32, pkts: u32, n: u32): u32 {
  const asked: u32 = r32(q + Mlx5Queue.LOT_TAIL);
  w32(q + Mlx5Queue.LOT_BYTES, 0);
  w32(q + Mlx5Queue.LOT_DROPPED, 0);
  w32(q + Mlx5Queue.LOT_ODD, 0);
  if ((asked - r32(q + Mlx5Queue.CQ_INDEX)) >>> 0 > r32(q + Mlx5Queue.CQ_MASK)) return 0;
  const multi: u32 = r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.MULTI_PACKET;
  const start: u32 = r32(q + Mlx5Queue.TAIL);
  let k: u32 = 0;
  while (k < n) {
    k = k + (multi != 0 ? sendRun(q, pkts + (k << 2), n - k) : sendSingles(q, pkts + (k << 2), n - k));
    if (k == n || sendPacket(q, r32(pkts + (k << 2))) == 0) break;
    k++;
  }
  if (r32(q + Mlx5Queue.TAIL) != start) askCompletion(q, asked);
  return k;
}

/** Asks for a completion of the last WQE, and notes what it will mean. */
function askCompletion(q: u32, asked: u32): void {
  const last: u32 = r32(q + Mlx5Queue.LAST_WQE);
  const wqe: u32 = r32(q + Mlx5Queue.RING) + ((last & r32(q + Mlx5Queue.MASK)) << WqeSize.BLOCK_SHIFT);
  w32(wqe + Wqe.FM_CE_SE, WqeField.CQ_UPDATE);
  const lot: u32 = r32(q + Mlx5Queue.LOTS) + (asked & r32(q + Mlx5Queue.CQ_MASK)) * Lot.BYTES;
  w32(lot + Lot.COUNTER, last & 0xffff);
  w32(lot + Lot.TAIL, r32(q + Mlx5Queue.TAIL));
  w32(lot + Lot.PACKET_TAIL, r32(q + Mlx5Queue.PACKET_TAIL));
  w32(lot + Lot.ODD, r32(q + Mlx5Queue.LOT_ODD));
  w32(q + Mlx5Queue.LOT_TAIL, (asked + 1) >>> 0);
}

/**
 * Tells the NIC of the WQEs before TAIL: the doorbell record, then the last WQE's first 8 bytes into the BlueFlame
 * register, whose halves are written in turn. That register is write-combining memory, which x86 orders with nothing
 * else: hence a fence before and one behind, without which the store could wait in the core (rdma-core, qp.c:
 * post_send_db).
 */
function ringDoorbell(q: u32): void {
  const last: u32 = r32(q + Mlx5Queue.LAST_WQE) & r32(q + Mlx5Queue.MASK);
  const wqe: u32 = r32(q + Mlx5Queue.RING) + (last << WqeSize.BLOCK_SHIFT);
  const half: u32 = r32(q + Mlx5Queue.BF_HALF);
  publish32(r32(q + Mlx5Queue.RECORD), swap32(r32(q + Mlx5Queue.TAIL) & 0xffff));
  fence(q + Mlx5Queue.FENCE);
  w64(r32(q + Mlx5Queue.BF) + half, r32(wqe), r32(wqe + Wqe.QPN_DS));
  fence(q + Mlx5Queue.FENCE);
  w32(q + Mlx5Queue.BF_HALF, half ^ r32(q + Mlx5Queue.BF_BYTES));
}

/** Takes sent packets back into the cache. Also to be called now and then when there is nothing to send. */
export function mlx5TxClean(q: u32): void {
  const start: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  const most: u32 = min32((r32(q + Mlx5Queue.LOT_TAIL) - start) >>> 0, Mlx5Limit.COMPLETIONS);
  let k: u32 = 0;
  for (; k < most; k++) {
    const index: u32 = (start + k) >>> 0;
    const word: u32 = completedWord(q, index);
    if (word >>> Owner.OPCODE_BIT == <u32>Owner.INVALID) break;
    const lot: u32 = r32(q + Mlx5Queue.LOTS) + (index & r32(q + Mlx5Queue.CQ_MASK)) * Lot.BYTES;
    const wanted: u32 = Owner.REQ | ownerOf(q, index) | swap16(r32(lot + Lot.COUNTER));
    if (((word ^ wanted) & Owner.LOOKED_AT) != 0) {
      completionFail(q, cqeAt(q, index), word);
      break;
    }
    giveBack(q, r32(lot + Lot.PACKET_TAIL), r32(lot + Lot.ODD));
    w32(q + Mlx5Queue.HEAD, r32(lot + Lot.TAIL));
  }
  if (k != 0) consumeTo(q, (start + k) >>> 0);
}

/** Gives back the packets before running index `end`. */
function giveBack(q: u32, end: u32, odd: u32): void {
  const cache: u32 = r32(q + Queue.CACHE);
  const mask: u32 = r32(q + Mlx5Queue.PACKET_MASK);
  const packets: u32 = r32(q + Mlx5Queue.MBUFS);
  const head: u32 = r32(q + Mlx5Queue.PACKET_HEAD);
  const count: u32 = (end - head) >>> 0;
  const first: u32 = head & mask;
  w32(q + Mlx5Queue.PACKET_HEAD, end);
  if (odd == 0) {
    const whole: u32 = min32(count, mask + 1 - first);
    cachePut(cache, packets + (first << 2), whole);
    if (whole < count) cachePut(cache, packets, count - whole);
    return;
  }
  for (let k: u32 = 0; k < count; k++) mbufFree(cache, r32(packets + (((head + k) & mask) << 2)));
}
