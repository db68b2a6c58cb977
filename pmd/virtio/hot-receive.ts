// A received packet, buffer by buffer, whatever ring says where the buffers are: what the device claims is checked
// here.
import { Mbuf, Queue, QueueError } from "../../src/hot/layout.ts";
import { mbufFree } from "../../src/hot/mbuf.ts";
import { r16, r32, w16, w32 } from "../../src/hot/mem.ts";
import { bump, queueFail } from "../../src/hot/queue.ts";
import { writeMbuf } from "../../src/hot/simd.ts";
import { advanceFree, claim } from "./hot-common.ts";
import { Frame, Header, Virtq, VirtqFlag } from "./layout.ts";

/** The device is done with what it used before running index `index`: a receive buffer is one descriptor. */
export function consumed(q: u32, index: u32): void {
  w32(q + Virtq.USED_INDEX, index);
  if ((r32(q + Virtq.FLAGS) & VirtqFlag.DISORDERED) != 0) advanceFree(q);
  else w32(q + Virtq.FREE_INDEX, index);
}

/**
 * How many buffers the packet takes that begins at running index `index`, in descriptor `id`, of which `length` bytes
 * are used, the header among them. 0 with the queue stopped.
 */
export function buffersOf(q: u32, index: u32, id: u32, length: u32): u32 {
  const frameBytes: u32 = (length - Header.BYTES) >>> 0;
  if (frameBytes > r32(q + Virtq.ROOM)) {
    queueFail(q, QueueError.BAD_USED_LENGTH, length);
    return 0;
  }
  if (id >= r32(q + Virtq.SIZE)) {
    queueFail(q, QueueError.BAD_USED_ID, id);
    return 0;
  }
  if ((r32(q + Virtq.FLAGS) & VirtqFlag.MERGEABLE) == 0) return 1;
  const buffers: u32 = r16(r32(r32(q + Virtq.DATA) + (id << 2)) - Header.NUM_BUFFERS_BEFORE);
  if (buffers == 0 || buffers > (r32(q + Virtq.AVAIL_INDEX) - index) >>> 0) {
    queueFail(q, QueueError.BAD_BUFFER_COUNT, buffers);
    return 0;
  }
  return buffers;
}

/** Takes the packet's first buffer, which buffersOf has looked at. Returns its mbuf; 0 with the queue stopped. */
export function begin(q: u32, index: u32, id: u32, length: u32): u32 {
  if (claim(q, id, index & (r32(q + Virtq.SIZE) - 1)) == 0) return 0;
  const mbuf: u32 = r32(r32(q + Virtq.MBUFS) + (id << 2));
  const data: u32 = r32(r32(q + Virtq.DATA) + (id << 2));
  writeMbuf(mbuf, data, length - Header.BYTES, r32(q + Queue.ORIGIN));
  return mbuf;
}

/**
 * Takes a later buffer of the packet `head`, which ends in `last` so far; it has no header. Returns its mbuf; 0 with
 * the queue stopped and the packet freed.
 */
export function join(q: u32, index: u32, id: u32, length: u32, head: u32, last: u32): u32 {
  let bad: u32 = 0;
  if (length == 0 || length > r32(q + Virtq.ROOM) + Header.BYTES) {
    queueFail(q, QueueError.BAD_USED_LENGTH, length);
    bad = 1;
  } else if (claim(q, id, index & (r32(q + Virtq.SIZE) - 1)) == 0) bad = 1;
  if (bad != 0) {
    mbufFree(r32(q + Queue.CACHE), head);
    return 0;
  }
  const mbuf: u32 = r32(r32(q + Virtq.MBUFS) + (id << 2));
  const data: u32 = r32(r32(q + Virtq.DATA) + (id << 2));
  writeMbuf(mbuf, data - Header.BYTES, length, r32(q + Queue.ORIGIN));
  w32(last + Mbuf.NEXT, mbuf);
  w32(head + Mbuf.PKT_LEN, r32(head + Mbuf.PKT_LEN) + length);
  return mbuf;
}

/** The packet `head` is whole: into the word at `out` with it, unless it is shorter than an Ethernet header. */
export function finish(q: u32, head: u32, buffers: u32, out: u32): void {
  if (r32(head + Mbuf.PKT_LEN) < <u32>Frame.LENGTH_MIN) {
    bump(q + Queue.ERRORS, 1);
    mbufFree(r32(q + Queue.CACHE), head);
    return;
  }
  w16(head + Mbuf.NB_SEGS, buffers);
  w32(out, head);
}
