// Stores wider than a word, and bytes in the opposite order; here, the plain engine, word by word. `simd.as.ts` beside
// it is the same list with WebAssembly's vector instructions: a shuffle turns all bytes of a segment at once.
import { Mbuf } from "../../src/hot/layout.ts";
import { r32, r32u, swap32, w32 } from "../../src/hot/mem.ts";

/** Bytes of the packets that takeQuads took, or describeQuads described. */
export const quadBytes: u32 = 0;

/** Receive: takes ordinary packets four at a time, as takeRun does one. Returns how many: none without vectors. */
export function takeQuads(_q: u32, _pkts: u32, _n: u32): u32 {
  return 0;
}

/**
 * Receive: takes packets of a compressed session four at a time: `n` mini CQEs at `minis`, whose mbufs' words stand at
 * `mbufs`. Lengths are FRAME_MIN to `span` more. Returns how many: none without vectors.
 */
export function takeMiniQuads(_minis: u32, _mbufs: u32, _pkts: u32, _n: u32, _span: u32, _origin: u32): u32 {
  return 0;
}

/**
 * Receive: points WQEs at the buffers of `n` mbufs (words at `from`), as writeBuffers does. Returns how many.
 * `addresses`: the first WQE's address field, the others lie 1 << `shift` bytes apart.
 */
export function writeQuads(
  _addresses: u32,
  _shift: u32,
  _mbufs: u32,
  _from: u32,
  _n: u32,
  _low: u32,
  _high: u32,
): u32 {
  return 0;
}

/**
 * Transmit: describes ordinary packets that ask for nothing, of the own pool, as sendRun (all in one WQE, but for its
 * head) or sendSingles. There is room for `n`. Returns how many; what is to be noted of them is for the caller.
 */
export function describeQuads(_q: u32, _pkts: u32, _n: u32, _inlined: u32): u32 {
  return 0;
}

/** Bytes of the packets that listQuads listed. */
export const listedBytes: u32 = 0;

/**
 * Transmit in ibv mode: lists and notes ordinary packets that ask for nothing, of the own pool, for the first work
 * requests of a lot, up to the first that is not such. There is room for `n`. Returns how many: none without vectors.
 */
export function listQuads(_q: u32, _pkts: u32, _n: u32): u32 {
  return 0;
}

/** Writes the address of arena offset `data`, big-endian; `low` and `high`: that of arena offset 0. */
export function writeAddress(p: u32, data: u32, low: u32, high: u32): void {
  const sum: u32 = (low + data) >>> 0;
  w32(p, swap32(sum < low ? high + 1 : high));
  w32(p + 4, swap32(sum));
}

/** Writes a data segment: `length` bytes at arena offset `data`. `lkey` is swapped already. */
export function writeSegment(p: u32, data: u32, length: u32, lkey: u32, low: u32, high: u32): void {
  w32(p, swap32(length));
  w32(p + 4, lkey);
  writeAddress(p + 8, data, low, high);
}

/** Writes a control segment that asks for no completion, and an Ethernet segment; words as they are. */
export function writeHead(wqe: u32, operation: u32, qpnDs: u32, csFlags: u32, inlineSize: u32): void {
  w32(wqe, operation);
  w32(wqe + 4, qpnDs);
  w32(wqe + 8, 0);
  w32(wqe + 12, 0);
  w32(wqe + 16, 0);
  w32(wqe + 20, csFlags);
  w32(wqe + 24, 0);
  w32(wqe + 28, inlineSize);
}

/** Puts a frame's first 18 bytes into the Ethernet segment of the WQE, behind inline_hdr_sz. */
export function inlineHeader(wqe: u32, frame: u32): void {
  const start: u32 = r32u(frame);
  w32(wqe + 28, (0x1200 | (start << 16)) >>> 0);
  w32(wqe + 32, ((start >>> 16) | (r32u(frame + 4) << 16)) >>> 0);
  w32(wqe + 36, r32u(frame + 6));
  w32(wqe + 40, r32u(frame + 10));
  w32(wqe + 44, r32u(frame + 14));
}

/** Whether a packet is one segment, whole: 0, else not 0. */
export function notSingle(mbuf: u32): u32 {
  return r32(mbuf + Mbuf.NEXT) | (r32(mbuf + Mbuf.PKT_LEN) ^ r32(mbuf + Mbuf.DATA_LEN));
}
