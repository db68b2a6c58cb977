// The split virtqueue (virtio 1.2, 2.7), device's side: net_vhost's rx takes what the guest transmits, its tx fills
// what the guest has put out for reception. Chains are used in the order they came, so VIRTIO_F_IN_ORDER holds.
import { Mbuf, Queue, QueueError } from "../../src/hot/layout.ts";
import { cacheCount, cacheFill, mbufFreeBulk } from "../../src/hot/mbuf.ts";
import { acquire32, fence, min32, notify, publish16, r16, r32, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { chainBytes, fetchSplit } from "./hot-chain.ts";
import {
  beginPacket,
  continueChain,
  firstPiece,
  gather,
  mbufsNeeded,
  putBufferCount,
  putHeader,
  scatter,
} from "./hot-copy.ts";
import { GuestDesc, Segment, Vring, VringFlag, Wire } from "./layout.ts";

/** Chains that the guest has made available; more than the ring holds stops the queue. */
function available(q: u32): u32 {
  const word: u32 = acquire32(r32(q + Vring.AVAIL)); // flags and index in one load
  const ready: u32 = ((word >>> 16) - r32(q + Vring.AVAIL_INDEX)) & 0xffff;
  if (ready > r32(q + Vring.SIZE)) {
    queueFail(q, QueueError.AVAIL_INDEX_JUMPED, word >>> 16);
    return 0;
  }
  return ready;
}

function headAt(q: u32, index: u32): u32 {
  return r16(r32(q + Vring.AVAIL) + 4 + ((index & (r32(q + Vring.SIZE) - 1)) << 1));
}

function putUsed(q: u32, head: u32, bytes: u32): void {
  const index: u32 = r32(q + Vring.USED_INDEX);
  const entry: u32 = r32(q + Vring.USED) + 4 + ((index & (r32(q + Vring.SIZE) - 1)) << 3);
  w32(entry, head);
  w32(entry + 4, bytes);
  w32(q + Vring.USED_INDEX, (index + 1) >>> 0);
}

/** Shows the guest the used entries, and interrupts it if it wants that. */
function publish(q: u32): void {
  publish16(r32(q + Vring.USED) + 2, r32(q + Vring.USED_INDEX) & 0xffff);
  splitCall(q);
}

/**
 * Interrupts a guest that wants it and has not been told of all used entries. Called at every poll: so a guest that
 * allows interrupts just after the index was published is told a poll later, without a fence each time.
 */
export function splitCall(q: u32): void {
  const used: u32 = r32(q + Vring.USED_INDEX);
  if (used == r32(q + Vring.CALLED_INDEX)) return;
  if ((r16(r32(q + Vring.AVAIL)) & 1) != 0) return; // VIRTQ_AVAIL_F_NO_INTERRUPT
  w32(q + Vring.CALLED_INDEX, used);
  const fd: u32 = r32(q + Vring.CALL_FD);
  if (fd != 0) notify(fd);
}

/** Packets that the guest transmitted, copied into mbufs. At most `n`, into the words at `pkts`. */
export function vhostSplitRxBurst(q: u32, pkts: u32, n: u32): u32 {
  splitCall(q);
  const ready: u32 = min32(available(q), n);
  if (ready == 0) return 0;
  const cache: u32 = r32(q + Queue.CACHE);
  if (cacheCount(cache) < ready) cacheFill(cache, n - cacheCount(cache));
  let got: u32 = 0;
  let bytes: u32 = 0;
  for (let k: u32 = 0; k < ready; k++) {
    const index: u32 = r32(q + Vring.AVAIL_INDEX);
    const head: u32 = headAt(q, index);
    if (fetchSplit(q, head, 0) == 0) break;
    const length: u32 = chainBytes() - Wire.HEADER;
    if (chainBytes() < <u32>Wire.HEADER) {
      queueFail(q, QueueError.NO_HEADER, chainBytes());
      break;
    }
    if (length < <u32>Wire.FRAME_MIN || length > <u32>Wire.FRAME_MAX) bump(q + Queue.ERRORS, 1);
    else {
      const need: u32 = mbufsNeeded(q);
      if (cacheCount(cache) < need && cacheCount(cache) + cacheFill(cache, need) < need) {
        bump(q + Queue.STALLED, 1);
        break;
      }
      w32(pkts + (got << 2), gather(q));
      bytes = bytes + length;
      got++;
    }
    w32(q + Vring.AVAIL_INDEX, (index + 1) >>> 0);
    putUsed(q, head, 0);
  }
  publish(q);
  countPackets(q, got, bytes);
  return got;
}

/** Kicks on (1) or off (0): VIRTQ_USED_F_NO_NOTIFY (2.7.10). The look that follows comes after the flag. */
export function vhostSplitRxKicks(q: u32, on: u32): void {
  publish16(r32(q + Vring.USED), on ^ 1);
  fence(q + Vring.FENCE);
}

/** 1 if the guest has sent something, or would not tell. */
export function vhostSplitRxPending(q: u32): u32 {
  return r32(q + Vring.POLLED) != 0 || available(q) != 0 ? 1 : 0;
}

/** Copies packets from the words at `pkts` into the guest's buffers and frees them. Returns how many were taken. */
export function vhostSplitTxBurst(q: u32, pkts: u32, n: u32): u32 {
  splitCall(q);
  const ready: u32 = available(q);
  let left: u32 = ready;
  let k: u32 = 0;
  let sent: u32 = 0;
  let bytes: u32 = 0;
  for (; k < n && left != 0; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    const used: u32 = sendOne(q, mbuf, left);
    if (used == 0) break;
    left = left - (used == DROPPED ? 0 : used);
    if (used == DROPPED) bump(q + Queue.ERRORS, 1);
    else {
      bytes = bytes + r32(mbuf + Mbuf.PKT_LEN);
      sent++;
    }
  }
  if (sent != 0) publish(q);
  if (k != 0) mbufFreeBulk(r32(q + Queue.CACHE), pkts, k);
  countPackets(q, sent, bytes);
  if (k < n) bump(q + Queue.STALLED, n - k);
  return k;
}

/** sendOne's answer for a packet that the guest's buffer cannot hold. */
const DROPPED: u32 = 0x10000;

/** One packet into as many of `left` chains as it needs. Returns how many; 0 if they do not suffice or are bad. */
function sendOne(q: u32, mbuf: u32, left: u32): u32 {
  const heads: u32 = r32(q + Vring.HEADS);
  const index: u32 = r32(q + Vring.AVAIL_INDEX);
  let rest: u32 = r32(mbuf + Mbuf.PKT_LEN);
  let count: u32 = 0;
  let bufferCount: u32 = 0; // where num_buffers lies
  beginPacket(mbuf);
  while (count == 0 || rest != 0) {
    if (count == left) return 0;
    if (count == <u32>Segment.MAX) {
      queueFail(q, QueueError.CHAIN_TOO_LONG, count);
      return 0;
    }
    const head: u32 = headAt(q, (index + count) >>> 0);
    if (fetchSplit(q, head, GuestDesc.WRITE) == 0) return 0;
    let room: u32 = chainBytes();
    let prefix: u32 = 0;
    if (count == 0) {
      if (firstPiece(q) < <u32>Wire.HEADER) {
        queueFail(q, QueueError.NO_HEADER, firstPiece(q));
        return 0;
      }
      prefix = Wire.HEADER;
      room = room - prefix;
      if (rest > room && (r32(q + Vring.FLAGS) & VringFlag.MERGEABLE) == 0) return DROPPED;
      bufferCount = putHeader(q);
    } else continueChain(q);
    const bytes: u32 = min32(rest, room);
    scatter(bytes);
    rest = rest - bytes;
    w32(heads + (count << 3), head);
    w32(heads + (count << 3) + 4, bytes + prefix);
    count++;
  }
  if (count > 1) putBufferCount(bufferCount, count);
  for (let k: u32 = 0; k < count; k++) putUsed(q, r32(heads + (k << 3)), r32(heads + (k << 3) + 4));
  w32(q + Vring.AVAIL_INDEX, (index + count) >>> 0);
  return count;
}
