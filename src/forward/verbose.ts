// `set verbose`: the packets that lcores set aside to be shown. Each lcore has a ring for them; what comes while it is
// full is counted, not kept.
import { Lcore } from "../hot/layout.ts";
import type { LcoreControl } from "../lcore/lcores.ts";
import type { Arena } from "../memory/arena.ts";
import { VerboseRing, VerboseSlot } from "./watch.ts";

/** A packet that a stream with `verbose` has set aside to be shown. */
export interface VerbosePacket {
  /** Who handled it. */
  readonly lcore: number;
  /** In by the port, or out. */
  readonly way: "received" | "sent";
  /** The port's number. */
  readonly port: number;
  /** The queue's number. */
  readonly queue: number;
  /** Packets of the burst that it was in. Sent: of those that were to be sent. */
  readonly burst: number;
  /** Its place in the burst, from 0. */
  readonly index: number;
  /** Bytes of the whole packet. */
  readonly length: number;
  /** mbufs that it lies in. */
  readonly segments: number;
  /** OlFlag bits. */
  readonly olFlags: number;
  /** The hash of receive-side scaling. Meant where olFlags has RX_RSS_HASH. */
  readonly rssHash: number;
  /** The 802.1Q tag that was taken off. Meant where olFlags has RX_VLAN_STRIPPED. */
  readonly vlanTci: number;
  /** The first bytes, 192 at most. */
  readonly data: Uint8Array;
}

/** What drainVerbose() found. */
export interface VerboseDrain {
  /** By lcore, in the order in which each put them there. */
  readonly packets: readonly VerbosePacket[];
  /** Packets that were not kept since the lcores first had rings, in all. */
  readonly missed: number;
}

/**
 * Takes out all packets that these lcores set aside: `drainVerbose(engine.arena, engine.lcores.all)`. May be called at
 * any time, running or not.
 */
export function drainVerbose(arena: Arena, lcores: readonly LcoreControl[]): VerboseDrain {
  const packets: VerbosePacket[] = [];
  let missed = 0;
  for (const lcore of lcores) {
    const ring = lcore.get(Lcore.VERBOSE);
    if (ring === 0) continue;
    const tail = Atomics.load(arena.u32, (ring + VerboseRing.TAIL) >>> 2);
    const head = (ring + VerboseRing.HEAD) >>> 2;
    for (let k = arena.u32[head]!; k !== tail; k = (k + 1) >>> 0) {
      const place = k & (VerboseRing.SLOTS - 1);
      packets.push(readSlot(arena, lcore.id, ring + VerboseRing.FIRST + place * VerboseSlot.BYTES));
    }
    Atomics.store(arena.u32, head, tail);
    missed += arena.f64[(ring + VerboseRing.MISSED) >>> 3]!;
  }
  return { packets, missed };
}

function readSlot({ u8, u32 }: Arena, lcore: number, slot: number): VerbosePacket {
  const at = (word: number) => u32[(slot + word) >>> 2]!;
  const data = slot + VerboseSlot.DATA;
  return {
    lcore,
    way: at(VerboseSlot.SENT) === 0 ? "received" : "sent",
    port: at(VerboseSlot.PORT),
    queue: at(VerboseSlot.QUEUE),
    burst: at(VerboseSlot.BURST),
    index: at(VerboseSlot.INDEX),
    length: at(VerboseSlot.PKT_LEN),
    segments: at(VerboseSlot.NB_SEGS),
    olFlags: at(VerboseSlot.OL_FLAGS),
    rssHash: at(VerboseSlot.RSS_HASH),
    vlanTci: at(VerboseSlot.VLAN_TCI),
    data: u8.slice(data, data + at(VerboseSlot.KEPT)),
  };
}
