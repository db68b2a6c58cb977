// Vector variants of the receive loops; the contract stands in simd.ts.
import { r32 } from "../../src/hot/mem.ts";
import { Queue } from "../../src/hot/layout.ts";
import { Frame, Header, Virtq, VirtqFlag } from "./layout.ts";

export function takeQuads(q: u32, position: u32, n: u32, pkts: u32): u32 {
  const flags: u32 = r32(q + Virtq.FLAGS);
  if (n < 4 || (flags & VirtqFlag.DISORDERED) != 0) return 0;
  const size: u32 = r32(q + Virtq.SIZE);
  const entries: u32 = r32(q + Virtq.USED) + 4;
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const datas: u32 = r32(q + Virtq.DATA);
  const mergeable: u32 = flags & VirtqFlag.MERGEABLE;
  const origin: u64 = <u64>r32(q + Queue.ORIGIN);
  // a length from Header + Frame.LENGTH_MIN to Header + ROOM, by one unsigned comparison
  const least = i32x4.splat(Header.BYTES + Frame.LENGTH_MIN);
  const most = i32x4.splat(r32(q + Virtq.ROOM) - Frame.LENGTH_MIN);
  const header = i32x4.splat(Header.BYTES);
  let k: u32 = 0;
  while (k + 4 <= n) {
    const slot: u32 = (position + k) & (size - 1);
    if (slot + 4 > size) break;
    const entry: u32 = entries + (slot << 3);
    const low = v128.load(entry), high = v128.load(entry + 16); // id0 len0 id1 len1 | id2 len2 id3 len3
    const ids = v128.shuffle<i32>(low, high, 0, 2, 4, 6);
    const lengths = v128.shuffle<i32>(low, high, 1, 3, 5, 7);
    const wanted = i32x4.add(i32x4.splat(slot), i32x4(0, 1, 2, 3));
    const bad = v128.or(v128.xor(ids, wanted), i32x4.gt_u(i32x4.sub(lengths, least), most));
    if (v128.any_true(bad)) break;
    const data = v128.load(datas + (slot << 2));
    if (mergeable != 0 && merged(data)) break;
    deliver(v128.load(mbufs + (slot << 2)), data, i32x4.sub(lengths, header), origin, pkts + (k << 2));
    k += 4;
  }
  return k;
}

// @ts-ignore: decorator
@inline export function clearHeader(data: u32): void {
  if (load<u64>(data - 12, 0, 1) != 0) store<u64>(data - 12, 0, 0, 1);
  if (load<u16>(data - 4) != 0) store<u16>(data - 4, 0);
}

// One store: length, id and flags appear together.
// @ts-ignore: decorator
@inline export function handOver(desc: u32, length: u32, word: u32): void {
  store<u64>(desc, <u64>length | (<u64>word << 32), 8);
}

// Length, id and flags of a descriptor lie in one aligned 8 bytes, so a vector load never sees new flags and an old
// length.
export function takePackedQuads(q: u32, position: u32, n: u32, pkts: u32): u32 {
  const flags: u32 = r32(q + Virtq.FLAGS);
  if (n < 4 || (flags & VirtqFlag.DISORDERED) != 0) return 0;
  const size: u32 = r32(q + Virtq.SIZE);
  const ring: u32 = r32(q + Virtq.DESC);
  const mbufs: u32 = r32(q + Virtq.MBUFS);
  const datas: u32 = r32(q + Virtq.DATA);
  const mergeable: u32 = flags & VirtqFlag.MERGEABLE;
  const origin: u64 = <u64>r32(q + Queue.ORIGIN);
  const least = i32x4.splat(Header.BYTES + Frame.LENGTH_MIN);
  const most = i32x4.splat(r32(q + Virtq.ROOM) - Frame.LENGTH_MIN);
  const header = i32x4.splat(Header.BYTES);
  const looked = i32x4.splat(0x8080ffff); // AVAIL, USED, id
  let k: u32 = 0;
  while (k + 4 <= n) {
    const slot: u32 = (position + k) & (size - 1);
    if (slot + 4 > size) break;
    const bits: u32 = ((position + k) & size) == 0 ? 0x80800000 : 0;
    const desc: u32 = ring + (slot << 4);
    const a = v128.load(desc), b = v128.load(desc + 16), c = v128.load(desc + 32), d = v128.load(desc + 48);
    const ab = v128.shuffle<i32>(a, b, 2, 6, 3, 7); // len0 len1 word0 word1
    const cd = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    const lengths = v128.shuffle<i64>(ab, cd, 0, 2);
    const words = v128.shuffle<i64>(ab, cd, 1, 3);
    const wanted = i32x4.add(i32x4.splat(bits | slot), i32x4(0, 1, 2, 3));
    const bad = v128.or(v128.xor(v128.and(words, looked), wanted), i32x4.gt_u(i32x4.sub(lengths, least), most));
    if (v128.any_true(bad)) break;
    const data = v128.load(datas + (slot << 2));
    if (mergeable != 0 && merged(data)) break;
    deliver(v128.load(mbufs + (slot << 2)), data, i32x4.sub(lengths, header), origin, pkts + (k << 2));
    k += 4;
  }
  return k;
}

// Whether one of four frames takes more than its one buffer: num_buffers in the header before it is not 1.
// @ts-ignore: decorator
@inline function merged(data: v128): bool {
  return (more(i32x4.extract_lane(data, 0)) | more(i32x4.extract_lane(data, 1)) |
    more(i32x4.extract_lane(data, 2)) | more(i32x4.extract_lane(data, 3))) != 0;
}

// @ts-ignore: decorator
@inline function more(data: u32): u32 { return load<u16>(data - Header.NUM_BUFFERS_BEFORE) ^ 1; }

// Fills in four mbufs and writes their numbers to `pkts`.
// @ts-ignore: decorator
@inline function deliver(four: v128, data: v128, lengths: v128, origin: u64, pkts: u32): void {
  v128.store(pkts, four);
  fill(i32x4.extract_lane(four, 0), i32x4.extract_lane(data, 0), i32x4.extract_lane(lengths, 0), origin);
  fill(i32x4.extract_lane(four, 1), i32x4.extract_lane(data, 1), i32x4.extract_lane(lengths, 1), origin);
  fill(i32x4.extract_lane(four, 2), i32x4.extract_lane(data, 2), i32x4.extract_lane(lengths, 2), origin);
  fill(i32x4.extract_lane(four, 3), i32x4.extract_lane(data, 3), i32x4.extract_lane(lengths, 3), origin);
}

// writeMbuf of src/hot/simd.as.ts
// @ts-ignore: decorator
@inline function fill(mbuf: u32, data: u32, length: u32, origin: u64): void {
  store<u64>(mbuf, <u64>data | (<u64>length << 32));
  store<u64>(mbuf, <u64>length, 8);
  store<u64>(mbuf, origin, 16);
}
