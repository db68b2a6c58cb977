import { r16, r32, w16, w32, publish16 } from "../../src/hot/mem.ts";
import { Virtq } from "../../pmd/virtio/layout.ts";
/** completes n posted rx descriptors in order */
export function fillSplit(q: u32, at: u32, n: u32): u32 {
  const used: u32 = r32(q + Virtq.USED);
  const mask: u32 = r32(q + Virtq.SIZE) - 1;
  const avail: u32 = r16(r32(q + Virtq.AVAIL) + 2);
  let k: u32 = 0;
  for (; k < n && ((at + k) & 0xffff) != avail; k++) {
    const slot: u32 = (at + k) & mask;
    const d: u32 = r32(r32(q + Virtq.DATA) + (slot << 2));
    w16(d - 2, 1);
    w32(used + 4 + (slot << 3), slot);
    w32(used + 8 + (slot << 3), 76);
  }
  publish16(used + 2, (at + k) & 0xffff);
  return k;
}
export function fillPacked(q: u32, at: u32, n: u32): u32 {
  const desc: u32 = r32(q + Virtq.DESC);
  const size: u32 = r32(q + Virtq.SIZE);
  let k: u32 = 0;
  for (; k < n; k++) {
    const slot: u32 = (at + k) & (size - 1);
    const f: u32 = r32(desc + (slot << 4) + 12) >>> 16;
    const want: u32 = ((at + k) & size) == 0 ? 0x80 : 0x8000;
    if ((f & 0x8080) != want) break;
    const d: u32 = r32(r32(q + Virtq.DATA) + (slot << 2));
    w16(d - 2, 1);
    w32(desc + (slot << 4) + 8, 76);
    w32(desc + (slot << 4) + 12, slot | ((((at + k) & size) == 0 ? 0x8082 : 2) << 16));
  }
  return k;
}
/** completes all tx */
export function doneSplit(q: u32): void {
  const used: u32 = r32(q + Virtq.USED);
  publish16(used + 2, r16(r32(q + Virtq.AVAIL) + 2));
}
export function donePacked(q: u32, at: u32): u32 {
  const desc: u32 = r32(q + Virtq.DESC);
  const size: u32 = r32(q + Virtq.SIZE);
  let k: u32 = 0;
  for (;;) {
    const slot: u32 = (at + k) & (size - 1);
    const f: u32 = r32(desc + (slot << 4) + 12) >>> 16;
    const want: u32 = ((at + k) & size) == 0 ? 0x80 : 0x8000;
    if ((f & 0x8080) != want) break;
    w32(desc + (slot << 4) + 12, slot | ((((at + k) & size) == 0 ? 0x8080 : 0) << 16));
    k++;
  }
  return k;
}
