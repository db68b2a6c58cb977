// What an lcore's streams count, read out of the arena at any time without disturbing the lcore. Counts begin at 0 when
// the lcore is given its streams, and stay readable when it has stopped, until it is given others.
import { Histogram, Lcore, Stream } from "../hot/layout.ts";
import type { LcoreControl } from "../lcore/lcores.ts";
import { BURST_MAX, STREAMS_MAX } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";

/**
 * One stream's counters (Pollmode.forward), since it was started. Of an application (Pollmode.run) for which verbose,
 * recordBursts or latency was asked: one queue pair's.
 */
export interface StreamCounters {
  /** Arena offset of its receive queue's block, as Port.rxQueues has it; 0: none. */
  readonly rxQueue: number;
  /** Arena offset of its transmit queue's block, as Port.txQueues has it; 0: none. */
  readonly txQueue: number;
  /** Packets that it received. */
  readonly rxPackets: number;
  /** Packets that it sent. */
  readonly txPackets: number;
  /** Packets that transmit refused and that were given back. */
  readonly txDropped: number;
  /** Packets that the mode itself gave back: for icmpecho what it does not answer. */
  readonly rxDropped: number;
  /** csum: packets that came with a wrong IPv4 header checksum. */
  readonly badIpChecksum: number;
  /** csum: packets that came with a wrong TCP or UDP checksum. */
  readonly badL4Checksum: number;
  /** csum with `tunnels`: packets of tunnels that came with a wrong outer IPv4 header checksum. */
  readonly badOuterIpChecksum: number;
  /** csum with `tunnels`: packets of tunnels that came with a wrong outer UDP checksum. */
  readonly badOuterL4Checksum: number;
  /** Bursts by the packets that were received; undefined unless `recordBursts`. 32-bit: they wrap. */
  readonly rxBursts: Uint32Array | undefined;
  /** Bursts by the packets that were sent; undefined unless `recordBursts`. 32-bit: they wrap. */
  readonly txBursts: Uint32Array | undefined;
}

/**
 * The streams of an lcore in the order in which they were given to it:
 * `readStreams(engine.arena, engine.lcores.byId(0))`.
 */
export function readStreams(arena: Arena, lcore: LcoreControl): StreamCounters[] {
  const count = Math.min(lcore.get(Lcore.STREAMS), STREAMS_MAX);
  const first = lcore.get(Lcore.STREAM);
  return Array.from({ length: count }, (_, k) => readStream(arena, first + k * Stream.BLOCK_BYTES));
}

function readStream({ u32, f64 }: Arena, at: number): StreamCounters {
  const word = (offset: number) => u32[(at + offset) >>> 2]!;
  const counter = (offset: number) => f64[(at + offset) >>> 3]!;
  const bursts = (offset: number) => {
    const start = word(offset) >>> 2;
    return start === 0 ? undefined : u32.slice(start, start + BURST_MAX + 1);
  };
  return {
    rxQueue: word(Stream.RX_QUEUE),
    txQueue: word(Stream.TX_QUEUE),
    rxPackets: counter(Stream.RX_PACKETS),
    txPackets: counter(Stream.TX_PACKETS),
    txDropped: counter(Stream.TX_DROPPED),
    rxDropped: counter(Stream.BAD),
    badIpChecksum: counter(Stream.BAD_IP_CKSUM),
    badL4Checksum: counter(Stream.BAD_L4_CKSUM),
    badOuterIpChecksum: counter(Stream.BAD_OUTER_IP_CKSUM),
    badOuterL4Checksum: counter(Stream.BAD_OUTER_L4_CKSUM),
    rxBursts: bursts(Stream.RX_BURSTS),
    txBursts: bursts(Stream.TX_BURSTS),
  };
}

/**
 * Ages of the stamped packets (`stamp`, `latency` of a stream) that came to an lcore since it was made: packets by
 * bucket of ns, whose bounds src/telemetry/histogram.ts knows. 32-bit: they wrap.
 */
export function readLatency({ u32 }: Arena, lcore: LcoreControl): Uint32Array {
  const start = lcore.get(Lcore.LATENCY_HISTOGRAM) >>> 2;
  return u32.slice(start, start + Histogram.BUCKETS);
}
