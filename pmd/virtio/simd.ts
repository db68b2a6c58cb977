// Vector variants of the receive loops; here, the plain engine, there is none: every packet takes the careful way.
// `simd.as.ts` beside it takes packets four at a time while they are ordinary, and leaves the rest to the same way.

/**
 * Split ring: takes up to `n` ordinary packets (in order, one buffer, a length that fits) that begin at used entry
 * `position` into the words at `pkts`. Returns how many; what follows is for the caller to look at.
 */
export function takeQuads(_q: u32, _position: u32, _n: u32, _pkts: u32): u32 {
  return 0;
}
