// The packed virtqueue (virtio 1.2, 2.8), device's side. Same contract as hot-split.ts. A chain's used descriptor is
// written where the chain began, so one running index serves for both directions.
import { Mbuf, Queue, QueueError } from "../../src/hot/layout.ts";
import { cacheCount, cacheFill, mbufFreeBulk } from "../../src/hot/mbuf.ts";
import { fence, min32, notify, publish16, publish32, r16, r32, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { chainBytes, chainId, chainSpan, fetchPacked, packedReady } from "./hot-chain.ts";
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

/** Writes the used descriptor of a chain that began at running index `index`; its flags last, they show it. */
function putUsed(q: u32, index: u32, id: u32, bytes: u32, direction: u32): void {
  const size: u32 = r32(q + Vring.SIZE);
  const desc: u32 = r32(q + Vring.DESC) + ((index & (size - 1)) << 4);
  const bits: u32 = (index & size) == 0 ? 0x8080 : 0;
  w32(desc + 8, bytes);
  publish32(desc + 12, (id | ((bits | direction) << 16)) >>> 0);
}

/** As splitCall: the driver's event suppression structure says 1 (RING_EVENT_FLAGS_DISABLE) for no interrupts. */
export function packedCall(q: u32): void {
  const used: u32 = r32(q + Vring.AVAIL_INDEX);
  if (used == r32(q + Vring.CALLED_INDEX)) return;
  if (r16(r32(q + Vring.AVAIL) + 2) == 1) return;
  w32(q + Vring.CALLED_INDEX, used);
  const fd: u32 = r32(q + Vring.CALL_FD);
  if (fd != 0) notify(fd);
}

/** Packets that the guest transmitted, copied into mbufs. At most `n`, into the words at `pkts`. */
export function vhostPackedRxBurst(q: u32, pkts: u32, n: u32): u32 {
  packedCall(q);
  const cache: u32 = r32(q + Queue.CACHE);
  let got: u32 = 0;
  let bytes: u32 = 0;
  let looked: u32 = 0;
  for (; looked < n; looked++) {
    const index: u32 = r32(q + Vring.AVAIL_INDEX);
    if (packedReady(q, index) == 0) break;
    if (looked == 0 && cacheCount(cache) < n) cacheFill(cache, n - cacheCount(cache));
    if (fetchPacked(q, index, 0) == 0) break;
    const id: u32 = chainId();
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
    putUsed(q, index, id, 0, 0);
    w32(q + Vring.AVAIL_INDEX, (index + chainSpan()) >>> 0);
  }
  if (looked == 0) return 0;
  packedCall(q);
  countPackets(q, got, bytes);
  return got;
}

/** As vhostSplitRxKicks: the device's event suppression structure (2.8.14). */
export function vhostPackedRxKicks(q: u32, on: u32): void {
  publish16(r32(q + Vring.USED) + 2, on ^ 1);
  fence(q + Vring.FENCE);
}

/** As vhostSplitRxPending. */
export function vhostPackedRxPending(q: u32): u32 {
  return r32(q + Vring.POLLED) != 0 || packedReady(q, r32(q + Vring.AVAIL_INDEX)) != 0 ? 1 : 0;
}

/** Copies packets from the words at `pkts` into the guest's buffers and frees them. Returns how many were taken. */
export function vhostPackedTxBurst(q: u32, pkts: u32, n: u32): u32 {
  packedCall(q);
  let k: u32 = 0;
  let sent: u32 = 0;
  let bytes: u32 = 0;
  for (; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    const answer: u32 = sendOne(q, mbuf);
    if (answer == 0) break;
    if (answer == DROPPED) bump(q + Queue.ERRORS, 1);
    else {
      bytes = bytes + r32(mbuf + Mbuf.PKT_LEN);
      sent++;
    }
  }
  if (sent != 0) packedCall(q);
  if (k != 0) mbufFreeBulk(r32(q + Queue.CACHE), pkts, k);
  countPackets(q, sent, bytes);
  if (k < n) bump(q + Queue.STALLED, n - k);
  return k;
}

/** sendOne's answer for a packet that the guest's buffer cannot hold. */
const DROPPED: u32 = 2;

/** One packet into as many chains as it needs: 1 if sent, 0 if they do not suffice or are bad, or DROPPED. */
function sendOne(q: u32, mbuf: u32): u32 {
  const size: u32 = r32(q + Vring.SIZE);
  const chains: u32 = r32(q + Vring.HEADS);
  const start: u32 = r32(q + Vring.AVAIL_INDEX);
  let index: u32 = start;
  let rest: u32 = r32(mbuf + Mbuf.PKT_LEN);
  let count: u32 = 0;
  let bufferCount: u32 = 0; // where num_buffers lies
  beginPacket(mbuf);
  while (count == 0 || rest != 0) {
    if ((index - start) >>> 0 >= size || packedReady(q, index) == 0) return 0;
    if (count == <u32>Segment.MAX) {
      queueFail(q, QueueError.CHAIN_TOO_LONG, count);
      return 0;
    }
    if (fetchPacked(q, index, GuestDesc.WRITE) == 0) return 0;
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
    const entry: u32 = chains + count * 12;
    w32(entry, index);
    w32(entry + 4, chainId());
    w32(entry + 8, bytes + prefix);
    index = (index + chainSpan()) >>> 0;
    count++;
  }
  if (count > 1) putBufferCount(bufferCount, count);
  // the first one's flags show the whole packet, so it comes last
  for (let k: u32 = count; k != 0; k--) {
    const entry: u32 = chains + (k - 1) * 12;
    putUsed(q, r32(entry), r32(entry + 4), r32(entry + 8), GuestDesc.WRITE);
  }
  w32(q + Vring.AVAIL_INDEX, index);
  return 1;
}
