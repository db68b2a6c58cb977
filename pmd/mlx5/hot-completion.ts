// Completion queue entries of receive, one at a time, whatever form they have: an entry of its own, or a mini CQE of a
// compressed session. What an entry says is read once, and left in this file's words.
//
// The NIC hands an entry over by its last byte, op_own, whose owner bit changes at every turn of the ring.
import { QueueError } from "../../src/hot/layout.ts";
import { acquire32, publish32, r32, swap16, swap32, w8, w32 } from "../../src/hot/mem.ts";
import { queueFail } from "../../src/hot/queue.ts";
import { Cqe, Mini, Owner, Syndrome } from "./cqe.ts";
import { Mlx5Flag, Mlx5Queue } from "./layout.ts";

/**
 * Of the completion that `peekCompletion` found: byte_cnt (0 of a frame that was too long), wqe_counter, wqe_id, and
 * what is told of the packet.
 */
export let completionBytes: u32 = 0;
export let completionCounter: u32 = 0;
export let completionWqe: u32 = 0;
export let completionHash: u32 = 0;
export let completionHashType: u32 = 0;
export let completionInfo: u32 = 0;

/** Arena offset of the CQ entry with running index `index`. */
export function cqeAt(q: u32, index: u32): u32 {
  return r32(q + Mlx5Queue.CQ) + ((index & r32(q + Mlx5Queue.CQ_MASK)) << Cqe.SHIFT);
}

/** The owner bit that entry `index` has when the NIC has written it. */
export function ownerOf(q: u32, index: u32): u32 {
  return ((index >>> r32(q + Mlx5Queue.CQ_SHIFT)) & 1) << Owner.OP_OWN_BIT;
}

/** Word OWNER_WORD of entry `index`, if it is the driver's: else INVALID in the opcode's place. */
export function completedWord(q: u32, index: u32): u32 {
  const word: u32 = acquire32(cqeAt(q, index) + Cqe.OWNER_WORD);
  const foreign: u32 = (word & Owner.OWNER) ^ ownerOf(q, index);
  return foreign != 0 ? 0xf0000000 : word;
}

/** Tells the NIC that the entries before `index` may be written again. */
export function consumeTo(q: u32, index: u32): void {
  w32(q + Mlx5Queue.CQ_INDEX, index);
  publish32(r32(q + Mlx5Queue.CQ_RECORD), swap32(index & 0xffffff));
}

/** Stops the queue for a completion that is none of a packet's: `word` is its OWNER_WORD. */
export function completionFail(q: u32, cqe: u32, word: u32): void {
  const opcode: u32 = word >>> Owner.OPCODE_BIT;
  if (opcode == <u32>Owner.REQ_ERR || opcode == <u32>Owner.RESP_ERR) {
    queueFail(q, QueueError.CQE_ERROR, (r32(cqe + Cqe.ERROR_WORD) >>> 24) | (opcode << 8));
  } else {
    queueFail(q, QueueError.BAD_CQE, word);
  }
}

/**
 * Looks at the next completion of a packet; `limit`: at most so many may still come. 1 if there is one: its words are
 * above, and `passCompletion` goes on. 0 if there is none, or if the queue was stopped.
 */
export function peekCompletion(q: u32, limit: u32): u32 {
  if (limit == 0) return 0;
  if (r32(q + Mlx5Queue.MINIS) != 0) return peekMini(q);
  const index: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  const word: u32 = completedWord(q, index);
  const opcode: u32 = word >>> Owner.OPCODE_BIT;
  if (opcode == <u32>Owner.INVALID) return 0;
  const cqe: u32 = cqeAt(q, index);
  if (opcode == <u32>Owner.RESP_ERR && frameTooLong(q, cqe) != 0) {
    completionBytes = 0;
    completionCounter = swap16(word & 0xffff);
    return 1;
  }
  const format: u32 = word & Owner.FORMAT;
  const compressed: u32 = format == <u32>Owner.FORMAT ? r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.COMPRESSED : 0;
  if (opcode != Owner.RESP_SEND >>> Owner.OPCODE_BIT || (format != 0 && compressed == 0)) {
    completionFail(q, cqe, word);
    return 0;
  }
  const bytes: u32 = swap32(r32(cqe + Cqe.BYTE_CNT));
  const hashType: u32 = r32(cqe + Cqe.RX_HASH_TYPE) & 0xff;
  const wqe: u32 = swap16(r32(cqe + Cqe.WQE_ID) >>> 16);
  const info: u32 = r32(cqe + Cqe.INFO);
  const counter: u32 = swap16(word & 0xffff);
  if (compressed != 0) {
    if (bytes == 0 || bytes > limit) {
      queueFail(q, QueueError.BAD_CQE, bytes);
      return 0;
    }
    w32(q + Mlx5Queue.MINIS, bytes);
    w32(q + Mlx5Queue.MINI, 0);
    w32(q + Mlx5Queue.MINI_COUNTER, counter);
    w32(q + Mlx5Queue.TITLE_WQE, wqe);
    w32(q + Mlx5Queue.TITLE_HASH_TYPE, hashType);
    w32(q + Mlx5Queue.TITLE_INFO, info);
    return peekMini(q);
  }
  completionBytes = bytes;
  completionCounter = counter;
  completionWqe = wqe;
  completionHash = swap32(r32(cqe + Cqe.RX_HASH_RESULT));
  completionHashType = hashType;
  completionInfo = info;
  return 1;
}

/**
 * Whether an error is that of a frame which its WQE's buffers could not hold. It costs that WQE alone, the NIC goes on
 * (DPDK, mlx5_rx_err_handle), and so does the driver: else whoever sends jumbo frames could stop the queue. Of a
 * multi-packet RQ it is not told how many strides are lost, so there it is an error like the others.
 */
function frameTooLong(q: u32, cqe: u32): u32 {
  if ((r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.STRIDING) != 0) return 0;
  return r32(cqe + Cqe.ERROR_WORD) >>> 24 == <u32>Syndrome.LOCAL_LENGTH_ERR ? 1 : 0;
}

/**
 * The session's next packet. A session of n packets takes up n entries: the title, behind it eight minis, and eight
 * more in each entry whose distance from the title is a multiple of 8 (kernel, en_rx.c: mlx5e_read_mini_arr_slot).
 */
function peekMini(q: u32): u32 {
  const taken: u32 = r32(q + Mlx5Queue.MINI);
  const group: u32 = taken < <u32>Mini.IN_A_CQE ? 1 : taken & 0xfffffff8;
  const cqe: u32 = cqeAt(q, (r32(q + Mlx5Queue.CQ_INDEX) + group) >>> 0);
  const mini: u32 = cqe + ((taken & 7) << Mini.SHIFT);
  const hashes: u32 = r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.MINI_HASH;
  completionBytes = swap32(r32(mini + Mini.BYTE_CNT));
  completionCounter = r32(q + Mlx5Queue.MINI_COUNTER);
  completionWqe = r32(q + Mlx5Queue.TITLE_WQE);
  completionHash = hashes != 0 ? swap32(r32(mini)) : 0;
  completionHashType = hashes != 0 ? r32(q + Mlx5Queue.TITLE_HASH_TYPE) : 0;
  completionInfo = r32(q + Mlx5Queue.TITLE_INFO);
  return 1;
}

/** Goes on behind the completion that was peeked at; `counters`: by so many the next mini's wqe_counter is larger. */
export function passCompletion(q: u32, counters: u32): void {
  const index: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  const minis: u32 = r32(q + Mlx5Queue.MINIS);
  if (minis == 0) {
    w32(q + Mlx5Queue.CQ_INDEX, (index + 1) >>> 0);
    return;
  }
  const taken: u32 = r32(q + Mlx5Queue.MINI) + 1;
  w32(q + Mlx5Queue.MINI, taken);
  w32(q + Mlx5Queue.MINI_COUNTER, (r32(q + Mlx5Queue.MINI_COUNTER) + counters) & 0xffff);
  if (taken != minis) return;
  // minis, and entries that the NIC left out, may look like completions of the next turn but one
  const cq: u32 = r32(q + Mlx5Queue.CQ) + Cqe.OP_OWN;
  const mask: u32 = r32(q + Mlx5Queue.CQ_MASK);
  for (let k: u32 = 0; k < minis; k++) w8(cq + (((index + k) & mask) << Cqe.SHIFT), Owner.INVALID_OP_OWN);
  w32(q + Mlx5Queue.MINIS, 0);
  w32(q + Mlx5Queue.CQ_INDEX, (index + minis) >>> 0);
}
