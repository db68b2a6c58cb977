// Polls of an application, counted into the lcore's block as the poll loop (src/hot/loop.ts) counts those of streams:
// by the packets they bring, and one round in 64 with a clock at each poll.
import { Histogram, Lcore } from "../hot/layout.ts";
import { BURST_MAX } from "../limits.ts";
import type { App } from "./task.ts";

const ROUND_POLLS = 256;
const SAMPLE_EVERY = 64;
/** A poll that took so long was interrupted. */
const PUT_OFF_NS = 1e6;
const NS_MAX = 4e9;

export class AppMeter {
  private readonly words: Uint32Array;
  private readonly counters: Float64Array;
  /** Polls by packets brought; more than BURST_MAX count as that. */
  private readonly bursts: Uint32Array;
  private readonly pollTimes: Uint32Array;
  private lastMs = 0;

  /** `block`: arena offset of the lcore's block. */
  constructor(memory: WebAssembly.Memory, block: number) {
    const { buffer } = memory;
    this.words = new Uint32Array(buffer, block, Lcore.BYTES >>> 2);
    this.counters = new Float64Array(buffer, block, Lcore.BYTES >>> 3);
    this.bursts = new Uint32Array(buffer, this.words[Lcore.BURST_HISTOGRAM >>> 2]!, BURST_MAX + 1);
    this.pollTimes = new Uint32Array(buffer, this.words[Lcore.POLL_HISTOGRAM >>> 2]!, Histogram.BUCKETS);
  }

  /** 256 polls and their counters. */
  round(app: App): void {
    if (this.words[Lcore.HEARTBEAT >>> 2]! % SAMPLE_EVERY === 0) this.clocked(app);
    else this.plain(app);
    this.measureRound();
  }

  private plain(app: App): void {
    let packets = 0;
    let empty = 0;
    for (let k = 0; k < ROUND_POLLS; k++) {
      const got = app.poll();
      if (got === 0) empty++;
      else {
        packets += got;
        this.bursts[got < BURST_MAX ? got : BURST_MAX]!++;
      }
    }
    this.count(packets, empty);
  }

  private clocked(app: App): void {
    const { counters } = this;
    let packets = 0;
    let empty = 0;
    let last = performance.now();
    for (let k = 0; k < ROUND_POLLS; k++) {
      const got = app.poll();
      const now = performance.now();
      const ns = (now - last) * 1e6;
      last = now;
      this.record(ns);
      if (got === 0) {
        empty++;
        continue;
      }
      packets += got;
      this.bursts[got < BURST_MAX ? got : BURST_MAX]!++;
      if (ns >= PUT_OFF_NS) continue;
      counters[Lcore.BUSY_NS >>> 3]! += ns;
      counters[Lcore.BUSY_POLLS >>> 3]! += 1;
      counters[Lcore.BUSY_PACKETS >>> 3]! += got;
    }
    this.count(packets, empty);
  }

  private count(packets: number, empty: number): void {
    this.counters[Lcore.POLLS >>> 3]! += ROUND_POLLS;
    this.counters[Lcore.EMPTY_POLLS >>> 3]! += empty;
    this.counters[Lcore.PACKETS >>> 3]! += packets;
  }

  /** As recordNs in src/hot/histogram.ts. */
  private record(ns: number): void {
    const value = Math.min(NS_MAX, Math.max(0, Math.floor(ns)));
    const shift = Math.max(0, 32 - Math.clz32(value | 1) - Histogram.SUB_BITS);
    this.pollTimes[(shift << Histogram.SUB_BITS) + (value >>> shift)]!++;
  }

  private measureRound(): void {
    const now = performance.now();
    const ns = (now - this.lastMs) * 1e6;
    if (this.lastMs > 0 && ns > this.counters[Lcore.ROUND_NS_MAX >>> 3]!) {
      this.counters[Lcore.ROUND_NS_MAX >>> 3] = ns;
    }
    this.lastMs = now;
  }
}
