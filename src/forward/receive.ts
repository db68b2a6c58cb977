// What a mode does with a burst that came, before all else: counts it, and looks at it where somebody asked for that.
// Empty polls are the most frequent ones and must cost nothing, so they do not come here.
import { Stream } from "../hot/layout.ts";
import { r32 } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";
import { watchReceived } from "./watch.ts";

/** The stream received `got` packets, at least one. */
export function received(s: u32, pkts: u32, got: u32): void {
  if (r32(s + Stream.WATCH) != 0) watchReceived(s, pkts, got);
  bump(s + Stream.RX_PACKETS, got);
}
