// One packet, one WQE (MLX5_OPCODE_SEND): a control segment, an Ethernet segment with as much of the packet's head as
// the NIC must find there, data segments with the rest. Ordinary packets take one 64-byte block; those of several
// segments, or with a VLAN tag to be inserted, are put together more slowly.
import { Cache, Mbuf, OlFlag, Queue } from "../../src/hot/layout.ts";
import { mbufFree } from "../../src/hot/mbuf.ts";
import { fillBytes, min32, r8, r16, r32, swap16, w8, w32 } from "../../src/hot/mem.ts";
import { bump } from "../../src/hot/queue.ts";
import { Asked, Mlx5Flag, Mlx5Limit, Mlx5Queue } from "./layout.ts";
import { describeQuads, inlineHeader, notSingle, quadBytes, writeHead, writeSegment } from "./simd.ts";
import { Opcode, Wqe, WqeField, WqeSize } from "./wqe.ts";

/** Bytes of the Ethernet header that many chips must find in the WQE: up to a VLAN tag and what follows it. */
const HEADER: u32 = Mlx5Limit.INLINE_VLAN;

/** cs_flags of a packet with these OlFlag bits: the NIC finds the headers itself. */
export function checksumFlags(asked: u32): u32 {
  const l3: u32 = (asked & OlFlag.TX_IP_CKSUM) != 0 ? WqeField.L3_CSUM : 0;
  return (asked & Asked.L4) != 0 ? l3 | WqeField.L4_CSUM : l3;
}

/** OlFlag bits of packets that are for sendPacket: those with a tag to insert, or that want what there is not. */
export function carefulWith(q: u32): u32 {
  const checksums: u32 = r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.CHECKSUM;
  return checksums != 0 ? OlFlag.TX_VLAN : OlFlag.TX_VLAN | Asked.CHECKSUMS;
}

/** Whether an mbuf's bytes lie in its buffer: 0 if not. */
export function liesInside(mbuf: u32, length: u32): u32 {
  const most: u32 = r32(mbuf + Mbuf.BUF_LEN);
  const offset: u32 = (r32(mbuf + Mbuf.DATA) - r32(mbuf + Mbuf.BUF)) >>> 0;
  return offset <= most && length <= most - offset ? 1 : 0;
}

/** 64-byte blocks that the NIC does not hold. */
export function blocksFree(q: u32): u32 {
  return r32(q + Mlx5Queue.MASK) + 1 - ((r32(q + Mlx5Queue.TAIL) - r32(q + Mlx5Queue.HEAD)) >>> 0);
}

/** Places in MBUFS that are free. */
export function packetsFree(q: u32): u32 {
  const held: u32 = (r32(q + Mlx5Queue.PACKET_TAIL) - r32(q + Mlx5Queue.PACKET_HEAD)) >>> 0;
  return r32(q + Mlx5Queue.PACKET_MASK) + 1 - held;
}

/** Notes what has been described: `packets` more, in `blocks` blocks whose last WQE is that of index `last`. */
export function described(q: u32, packets: u32, bytes: u32, blocks: u32, last: u32): void {
  w32(q + Mlx5Queue.PACKET_TAIL, (r32(q + Mlx5Queue.PACKET_TAIL) + packets) >>> 0);
  w32(q + Mlx5Queue.TAIL, (r32(q + Mlx5Queue.TAIL) + blocks) >>> 0);
  w32(q + Mlx5Queue.LAST_WQE, last);
  w32(q + Mlx5Queue.LOT_BYTES, r32(q + Mlx5Queue.LOT_BYTES) + bytes);
}

/**
 * Describes packets of one segment, a block each, up to the first that is not ordinary, or for which there is no room.
 * Returns how many. Nothing, or 18 bytes, are inlined; other chips' needs are for sendPacket.
 */
export function sendSingles(q: u32, pkts: u32, n: u32): u32 {
  const inlined: u32 = r32(q + Mlx5Queue.INLINE);
  if (inlined != 0 && inlined != HEADER) return 0;
  const pool: u32 = r32(r32(q + Queue.CACHE) + Cache.POOL);
  const ring: u32 = r32(q + Mlx5Queue.RING);
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const packets: u32 = r32(q + Mlx5Queue.MBUFS);
  const packetMask: u32 = r32(q + Mlx5Queue.PACKET_MASK);
  const packetTail: u32 = r32(q + Mlx5Queue.PACKET_TAIL);
  const lkey: u32 = r32(q + Mlx5Queue.LKEY);
  const low: u32 = r32(q + Mlx5Queue.BASE_LOW);
  const high: u32 = r32(q + Mlx5Queue.BASE_HIGH);
  const segments: u32 = inlined != 0 ? 4 : 3;
  const qpnDs: u32 = (r32(q + Mlx5Queue.QPN) | (segments << WqeField.DS_BIT)) >>> 0;
  const span: u32 = r32(q + Mlx5Queue.BYTES_MAX) - Mlx5Limit.SENT_MIN;
  const careful: u32 = carefulWith(q);
  const tail: u32 = r32(q + Mlx5Queue.TAIL);
  const most: u32 = min32(n, min32(blocksFree(q), packetsFree(q)));
  let odd: u32 = 0;
  let k: u32 = describeQuads(q, pkts, most, inlined);
  let bytes: u32 = quadBytes;
  for (; k < most; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
    const asked: u32 = r32(mbuf + Mbuf.OL_FLAGS) & Asked.ALL;
    if ((notSingle(mbuf) | (asked & careful)) != 0) break;
    if ((length - Mlx5Limit.SENT_MIN) >>> 0 > span || liesInside(mbuf, length) == 0) break;
    const data: u32 = r32(mbuf + Mbuf.DATA);
    const wqe: u32 = ring + (((tail + k) & mask) << WqeSize.BLOCK_SHIFT);
    const operation: u32 = Opcode.SEND | (swap16(tail + k) << 8);
    writeHead(wqe, operation, qpnDs, asked == 0 ? 0 : checksumFlags(asked), 0);
    if (inlined == 0) {
      writeSegment(wqe + Wqe.DATA, data, length, lkey, low, high);
    } else {
      inlineHeader(wqe, data);
      writeSegment(wqe + Wqe.DATA_INLINE_18, data + HEADER, length - HEADER, lkey, low, high);
    }
    w32(packets + (((packetTail + k) & packetMask) << 2), mbuf);
    odd = odd | (r32(mbuf + Mbuf.POOL) ^ pool);
    bytes = bytes + length;
  }
  if (k == 0) return 0;
  w32(q + Mlx5Queue.LOT_ODD, r32(q + Mlx5Queue.LOT_ODD) | odd);
  described(q, k, bytes, k, (tail + k - 1) >>> 0);
  return k;
}

/**
 * Describes one packet of any kind. 0 if there is no room for it now. A packet that can never be sent is dropped, which
 * counts as taken.
 */
export function sendPacket(q: u32, mbuf: u32): u32 {
  const asked: u32 = r32(mbuf + Mbuf.OL_FLAGS) & Asked.ALL;
  const tagged: u32 = asked & OlFlag.TX_VLAN;
  const tagBytes: u32 = tagged != 0 && (r32(q + Mlx5Queue.FLAGS) & Mlx5Flag.VLAN_INSERT) == 0 ? 4 : 0;
  let header: u32 = r32(q + Mlx5Queue.INLINE);
  if (tagBytes != 0 && header < HEADER) header = HEADER;
  const unable: u32 = asked & carefulWith(q) & Asked.CHECKSUMS;
  if (unable != 0 || isWhole(q, mbuf) == 0) return drop(q, mbuf);
  if (r32(mbuf + Mbuf.PKT_LEN) < <u32>Mlx5Limit.SENT_MIN) pad(mbuf);
  const total: u32 = r32(mbuf + Mbuf.PKT_LEN);
  const taken: u32 = min32(header - tagBytes, total);
  header = taken + tagBytes;
  const ethernet: u32 = header <= 2 ? 1 : 1 + ((header + 13) >>> 4);
  const segments: u32 = 1 + ethernet + piecesBehind(mbuf, taken);
  const blocks: u32 = (segments + 3) >>> 2;
  if (blocks > r32(q + Mlx5Queue.MASK) + 1) return drop(q, mbuf);
  if (blocks > blocksFree(q) || packetsFree(q) == 0) return 0;
  const tail: u32 = r32(q + Mlx5Queue.TAIL);
  const mask: u32 = r32(q + Mlx5Queue.MASK);
  const start: u32 = (tail & mask) << WqeSize.BLOCK_SHIFT;
  const qpnDs: u32 = (r32(q + Mlx5Queue.QPN) | (segments << WqeField.DS_BIT)) >>> 0;
  let size: u32 = swap16(header);
  if (tagged != 0 && tagBytes == 0) {
    size = (WqeField.INSERT_VLAN | (swap16(r16(mbuf + Mbuf.VLAN_TCI)) << WqeField.TAG_BIT)) >>> 0;
  }
  writeHead(
    r32(q + Mlx5Queue.RING) + start,
    Opcode.SEND | (swap16(tail) << 8),
    qpnDs,
    checksumFlags(asked),
    size,
  );
  if (header != 0) inlineFrame(q, start + Wqe.INLINE_HDR_START, mbuf, taken, tagBytes);
  gather(q, start + WqeSize.SEGMENT_BYTES * (1 + ethernet), mbuf, taken);
  const place: u32 = r32(q + Mlx5Queue.PACKET_TAIL) & r32(q + Mlx5Queue.PACKET_MASK);
  w32(r32(q + Mlx5Queue.MBUFS) + (place << 2), mbuf);
  const pool: u32 = r32(r32(q + Queue.CACHE) + Cache.POOL);
  const odd: u32 = r32(mbuf + Mbuf.NEXT) | (r32(mbuf + Mbuf.POOL) ^ pool);
  w32(q + Mlx5Queue.LOT_ODD, r32(q + Mlx5Queue.LOT_ODD) | odd);
  described(q, 1, total, blocks, tail);
  return 1;
}

/** Gives back a packet that can never be sent. */
function drop(q: u32, mbuf: u32): u32 {
  bump(q + Queue.ERRORS, 1);
  w32(q + Mlx5Queue.LOT_DROPPED, r32(q + Mlx5Queue.LOT_DROPPED) + 1);
  mbufFree(r32(q + Queue.CACHE), mbuf);
  return 1;
}

/** 1 if the packet may be given to the NIC: 0 where its lengths contradict each other, or are too many or too few. */
function isWhole(q: u32, mbuf: u32): u32 {
  const total: u32 = r32(mbuf + Mbuf.PKT_LEN);
  if (total < <u32>Mlx5Limit.FRAME_MIN || total > r32(q + Mlx5Queue.BYTES_MAX)) return 0;
  const short: u32 = total < <u32>Mlx5Limit.SENT_MIN ? Mlx5Limit.SENT_MIN - total : 0; // what pad() will add
  let left: u32 = total;
  let count: u32 = 0;
  for (let m: u32 = mbuf; m != 0; m = r32(m + Mbuf.NEXT)) {
    const length: u32 = r32(m + Mbuf.DATA_LEN);
    count++;
    if (count > <u32>Mlx5Limit.SEGMENTS || length > left || liesInside(m, length + short) == 0) return 0;
    left = left - length;
  }
  return left != 0 || (short != 0 && count != 1) ? 0 : 1;
}

/** Lengthens a packet of one segment, behind which there is room. */
function pad(mbuf: u32): void {
  const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
  fillBytes(r32(mbuf + Mbuf.DATA) + length, 0, Mlx5Limit.SENT_MIN - length);
  w32(mbuf + Mbuf.DATA_LEN, Mlx5Limit.SENT_MIN);
  w32(mbuf + Mbuf.PKT_LEN, Mlx5Limit.SENT_MIN);
}

/** Data segments that what lies behind the packet's first `skip` bytes takes. */
function piecesBehind(mbuf: u32, skip: u32): u32 {
  let before: u32 = skip;
  let pieces: u32 = 0;
  for (let m: u32 = mbuf; m != 0; m = r32(m + Mbuf.NEXT)) {
    const length: u32 = r32(m + Mbuf.DATA_LEN);
    if (length > before) pieces++;
    before = before - min32(length, before);
  }
  return pieces;
}

/** The address in the ring of byte `at`, which may lie behind its end. */
function ringByte(q: u32, at: u32): u32 {
  return r32(q + Mlx5Queue.RING) + (at & (((r32(q + Mlx5Queue.MASK) + 1) << WqeSize.BLOCK_SHIFT) - 1));
}

/** Puts the packet's first `n` bytes into the Ethernet segment at ring byte `at`, a VLAN tag behind the addresses. */
function inlineFrame(q: u32, at: u32, mbuf: u32, n: u32, tagBytes: u32): void {
  let m: u32 = mbuf;
  let read: u32 = 0;
  let to: u32 = at;
  for (let k: u32 = 0; k < n; k++) {
    if (k == 12 && tagBytes != 0) {
      const tag: u32 = r16(mbuf + Mbuf.VLAN_TCI);
      w8(ringByte(q, to), 0x81);
      w8(ringByte(q, to + 1), 0x00);
      w8(ringByte(q, to + 2), tag >>> 8);
      w8(ringByte(q, to + 3), tag & 255);
      to = to + 4;
    }
    while (read == r32(m + Mbuf.DATA_LEN)) {
      m = r32(m + Mbuf.NEXT);
      read = 0;
    }
    w8(ringByte(q, to), r8(r32(m + Mbuf.DATA) + read));
    read++;
    to++;
  }
}

/** Writes data segments of what lies behind the packet's first `skip` bytes, from ring byte `at` on. */
function gather(q: u32, at: u32, mbuf: u32, skip: u32): void {
  const lkey: u32 = r32(q + Mlx5Queue.LKEY);
  const low: u32 = r32(q + Mlx5Queue.BASE_LOW);
  const high: u32 = r32(q + Mlx5Queue.BASE_HIGH);
  let before: u32 = skip;
  let to: u32 = at;
  for (let m: u32 = mbuf; m != 0; m = r32(m + Mbuf.NEXT)) {
    const length: u32 = r32(m + Mbuf.DATA_LEN);
    if (length > before) {
      writeSegment(ringByte(q, to), r32(m + Mbuf.DATA) + before, length - before, lkey, low, high);
      to = to + WqeSize.SEGMENT_BYTES;
    }
    before = before - min32(length, before);
  }
}
