// The window of the arena through which a receive queue sees its file: filled by fdRead, slid along where a record does
// not fit behind what was consumed. A file that is smaller than its window may stay in it, and is read once for all
// passes.
import { copyBytes, fdRead, fdRewind, min32, r8, r32, r32u, rf64, w32, wf64 } from "../../src/hot/mem.ts";
import { bump } from "../../src/hot/queue.ts";
import { Errno, Format, Found, Loops, PcapLimit, PcapRx, ReadFault, ReadState } from "./layout.ts";

// The record at hand, which the parsers leave here for the burst.
/** Arena offset of the frame's first byte, and the bytes of it that the file has. */
export let recordData: u32 = 0;
export let recordLength: u32 = 0;
/** Bytes of the window that it takes, headers and padding included. */
export let recordBytes: u32 = 0;
/** Seconds since 1970, in an f64: exact to a quarter of a microsecond. NO_STAMP where there is none. */
export let recordStamp: f64 = 0;

/** Before all time. */
export const NO_STAMP: f64 = -1e18;

export function setRecord(data: u32, length: u32, bytes: u32, stamp: f64): u32 {
  recordData = data;
  recordLength = length;
  recordBytes = bytes;
  recordStamp = stamp;
  return Found.PACKET;
}

/** The file is at fault, at the record that begins at POS: the queue gives nothing more. */
export function readFault(q: u32, fault: u32, argument: u32): u32 {
  w32(q + PcapRx.FAULT_ARG, argument);
  w32(q + PcapRx.FAULT, fault);
  w32(q + PcapRx.STATE, ReadState.FAILED);
  return Found.NOTHING;
}

/** `n` bytes of the window are done with. */
export function consume(q: u32, n: u32): u32 {
  w32(q + PcapRx.POS, r32(q + PcapRx.POS) + n);
  return Found.AGAIN;
}

/** A word of the file, in its own order, at any address. */
export function order32(p: u32, swap: u32): u32 {
  const v: u32 = r32u(p);
  if (swap == 0) return v;
  return ((v >>> 24) | ((v >>> 8) & 0xff00) | ((v << 8) & 0xff0000) | (v << 24)) >>> 0;
}

export function order16(p: u32, swap: u32): u32 {
  const first: u32 = r8(p);
  const second: u32 = r8(p + 1);
  return swap == 0 ? first | (second << 8) : second | (first << 8);
}

/** So that `want` bytes from POS on can be had; no more than the window has room for. */
export function more(q: u32, want: u32): u32 {
  const window: u32 = r32(q + PcapRx.WINDOW);
  const size: u32 = r32(q + PcapRx.WINDOW_BYTES);
  const pos: u32 = r32(q + PcapRx.POS);
  let fill: u32 = r32(q + PcapRx.FILL);
  if (r32(q + PcapRx.AT_END) != 0) return atEnd(q, fill - pos);
  if (pos != 0 && (r32(q + PcapRx.KEEP) == 0 || pos + want > size)) {
    copyBytes(window, window + pos, fill - pos);
    bump(q + PcapRx.BASE, pos);
    fill = fill - pos;
    w32(q + PcapRx.POS, 0);
    w32(q + PcapRx.FILL, fill);
  }
  const room: u32 = min32(size - fill, PcapLimit.READ_BYTES);
  const got: u32 = fdRead(r32(q + PcapRx.FD), window + fill, room);
  if (got > room) return notRead(q, got);
  w32(q + PcapRx.FILL, fill + got);
  if (got != 0) return Found.AGAIN;
  w32(q + PcapRx.AT_END, 1);
  return atEnd(q, fill - r32(q + PcapRx.POS));
}

/** The pass is over; `left` bytes of a record that is not whole. */
function atEnd(q: u32, left: u32): u32 {
  if (left != 0 || rf64(q + PcapRx.SKIP) > 0) return readFault(q, ReadFault.TRUNCATED, left);
  if (r32(q + PcapRx.FORMAT) == <u32>Format.NONE) return readFault(q, ReadFault.EMPTY, 0);
  bump(q + PcapRx.LOOPS, 1);
  const loops: u32 = r32(q + PcapRx.LOOPS_LEFT);
  if (loops == 0 || r32(q + PcapRx.PASS_PACKETS) == 0) {
    w32(q + PcapRx.STATE, ReadState.ENDED);
    return Found.NOTHING;
  }
  if (loops != <u32>Loops.FOREVER) w32(q + PcapRx.LOOPS_LEFT, loops - 1);
  return rewind(q);
}

/** To the file's first byte. What lies whole in the window is not read again. */
function rewind(q: u32): u32 {
  w32(q + PcapRx.PASS_PACKETS, 0);
  w32(q + PcapRx.PACE_STARTED, 0);
  w32(q + PcapRx.FORMAT, Format.NONE);
  w32(q + PcapRx.INTERFACE_COUNT, 0);
  w32(q + PcapRx.POS, 0);
  if (rf64(q + PcapRx.BASE) == 0) return Found.AGAIN;
  const failed: u32 = fdRewind(r32(q + PcapRx.FD));
  if (failed != 0) return notRead(q, failed);
  w32(q + PcapRx.FILL, 0);
  w32(q + PcapRx.AT_END, 0);
  wf64(q + PcapRx.BASE, 0);
  return Found.AGAIN;
}

/** A system call failed. One that has nothing yet, or was interrupted, is asked again at the next poll. */
function notRead(q: u32, result: u32): u32 {
  const errno: u32 = (0 - result) >>> 0;
  if (errno == <u32>Errno.EAGAIN || errno == <u32>Errno.EINTR) return Found.NOTHING;
  return readFault(q, ReadFault.READ, errno);
}
