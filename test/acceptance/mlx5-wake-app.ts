// Applications of the tests of receive interrupts. On one lcore the sender: numbered frames, one at a time with pauses,
// or many. On the other the receiver, which may sleep, and notes when each came. mlx5-wake.ts leads both by words in
// shared memory.
import { readFileSync } from "node:fs";
import type { AppContext } from "../../src/index.ts";

/** Int32 words. */
export const Word = { WANTED: 0, SENT: 1, CAME: 2, WRONG: 3, WINDOW: 4, ASKED: 5, ANSWERED: 6 } as const;
/** Float64 words: milliseconds. */
export const Time = { PAUSE_MAX: 4, CPU: 5, FRAMES: 8 } as const;
/** Of a frame, at timesOf(its number): when it was sent, when it came, how long the receiver was away before. */
export const FrameTime = { SENT: 0, CAME: 1, AWAY: 2, WORDS: 4 } as const;
export const FRAMES_MAX = 4096;
export const SHARED_BYTES = 8 * (Time.FRAMES + FrameTime.WORDS * FRAMES_MAX);
export const timesOf = (number: number) => Time.FRAMES + FrameTime.WORDS * (number % FRAMES_MAX);

export interface WakeOptions {
  role: "sender" | "receiver";
  shared: SharedArrayBuffer;
  /** Of the receiver's queues, in their order. */
  addresses: Uint8Array[];
}

const BURST = 32;
const FRAME_BYTES = 64;
const ETHERTYPE = [0x88, 0xb6];
const TYPE_AT = 12;
const NUMBER_AT = 60;
/** The beginning of a sequence of pauses that is the same in each run. */
const SEED = 12345;

/** CLOCK_MONOTONIC, the same for all threads. */
function now(): number {
  const [seconds, ns] = process.hrtime();
  return seconds * 1e3 + ns / 1e6;
}

function sender({ shared, addresses }: WakeOptions, context: AppContext) {
  const words = new Int32Array(shared);
  const times = new Float64Array(shared);
  const { u8, pkts, queues } = context;
  const out = queues[0]!;
  let seed = SEED;
  let after = 0;
  let sent = 0;
  /** 0 to 1. */
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
  const make = (mbuf: number, number: number) => {
    const at = context.data(mbuf);
    u8.fill(0, at, at + FRAME_BYTES);
    u8.set(addresses[number % addresses.length]!, at);
    u8.set(ETHERTYPE, at + TYPE_AT);
    new DataView(u8.buffer, at, FRAME_BYTES).setUint32(NUMBER_AT, number);
    context.setLength(mbuf, FRAME_BYTES);
  };
  return () => {
    const time = now();
    const came = Atomics.load(words, Word.CAME);
    const pauseMs = times[Time.PAUSE_MAX]!;
    const room = words[Word.WINDOW]! - (sent - came);
    const n = Math.min(BURST, room, Atomics.load(words, Word.WANTED) - sent);
    if (n <= 0) {
      if (pauseMs > 0 && room <= 0) after = 0;
      return 0;
    }
    if (pauseMs > 0 && after === 0) after = time + pauseMs * random();
    if (pauseMs > 0 && time < after) return 0;
    after = 0;
    if (context.alloc(n) === 0) return 0;
    for (let k = 0; k < n; k++) {
      make(pkts[k]!, sent + k);
      times[timesOf(sent + k) + FrameTime.SENT] = time;
    }
    const took = context.txBurst(out, n);
    context.free(n - took, took);
    sent += took;
    Atomics.store(words, Word.SENT, sent);
    return took;
  };
}

function receiver({ shared, addresses }: WakeOptions, context: AppContext) {
  const words = new Int32Array(shared);
  const times = new Float64Array(shared);
  const { u8, pkts, queues } = context;
  /** The number that each queue gets next. */
  const next = addresses.map((_, queue) => queue);
  /** When it looked last. */
  let last = now();
  const take = (mbuf: number, queue: number) => {
    const at = context.data(mbuf);
    const isOurs = u8[at + TYPE_AT] === ETHERTYPE[0] && u8[at + TYPE_AT + 1] === ETHERTYPE[1];
    if (!isOurs) return;
    const number = new DataView(u8.buffer, at, FRAME_BYTES).getUint32(NUMBER_AT);
    if (number !== next[queue]) words[Word.WRONG]!++;
    next[queue] = number + addresses.length;
    const time = now();
    times[timesOf(number) + FrameTime.CAME] = time;
    times[timesOf(number) + FrameTime.AWAY] = time - last;
    Atomics.add(words, Word.CAME, 1);
  };
  return () => {
    let all = 0;
    for (const [k, queue] of queues.entries()) {
      const got = context.rxBurst(queue, BURST);
      for (let j = 0; j < got; j++) take(pkts[j]!, k);
      context.free(got);
      all += got;
    }
    const asked = Atomics.load(words, Word.ASKED);
    if (asked !== words[Word.ANSWERED]) {
      // nanoseconds on a CPU
      times[Time.CPU] = Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[0]) / 1e6;
      Atomics.store(words, Word.ANSWERED, asked);
    }
    last = now();
    return all;
  };
}

export default function wake(context: AppContext) {
  const options = context.options as WakeOptions;
  return options.role === "sender" ? sender(options, context) : receiver(options, context);
}
