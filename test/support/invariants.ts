// What holds whatever a peer writes into shared memory: private words stay as they are, nothing is written beside
// what is owned, packets are whole, no mbuf is lost or doubled, a queue that stopped says why.

import type { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { Mbuf, Pool, Queue } from "../../src/hot/layout.ts";
import type { Zone } from "../../src/memory/zone.ts";
import type { Rig } from "./engines.ts";

const CANARY = 0xc5;
const CANARY_BYTES = 256;
const NEEDLE = Buffer.alloc(16, CANARY);
/** Bursts are over in microseconds of the processor's time; this much covers a compiler at work beside them. */
const CALL_MS_MAX = 1000;

/** Words of every queue block that change in use; drivers add their own. */
const COMMON_WORDS = new Set<number>([Queue.RUN, Queue.ERROR, Queue.ERROR_ARG]);
for (let word: number = Queue.PACKETS; word < Queue.DRIVER; word += 4) COMMON_WORDS.add(word);

export class Invariants {
  private readonly rig: Rig;
  private readonly constant: [at: number, value: number][] = [];
  private readonly canaries: { at: number; bytes: number }[] = [];
  private readonly mbufs: { first: number; end: number };
  longestMs = 0;

  constructor(rig: Rig) {
    this.rig = rig;
    const { block, count } = rig.pool;
    const first = rig.word(block + Pool.FIRST);
    this.mbufs = { first, end: first + count * Mbuf.BYTES };
    for (const word of [Pool.FIRST, Pool.COUNT, Pool.STACK, Pool.DATA_ROOM, Pool.CACHES])
      this.pin(block + word);
    for (let mbuf = first; mbuf < this.mbufs.end; mbuf += Mbuf.BYTES) {
      for (const word of [Mbuf.BUF, Mbuf.BUF_LEN, Mbuf.POOL]) this.pin(mbuf + word);
    }
  }

  private pin(at: number): void {
    this.constant.push([at, this.rig.word(at)]);
  }

  /** A queue block, all of it but for the words that its driver changes. */
  watch(block: QueueBlock, changing: readonly number[]): void {
    for (let word = 0; word < Queue.BLOCK_BYTES; word += 4) {
      if (!COMMON_WORDS.has(word) && !changing.includes(word)) this.pin(block.offset + word);
    }
  }

  /** Sets a piece of a zone aside that nobody may write. */
  guard(zone: Zone): void {
    this.guardRange(zone.allocate("canary", CANARY_BYTES), CANARY_BYTES);
  }

  guardRange(at: number, bytes: number): void {
    this.rig.arena.u8.fill(CANARY, at, at + bytes);
    this.canaries.push({ at, bytes });
  }

  /** Runs a burst; a trap goes through to the caller. */
  timed<T>(call: () => T): T {
    const start = process.cpuUsage();
    const result = call();
    const { user, system } = process.cpuUsage(start);
    this.longestMs = Math.max(this.longestMs, (user + system) / 1000);
    return result;
  }

  /** What is wrong now; `held`: the packets that queues and the test hold. */
  faults(held: readonly number[]): string[] {
    const { rig } = this;
    for (const [at, value] of this.constant) {
      if (rig.word(at) !== value) return [`private word ${at} is ${rig.word(at)}, was ${value}`];
    }
    for (const { at, bytes } of this.canaries) {
      const words = rig.arena.u32.subarray(at >>> 2, (at + bytes) >>> 2);
      for (let k = 0; k < words.length; k++) {
        if (words[k] !== 0xc5c5c5c5) return [`memory at ${at + 4 * k} was written that belongs to nobody`];
      }
    }
    if (this.longestMs > CALL_MS_MAX) return [`a call took ${this.longestMs} ms`];
    return rig.audit(held);
  }

  /** What is wrong with a packet that a receive burst returned. */
  packetFaults(first: number): string[] {
    const { rig } = this;
    let bytes = 0;
    let count = 0;
    for (let mbuf = first; mbuf !== 0; mbuf = rig.word(mbuf + Mbuf.NEXT)) {
      const { first: begin, end } = this.mbufs;
      if (mbuf < begin || mbuf >= end || (mbuf - begin) % Mbuf.BYTES !== 0) return [`${mbuf} is no mbuf`];
      const data = rig.word(mbuf + Mbuf.DATA);
      const length = rig.word(mbuf + Mbuf.DATA_LEN);
      const buffer = rig.word(mbuf + Mbuf.BUF);
      const fits = data >= buffer && data + length <= buffer + rig.word(mbuf + Mbuf.BUF_LEN);
      if (!fits) return [`${length} bytes at ${data} are not in the mbuf's buffer at ${buffer}`];
      bytes += length;
      if (++count > rig.pool.count) return ["a packet whose segments go round"];
    }
    if (bytes !== rig.word(first + Mbuf.PKT_LEN)) return [`${bytes} bytes, but PKT_LEN says otherwise`];
    if (count !== rig.arena.u16[(first + Mbuf.NB_SEGS) >>> 1])
      return [`${count} segments, but NB_SEGS says otherwise`];
    if (bytes < 14) return [`a frame of ${bytes} bytes`];
    return rig.frame(first).includes(NEEDLE) ? ["a packet that shows private memory"] : [];
  }
}

/** Interesting values for a field that holds `value`, of `bits` bits. */
export function variants(value: number, bits: 16 | 32, limit: number): number[] {
  const edge = [0, 1, 2, limit - 1, limit, limit + 1, 2 ** (bits - 1), 2 ** bits - 1];
  return [...edge, value + 1, value - 1, value ^ 0x80, value ^ 0x8000].map((v) =>
    bits === 16 ? v & 0xffff : v >>> 0,
  );
}
