// The Internet checksum (RFC 1071) and its change (RFC 1624).

/** Sum of the bytes from `from` to before `to` as big-endian words, added to `sum`; at most 64 KiB. Not folded. */
export function sumBytes(u8: Uint8Array, from: number, to: number, sum = 0): number {
  const pairs = to - ((to - from) & 1);
  for (let p = from; p < pairs; p += 2) sum += (u8[p]! << 8) | u8[p + 1]!;
  return pairs === to ? sum : sum + (u8[pairs]! << 8);
}

/** A sum's checksum: folded to 16 bits and complemented. */
export function foldChecksum(sum: number): number {
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

/** A checksum after a 16-bit word that it covers has changed from `before` to `after`: RFC 1624, equation 3. */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return foldChecksum((~checksum & 0xffff) + (~before & 0xffff) + after);
}
