// net_af_packet, transmit: frames are copied into the ring's slots, so the mbufs are free at once; one send(2) a burst
// lets the kernel take them from there.
import { Mbuf, OlFlag, Queue } from "../../src/hot/layout.ts";
import { mbufFreeBulk } from "../../src/hot/mbuf.ts";
import { acquire32, fdSend, publish32, r8, r16, r32, w8, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets } from "../../src/hot/queue.ts";
import { copyFrame } from "../../src/hot/simd.ts";
import { nextSlot } from "./hot-ring.ts";
import { AfPacket, Slot, TxStatus } from "./layout.ts";

const enum Ether {
  HEADER_BYTES = 14,
  ADDRESS_BYTES = 12,
  TAG_BYTES = 4,
}

/** errno-base.h, errno.h. */
const enum Errno {
  EAGAIN = 11,
  ENETDOWN = 100,
}

export function afPacketTxBurst(q: u32, pkts: u32, n: u32): u32 {
  let sent: u32 = 0;
  let faulty: u32 = 0;
  let bytes: u32 = 0;
  while (sent < n) {
    const slot: u32 = r32(q + AfPacket.SLOT);
    const status: u32 = acquire32(slot + Slot.STATUS);
    if (status != <u32>TxStatus.AVAILABLE && status != <u32>TxStatus.WRONG_FORMAT) break;
    const mbuf: u32 = r32(pkts + (sent << 2));
    const length: u32 = putFrame(q, slot, mbuf);
    sent++;
    if (length == 0) {
      faulty++;
      continue;
    }
    w32(slot + Slot.LEN, length);
    publish32(slot + Slot.STATUS, TxStatus.SEND_REQUEST);
    w32(q + AfPacket.PENDING, 1);
    nextSlot(q, slot);
    bytes = bytes + length;
  }
  if (sent != 0) mbufFreeBulk(r32(q + Queue.CACHE), pkts, sent);
  if (faulty != 0) bump(q + Queue.ERRORS, faulty);
  if (sent < n) bump(q + Queue.STALLED, n - sent);
  if (sent != faulty) countPackets(q, sent - faulty, bytes);
  afPacketTxFlush(q);
  return sent;
}

/** Copies a packet into a slot; its length there, or 0 if the interface would not take it. */
function putFrame(q: u32, slot: u32, mbuf: u32): u32 {
  const length: u32 = r32(mbuf + Mbuf.PKT_LEN);
  const head: u32 = r32(mbuf + Mbuf.DATA_LEN);
  const insert: u32 = (r32(mbuf + Mbuf.OL_FLAGS) & OlFlag.TX_VLAN) != 0 ? 1 : 0;
  if (length < <u32>Ether.HEADER_BYTES || head < <u32>Ether.HEADER_BYTES || length > longest(q, mbuf))
    return 0;
  const to: u32 = slot + Slot.TX_DATA;
  let from: u32 = r32(mbuf + Mbuf.DATA);
  let rest: u32 = head;
  let at: u32 = to;
  if (insert != 0) {
    const tci: u32 = r16(mbuf + Mbuf.VLAN_TCI);
    copyFrame(to, from, Ether.ADDRESS_BYTES);
    w8(to + 12, 0x81);
    w8(to + 13, 0);
    w8(to + 14, tci >>> 8);
    w8(to + 15, tci & 255);
    at = to + Ether.ADDRESS_BYTES + Ether.TAG_BYTES;
    from = from + Ether.ADDRESS_BYTES;
    rest = rest - Ether.ADDRESS_BYTES;
  }
  copyFrame(at, from, rest);
  at = at + rest;
  const end: u32 = to + length + (insert != 0 ? <u32>Ether.TAG_BYTES : 0);
  let segment: u32 = r32(mbuf + Mbuf.NEXT);
  while (segment != 0) {
    const part: u32 = r32(segment + Mbuf.DATA_LEN);
    if (part > end - at) return 0; // the segments are more than the packet's length says
    copyFrame(at, r32(segment + Mbuf.DATA), part);
    at = at + part;
    segment = r32(segment + Mbuf.NEXT);
  }
  return at == end ? end - to : 0;
}

/** The longest frame: a tag that is in it, as the kernel has it, does not count. */
function longest(q: u32, mbuf: u32): u32 {
  const data: u32 = r32(mbuf + Mbuf.DATA);
  const tagged: u32 = r8(data + 12) == 0x81 && r8(data + 13) == 0 ? 1 : 0;
  return r32(q + AfPacket.FRAME_MAX) + (tagged != 0 ? <u32>Ether.TAG_BYTES : 0);
}

/**
 * Tells the kernel of slots that wait. EAGAIN: the socket's send buffer is full, the rest goes with the next call.
 * Any other error takes one frame with it (ENOBUFS: a queue of the interface was full), or the interface is down.
 */
export function afPacketTxFlush(q: u32): void {
  if (r32(q + AfPacket.PENDING) == 0) return;
  const result: u32 = fdSend(r32(q + AfPacket.FD));
  if (result == 0) {
    w32(q + AfPacket.PENDING, 0);
    return;
  }
  const errno: u32 = (0 - result) >>> 0;
  if (errno != <u32>Errno.EAGAIN && errno != <u32>Errno.ENETDOWN) bump(q + AfPacket.REFUSED, 1);
}
