// net_pcap, receive: records of a file become packets.
//
//   file --fdRead--> window --record by record--> mbufs
//
// Nothing in the window is believed: every length is held against what was read. The file is read and not mapped: a
// mapped file that somebody cuts short ends the process by SIGBUS (docs/decisions.md).
import { Buffer, Cache, Mbuf, Pool, Queue } from "../../src/hot/layout.ts";
import {
  cacheCount,
  cacheFill,
  cacheGet,
  mbufAllocBulk,
  mbufFree,
  mbufFreeBulk,
} from "../../src/hot/mbuf.ts";
import { min32, now, r32, r32u, rf64, toF64, w16, w32, wf64 } from "../../src/hot/mem.ts";
import { bump, countPackets } from "../../src/hot/queue.ts";
import { copyFrame, writeMbuf } from "../../src/hot/simd.ts";
import { Block, FileHeader, LinkType, Magic, Record } from "../../src/pcap/format.ts";
import { nextBlock } from "./hot-blocks.ts";
import {
  consume,
  more,
  NO_STAMP,
  order32,
  readFault,
  recordBytes,
  recordData,
  recordLength,
  recordStamp,
  setRecord,
} from "./hot-window.ts";
import { Format, Found, Interface, PcapLimit, PcapRx, ReadFault, ReadState } from "./layout.ts";

/** Milliseconds, taken once a burst where packets are paced. */
let clock: f64 = 0;
/** Bytes of the burst at hand. */
let burstBytes: u32 = 0;

export function pcapRxBurst(q: u32, pkts: u32, n: u32): u32 {
  if (r32(q + PcapRx.STATE) != <u32>ReadState.READING) return 0;
  if (r32(q + PcapRx.PACE) != 0) clock = now();
  if (nextRecord(q) == 0) return 0;
  const cache: u32 = r32(q + Queue.CACHE);
  let want: u32 = cacheCount(cache);
  if (want < n) want = want + cacheFill(cache, n - want);
  if (want > n) want = n;
  if (want == 0) {
    bump(q + Queue.STALLED, 1);
    return 0;
  }
  cacheGet(cache, pkts, want);
  const room: u32 = r32(r32(cache + Cache.POOL) + Pool.DATA_ROOM);
  let got: u32 = 0;
  burstBytes = 0;
  for (;;) {
    got = got + wholeRecords(q, pkts + (got << 2), want - got, room);
    if (got == want || nextRecord(q) == 0) break;
    if (takeRecord(q, r32(pkts + (got << 2)), room) == 0) break;
    got++;
    if (got == want) break;
  }
  if (got < want) mbufFreeBulk(cache, pkts + (got << 2), want - got);
  countPackets(q, got, burstBytes);
  return got;
}

/**
 * The common case apart, for its speed: frames that are not paced. Takes records as long as each is whole in the
 * window, fits an mbuf and is no runt; returns how many. All else is nextRecord's and takeRecord's.
 */
function wholeRecords(q: u32, pkts: u32, n: u32, room: u32): u32 {
  const format: u32 = r32(q + PcapRx.FORMAT);
  if (r32(q + PcapRx.PACE) != 0) return 0;
  if (format == <u32>Format.PCAPNG) return wholeBlocks(q, pkts, n, room);
  return format == <u32>Format.PCAP ? wholePcap(q, pkts, n, room) : 0;
}

function wholePcap(q: u32, pkts: u32, n: u32, room: u32): u32 {
  const window: u32 = r32(q + PcapRx.WINDOW);
  const end: u32 = window + r32(q + PcapRx.FILL);
  const swap: u32 = r32(q + PcapRx.SWAP);
  const origin: u32 = r32(q + Queue.ORIGIN);
  let p: u32 = window + r32(q + PcapRx.POS);
  let got: u32 = 0;
  let bytes: u32 = 0;
  while (got < n && end - p >= <u32>Record.BYTES) {
    const length: u32 = order32(p + Record.CAPTURED, swap);
    if (length > room || length < <u32>PcapLimit.FRAME_BYTES_MIN || length > end - p - Record.BYTES) break;
    const mbuf: u32 = r32(pkts + (got << 2));
    const data: u32 = r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM;
    copyFrame(data, p + Record.BYTES, length);
    writeMbuf(mbuf, data, length, origin);
    p = p + length + Record.BYTES;
    bytes = bytes + length;
    got++;
  }
  if (got != 0) taken(q, p - window, bytes);
  return got;
}

/** The same for Enhanced Packet Blocks; whether each can be is asked as stampedPacket does (hot-blocks.ts). */
function wholeBlocks(q: u32, pkts: u32, n: u32, room: u32): u32 {
  if (rf64(q + PcapRx.SKIP) > 0) return 0;
  const window: u32 = r32(q + PcapRx.WINDOW);
  const end: u32 = window + r32(q + PcapRx.FILL);
  const swap: u32 = r32(q + PcapRx.SWAP);
  const origin: u32 = r32(q + Queue.ORIGIN);
  const interfaces: u32 = r32(q + PcapRx.INTERFACES);
  const count: u32 = r32(q + PcapRx.INTERFACE_COUNT);
  let p: u32 = window + r32(q + PcapRx.POS);
  let got: u32 = 0;
  let bytes: u32 = 0;
  while (got < n && end - p >= <u32>PcapLimit.PACKET_BYTES) {
    const size: u32 = order32(p + 4, swap);
    const index: u32 = order32(p + 8, swap);
    if (order32(p, swap) != <u32>Block.ENHANCED_PACKET || index >= count) break;
    if (size > end - p || size < <u32>PcapLimit.PACKET_BYTES || (size & 3) != 0) break;
    if (order32(p + size - 4, swap) != size) break;
    if (r32(interfaces + index * Interface.BYTES + Interface.LINK_TYPE) != <u32>LinkType.ETHERNET) break;
    const length: u32 = order32(p + 20, swap);
    if (length > size - PcapLimit.PACKET_BYTES || length > room || length < <u32>PcapLimit.FRAME_BYTES_MIN)
      break;
    const mbuf: u32 = r32(pkts + (got << 2));
    const data: u32 = r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM;
    copyFrame(data, p + 28, length);
    writeMbuf(mbuf, data, length, origin);
    p = p + size;
    bytes = bytes + length;
    got++;
  }
  if (got != 0) taken(q, p - window, bytes);
  return got;
}

/** Frames of `bytes` in all were taken, which the window has up to `pos`. */
function taken(q: u32, pos: u32, bytes: u32): void {
  w32(q + PcapRx.POS, pos);
  w32(q + PcapRx.PASS_PACKETS, 1);
  burstBytes = burstBytes + bytes;
}

/** Copies the record at hand into `mbuf` and as many others as it needs. 0 if there are too few: it stays. */
function takeRecord(q: u32, mbuf: u32, room: u32): u32 {
  const data: u32 = r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM;
  const first: u32 = min32(recordLength, room);
  copyFrame(data, recordData, first);
  writeMbuf(mbuf, data, first, r32(q + Queue.ORIGIN));
  if (recordLength > room && addSegments(q, mbuf, room) == 0) return 0;
  taken(q, r32(q + PcapRx.POS) + recordBytes, recordLength);
  return 1;
}

/** The rest of a frame whose first `room` bytes are in `first`. 0, and nothing drawn, if there are too few mbufs. */
function addSegments(q: u32, first: u32, room: u32): u32 {
  const cache: u32 = r32(q + Queue.CACHE);
  const length: u32 = recordLength;
  let last: u32 = first;
  let segments: u32 = 1;
  let done: u32 = room;
  while (done < length) {
    if (mbufAllocBulk(cache, q + PcapRx.ONE, 1) == 0) {
      mbufFree(cache, r32(first + Mbuf.NEXT));
      w32(first + Mbuf.NEXT, 0);
      bump(q + Queue.STALLED, 1);
      return 0;
    }
    const mbuf: u32 = r32(q + PcapRx.ONE);
    const part: u32 = length - done < room ? length - done : room;
    copyFrame(r32(mbuf + Mbuf.DATA), recordData + done, part);
    w32(mbuf + Mbuf.DATA_LEN, part);
    w32(last + Mbuf.NEXT, mbuf);
    last = mbuf;
    done = done + part;
    segments++;
  }
  w32(first + Mbuf.PKT_LEN, length);
  w16(first + Mbuf.NB_SEGS, segments);
  return 1;
}

/** Leaves the next frame that is due in the record words: 1; 0 if there is none now. */
function nextRecord(q: u32): u32 {
  for (let step: u32 = 0; step < <u32>PcapLimit.STEPS; step++) {
    const format: u32 = r32(q + PcapRx.FORMAT);
    const found: u32 =
      format == <u32>Format.PCAP ? nextPcap(q) : format == <u32>Format.PCAPNG ? nextBlock(q) : fileHeader(q);
    if (found == <u32>Found.NOTHING) return 0;
    if (found == <u32>Found.AGAIN) continue;
    if (recordLength >= <u32>PcapLimit.FRAME_BYTES_MIN) return r32(q + PcapRx.PACE) == 0 ? 1 : isDue(q);
    bump(q + Queue.ERRORS, 1);
    consume(q, recordBytes);
  }
  return 0;
}

/** Looks at the record at POS of a pcap file. */
function nextPcap(q: u32): u32 {
  const pos: u32 = r32(q + PcapRx.POS);
  const left: u32 = r32(q + PcapRx.FILL) - pos;
  if (left < <u32>Record.BYTES) return more(q, Record.BYTES);
  const p: u32 = r32(q + PcapRx.WINDOW) + pos;
  const swap: u32 = r32(q + PcapRx.SWAP);
  const captured: u32 = order32(p + Record.CAPTURED, swap);
  if (captured > <u32>PcapLimit.FRAME_BYTES) return readFault(q, ReadFault.PACKET_LENGTH, captured);
  const bytes: u32 = captured + Record.BYTES;
  if (left < bytes) return more(q, bytes);
  let stamp: f64 = 0;
  if (r32(q + PcapRx.PACE) != 0) {
    const fraction: f64 = toF64(order32(p + Record.FRACTION, swap)) / rf64(q + PcapRx.UNITS);
    stamp = toF64(order32(p + Record.SECONDS, swap)) + fraction;
  }
  return setRecord(p + Record.BYTES, captured, bytes, stamp);
}

/** Looks at a file's first bytes. */
function fileHeader(q: u32): u32 {
  const pos: u32 = r32(q + PcapRx.POS);
  const left: u32 = r32(q + PcapRx.FILL) - pos;
  if (left < 4) return more(q, 4);
  const p: u32 = r32(q + PcapRx.WINDOW) + pos;
  const magic: u32 = r32u(p);
  switch (magic) {
    case Magic.PCAPNG:
      w32(q + PcapRx.FORMAT, Format.PCAPNG);
      return Found.AGAIN;
    case Magic.MICRO:
    case Magic.NANO:
      w32(q + PcapRx.SWAP, 0);
      break;
    case Magic.MICRO_SWAPPED:
    case Magic.NANO_SWAPPED:
      w32(q + PcapRx.SWAP, 1);
      break;
    default:
      return readFault(q, ReadFault.NOT_CAPTURE, magic);
  }
  if (left < <u32>FileHeader.BYTES) return more(q, FileHeader.BYTES);
  const linkType: u32 = order32(p + FileHeader.LINKTYPE, r32(q + PcapRx.SWAP)) & 0xffff;
  if (linkType != <u32>LinkType.ETHERNET) return readFault(q, ReadFault.LINK_TYPE, linkType);
  const micro: u32 = magic == <u32>Magic.MICRO || magic == <u32>Magic.MICRO_SWAPPED ? 1 : 0;
  wf64(q + PcapRx.UNITS, micro != 0 ? 1e6 : 1e9);
  w32(q + PcapRx.FORMAT, Format.PCAP);
  return consume(q, FileHeader.BYTES);
}

/** Whether the record's time has come. The first one of a pass is due at once, and one without a stamp, too. */
function isDue(q: u32): u32 {
  if (recordStamp <= NO_STAMP) return 1;
  if (r32(q + PcapRx.PACE_STARTED) == 0) {
    w32(q + PcapRx.PACE_STARTED, 1);
    wf64(q + PcapRx.START_MS, clock);
    wf64(q + PcapRx.START_STAMP, recordStamp);
    return 1;
  }
  const after: f64 = (recordStamp - rf64(q + PcapRx.START_STAMP)) * 1000;
  return clock - rf64(q + PcapRx.START_MS) >= after ? 1 : 0;
}
