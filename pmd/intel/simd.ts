// Stores wider than a word; here, the plain engine, there are none. `simd.as.ts` beside it is the same list for
// WebAssembly.
import { w32 } from "../../src/hot/mem.ts";

/** Writes a descriptor's four words. */
export function describe(desc: u32, a: u32, b: u32, c: u32, d: u32): void {
  w32(desc, a);
  w32(desc + 4, b);
  w32(desc + 8, c);
  w32(desc + 12, d);
}
