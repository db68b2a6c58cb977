// Bulk moves with vectors; each is explained in simd.ts.

// @ts-ignore: decorator
@inline export function copyWords(to: u32, from: u32, n: u32): void {
  let k: u32 = 0;
  for (; k + 4 <= n; k += 4) v128.store(to + (k << 2), v128.load(from + (k << 2), 0, 1), 0, 1);
  for (; k < n; k++) store<u32>(to + (k << 2), load<u32>(from + (k << 2)));
}

// Up to 256 bytes by 16, the last 16 overlapping; memory.copy leaves WebAssembly and costs its 20 ns first.
// @ts-ignore: decorator
@inline export function copyFrame(to: u32, from: u32, n: u32): void {
  if (n > 256) memory.copy(to, from, n);
  else if (n >= 16) {
    const last: u32 = n - 16;
    const tail = v128.load(from + last, 0, 1);
    for (let k: u32 = 0; k < last; k += 16) v128.store(to + k, v128.load(from + k, 0, 1), 0, 1);
    v128.store(to + last, tail, 0, 1);
  } else {
    for (let k: u32 = 0; k < n; k++) store<u8>(to + k, load<u8>(from + k));
  }
}

// @ts-ignore: decorator
@inline export function swapMacs(p: u32): void {
  const frame = v128.load(p, 0, 1);
  const swapped = i8x16.shuffle(frame, frame, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14, 15);
  v128.store(p, swapped, 0, 1);
}

// @ts-ignore: decorator
@inline export function writeMbuf(mbuf: u32, data: u32, length: u32, origin: u32): void {
  store<u64>(mbuf, <u64>data | (<u64>length << 32));
  store<u64>(mbuf, <u64>length, 8);
  store<u64>(mbuf, <u64>origin, 16);
}

// @ts-ignore: decorator
@inline export function equalRun(a: u32, b: u32, n: u32): u32 {
  let k: u32 = 0;
  for (; k + 4 <= n; k += 4) {
    if (v128.any_true(v128.xor(v128.load(a + (k << 2), 0, 1), v128.load(b + (k << 2), 0, 1)))) break;
  }
  return k;
}

// The 16-bit lanes are added in pairs into 32-bit ones, which overflow after half a MiB.
// @ts-ignore: decorator
@inline export function sumBytes(p: u32, n: u32): u32 {
  let lanes = i32x4.splat(0);
  let k: u32 = 0;
  for (; k + 16 <= n; k += 16) {
    lanes = i32x4.add(lanes, i32x4.extadd_pairwise_i16x8_u(v128.load(p + k, 0, 1)));
  }
  let sum: u64 = <u64>(<u32>i32x4.extract_lane(lanes, 0)) + <u64>(<u32>i32x4.extract_lane(lanes, 1));
  sum += <u64>(<u32>i32x4.extract_lane(lanes, 2)) + <u64>(<u32>i32x4.extract_lane(lanes, 3));
  for (; k + 2 <= n; k += 2) sum += load<u16>(p + k, 0, 1);
  if (k < n) sum += load<u8>(p + k);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return <u32>((sum & 0xffff) + (sum >> 16));
}
