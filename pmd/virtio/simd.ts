// Vector variants of the receive loops; here, the plain engine, there is none: every packet takes the careful way.
// `simd.as.ts` beside it takes packets four at a time while they are ordinary, and leaves the rest to the same way.

import { publish32, w32 } from "../../src/hot/mem.ts";

/** A virtio_net_hdr just before `data` that asks for nothing (virtio 1.2, 5.1.6.2: num_buffers is 0 on transmit). */
export function clearHeader(data: u32): void {
  w32(data - 12, 0);
  w32(data - 8, 0);
  w32(data - 4, 0);
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
