// An application on an lcore that copies what its queues receive into memory shared with the main thread, and sends
// single frames that it finds there. See single-frames.ts, the other end.
import { Mbuf } from "../../../src/hot/layout.ts";
import type { AppContext, AppFactory } from "../../../src/lcore/task.ts";

/** Words of `Mailbox.words`. */
export const enum Letter {
  /** Free-running: frames received, written by the lcore. */
  RECEIVED = 0,
  /** Free-running: frames to send, written by the main thread, and frames sent. */
  ASKED = 1,
  SENT = 2,
  /** The frame to send: bytes, OL_FLAGS, VLAN_TCI, TX_OFFLOAD, queue. */
  BYTES = 3,
  FLAGS = 4,
  VLAN = 5,
  OFFLOAD = 6,
  QUEUE = 7,
  /** Free-running: times that all queues were polled. */
  TURNS = 8,
  /** Of each received frame RECORD_WORDS words, with the same meaning, and then hash and segments. */
  RECORDS = 16,
}

export const RECORD_WORDS = 8;
export const SLOTS = 128;
export const SLOT_BYTES = 9216;

/** Shared. The first slot holds the frame to send. */
export interface Mailbox {
  readonly words: Int32Array;
  readonly frames: Uint8Array;
}

const BURST = 32;

function copyOut(
  { u8, u16, u32 }: AppContext,
  { words, frames }: Mailbox,
  mbuf: number,
  queue: number,
): void {
  const slot = words[Letter.RECEIVED]! % SLOTS;
  const u32At = (word: number) => u32[(mbuf + word) >>> 2]!;
  let at = (slot + 1) * SLOT_BYTES;
  for (let one = mbuf; one !== 0; one = u32[(one + Mbuf.NEXT) >>> 2]!) {
    const [data, bytes] = [u32[(one + Mbuf.DATA) >>> 2]!, u32[(one + Mbuf.DATA_LEN) >>> 2]!];
    frames.set(u8.subarray(data, data + bytes), at);
    at += bytes;
  }
  const record = [
    ...[u32At(Mbuf.PKT_LEN), u32At(Mbuf.OL_FLAGS), u16[(mbuf + Mbuf.VLAN_TCI) >>> 1]!, 0, queue],
    ...[u32At(Mbuf.RSS_HASH), u16[(mbuf + Mbuf.NB_SEGS) >>> 1]!],
  ];
  words.set(record, Letter.RECORDS + slot * RECORD_WORDS);
  Atomics.add(words, Letter.RECEIVED, 1);
}

/** Builds the frame in as many mbufs as it needs; false: it is not sent yet. */
function sendOne(context: AppContext, { words, frames }: Mailbox, room: number): boolean {
  const { u8, u16, u32, pkts, alloc, free, txBurst, queues } = context;
  const bytes = words[Letter.BYTES]!;
  const count = Math.ceil(bytes / room);
  if (alloc(count) !== count) return false;
  const mbufs = [...pkts.subarray(0, count)];
  mbufs.forEach((mbuf, k) => {
    const part = frames.subarray(k * room, Math.min((k + 1) * room, bytes));
    u8.set(part, u32[(mbuf + Mbuf.DATA) >>> 2]!);
    u32[(mbuf + Mbuf.DATA_LEN) >>> 2] = part.length;
    u32[(mbuf + Mbuf.NEXT) >>> 2] = mbufs[k + 1] ?? 0;
  });
  const first = mbufs[0]!;
  u32[(first + Mbuf.PKT_LEN) >>> 2] = bytes;
  u16[(first + Mbuf.NB_SEGS) >>> 1] = count;
  u32[(first + Mbuf.OL_FLAGS) >>> 2] = words[Letter.FLAGS]!;
  u16[(first + Mbuf.VLAN_TCI) >>> 1] = words[Letter.VLAN]!;
  u32[(first + Mbuf.TX_OFFLOAD) >>> 2] = words[Letter.OFFLOAD]!;
  if (txBurst(queues[words[Letter.QUEUE]!]!, 1) === 1) return true;
  free(1);
  return false;
}

const singleFrames: AppFactory = (context) => {
  const { queues, pkts, rxBurst, free } = context;
  const { mailbox, room } = context.options as { mailbox: Mailbox; room: number };
  const { words } = mailbox;
  return () => {
    let received = 0;
    for (const queue of queues) {
      if (queue.rx === 0) continue;
      const n = rxBurst(queue, BURST);
      for (let k = 0; k < n; k++) copyOut(context, mailbox, pkts[k]!, queue.queue);
      free(n);
      received += n;
    }
    Atomics.add(words, Letter.TURNS, 1);
    const isAsked = Atomics.load(words, Letter.ASKED) !== words[Letter.SENT];
    if (isAsked && sendOne(context, mailbox, room)) Atomics.add(words, Letter.SENT, 1);
    return received;
  };
};
export default singleFrames;
