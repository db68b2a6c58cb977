// The table of modes, and what writes an lcore's work into its block: one stream for each pair of queues. What a mode
// is told beside is prepared by a file of its own in streams/.
import { nearest } from "../eal/nearest.ts";
import { PollmodeError } from "../errors.ts";
import { Lcore, Stream } from "../hot/layout.ts";
import type { LcoreControl } from "../lcore/lcores.ts";
import type { AppQueue } from "../lcore/task.ts";
import { BURST_DEFAULT, BURST_MAX, STREAMS_MAX } from "../limits.ts";
import type { MbufPool } from "../memory/pool.ts";
import type { Zone } from "../memory/zone.ts";
import { Mode } from "./modes.ts";
import { LcoreMemory, StreamBlock } from "./streams/block.ts";
import { checkGenerate, prepareFlowgen, prepareTxOnly } from "./streams/generate.ts";
import { checkNoisy, emptyFifo, prepareNoisy } from "./streams/noisy.ts";
import { checkCsum, checkMac, prepareCsum, prepareEcho, prepareMac } from "./streams/rewrite.ts";
import { checkSequence, prepareSequence } from "./streams/sequence.ts";
import { bound, type StreamOptions } from "./streams/spec.ts";
import { checkWatch, isWatched, prepareWatch, type WatchOptions } from "./streams/watch.ts";

export { udpTemplate } from "./streams/generate.ts";
export type { ChecksumName } from "./streams/spec.ts";
export { checkWatch, type WatchOptions } from "./streams/watch.ts";

/**
 * What a stream does (Pollmode.forward): a forwarding mode between two queues, and that mode's options. Errors:
 * FORWARD_MODE, FORWARD_OPTION, QUEUE_UNKNOWN.
 */
export interface StreamSpec extends StreamOptions {
  /** docs/forwarding.md says what each does. */
  mode: ModeName;
}

interface ModeControl {
  readonly mode: Mode;
  readonly rx: boolean;
  readonly tx: boolean;
  /** Throws for options that are wrong; nothing is changed. */
  readonly check?: (options: StreamOptions, dataRoom: number) => void;
  /** Fills in the mode's words. */
  readonly prepare?: (block: StreamBlock, options: StreamOptions) => void;
}

const both = { rx: true, tx: true } as const;
const sequence = { check: checkSequence, prepare: prepareSequence } as const;

const MODES = {
  io: { mode: Mode.IO, ...both },
  mac: { mode: Mode.MAC, ...both, check: checkMac, prepare: prepareMac },
  macswap: { mode: Mode.MACSWAP, ...both },
  flowgen: {
    mode: Mode.FLOWGEN,
    ...both,
    check: (options, dataRoom) => checkGenerate(options, dataRoom, true),
    prepare: prepareFlowgen,
  },
  rxonly: { mode: Mode.COUNT, rx: true, tx: false },
  txonly: {
    mode: Mode.TXONLY,
    rx: false,
    tx: true,
    check: (options, dataRoom) => checkGenerate(options, dataRoom, false),
    prepare: prepareTxOnly,
  },
  csum: { mode: Mode.CSUM, ...both, check: checkCsum, prepare: prepareCsum },
  icmpecho: { mode: Mode.ICMPECHO, ...both, prepare: prepareEcho },
  noisy: { mode: Mode.NOISY, ...both, check: checkNoisy, prepare: prepareNoisy },
  "5tswap": { mode: Mode.FIVE_TUPLE_SWAP, ...both },
  count: { mode: Mode.COUNT, rx: true, tx: false },
  touch: { mode: Mode.TOUCH, rx: true, tx: false },
  "seq-send": { mode: Mode.SEQ_SEND, rx: false, tx: true, ...sequence },
  "seq-check": { mode: Mode.SEQ_CHECK, rx: true, tx: false, ...sequence },
} as const satisfies Record<string, ModeControl>;

/** A forwarding mode that runs in WebAssembly: `io`, `macswap` and all others in `modeNames`. */
export type ModeName = keyof typeof MODES;
/** All forwarding modes. */
export const modeNames = Object.keys(MODES) as ModeName[];

interface Place {
  zone: Zone;
  pool: MbufPool;
  lcore: LcoreControl;
}

export interface Assignment extends Place {
  streams: readonly StreamSpec[];
  burst?: number | undefined;
}

/** What each lcore's streams have, until it is given others. */
const memories = new WeakMap<LcoreControl, LcoreMemory>();

/**
 * Fills in the streams of an lcore that waits. Returns the queue blocks that it serves from now on. Throws before
 * anything is changed where an option is wrong; where memory is short the lcore has no streams afterwards.
 */
export function assignStreams({ zone, pool, lcore, streams, burst = BURST_DEFAULT }: Assignment): number[] {
  bound("streams", streams.length, 1, STREAMS_MAX);
  bound("burst", burst, 1, BURST_MAX);
  const plans = streams.map((spec) => {
    const control = controlOf(spec.mode);
    const rx = control.rx ? queueOf(spec, "rx") : 0;
    const tx = control.tx ? queueOf(spec, "tx") : 0;
    control.check?.(spec, pool.dataRoom);
    checkWatch(spec);
    return { spec, control, rx, tx };
  });
  forgetStreams(pool, lcore);
  const memory = new LcoreMemory(zone);
  memories.set(lcore, memory);
  try {
    plans.forEach(({ spec, control, rx, tx }, k) => {
      const block = streamBlock(lcore, memory, k, pool.dataRoom);
      block.set(Stream.MODE, control.mode);
      block.set(Stream.RX_QUEUE, rx);
      block.set(Stream.TX_QUEUE, tx);
      control.prepare?.(block, spec);
      prepareWatch(block, spec);
    });
  } catch (error) {
    forgetStreams(pool, lcore);
    throw error;
  }
  lcore.set(Lcore.STREAMS, streams.length);
  lcore.set(Lcore.BURST, burst);
  return plans.flatMap(({ rx, tx }) => [rx, tx]).filter((queue) => queue !== 0);
}

/**
 * An application takes the place of an lcore's streams. Where somebody looks at it, its queue pairs have stream blocks
 * all the same: their arena offsets, in the queues' order.
 */
export function assignApp(
  { zone, pool, lcore }: Place,
  queues: readonly AppQueue[],
  watch: WatchOptions,
): number[] | undefined {
  checkWatch(watch);
  const watched = isWatched(watch);
  if (watched) bound("queue pairs of an application that is looked at", queues.length, 1, STREAMS_MAX);
  forgetStreams(pool, lcore);
  if (!watched) return undefined;
  const memory = new LcoreMemory(zone);
  memories.set(lcore, memory);
  try {
    const blocks = queues.map(({ rx, tx }, k) => {
      const block = streamBlock(lcore, memory, k, pool.dataRoom);
      block.set(Stream.RX_QUEUE, rx);
      block.set(Stream.TX_QUEUE, tx);
      prepareWatch(block, watch);
      return block.at;
    });
    lcore.set(Lcore.STREAMS, queues.length);
    return blocks;
  } catch (error) {
    forgetStreams(pool, lcore);
    throw error;
  }
}

/** The lcore's k-th, zeroed. */
function streamBlock(lcore: LcoreControl, memory: LcoreMemory, k: number, dataRoom: number): StreamBlock {
  const at = lcore.get(Lcore.STREAM) + k * Stream.BLOCK_BYTES;
  memory.zone.arena.clear(at, Stream.BLOCK_BYTES);
  return new StreamBlock(lcore, memory, at, dataRoom);
}

/** Gives packets that wait in the streams of an lcore that was stopped back to the pool. Counters stay readable. */
export function emptyStreams(pool: MbufPool, lcore: LcoreControl): void {
  const memory = memories.get(lcore);
  for (const fifo of memory?.fifos ?? []) emptyFifo(memory!.zone.arena, pool, fifo);
}

function forgetStreams(pool: MbufPool, lcore: LcoreControl): void {
  emptyStreams(pool, lcore);
  lcore.set(Lcore.STREAMS, 0);
  memories.get(lcore)?.free();
  memories.delete(lcore);
}

function controlOf(mode: ModeName): ModeControl {
  if (Object.hasOwn(MODES, mode)) return MODES[mode];
  const near = nearest(mode, modeNames);
  const fix = `${near ? `did you mean ${near}? ` : ""}modes: ${modeNames.join(", ")}`;
  throw new PollmodeError("FORWARD_MODE", `there is no forwarding mode ${mode}`, fix);
}

function queueOf(spec: StreamSpec, way: "rx" | "tx"): number {
  const end = spec[way];
  const queue = end?.port[way === "rx" ? "rxQueues" : "txQueues"][end.queue];
  if (queue !== undefined) return queue;
  const message = `${spec.mode}: no ${way} queue${end ? ` ${end.queue} on port ${end.port.id}` : " given"}`;
  const fix = "configure the port with enough queues, and name the queue";
  throw new PollmodeError("QUEUE_UNKNOWN", message, fix);
}
