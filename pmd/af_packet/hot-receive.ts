// net_af_packet, receive: the kernel copies frames into the ring's slots, and each is copied on into mbufs, so that
// the slot goes back at once, however long the application keeps the packet.
import { Cache, Mbuf, OlFlag, Pool, Queue, QueueError } from "../../src/hot/layout.ts";
import { mbufAllocBulk } from "../../src/hot/mbuf.ts";
import { acquire32, min32, publish32, r8, r16, r32, w8, w16, w32 } from "../../src/hot/mem.ts";
import { bump, countPackets, queueFail } from "../../src/hot/queue.ts";
import { copyFrame, sumBytes, writeMbuf } from "../../src/hot/simd.ts";
import { nextSlot } from "./hot-ring.ts";
import { AfPacket, PacketType, RxStatus, Slot, VnetHeader } from "./layout.ts";

/** What became of a slot, where it is no packet. */
const enum Outcome {
  DROPPED = 0,
  /** The slot stays as it is. */
  NO_MBUF = 1,
}

const enum Ether {
  HEADER_BYTES = 14,
  ADDRESS_BYTES = 12,
  TAG_BYTES = 4,
  VLAN = 0x8100,
}

/** Looks at `n` slots at most, so that a burst has an end also when all of them are to be dropped. */
export function afPacketRxBurst(q: u32, pkts: u32, n: u32): u32 {
  let got: u32 = 0;
  let bytes: u32 = 0;
  for (let k: u32 = 0; k < n; k++) {
    const slot: u32 = r32(q + AfPacket.SLOT);
    const status: u32 = acquire32(slot + Slot.STATUS);
    if ((status & RxStatus.USER) == 0) break;
    const mbuf: u32 = takeFrame(q, slot, status);
    if (mbuf == <u32>Outcome.NO_MBUF) {
      bump(q + Queue.STALLED, 1);
      break;
    }
    if (r32(q + Queue.RUN) == 0) break;
    publish32(slot + Slot.STATUS, RxStatus.KERNEL);
    nextSlot(q, slot);
    if (mbuf == <u32>Outcome.DROPPED) continue;
    w32(pkts + (got << 2), mbuf);
    bytes = bytes + r32(mbuf + Mbuf.PKT_LEN);
    got++;
  }
  if (got != 0) countPackets(q, got, bytes);
  return got;
}

/** 1 if a frame is there. */
export function afPacketRxPending(q: u32): u32 {
  return acquire32(r32(q + AfPacket.SLOT) + Slot.STATUS) & RxStatus.USER;
}

/** The slot's frame as a packet, or an Outcome. */
function takeFrame(q: u32, slot: u32, status: u32): u32 {
  // what a kernel older than PACKET_IGNORE_OUTGOING (4.20) shows of this machine's own frames
  if (r8(slot + Slot.PACKET_TYPE) == <u32>PacketType.OUTGOING && r32(q + AfPacket.OUTGOING) == 0)
    return Outcome.DROPPED;
  const start: u32 = r16(slot + Slot.MAC);
  const length: u32 = r32(slot + Slot.SNAPLEN);
  const room: u32 = r32(q + AfPacket.FRAME_BYTES);
  if (start < <u32>Slot.RX_META_BYTES + VnetHeader.BYTES || start > room || length > room - start) {
    queueFail(q, QueueError.BAD_RING_FRAME, length);
    return Outcome.DROPPED;
  }
  if (length != r32(slot + Slot.LEN)) {
    bump(q + AfPacket.TRUNCATED, 1);
    bump(q + Queue.ERRORS, 1);
    return Outcome.DROPPED;
  }
  if (length < <u32>Ether.HEADER_BYTES) {
    bump(q + Queue.ERRORS, 1);
    return Outcome.DROPPED;
  }
  const tag: u32 = (status & RxStatus.VLAN_VALID) != 0 ? tagOf(slot, status) : 0;
  const strip: u32 = tag != 0 ? r32(q + AfPacket.STRIP) : 0;
  const mbuf: u32 = copyOut(q, slot + start, length, strip != 0 ? 0 : tag, slot, status);
  if (mbuf != <u32>Outcome.NO_MBUF && strip != 0) {
    w16(mbuf + Mbuf.VLAN_TCI, tag & 0xffff);
    w32(mbuf + Mbuf.OL_FLAGS, r32(mbuf + Mbuf.OL_FLAGS) | OlFlag.RX_VLAN_STRIPPED);
  }
  return mbuf;
}

/** The tag that the kernel took off the frame: TPID in the high half, TCI in the low one. Never 0. */
function tagOf(slot: u32, status: u32): u32 {
  let tpid: u32 = Ether.VLAN;
  if ((status & RxStatus.VLAN_TPID_VALID) != 0) tpid = r16(slot + Slot.VLAN_TPID);
  return ((tpid << 16) | r16(slot + Slot.VLAN_TCI)) >>> 0;
}

/** Copies `length` bytes at `from` into fresh mbufs, with the tag `tag` put back unless it is 0. */
function copyOut(q: u32, from: u32, length: u32, tag: u32, slot: u32, status: u32): u32 {
  const cache: u32 = r32(q + Queue.CACHE);
  const room: u32 = r32(r32(cache + Cache.POOL) + Pool.DATA_ROOM);
  const segments: u32 = r32(q + AfPacket.SEGMENTS);
  const total: u32 = tag == 0 ? length : length + Ether.TAG_BYTES;
  let count: u32 = 1;
  for (let held: u32 = room; held < total; held = held + room) count++;
  if (mbufAllocBulk(cache, segments, count) == 0) return Outcome.NO_MBUF;
  const flags: u32 = checksum(q, slot, from, length, status);
  let at: u32 = from;
  let rest: u32 = length;
  for (let k: u32 = 0; k < count; k++) {
    const mbuf: u32 = r32(segments + (k << 2));
    const data: u32 = r32(mbuf + Mbuf.DATA);
    let used: u32 = 0;
    if (k == 0 && tag != 0) {
      putTagged(data, at, tag);
      at = at + Ether.ADDRESS_BYTES;
      rest = rest - Ether.ADDRESS_BYTES;
      used = Ether.ADDRESS_BYTES + Ether.TAG_BYTES;
    }
    const part: u32 = min32(room - used, rest);
    copyFrame(data + used, at, part);
    writeMbuf(mbuf, data, used + part, r32(q + Queue.ORIGIN));
    if (k + 1 < count) w32(mbuf + Mbuf.NEXT, r32(segments + ((k + 1) << 2)));
    at = at + part;
    rest = rest - part;
  }
  const first: u32 = r32(segments);
  w32(first + Mbuf.PKT_LEN, total);
  w16(first + Mbuf.NB_SEGS, count);
  w32(first + Mbuf.OL_FLAGS, flags);
  return first;
}

/** Both addresses from `from`, then the tag in network order. */
function putTagged(data: u32, from: u32, tag: u32): void {
  copyFrame(data, from, Ether.ADDRESS_BYTES);
  w8(data + 12, tag >>> 24);
  w8(data + 13, (tag >>> 16) & 255);
  w8(data + 14, (tag >>> 8) & 255);
  w8(data + 15, tag & 255);
}

/**
 * OlFlag bits of the frame. A frame that this machine made may come without its TCP or UDP checksum, which a NIC would
 * have filled in: then that is done here, for nobody behind us will.
 */
function checksum(q: u32, slot: u32, frame: u32, length: u32, status: u32): u32 {
  if ((status & RxStatus.CHECKSUM_VALID) != 0) return OlFlag.RX_L4_CKSUM_GOOD;
  if ((status & RxStatus.CHECKSUM_NOT_READY) == 0) return 0;
  const header: u32 = slot + r16(slot + Slot.MAC) - VnetHeader.BYTES;
  if ((r8(header + VnetHeader.FLAGS) & VnetHeader.NEEDS_CSUM) == 0) return 0;
  const start: u32 = half(header + VnetHeader.CSUM_START);
  const at: u32 = start + half(header + VnetHeader.CSUM_OFFSET);
  if (at + 2 > length) return 0;
  let sum: u32 = sumBytes(frame + start, length - start);
  sum = (sum & 0xffff) + (sum >>> 16);
  let wanted: u32 = ~sum & 0xffff;
  if (wanted == 0) wanted = 0xffff; // the same sum, and in UDP 0 would mean that there is none (RFC 768)
  w8(frame + at, wanted & 255);
  w8(frame + at + 1, wanted >>> 8);
  bump(q + AfPacket.COMPLETED, 1);
  return OlFlag.RX_L4_CKSUM_GOOD;
}

/** u16 at any address. */
function half(p: u32): u32 {
  return r8(p) | (r8(p + 1) << 8);
}
