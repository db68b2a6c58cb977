// An lcore's block and streams in the arena, and queues for it to run: rings that a test fills and empties.
import { RingQueue } from "../../pmd/ring/hot.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import type { Mode } from "../../src/forward/modes.ts";
import { Histogram, Lcore, LcoreCommand, Queue, QueueKind, Stream } from "../../src/hot/layout.ts";
import { Ring } from "../../src/hot/ring.ts";
import type { Rig } from "./engines.ts";

const BURST = 32;

export function makeRing(rig: Rig, entries: number): number {
  const ring = rig.private.allocate("ring", Ring.BYTES + 4 * entries);
  rig.put(ring + Ring.MASK, entries - 1);
  rig.put(ring + Ring.WORDS, ring + Ring.BYTES);
  return ring;
}

/** A queue of net_ring's kind. */
export class RingEnd {
  readonly rig: Rig;
  readonly ring: number;
  readonly block: QueueBlock;

  constructor(rig: Rig, ring = makeRing(rig, 256), cache = rig.cache) {
    this.rig = rig;
    this.ring = ring;
    this.block = new QueueBlock(rig.private, "ring queue", 1, 0);
    this.block.set(RingQueue.RING, ring);
    this.block.set(Queue.CACHE, cache);
    this.block.run(QueueKind.RING);
  }

  put(packets: readonly number[]): number {
    packets.forEach((mbuf, k) => {
      this.rig.put(this.rig.out + 4 * k, mbuf);
    });
    return this.rig.hot.ringEnqueue(this.ring, this.rig.out, packets.length);
  }

  take(n = 256): number[] {
    return this.rig.words(this.rig.pkts, this.rig.hot.ringDequeue(this.ring, this.rig.pkts, n));
  }
}

export interface StreamWords {
  mode: Mode;
  rx?: QueueBlock;
  tx?: QueueBlock;
  /** The mode's own words. */
  words?: readonly (readonly [word: number, value: number])[];
}

export class TestLcore {
  readonly block: number;
  readonly streams: number[];
  readonly pollHistogram: number;
  readonly burstHistogram: number;
  private readonly rig: Rig;

  constructor(rig: Rig, streams: readonly StreamWords[], burst = BURST) {
    this.rig = rig;
    const allocate = (what: string, bytes: number) => rig.private.allocate(what, bytes);
    this.block = allocate("lcore", Lcore.BYTES);
    const first = allocate("streams", Stream.BLOCK_BYTES * streams.length);
    this.pollHistogram = allocate("poll histogram", 4 * Histogram.BUCKETS);
    this.burstHistogram = allocate("burst histogram", 4 * (burst + 1));
    this.streams = streams.map(({ mode, rx, tx, words = [] }, k) => {
      const at = first + k * Stream.BLOCK_BYTES;
      rig.put(at + Stream.MODE, mode);
      rig.put(at + Stream.RX_QUEUE, rx?.offset ?? 0);
      rig.put(at + Stream.TX_QUEUE, tx?.offset ?? 0);
      for (const [word, value] of words) rig.put(at + word, value);
      return at;
    });
    for (const [word, value] of [
      [Lcore.STREAMS, streams.length],
      [Lcore.STREAM, first],
      [Lcore.BURST, burst],
      [Lcore.BURST_HISTOGRAM, this.burstHistogram],
      [Lcore.POLL_HISTOGRAM, this.pollHistogram],
      [Lcore.PKTS, rig.pkts],
      [Lcore.COMMAND, LcoreCommand.RUN],
    ] as const) {
      rig.put(this.block + word, value);
    }
  }

  run(rounds = 1): void {
    this.rig.hot.runLcore(this.block, rounds);
  }

  counter(word: number): number {
    return this.rig.counter(this.block + word);
  }
}
