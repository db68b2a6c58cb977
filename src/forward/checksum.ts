// The Internet checksum (RFC 1071): sums of 16-bit words modulo 2^16 - 1. Sums are taken over words as the processor
// reads them, little-endian; the sum is then byte-swapped, and so is what is stored of it (section 2 (B)).
import { Mbuf } from "../hot/layout.ts";
import { min32, r32 } from "../hot/mem.ts";
import { sumBytes } from "../hot/simd.ts";

export function swap16(v: u32): u32 {
  return ((v & 0xff) << 8) | ((v >>> 8) & 0xff);
}

/** A sum of 16-bit words as one. */
export function fold(sum: u32): u32 {
  const once: u32 = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** The checksum of a sum: the complement of its fold. */
export function unfold(sum: u32): u32 {
  return fold(sum) ^ 0xffff;
}

/** The sum of `n` bytes of a packet from `offset` on, across segments. The packet is long enough. */
export function sumPacket(mbuf: u32, offset: u32, n: u32): u32 {
  let segment: u32 = mbuf;
  let skip: u32 = offset;
  let done: u32 = 0;
  let sum: u32 = 0;
  while (done < n && segment != 0) {
    const length: u32 = r32(segment + Mbuf.DATA_LEN);
    if (skip < length) {
      const bytes: u32 = min32(length - skip, n - done);
      const part: u32 = sumBytes(r32(segment + Mbuf.DATA) + skip, bytes);
      // behind an odd number of bytes, words lie crosswise
      sum = sum + ((done & 1) != 0 ? swap16(part) : part);
      done = done + bytes;
      skip = 0;
    } else skip = skip - length;
    segment = r32(segment + Mbuf.NEXT);
  }
  return fold(sum);
}
