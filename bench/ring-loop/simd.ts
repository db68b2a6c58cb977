// Descriptors, the plain way: words one by one, packets one by one. `simd.as.ts` beside it has wider stores, as a C
// compiler would make them, and takes four packets at a time.
import { w32 } from "../../src/hot/mem.ts";
import { Ring, RxDesc, TxDesc } from "./layout.ts";

/** Writes a descriptor: bus address of the arena offset `address`, then the third and fourth word. */
export function describe(desc: u32, address: u32, third: u32, fourth: u32): void {
  w32(desc + RxDesc.ADDRESS, address);
  w32(desc + RxDesc.ADDRESS_HIGH, Ring.BUS_HIGH);
  w32(desc + TxDesc.COMMAND, third);
  w32(desc + TxDesc.STATUS, fourth);
}

/**
 * Takes the four packets that begin at descriptor `desc` and mbuf slot `slot`, if all of them are there: mbufs to the
 * words at `out`, the four free ones at `fresh` into their places; where the frames begin to the words `frames` bytes
 * behind `out`, unless that is 0. Returns 0 if it has done nothing.
 */
export function takeFour(_desc: u32, _slot: u32, _fresh: u32, _out: u32, _frames: u32): u32 {
  return 0;
}

/**
 * Describes the four packets at `pkts` from descriptor `desc` and mbuf slot `slot` on, if that is a multiple of four:
 * then only the last of them can be the last of its lot. Returns 0 if it has done nothing.
 */
export function sendFour(_desc: u32, _slot: u32, _pkts: u32): u32 {
  return 0;
}
