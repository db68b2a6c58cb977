// Bulk moves, the plain way. `simd.as.ts` beside it is the same list with WebAssembly's vector instructions; the tests
// hold the two against each other.
import { copyBytes, r8, r16, r32, w32 } from "./mem.ts";

/** Copies `n` words; the ranges do not overlap. */
export function copyWords(to: u32, from: u32, n: u32): void {
  for (let k: u32 = 0; k < n; k++) w32(to + (k << 2), r32(from + (k << 2)));
}

/** Copies a frame's `n` bytes; the ranges do not overlap. No alignment is asked. */
export function copyFrame(to: u32, from: u32, n: u32): void {
  copyBytes(to, from, n);
}

/** Exchanges the two MAC addresses of the Ethernet frame at `p`, which is a multiple of 4. */
export function swapMacs(p: u32): void {
  const a: u32 = r32(p);
  const b: u32 = r32(p + 4);
  const c: u32 = r32(p + 8);
  w32(p, ((b >>> 16) | (c << 16)) >>> 0);
  w32(p + 4, ((c >>> 16) | (a << 16)) >>> 0);
  w32(p + 8, ((a >>> 16) | (b << 16)) >>> 0);
}

/** Writes a received single-segment packet's metadata. `origin` is the port, with 1 segment in the high half. */
export function writeMbuf(mbuf: u32, data: u32, length: u32, origin: u32): void {
  w32(mbuf, data);
  w32(mbuf + 4, length);
  w32(mbuf + 8, length);
  w32(mbuf + 12, 0);
  w32(mbuf + 16, origin);
  w32(mbuf + 20, 0);
}

/** Leading words that are equal in both ranges; may stop short of the true number, never go beyond it. */
export function equalRun(a: u32, b: u32, n: u32): u32 {
  let k: u32 = 0;
  while (k < n && r32(a + (k << 2)) == r32(b + (k << 2))) k++;
  return k;
}

/** Sum of `n` bytes, at most 64 KiB, as little-endian 16-bit words, folded to one; an odd last byte is a word's low. */
export function sumBytes(p: u32, n: u32): u32 {
  let sum: u32 = 0;
  const pairs: u32 = n & 0xfffffffe;
  if ((p & 1) == 0) {
    for (let k: u32 = 0; k < pairs; k = k + 2) sum = sum + r16(p + k);
  } else {
    for (let k: u32 = 0; k < pairs; k = k + 2) sum = sum + (r8(p + k) | (r8(p + k + 1) << 8));
  }
  if (pairs != n) sum = sum + r8(p + pairs);
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}
