// Vector variants of what simd.ts explains.
import { Buffer, Cache, Mbuf, Pool, Queue } from "../../src/hot/layout.ts";
import { min32, r32 } from "../../src/hot/mem.ts";
import { Cqe, Mini, Owner } from "./cqe.ts";
import { annotate } from "./hot-annotate.ts";
import { Asked, Mlx5Flag, Mlx5Limit, Mlx5Queue } from "./layout.ts";
import { Sge, VerbsLimit, VerbsQueue } from "./verbs-layout.ts";
import { DataSegment, Opcode, Wqe, WqeField, WqeSize } from "./wqe.ts";

export let quadBytes: u32 = 0;

// Four entries are looked at together: each one's last word against what the next four WQEs' must be, and its length.
export function takeQuads(q: u32, pkts: u32, n: u32): u32 {
  quadBytes = 0;
  if (n < 4) return 0;
  const entries: u32 = r32(q + Mlx5Queue.CQ);
  const cqMask: u32 = r32(q + Mlx5Queue.CQ_MASK);
  const cqShift: u32 = r32(q + Mlx5Queue.CQ_SHIFT);
  const index: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  const mbufs: u32 = r32(q + Mlx5Queue.MBUFS);
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const head: u32 = r32(q + Mlx5Queue.HEAD);
  const origin: u64 = <u64>r32(q + Queue.ORIGIN);
  const least = i32x4.splat(Mlx5Limit.FRAME_MIN);
  const span = i32x4.splat(r32(q + Mlx5Queue.ROOM) - Mlx5Limit.FRAME_MIN);
  const looked = i32x4.splat(Owner.LOOKED_AT);
  let sum = i32x4.splat(0);
  let k: u32 = 0;
  for (; k + 4 <= n; k += 4) {
    const at: u32 = (index + k) & cqMask;
    const slot: u32 = (head + k) & mask;
    if (at + 3 > cqMask || slot + 3 > mask) break;
    const cqe: u32 = entries + (at << Cqe.SHIFT);
    const own: u32 = Owner.RESP_SEND | (((index + k) >> cqShift & 1) << Owner.OP_OWN_BIT);
    // The NIC writes them in turn, so if the fourth is there, all are; and no load moves above an atomic one. Plain
    // loads alone may be compiled in another order: then a length may be older than the word that vouches for it.
    const last: u32 = atomic.load<u32>(cqe, (3 << Cqe.SHIFT) + Cqe.OWNER_WORD);
    if ((last ^ own) >> Owner.OP_OWN_BIT != 0) break;
    const words = fourth(
      v128.load(cqe, 48), v128.load(cqe, 112), v128.load(cqe, 176), v128.load(cqe, 240));
    const counters = i32x4.add(i32x4.splat(head + k), i32x4(0, 1, 2, 3));
    const wanted = v128.or(
      i8x16.swizzle(counters, i8x16(1, 0, -1, -1, 5, 4, -1, -1, 9, 8, -1, -1, 13, 12, -1, -1)), i32x4.splat(own));
    const strange = v128.and(v128.xor(words, wanted), looked);
    const swapped = fourth(
      v128.load(cqe, 32), v128.load(cqe, 96), v128.load(cqe, 160), v128.load(cqe, 224));
    const lengths = i8x16.swizzle(swapped, i8x16(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
    if (v128.any_true(v128.or(strange, i32x4.gt_u(i32x4.sub(lengths, least), span)))) break;
    const four = v128.load(mbufs + (slot << 2));
    v128.store(pkts + (k << 2), four);
    fill(i32x4.extract_lane(four, 0), i32x4.extract_lane(lengths, 0), origin);
    fill(i32x4.extract_lane(four, 1), i32x4.extract_lane(lengths, 1), origin);
    fill(i32x4.extract_lane(four, 2), i32x4.extract_lane(lengths, 2), origin);
    fill(i32x4.extract_lane(four, 3), i32x4.extract_lane(lengths, 3), origin);
    sum = i32x4.add(sum, lengths);
  }
  quadBytes = total(sum);
  if ((r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.ANNOTATED) != 0) annotateRun(q, pkts, k);
  return k;
}

export function takeMiniQuads(minis: u32, mbufs: u32, pkts: u32, n: u32, span: u32, origin: u32): u32 {
  const least = i32x4.splat(Mlx5Limit.FRAME_MIN);
  const most = i32x4.splat(span);
  let sum = i32x4.splat(0);
  let k: u32 = 0;
  for (; k + 4 <= n; k += 4) {
    const at: u32 = minis + (k << Mini.SHIFT);
    const swapped = v128.shuffle<i32>(v128.load(at), v128.load(at, 16), 1, 3, 5, 7);
    const lengths = i8x16.swizzle(swapped, i8x16(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
    if (v128.any_true(i32x4.gt_u(i32x4.sub(lengths, least), most))) break;
    const four = v128.load(mbufs + (k << 2), 0, 1);
    v128.store(pkts + (k << 2), four, 0, 1);
    fill(i32x4.extract_lane(four, 0), i32x4.extract_lane(lengths, 0), origin);
    fill(i32x4.extract_lane(four, 1), i32x4.extract_lane(lengths, 1), origin);
    fill(i32x4.extract_lane(four, 2), i32x4.extract_lane(lengths, 2), origin);
    fill(i32x4.extract_lane(four, 3), i32x4.extract_lane(lengths, 3), origin);
    sum = i32x4.add(sum, lengths);
  }
  quadBytes = total(sum);
  return k;
}

// What the NIC found out about the first `n` packets.
function annotateRun(q: u32, pkts: u32, n: u32): void {
  const index: u32 = r32(q + Mlx5Queue.CQ_INDEX);
  for (let k: u32 = 0; k < n; k++) {
    const cqe: u32 = r32(q + Mlx5Queue.CQ) + (((index + k) & r32(q + Mlx5Queue.CQ_MASK)) << Cqe.SHIFT);
    const hash: u32 = bswap<u32>(load<u32>(cqe, Cqe.RX_HASH_RESULT));
    annotate(q, load<u32>(pkts + (k << 2)), load<u32>(cqe, Cqe.INFO), hash, load<u8>(cqe, Cqe.RX_HASH_TYPE));
  }
}

export function writeQuads(addresses: u32, shift: u32, mbufs: u32, from: u32, n: u32, low: u32, high: u32): u32 {
  const base = i64x2.splat((<u64>low | (<u64>high << 32)) + Buffer.HEADROOM);
  let k: u32 = 0;
  for (; k + 4 <= n; k += 4) {
    const four = v128.load(from + (k << 2), 0, 1);
    v128.store(mbufs + (k << 2), four, 0, 1);
    let buffers = v128.load32_zero(i32x4.extract_lane(four, 0), Mbuf.BUF);
    buffers = v128.load32_lane(i32x4.extract_lane(four, 1), buffers, 1, Mbuf.BUF);
    buffers = v128.load32_lane(i32x4.extract_lane(four, 2), buffers, 2, Mbuf.BUF);
    buffers = v128.load32_lane(i32x4.extract_lane(four, 3), buffers, 3, Mbuf.BUF);
    const turn = i8x16(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
    const one = i8x16.swizzle(i64x2.add(i64x2.extend_low_i32x4_u(buffers), base), turn);
    const two = i8x16.swizzle(i64x2.add(i64x2.extend_high_i32x4_u(buffers), base), turn);
    const at: u32 = addresses + (k << shift);
    v128.store64_lane(at, one, 0);
    v128.store64_lane(at + (1 << shift), one, 1);
    v128.store64_lane(at + (2 << shift), two, 0);
    v128.store64_lane(at + (3 << shift), two, 1);
  }
  return k;
}

export function describeQuads(q: u32, pkts: u32, n: u32, inlined: u32): u32 {
  quadBytes = 0;
  if (n < 4) return 0;
  const multi: u32 = r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.MULTI_PACKET;
  const ring: u32 = r32(q + Mlx5Queue.RING);
  const end: u32 = ((r32(q + Mlx5Queue.MASK) + 1) << WqeSize.BLOCK_SHIFT) - 1;
  const tail: u32 = r32(q + Mlx5Queue.TAIL);
  const places: u32 = r32(q + Mlx5Queue.MBUFS);
  const placeMask: u32 = r32(q + Mlx5Queue.PACKET_MASK);
  const placeTail: u32 = r32(q + Mlx5Queue.PACKET_TAIL);
  const pool: u32 = r32(r32(q + Queue.CACHE) + Cache.POOL);
  const bufferBytes: u32 = r32(pool + Pool.DATA_ROOM) + Buffer.HEADROOM;
  const address: u64 = (<u64>r32(q + Mlx5Queue.BASE_LOW) | (<u64>r32(q + Mlx5Queue.BASE_HIGH) << 32)) + inlined;
  const base = i64x2.replace_lane(i64x2.splat(-<i64>inlined), 0, address);
  const lkey = i32x4.replace_lane(i32x4.splat(0), 1, r32(q + Mlx5Queue.LKEY));
  const own = i32x4.replace_lane(i32x4.replace_lane(i32x4.splat(0), 1, bufferBytes), 2, pool);
  const limit = i32x4.splat(bufferBytes);
  const least = i32x4.splat(Mlx5Limit.SENT_MIN);
  // no longer than a buffer: only then may a length be taken off it
  const span = i32x4.splat(min32(r32(q + Mlx5Queue.BYTES_MAX), bufferBytes) - Mlx5Limit.SENT_MIN);
  const qpnDs = i32x4.splat(r32(q + Mlx5Queue.QPN) | (<u32>(inlined != 0 ? 4 : 3) << WqeField.DS_BIT));
  let at: u32 = (tail << WqeSize.BLOCK_SHIFT) & end;
  if (multi != 0) at += Wqe.DATA;
  let sum = i32x4.splat(0);
  let k: u32 = 0;
  for (; k + 4 <= n; k += 4) {
    const place: u32 = (placeTail + k) & placeMask;
    if (place + 3 > placeMask) break;
    const four = v128.load(pkts + (k << 2), 0, 1);
    const a: u32 = i32x4.extract_lane(four, 0), b: u32 = i32x4.extract_lane(four, 1);
    const c: u32 = i32x4.extract_lane(four, 2), d: u32 = i32x4.extract_lane(four, 3);
    // DATA, DATA_LEN, PKT_LEN, NEXT of each
    const ma = v128.load(a), mb = v128.load(b), mc = v128.load(c), md = v128.load(d);
    const lowAb = v128.shuffle<i32>(ma, mb, 0, 4, 1, 5), lowCd = v128.shuffle<i32>(mc, md, 0, 4, 1, 5);
    const data = v128.shuffle<i64>(lowAb, lowCd, 0, 2), lengths = v128.shuffle<i64>(lowAb, lowCd, 1, 3);
    const highAb = v128.shuffle<i32>(ma, mb, 2, 6, 3, 7), highCd = v128.shuffle<i32>(mc, md, 2, 6, 3, 7);
    const whole = v128.shuffle<i64>(highAb, highCd, 0, 2), next = v128.shuffle<i64>(highAb, highCd, 1, 3);
    const bounds = outside(a, b, c, d, data, lengths, own, limit, least, span);
    const odd = v128.or(v128.or(v128.xor(whole, lengths), next), bounds);
    if ((askedOf(a, b, c, d) & Asked.ALL) != 0 || v128.any_true(odd)) break;
    v128.store(places + (place << 2), four, 0, 1);
    sum = i32x4.add(sum, lengths);
    const sa = segment(ma, base, lkey), sb = segment(mb, base, lkey);
    const sc = segment(mc, base, lkey), sd = segment(md, base, lkey);
    if (multi != 0) {
      const one: u32 = ring + (at & end), two: u32 = ring + ((at + 32) & end);
      v128.store(one, sa);
      v128.store(one, sb, 16);
      v128.store(two, sc);
      v128.store(two, sd, 16);
      at += 4 * DataSegment.BYTES;
      continue;
    }
    const counters = i32x4.add(i32x4.splat(tail + k), i32x4(0, 1, 2, 3));
    const operations = v128.or(
      i8x16.swizzle(counters, i8x16(-1, 1, 0, -1, -1, 5, 4, -1, -1, 9, 8, -1, -1, 13, 12, -1)),
      i32x4.splat(Opcode.SEND));
    const headAb = v128.shuffle<i32>(operations, qpnDs, 0, 4, 1, 5);
    const headCd = v128.shuffle<i32>(operations, qpnDs, 2, 6, 3, 7);
    const zero = i64x2.splat(0);
    block(ring + (at & end), v128.shuffle<i64>(headAb, zero, 0, 2), sa, inlined, i32x4.extract_lane(data, 0));
    block(ring + ((at + 64) & end), v128.shuffle<i64>(headAb, zero, 1, 3), sb, inlined, i32x4.extract_lane(data, 1));
    block(ring + ((at + 128) & end), v128.shuffle<i64>(headCd, zero, 0, 2), sc, inlined, i32x4.extract_lane(data, 2));
    block(ring + ((at + 192) & end), v128.shuffle<i64>(headCd, zero, 1, 3), sd, inlined, i32x4.extract_lane(data, 3));
    at += 4 * WqeSize.BLOCK_BYTES;
  }
  quadBytes = total(sum);
  return k;
}

export let listedBytes: u32 = 0;

export function listQuads(q: u32, pkts: u32, n: u32): u32 {
  listedBytes = 0;
  const places: u32 = r32(q + VerbsQueue.MBUFS);
  const mask: u32 = r32(q + VerbsQueue.MASK);
  const tail: u32 = r32(q + VerbsQueue.TAIL);
  const shift: u32 = r32(q + VerbsQueue.SEGMENTS) << Sge.SHIFT;
  const pool: u32 = r32(r32(q + Queue.CACHE) + Cache.POOL);
  const bufferBytes: u32 = r32(pool + Pool.DATA_ROOM) + Buffer.HEADROOM;
  const address: u64 = <u64>r32(q + VerbsQueue.BASE) | (<u64>r32(q + VerbsQueue.BASE_HIGH) << 32);
  const base = i64x2.replace_lane(i64x2.splat(0), 0, address);
  let at: u32 = r32(q + VerbsQueue.SGES);
  const lkey = i32x4.replace_lane(i32x4.splat(0), 3, load<u32>(at, Sge.LKEY));
  const own = i32x4.replace_lane(i32x4.replace_lane(i32x4.splat(0), 1, bufferBytes), 2, pool);
  const limit = i32x4.splat(bufferBytes);
  const least = i32x4.splat(VerbsLimit.SENT_MIN);
  const span = i32x4.splat(min32(r32(q + VerbsQueue.BYTES_MAX), bufferBytes) - VerbsLimit.SENT_MIN);
  let sum = i32x4.splat(0);
  let k: u32 = 0;
  for (; k + 4 <= n; k += 4) {
    const place: u32 = (tail + k) & mask;
    if (place + 3 > mask) break;
    const four = v128.load(pkts + (k << 2), 0, 1);
    const a: u32 = i32x4.extract_lane(four, 0), b: u32 = i32x4.extract_lane(four, 1);
    const c: u32 = i32x4.extract_lane(four, 2), d: u32 = i32x4.extract_lane(four, 3);
    const ma = v128.load(a), mb = v128.load(b), mc = v128.load(c), md = v128.load(d);
    const lowAb = v128.shuffle<i32>(ma, mb, 0, 4, 1, 5), lowCd = v128.shuffle<i32>(mc, md, 0, 4, 1, 5);
    const data = v128.shuffle<i64>(lowAb, lowCd, 0, 2), lengths = v128.shuffle<i64>(lowAb, lowCd, 1, 3);
    const highAb = v128.shuffle<i32>(ma, mb, 2, 6, 3, 7), highCd = v128.shuffle<i32>(mc, md, 2, 6, 3, 7);
    const whole = v128.shuffle<i64>(highAb, highCd, 0, 2), next = v128.shuffle<i64>(highAb, highCd, 1, 3);
    const bounds = outside(a, b, c, d, data, lengths, own, limit, least, span);
    const odd = v128.or(v128.or(v128.xor(whole, lengths), next), bounds);
    if ((askedOf(a, b, c, d) & Asked.ALL) != 0 || v128.any_true(odd)) break;
    v128.store(places + (place << 2), four, 0, 1);
    sum = i32x4.add(sum, lengths);
    v128.store(at, entry(ma, base, lkey));
    v128.store(at + shift, entry(mb, base, lkey));
    v128.store(at + 2 * shift, entry(mc, base, lkey));
    v128.store(at + 3 * shift, entry(md, base, lkey));
    at += 4 * shift;
  }
  listedBytes = total(sum);
  return k;
}

// An ibv_sge of DATA and DATA_LEN.
// @ts-ignore: decorator
@inline function entry(mbuf: v128, base: v128, lkey: v128): v128 {
  return v128.or(i64x2.add(i64x2.extend_low_i32x4_u(mbuf), base), lkey);
}

// Not 0 if one of four mbufs is not of the own pool, or has bytes where it may not.
// @ts-ignore: decorator
@inline function outside(
  a: u32, b: u32, c: u32, d: u32,
  data: v128, lengths: v128, own: v128, limit: v128, least: v128, span: v128): v128 {
  // BUF, BUF_LEN, POOL: the last two must be the own pool's
  const ba = v128.load(a, Mbuf.BUF), bb = v128.load(b, Mbuf.BUF);
  const bc = v128.load(c, Mbuf.BUF), bd = v128.load(d, Mbuf.BUF);
  const buffers = v128.shuffle<i64>(
    v128.shuffle<i32>(ba, bb, 0, 4, 1, 5), v128.shuffle<i32>(bc, bd, 0, 4, 1, 5), 0, 2);
  const foreign = v128.or(
    v128.or(v128.xor(ba, own), v128.xor(bb, own)), v128.or(v128.xor(bc, own), v128.xor(bd, own)));
  const beyond = v128.or(
    i32x4.gt_u(i32x4.sub(lengths, least), span), i32x4.gt_u(i32x4.sub(data, buffers), i32x4.sub(limit, lengths)));
  return v128.or(beyond, v128.and(foreign, i32x4(0, -1, -1, 0)));
}

// What one of four asks for.
// @ts-ignore: decorator
@inline function askedOf(a: u32, b: u32, c: u32, d: u32): u32 {
  return load<u32>(a, Mbuf.OL_FLAGS) | load<u32>(b, Mbuf.OL_FLAGS) |
    load<u32>(c, Mbuf.OL_FLAGS) | load<u32>(d, Mbuf.OL_FLAGS);
}

// A data segment of DATA and DATA_LEN: 64 bits each, the address and what is inlined added, bytes turned round.
// @ts-ignore: decorator
@inline function segment(mbuf: v128, base: v128, lkey: v128): v128 {
  const fields = i64x2.add(i64x2.extend_low_i32x4_u(mbuf), base);
  return v128.or(i8x16.swizzle(fields, i8x16(11, 10, 9, 8, -1, -1, -1, -1, 7, 6, 5, 4, 3, 2, 1, 0)), lkey);
}

// A whole WQE of MLX5_OPCODE_SEND.
// @ts-ignore: decorator
@inline function block(wqe: u32, head: v128, data: v128, inlined: u32, frame: u32): void {
  v128.store(wqe, head);
  if (inlined == 0) {
    v128.store(wqe, i64x2.splat(0), 16);
    v128.store(wqe, data, Wqe.DATA);
    return;
  }
  const start: u32 = WqeField.INLINE_18 | (<u32>load<u16>(frame, 0, 1) << 16);
  v128.store(wqe, i32x4.replace_lane(i32x4.splat(0), 3, start), 16);
  v128.store(wqe, v128.load(frame, 2, 1), 32);
  v128.store(wqe, data, Wqe.DATA_INLINE_18);
}

// @ts-ignore: decorator
@inline function total(sum: v128): u32 {
  return i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) +
    i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3);
}

// The last words of four.
// @ts-ignore: decorator
@inline function fourth(a: v128, b: v128, c: v128, d: v128): v128 {
  return v128.shuffle<i64>(v128.shuffle<i32>(a, b, 2, 6, 3, 7), v128.shuffle<i32>(c, d, 2, 6, 3, 7), 1, 3);
}

// writeMbuf of src/hot/simd.as.ts
// @ts-ignore: decorator
@inline function fill(mbuf: u32, length: u32, origin: u64): void {
  store<u64>(mbuf, <u64>(load<u32>(mbuf, Mbuf.BUF) + Buffer.HEADROOM) | (<u64>length << 32));
  store<u64>(mbuf, <u64>length, 8);
  store<u64>(mbuf, origin, 16);
}

// @ts-ignore: decorator
@inline export function writeAddress(p: u32, data: u32, low: u32, high: u32): void {
  const address: u64 = (<u64>low | (<u64>high << 32)) + <u64>data;
  v128.store64_lane(p, i8x16.swizzle(i64x2.splat(address), i8x16(7, 6, 5, 4, 3, 2, 1, 0, 7, 6, 5, 4, 3, 2, 1, 0)), 0);
}

// @ts-ignore: decorator
@inline export function writeSegment(p: u32, data: u32, length: u32, lkey: u32, low: u32, high: u32): void {
  const address: u64 = (<u64>low | (<u64>high << 32)) + <u64>data;
  const fields = i64x2.replace_lane(i64x2.splat(<u64>length), 1, address);
  const swapped = i8x16.swizzle(fields, i8x16(3, 2, 1, 0, -1, -1, -1, -1, 15, 14, 13, 12, 11, 10, 9, 8));
  v128.store(p, i32x4.replace_lane(swapped, 1, lkey));
}

// @ts-ignore: decorator
@inline export function writeHead(wqe: u32, operation: u32, qpnDs: u32, csFlags: u32, inlineSize: u32): void {
  store<u64>(wqe, <u64>operation | (<u64>qpnDs << 32));
  store<u64>(wqe, 0, 8);
  store<u64>(wqe, <u64>csFlags << 32, 16);
  store<u64>(wqe, <u64>inlineSize << 32, 24);
}

// @ts-ignore: decorator
@inline export function inlineHeader(wqe: u32, frame: u32): void {
  store<u32>(wqe, 0x1200 | (<u32>load<u16>(frame, 0, 1) << 16), 28);
  v128.store(wqe, v128.load(frame, 2, 1), 32);
}

// @ts-ignore: decorator
@inline export function notSingle(mbuf: u32): u32 {
  return load<u64>(mbuf, 8) == <u64>load<u32>(mbuf, 4) ? 0 : 1;
}
