// How both of a queue's hot files walk their ring.
import { r32, w32 } from "../../src/hot/mem.ts";
import { AfPacket } from "./layout.ts";

/** Goes on to the slot behind `slot`; a block may end with bytes that no slot has. */
export function nextSlot(q: u32, slot: u32): void {
  const left: u32 = r32(q + AfPacket.LEFT) - 1;
  if (left != 0) {
    w32(q + AfPacket.LEFT, left);
    w32(q + AfPacket.SLOT, slot + r32(q + AfPacket.FRAME_BYTES));
    return;
  }
  const next: u32 = r32(q + AfPacket.BLOCK) + 1;
  const block: u32 = next == r32(q + AfPacket.BLOCKS) ? 0 : next;
  w32(q + AfPacket.BLOCK, block);
  w32(q + AfPacket.LEFT, r32(q + AfPacket.BLOCK_FRAMES));
  w32(q + AfPacket.SLOT, r32(q + AfPacket.RING) + block * r32(q + AfPacket.BLOCK_BYTES));
}
