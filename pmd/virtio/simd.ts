// Vector variants of the receive loops; here, the plain engine, there is none: every packet takes the careful way.
// `simd.as.ts` beside it takes packets four at a time while they are ordinary, and leaves the rest to the same way.

import { publish32, r16, r32, w16, w32 } from "../../src/hot/mem.ts";

/**
 * A virtio_net_hdr just before `data` that asks for nothing. What is zero already is not written: a forwarded frame's
 * header then never changes hands between the caches. num_buffers stays as it was received, for the same reason; it
 * means nothing on transmit (docs/decisions.md, "headers").
 */
export function clearHeader(data: u32): void {
  if (r32(data - 12) != 0) w32(data - 12, 0);
  if (r32(data - 8) != 0) w32(data - 8, 0);
  if (r16(data - 4) != 0) w16(data - 4, 0);
}

/** Packed ring: hands the descriptor at `desc` over, by its length and then its id and flags (`word`). */
export function handOver(desc: u32, length: u32, word: u32): void {
  w32(desc + 8, length);
  publish32(desc + 12, word);
}

/** Packed ring: as takeQuads, from running index `position` on, of which `n` were handed over. */
export function takePackedQuads(_q: u32, _position: u32, _n: u32, _pkts: u32): u32 {
  return 0;
}

/**
 * Split ring: takes up to `n` ordinary packets (in order, one buffer, a length that fits) that begin at used entry
 * `position` into the words at `pkts`. Returns how many; what follows is for the caller to look at.
 */
export function takeQuads(_q: u32, _position: u32, _n: u32, _pkts: u32): u32 {
  return 0;
}
