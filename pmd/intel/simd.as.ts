// Stores wider than a word; each is explained in simd.ts.

// @ts-ignore: decorator
@inline export function describe(desc: u32, a: u32, b: u32, c: u32, d: u32): void {
  store<u64>(desc, <u64>a | (<u64>b << 32));
  store<u64>(desc, <u64>c | (<u64>d << 32), 8);
}
