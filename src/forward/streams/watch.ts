// What is looked at beside forwarding: --record-burst-stats, verbose, latency.
import { randomInt } from "node:crypto";
import { Lcore, Stream, Watch } from "../../hot/layout.ts";
import { BURST_MAX } from "../../limits.ts";
import { VerboseRing } from "../watch.ts";
import type { StreamBlock } from "./block.ts";
import { bound, type StreamOptions } from "./spec.ts";

/** Tells this process's stamps from others': their clocks differ. */
const stampTag = randomInt(1, 2 ** 32);

/** What may be looked at, of a stream or of an application. */
export type WatchOptions = Pick<StreamOptions, "latency" | "verbose" | "recordBursts">;

export function isWatched({ verbose = 0, latency = false, recordBursts = false }: WatchOptions): boolean {
  return verbose > 0 || latency || recordBursts;
}

export function checkWatch({ verbose = 0 }: WatchOptions): void {
  bound("verbose level", verbose, 0, 65535);
}

export function prepareWatch(block: StreamBlock, options: WatchOptions): void {
  const { verbose = 0, latency = false, recordBursts = false } = options;
  let watched = 0;
  block.set(Stream.STAMP_TAG, stampTag);
  if (recordBursts) {
    watched |= Watch.BURSTS;
    block.set(Stream.RX_BURSTS, block.memory.allocate("rx bursts", 4 * (BURST_MAX + 1)));
    block.set(Stream.TX_BURSTS, block.memory.allocate("tx bursts", 4 * (BURST_MAX + 1)));
  }
  if (latency) {
    watched |= Watch.LATENCY;
    block.set(Stream.LATENCY, block.lcore.get(Lcore.LATENCY_HISTOGRAM));
  }
  // testpmd's levels: 1 received, 2 sent, any other both
  if (verbose === 1 || verbose > 2) watched |= Watch.RECEIVED;
  if (verbose >= 2) watched |= Watch.SENT;
  if (verbose > 0) block.set(Stream.VERBOSE, verboseRing(block));
  block.set(Stream.WATCH, watched);
}

/** The lcore's ring, which stays for as long as the lcore does. */
function verboseRing({ lcore, memory }: StreamBlock): number {
  const known = lcore.get(Lcore.VERBOSE);
  if (known !== 0) return known;
  const ring = memory.zone.allocate(`lcore ${lcore.id}: verbose`, VerboseRing.BYTES);
  lcore.set(Lcore.VERBOSE, ring);
  return ring;
}
