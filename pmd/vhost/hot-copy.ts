// Between mbufs and the pieces of a guest's chain (Vring.SEGMENTS): the two copies that a vhost backend is made of.
import { Buffer, Mbuf, Queue } from "../../src/hot/layout.ts";
import { cacheGet } from "../../src/hot/mbuf.ts";
import { min32, r32, r32u, trap, w8, w16, w32, w32u } from "../../src/hot/mem.ts";
import { copyFrame, writeMbuf } from "../../src/hot/simd.ts";
import { chainBytes } from "./hot-chain.ts";
import { Segment, Vring, Wire } from "./layout.ts";

// The place in the pieces at hand: the current one, and what of it is left.
let piece: u32 = 0;
let at: u32 = 0;
let left: u32 = 0;

function rewind(q: u32): void {
  piece = r32(q + Vring.SEGMENTS);
  at = r32(piece);
  left = r32(piece + 4);
}

function advance(n: u32): void {
  at = at + n;
  left = left - n;
}

function nextPiece(): void {
  piece = piece + Segment.BYTES;
  at = r32(piece);
  left = r32(piece + 4);
}

/** Moves over `n` bytes that the chain is known to have. */
function skip(n: u32): void {
  let rest: u32 = n;
  while (rest > left) {
    rest = rest - left;
    nextPiece();
  }
  advance(rest);
}

/** Mbufs that the frame of the fetched chain needs. */
export function mbufsNeeded(q: u32): u32 {
  const room: u32 = r32(q + Vring.ROOM);
  const bytes: u32 = chainBytes() - Wire.HEADER;
  return bytes <= room ? 1 : ((bytes + room - 1) / room) >>> 0;
}

/**
 * Copies the fetched chain's frame, behind its header, into mbufs from the cache, which has enough. Returns the
 * first.
 */
export function gather(q: u32): u32 {
  const cache: u32 = r32(q + Queue.CACHE);
  const scratch: u32 = r32(q + Vring.SCRATCH);
  const room: u32 = r32(q + Vring.ROOM);
  const total: u32 = chainBytes() - Wire.HEADER;
  let first: u32 = 0;
  let last: u32 = 0;
  let rest: u32 = total;
  let segments: u32 = 0;
  rewind(q);
  skip(Wire.HEADER);
  while (rest != 0) {
    cacheGet(cache, scratch, 1);
    const mbuf: u32 = r32(scratch);
    const bytes: u32 = min32(rest, room);
    const data: u32 = r32(mbuf + Mbuf.BUF) + Buffer.HEADROOM;
    take(data, bytes);
    writeMbuf(mbuf, data, bytes, r32(q + Queue.ORIGIN));
    if (first == 0) first = mbuf;
    else w32(last + Mbuf.NEXT, mbuf);
    last = mbuf;
    rest = rest - bytes;
    segments++;
  }
  w32(first + Mbuf.PKT_LEN, total);
  w16(first + Mbuf.NB_SEGS, segments);
  return first;
}

/** Copies `n` bytes out of the pieces. */
function take(to: u32, n: u32): void {
  let done: u32 = 0;
  while (done < n) {
    if (left == 0) nextPiece();
    const bytes: u32 = min32(n - done, left);
    copyFrame(to + done, at, bytes);
    advance(bytes);
    done = done + bytes;
  }
}

// The place in the packet that is being sent: its segment, and what of it is left.
let source: u32 = 0;
let sourceAt: u32 = 0;
let sourceLeft: u32 = 0;

/** Begins to send `mbuf`. */
export function beginPacket(mbuf: u32): void {
  source = mbuf;
  sourceAt = r32(mbuf + Mbuf.DATA);
  sourceLeft = r32(mbuf + Mbuf.DATA_LEN);
}

/** Writes a header that says one buffer and nothing else into the fetched chain. Returns where its num_buffers lies. */
export function putHeader(q: u32): u32 {
  rewind(q);
  const header: u32 = at;
  // a header that stands already is not written: its line stays in both caches (docs/decisions.md, "headers")
  if (r32u(header) != 0) w32u(header, 0);
  if (r32u(header + 4) != 0) w32u(header + 4, 0);
  if (r32u(header + 8) != 0x10000) w32u(header + 8, 0x10000);
  advance(Wire.HEADER);
  return header + 10;
}

/** Writes num_buffers, a u16 at any address. */
export function putBufferCount(p: u32, count: u32): void {
  w8(p, count & 255);
  w8(p + 1, count >>> 8);
}

/** Begins a packet's second or later chain: it has no header. */
export function continueChain(q: u32): void {
  rewind(q);
}

/** Copies up to `n` bytes of the packet into what is left of the fetched chain, which has so many. */
export function scatter(n: u32): void {
  let rest: u32 = n;
  while (rest != 0) {
    if (left == 0) nextPiece();
    while (sourceLeft == 0) {
      source = r32(source + Mbuf.NEXT);
      if (source == 0) trap(); // PKT_LEN says more than the segments hold
      sourceAt = r32(source + Mbuf.DATA);
      sourceLeft = r32(source + Mbuf.DATA_LEN);
    }
    const bytes: u32 = min32(rest, min32(left, sourceLeft));
    copyFrame(at, sourceAt, bytes);
    advance(bytes);
    sourceAt = sourceAt + bytes;
    sourceLeft = sourceLeft - bytes;
    rest = rest - bytes;
  }
}

/** Bytes of the fetched chain's first piece. */
export function firstPiece(q: u32): u32 {
  return r32(r32(q + Vring.SEGMENTS) + 4);
}
