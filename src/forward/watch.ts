// What is looked at beside forwarding, where somebody asked for it (Stream.WATCH): sizes of bursts, the first bytes of
// packets for `set verbose`, the age of stamped packets.
import { Mbuf, Queue, Stream, Watch } from "../hot/layout.ts";
import { acquire32, min32, publish32, r16, r32, w32 } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";
import { copyFrame } from "../hot/simd.ts";
import { measureAges } from "./stamp.ts";

/** BURST_MAX in src/limits.ts. */
const LARGEST_BURST: u32 = 512;

/** A ring of packets to be shown. The lcore puts them in, control takes them out; when it is full they are missed. */
export const enum VerboseRing {
  /** The lcore's line: running index, and f64: packets that found no room. */
  TAIL = 0,
  MISSED = 8,
  /** Control's line. */
  HEAD = 64,
  FIRST = 128,
  SLOTS = 256,
  BYTES = 128 + 256 * 256,
}

/** One packet in it: u32 words, then the packet's first bytes. */
export const enum VerboseSlot {
  /** 0 received, 1 sent. */
  SENT = 0,
  PORT = 4,
  QUEUE = 8,
  /** Packets of its burst, and its place in that. */
  BURST = 12,
  INDEX = 16,
  PKT_LEN = 20,
  NB_SEGS = 24,
  OL_FLAGS = 28,
  RSS_HASH = 32,
  VLAN_TCI = 36,
  /** Bytes that were kept. */
  KEPT = 40,
  DATA = 64,
  DATA_BYTES = 192,
  BYTES = 256,
}

/** After a receive burst of `got` packets, at least one. */
export function watchReceived(s: u32, pkts: u32, got: u32): void {
  const watched: u32 = r32(s + Stream.WATCH);
  if ((watched & Watch.BURSTS) != 0) {
    countBurst(r32(s + Stream.RX_BURSTS), got);
    w32(s + Stream.ROUND_BURSTS, r32(s + Stream.ROUND_BURSTS) + 1);
  }
  if ((watched & Watch.LATENCY) != 0) measureAges(s, pkts, got);
  if ((watched & Watch.RECEIVED) != 0) show(s, r32(s + Stream.RX_QUEUE), pkts, got, 0);
}

/** After a receive burst of an application that brought nothing. */
export function watchEmpty(s: u32): void {
  if ((r32(s + Stream.WATCH) & Watch.BURSTS) != 0) countBurst(r32(s + Stream.RX_BURSTS), 0);
}

/** After a round in which the stream was polled `polls` times: those that brought nothing were not counted. */
export function watchRound(s: u32, polls: u32): void {
  if ((r32(s + Stream.WATCH) & Watch.BURSTS) == 0 || r32(s + Stream.RX_QUEUE) == 0) return;
  const empty: u32 = r32(s + Stream.RX_BURSTS);
  w32(empty, r32(empty) + polls - r32(s + Stream.ROUND_BURSTS));
  w32(s + Stream.ROUND_BURSTS, 0);
}

/** Before `n` packets are sent: afterwards they are no longer ours to look at. */
export function watchOffered(s: u32, pkts: u32, n: u32): void {
  if ((r32(s + Stream.WATCH) & Watch.SENT) != 0) show(s, r32(s + Stream.TX_QUEUE), pkts, n, 1);
}

/** After `sent` of them were taken. */
export function watchSent(s: u32, sent: u32): void {
  if ((r32(s + Stream.WATCH) & Watch.BURSTS) != 0) countBurst(r32(s + Stream.TX_BURSTS), sent);
}

/** Larger ones, which an application may have, count as the largest. */
function countBurst(histogram: u32, packets: u32): void {
  const p: u32 = histogram + (min32(packets, LARGEST_BURST) << 2);
  w32(p, r32(p) + 1);
}

function show(s: u32, q: u32, pkts: u32, n: u32, sent: u32): void {
  const ring: u32 = r32(s + Stream.VERBOSE);
  const tail: u32 = r32(ring + VerboseRing.TAIL);
  const used: u32 = (tail - acquire32(ring + VerboseRing.HEAD)) >>> 0;
  const room: u32 = min32(n, VerboseRing.SLOTS - used);
  for (let k: u32 = 0; k < room; k++) {
    const place: u32 = (tail + k) & (VerboseRing.SLOTS - 1);
    const slot: u32 = ring + VerboseRing.FIRST + place * <u32>VerboseSlot.BYTES;
    w32(slot + VerboseSlot.SENT, sent);
    w32(slot + VerboseSlot.PORT, r32(q + Queue.PORT));
    w32(slot + VerboseSlot.QUEUE, r32(q + Queue.INDEX));
    w32(slot + VerboseSlot.BURST, n);
    w32(slot + VerboseSlot.INDEX, k);
    keep(slot, r32(pkts + (k << 2)));
  }
  publish32(ring + VerboseRing.TAIL, (tail + room) >>> 0);
  if (room < n) bump(ring + VerboseRing.MISSED, n - room);
}

/** Copies a packet's metadata and its first bytes, of however many segments. */
function keep(slot: u32, mbuf: u32): void {
  w32(slot + VerboseSlot.PKT_LEN, r32(mbuf + Mbuf.PKT_LEN));
  w32(slot + VerboseSlot.NB_SEGS, r16(mbuf + Mbuf.NB_SEGS));
  w32(slot + VerboseSlot.OL_FLAGS, r32(mbuf + Mbuf.OL_FLAGS));
  w32(slot + VerboseSlot.RSS_HASH, r32(mbuf + Mbuf.RSS_HASH));
  w32(slot + VerboseSlot.VLAN_TCI, r16(mbuf + Mbuf.VLAN_TCI));
  let kept: u32 = 0;
  let segment: u32 = mbuf;
  while (segment != 0 && kept < <u32>VerboseSlot.DATA_BYTES) {
    const bytes: u32 = min32(r32(segment + Mbuf.DATA_LEN), VerboseSlot.DATA_BYTES - kept);
    copyFrame(slot + VerboseSlot.DATA + kept, r32(segment + Mbuf.DATA), bytes);
    kept = kept + bytes;
    segment = r32(segment + Mbuf.NEXT);
  }
  w32(slot + VerboseSlot.KEPT, kept);
}
