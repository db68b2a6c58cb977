// The tap: where a burst is looked at on its way. Received packets when the driver has handed them over; packets to
// send in two steps, for a driver may give them back to the pool before its burst returns: copied before (stage), and
// shown to the reader only as far as the driver took them (commit).
//
// A tap never waits: a packet that the ring has no room for is counted, and missed by the reader alone.
import { Mbuf } from "../hot/layout.ts";
import { acquire32, min32, now, publish32, r32, rf64, toF64, toU32, w8, w32 } from "../hot/mem.ts";
import { bump } from "../hot/queue.ts";
import { copyFrame } from "../hot/simd.ts";
import { Block } from "../pcap/format.ts";
import { runFilter, viewedTag, viewPacket } from "./hot-bpf.ts";
import { CaptureClock, Epb, EpbEnd, Ring, Tap, TapResult } from "./layout.ts";

// The burst's time, ns since 1970.
let stampLow: u32 = 0;
let stampHigh: u32 = 0;
/** The tail behind the packet that was put last. */
let tail: u32 = 0;

/** Once a burst. `clock`: the word that says which CaptureClock is valid. */
function stamp(clock: u32): void {
  const base: u32 = acquire32(clock);
  let ns: f64 = (now() - rf64(base + CaptureClock.MS)) * 1e6;
  if (ns < 0) ns = 0;
  // exact: ns stays below 2^53 for a hundred days, and the clock is set anew every second
  const low: f64 = toF64(r32(base + CaptureClock.LOW)) + ns;
  const carry: u32 = toU32(low / 4294967296.0);
  stampLow = toU32(low - toF64(carry) * 4294967296.0);
  stampHigh = r32(base + CaptureClock.HIGH) + carry;
}

/** Copies the first `keep` bytes of the packet at hand, its VLAN tag in place. */
function copyPacket(to: u32, mbuf: u32, keep: u32): void {
  const tag: u32 = viewedTag();
  let at: u32 = to;
  let left: u32 = keep;
  let segment: u32 = mbuf;
  let skip: u32 = 0;
  if (tag != 0) {
    skip = min32(12, left);
    copyFrame(at, r32(mbuf + Mbuf.DATA), skip);
    left = left - skip;
    at = at + skip;
    for (let k: u32 = 0; k < 4 && left > 0; k++) {
      w8(at, (tag >>> ((3 - k) << 3)) & 255);
      at++;
      left--;
    }
  }
  while (left > 0 && segment != 0) {
    const bytes: u32 = min32(left, r32(segment + Mbuf.DATA_LEN) - skip);
    copyFrame(at, r32(segment + Mbuf.DATA) + skip, bytes);
    at = at + bytes;
    left = left - bytes;
    skip = 0;
    segment = r32(segment + Mbuf.NEXT);
  }
}

/** Writes one packet behind `tail`, if the filter wants it and the ring has room up to `head`. A TapResult. */
function put(t: u32, mbuf: u32, head: u32): u32 {
  const direction: u32 = r32(t + Tap.DIRECTION);
  const length: u32 = viewPacket(mbuf, direction - 1);
  let keep: u32 = min32(length, r32(t + Tap.SNAPLEN));
  const program: u32 = r32(t + Tap.PROGRAM);
  if (program != 0) keep = min32(keep, runFilter(program, t + Tap.SCRATCH));
  if (program != 0 && keep == 0) return TapResult.REFUSED;

  const padded: u32 = ((keep + 3) & ~3) >>> 0;
  const bytes: u32 = Epb.DATA + padded + EpbEnd.BYTES;
  const mask: u32 = r32(t + Tap.MASK);
  const whole: u32 = mask + 1 - (tail & mask);
  const skip: u32 = bytes > whole ? whole : 0;
  const used: u32 = (tail - head) >>> 0;
  // a head that is not one of ours makes `used` larger than the ring: then it counts as full
  if (used > mask || skip + bytes > mask + 1 - used) return TapResult.DROPPED;
  let p: u32 = r32(t + Tap.RING) + (tail & mask);
  if (skip != 0) {
    w32(p, 0);
    p = r32(t + Tap.RING);
  }
  w32(p, Block.ENHANCED_PACKET);
  w32(p + Epb.LENGTH, bytes);
  w32(p + Epb.INTERFACE, 0);
  w32(p + Epb.STAMP_HIGH, stampHigh);
  w32(p + Epb.STAMP_LOW, stampLow);
  w32(p + Epb.CAPTURED, keep);
  w32(p + Epb.ORIGINAL, length);
  if (keep < padded) w32(p + Epb.DATA + padded - 4, 0);
  copyPacket(p + Epb.DATA, mbuf, keep);
  p = p + Epb.DATA + padded;
  w32(p, EpbEnd.FLAGS);
  w32(p + 4, direction);
  w32(p + 8, EpbEnd.QUEUE);
  w32(p + 12, r32(t + Tap.QUEUE));
  w32(p + 16, 0);
  w32(p + 20, bytes);
  tail = (tail + skip + bytes) >>> 0;
  return TapResult.WRITTEN;
}

/** Shows the reader what lies before `end`, and counts. */
function show(t: u32, end: u32, seen: u32, accepted: u32, dropped: u32): void {
  const header: u32 = r32(t + Tap.HEADER);
  w32(t + Tap.TAIL, end);
  bump(header + Ring.SEEN, seen);
  bump(header + Ring.ACCEPTED, accepted);
  bump(header + Ring.DROPPED, dropped);
  publish32(header + Ring.TAIL, end);
}

/** Packets that were received, for each tap from `first` on. */
export function tapReceived(first: u32, pkts: u32, n: u32): void {
  stamp(r32(first + Tap.CLOCK));
  for (let t: u32 = first; t != 0; t = r32(t + Tap.NEXT)) {
    const head: u32 = acquire32(r32(t + Tap.HEADER) + Ring.HEAD);
    let accepted: u32 = 0;
    let dropped: u32 = 0;
    tail = r32(t + Tap.TAIL);
    for (let k: u32 = 0; k < n; k++) {
      const result: u32 = put(t, r32(pkts + (k << 2)), head);
      if (result != <u32>TapResult.REFUSED) accepted++;
      if (result == <u32>TapResult.DROPPED) dropped++;
    }
    show(t, tail, n, accepted, dropped);
  }
}

/**
 * Packets that a driver is about to be given: copied, shown to nobody yet. Returns how many of the `n` the driver may
 * be given, so that what is noted of them has an end.
 */
export function tapStage(first: u32, pkts: u32, n: u32): u32 {
  const offered: u32 = min32(n, Tap.STAGED_MAX);
  stamp(r32(first + Tap.CLOCK));
  for (let t: u32 = first; t != 0; t = r32(t + Tap.NEXT)) {
    const head: u32 = acquire32(r32(t + Tap.HEADER) + Ring.HEAD);
    const results: u32 = t + Tap.RESULTS;
    tail = r32(t + Tap.TAIL);
    for (let k: u32 = 0; k < offered; k++) {
      const result: u32 = put(t, r32(pkts + (k << 2)), head);
      w32(results + (k << 2), (tail | result) >>> 0);
    }
    w32(t + Tap.STAGED, offered);
  }
  return offered;
}

/** The driver took the first `n` of those. */
export function tapCommit(first: u32, n: u32): void {
  for (let t: u32 = first; t != 0; t = r32(t + Tap.NEXT)) {
    const staged: u32 = r32(t + Tap.STAGED);
    w32(t + Tap.STAGED, 0);
    // nothing staged: the tap was put in between
    const taken: u32 = min32(n, staged);
    if (taken == 0) continue;
    let accepted: u32 = 0;
    let dropped: u32 = 0;
    let end: u32 = 0;
    for (let k: u32 = 0; k < taken; k++) {
      end = r32(t + Tap.RESULTS + (k << 2));
      const result: u32 = end & 3;
      if (result != <u32>TapResult.REFUSED) accepted++;
      if (result == <u32>TapResult.DROPPED) dropped++;
    }
    show(t, (end & ~3) >>> 0, taken, accepted, dropped);
  }
}
