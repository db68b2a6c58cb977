// An application of the tests: sends given frames, whose last four bytes are their number, by its first queue pair, and
// notes what it is told of each frame that comes.
import { type AppContext, Mbuf } from "../../src/index.ts";

/** A frame to be sent. */
export interface NoteFrame {
  bytes: Uint8Array;
  /** OlFlag bits, TX_OFFLOAD and VLAN_TCI of its mbuf. */
  flags?: number;
  offload?: number;
  vlan?: number;
}

/** Words of a note; a frame that came twice has its COUNT at 2. */
export const Note = { COUNT: 0, QUEUE: 1, FLAGS: 2, HASH: 3, VLAN: 4, LENGTH: 5, SUM: 6, WORDS: 8 } as const;

export interface NoteOptions {
  frames: NoteFrame[];
  /** Note.WORDS words a frame; last one word: frames that came. */
  notes: SharedArrayBuffer;
  /** The first queue pair receives, too: what it sends comes back to it. */
  isLoop: boolean;
}

const BURST = 16;
/** Under way at most: fewer than the smallest ring holds. */
const WINDOW = 32;

/** What Note.SUM is of a frame's bytes. */
export function sumOf(bytes: Uint8Array, from = 0, to = bytes.length): number {
  let sum = 0;
  for (let k = from; k < to; k++) sum = (Math.imul(sum, 31) + bytes[k]!) >>> 0;
  return sum;
}

export default function note(context: AppContext) {
  const { frames, notes: buffer, isLoop } = context.options as NoteOptions;
  const { u8, u16, u32, pkts, queues } = context;
  const out = queues[0]!;
  const ins = isLoop ? queues : queues.slice(1);
  const notes = new Uint32Array(buffer);
  let sent = 0;
  let came = 0;
  const take = (mbuf: number, queue: number) => {
    const from = context.data(mbuf);
    const end = from + context.length(mbuf);
    const number = u8[end - 4]! | (u8[end - 3]! << 8) | (u8[end - 2]! << 16) | (u8[end - 1]! << 24);
    if (number < 0 || number >= frames.length) return;
    const at = number * Note.WORDS;
    notes[at + Note.COUNT]!++;
    notes[at + Note.QUEUE] = queue;
    notes[at + Note.FLAGS] = u32[(mbuf + Mbuf.OL_FLAGS) >>> 2]!;
    notes[at + Note.HASH] = u32[(mbuf + Mbuf.RSS_HASH) >>> 2]!;
    notes[at + Note.VLAN] = u16[(mbuf + Mbuf.VLAN_TCI) >>> 1]!;
    notes[at + Note.LENGTH] = end - from;
    notes[at + Note.SUM] = sumOf(u8, from, end);
    came++;
  };
  const receive = () => {
    for (const end of ins) {
      const got = context.rxBurst(end, BURST);
      for (let k = 0; k < got; k++) take(pkts[k]!, end.queue);
      context.free(got);
    }
    Atomics.store(notes, frames.length * Note.WORDS, came);
  };
  const make = (mbuf: number, { bytes, flags = 0, offload = 0, vlan = 0 }: NoteFrame) => {
    u8.set(bytes, context.data(mbuf));
    context.setLength(mbuf, bytes.length);
    u32[(mbuf + Mbuf.OL_FLAGS) >>> 2] = flags;
    u32[(mbuf + Mbuf.TX_OFFLOAD) >>> 2] = offload;
    u16[(mbuf + Mbuf.VLAN_TCI) >>> 1] = vlan;
  };
  return () => {
    receive();
    const n = Math.min(BURST, frames.length - sent, WINDOW - (sent - came));
    if (n <= 0 || context.alloc(n) === 0) return 0;
    for (let k = 0; k < n; k++) make(pkts[k]!, frames[sent + k]!);
    const took = context.txBurst(out, n);
    context.free(n - took, took);
    sent += took;
    return took;
  };
}
