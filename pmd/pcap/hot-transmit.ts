// net_pcap, transmit: packets become records of a batch in the arena, which is written out when it is full, and as soon
// as there is time for it.
import { Mbuf, Queue } from "../../src/hot/layout.ts";
import { mbufFreeBulk } from "../../src/hot/mbuf.ts";
import { fdWrite, now, r32, rf64, toF64, toU32, w32, w32u } from "../../src/hot/mem.ts";
import { bump, countPackets } from "../../src/hot/queue.ts";
import { copyFrame } from "../../src/hot/simd.ts";
import { Block, Record } from "../../src/pcap/format.ts";
import { Errno, PcapTx, WriteFormat } from "./layout.ts";

/** The two words that tell a record's time, the same for all of a burst. */
let stampHigh: u32 = 0;
let stampLow: u32 = 0;

export function pcapTxBurst(q: u32, pkts: u32, n: u32): u32 {
  const format: u32 = r32(q + PcapTx.FORMAT);
  const snaplen: u32 = r32(q + PcapTx.SNAPLEN);
  const size: u32 = r32(q + PcapTx.BATCH_BYTES);
  takeStamp(q, format);
  let sent: u32 = 0;
  let bytes: u32 = 0;
  let fill: u32 = r32(q + PcapTx.FILL);
  while (sent < n) {
    const mbuf: u32 = r32(pkts + (sent << 2));
    const length: u32 = r32(mbuf + Mbuf.PKT_LEN);
    const captured: u32 = length < snaplen ? length : snaplen;
    const room: u32 = format == <u32>WriteFormat.PCAPNG ? blockBytes(captured) : captured + Record.BYTES;
    if (fill + room > size) {
      w32(q + PcapTx.FILL, fill);
      flush(q);
      fill = r32(q + PcapTx.FILL);
      if (fill + room > size) break;
    }
    if (captured < length) bump(q + PcapTx.CUT, 1);
    const at: u32 = r32(q + PcapTx.BATCH) + fill;
    if (format == <u32>WriteFormat.PCAPNG) writeBlock(at, mbuf, captured, length, room);
    else writeRecord(at, mbuf, captured, length);
    fill = fill + room;
    bytes = bytes + length;
    sent++;
  }
  w32(q + PcapTx.FILL, fill);
  if (sent < n) bump(q + Queue.STALLED, n - sent);
  mbufFreeBulk(r32(q + Queue.CACHE), pkts, sent);
  countPackets(q, sent, bytes);
  return sent;
}

/** Writes the batch out, as much of it as the file takes. */
function flush(q: u32): void {
  const batch: u32 = r32(q + PcapTx.BATCH);
  const fill: u32 = r32(q + PcapTx.FILL);
  let done: u32 = r32(q + PcapTx.DONE);
  while (done < fill) {
    const got: u32 = fdWrite(r32(q + PcapTx.FD), batch + done, fill - done);
    if (got > fill - done || got == 0) {
      const errno: u32 = (0 - got) >>> 0;
      if (errno != <u32>Errno.EINTR) w32(q + PcapTx.ERRNO, errno);
      w32(q + PcapTx.DONE, done);
      return;
    }
    done = done + got;
  }
  bump(q + PcapTx.WRITTEN, fill);
  w32(q + PcapTx.FILL, 0);
  w32(q + PcapTx.DONE, 0);
  w32(q + PcapTx.ERRNO, 0);
}

/** Nothing to send just now: what was gathered goes out. */
export function pcapTxIdle(q: u32): void {
  if (r32(q + PcapTx.FILL) != 0) flush(q);
}

/** An Enhanced Packet Block without options: 28 bytes of head, the frame and its padding, the length once more. */
function blockBytes(captured: u32): u32 {
  return ((captured + 3) & 0xffffc) + 32;
}

function writeRecord(p: u32, mbuf: u32, captured: u32, length: u32): void {
  w32u(p + Record.SECONDS, stampHigh);
  w32u(p + Record.FRACTION, stampLow);
  w32u(p + Record.CAPTURED, captured);
  w32u(p + Record.LENGTH, length);
  copyPacket(p + Record.BYTES, mbuf, captured);
}

function writeBlock(p: u32, mbuf: u32, captured: u32, length: u32, bytes: u32): void {
  w32(p + bytes - 8, 0); // the padding's bytes, and others that are written below
  w32(p, Block.ENHANCED_PACKET);
  w32(p + 4, bytes);
  w32(p + 8, 0); // the section's only interface
  w32(p + 12, stampHigh);
  w32(p + 16, stampLow);
  w32(p + 20, captured);
  w32(p + 24, length);
  copyPacket(p + 28, mbuf, captured);
  w32(p + bytes - 4, bytes);
}

/** The first `n` bytes of a packet, which has so many. */
function copyPacket(to: u32, first: u32, n: u32): void {
  let left: u32 = n;
  let mbuf: u32 = first;
  let at: u32 = to;
  for (;;) {
    const length: u32 = r32(mbuf + Mbuf.DATA_LEN);
    if (length >= left) break;
    copyFrame(at, r32(mbuf + Mbuf.DATA), length);
    at = at + length;
    left = left - length;
    mbuf = r32(mbuf + Mbuf.NEXT);
  }
  copyFrame(at, r32(mbuf + Mbuf.DATA), left);
}

/**
 * The wall clock, as the format tells it: seconds and their fraction, or nanoseconds since 1970 in two words. An f64
 * holds no nanoseconds since 1970, so they are multiplied out in halves of the seconds.
 */
function takeStamp(q: u32, format: u32): void {
  const ms: f64 = now() + rf64(q + PcapTx.EPOCH_MS);
  const whole: u32 = toU32(ms / 1000);
  const seconds: u32 = r32(q + PcapTx.EPOCH_SECONDS) + whole;
  const ns: u32 = toU32((ms - toF64(whole) * 1000) * 1e6);
  if (format != <u32>WriteFormat.PCAPNG) {
    stampHigh = seconds;
    stampLow = format == <u32>WriteFormat.MICRO ? toU32(toF64(ns) / 1000) : ns;
    return;
  }
  const upper: f64 = toF64(seconds >>> 16) * 1e9;
  const high: u32 = toU32(upper / 65536);
  const rest: f64 = (upper - toF64(high) * 65536) * 65536 + toF64(seconds & 0xffff) * 1e9 + toF64(ns);
  const carry: u32 = toU32(rest / 4294967296.0);
  stampHigh = high + carry;
  stampLow = toU32(rest - toF64(carry) * 4294967296.0);
}
