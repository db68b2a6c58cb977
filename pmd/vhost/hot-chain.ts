// From a guest's descriptor chain to checked pieces of the arena. The guest may rewrite its descriptors while they are
// read: every field is read once, checked, and only the checked copy is used.
import { QueueError } from "../../src/hot/layout.ts";
import { acquire32, r16, r32, w32 } from "../../src/hot/mem.ts";
import { queueFail } from "../../src/hot/queue.ts";
import { GuestDesc, Region, Segment, Vring } from "./layout.ts";

// What the last fetched chain was; one chain is at hand at a time.
let total: u32 = 0;
let span: u32 = 0;
let bufferId: u32 = 0;
let entries: u32 = 0; // of the indirect table at hand

/** Bytes of the fetched chain. */
export function chainBytes(): u32 {
  return total;
}
/** Packed: descriptors that the fetched chain takes in the ring. */
export function chainSpan(): u32 {
  return span;
}
/** Packed: the id that names the fetched chain. */
export function chainId(): u32 {
  return bufferId;
}

/** Arena offset of `bytes` at a guest address, 0 if they do not lie within one region. */
function translate(regions: u32, low: u32, high: u32, bytes: u32): u32 {
  const end: u32 = regions + Region.BYTES + r32(regions) * Region.BYTES;
  for (let r: u32 = regions + Region.BYTES; r < end; r = r + Region.BYTES) {
    const base: u32 = r32(r + Region.BASE_LOW);
    const into: u32 = (low - base) >>> 0;
    const carry: u32 = low < base ? 1 : 0;
    const size: u32 = r32(r + Region.SIZE);
    if ((high - r32(r + Region.BASE_HIGH) - carry) >>> 0 == 0 && into < size && bytes <= size - into) {
      return r32(r + Region.OFFSET) + into;
    }
  }
  return 0;
}

/** Appends the piece that descriptor `desc` names as the chain's `n`-th. 1, or 0 with the queue stopped. */
function append(q: u32, desc: u32, flags: u32, n: u32, direction: u32): u32 {
  const length: u32 = r32(desc + 8);
  const low: u32 = r32(desc);
  if ((flags & GuestDesc.WRITE) != direction) {
    queueFail(q, QueueError.BAD_DIRECTION, flags);
    return 0;
  }
  if (length == 0) {
    queueFail(q, QueueError.ZERO_LENGTH, low);
    return 0;
  }
  const at: u32 = translate(r32(q + Vring.REGIONS), low, r32(desc + 4), length);
  if (at == 0) {
    queueFail(q, QueueError.BAD_ADDRESS, low);
    return 0;
  }
  if (n >= <u32>Segment.MAX || length > 0x7fffffff - total) {
    queueFail(q, QueueError.CHAIN_TOO_LONG, n);
    return 0;
  }
  const segment: u32 = r32(q + Vring.SEGMENTS) + n * Segment.BYTES;
  w32(segment, at);
  w32(segment + 4, length);
  total = total + length;
  return 1;
}

/** The table that an indirect descriptor names: its arena offset, its length in `entries`; 0 with the queue stopped. */
function indirect(q: u32, desc: u32, flags: u32): u32 {
  const length: u32 = r32(desc + 8);
  const at: u32 = translate(r32(q + Vring.REGIONS), r32(desc), r32(desc + 4), length);
  if ((flags & GuestDesc.NEXT) != 0 || length == 0 || (length & 15) != 0 || at == 0 || (at & 3) != 0) {
    queueFail(q, QueueError.BAD_INDIRECT, length);
    return 0;
  }
  entries = length >>> 4;
  return at;
}

/**
 * Split ring: the chain that begins at descriptor `head`, whose buffers the device may write (GuestDesc.WRITE) or read
 * (0). Returns how many pieces it has; 0 with the queue stopped.
 */
export function fetchSplit(q: u32, head: u32, direction: u32): u32 {
  let table: u32 = r32(q + Vring.DESC);
  let limit: u32 = r32(q + Vring.SIZE);
  let index: u32 = head;
  let n: u32 = 0;
  total = 0;
  if (head >= limit) {
    queueFail(q, QueueError.BAD_HEAD, head);
    return 0;
  }
  let flags: u32 = r16(table + (head << 4) + 12);
  if ((flags & GuestDesc.INDIRECT) != 0) {
    table = indirect(q, table + (head << 4), flags);
    if (table == 0) return 0;
    limit = entries;
    index = 0;
    flags = r16(table + 12);
  }
  while (n < limit) {
    const desc: u32 = table + (index << 4);
    if ((flags & GuestDesc.INDIRECT) != 0) {
      queueFail(q, QueueError.BAD_INDIRECT, index);
      return 0;
    }
    if (append(q, desc, flags, n, direction) == 0) return 0;
    n++;
    if ((flags & GuestDesc.NEXT) == 0) return n;
    index = r16(desc + 14);
    if (index >= limit) {
      queueFail(q, QueueError.BAD_NEXT, index);
      return 0;
    }
    flags = r16(table + (index << 4) + 12);
  }
  queueFail(q, QueueError.CHAIN_TOO_LONG, n);
  return 0;
}

/** Packed ring: 1 if the guest has handed over the descriptor at running index `index`. */
export function packedReady(q: u32, index: u32): u32 {
  const size: u32 = r32(q + Vring.SIZE);
  const word: u32 = acquire32(r32(q + Vring.DESC) + ((index & (size - 1)) << 4) + 12);
  const wanted: u32 = (index & size) == 0 ? 0x80 : 0x8000; // AVAIL equals the wrap counter, USED does not
  return ((word >>> 16) & 0x8080) == wanted ? 1 : 0;
}

/** Packed ring: the chain that begins at running index `index`, which is ready. As fetchSplit. */
export function fetchPacked(q: u32, index: u32, direction: u32): u32 {
  const ring: u32 = r32(q + Vring.DESC);
  const size: u32 = r32(q + Vring.SIZE);
  let n: u32 = 0;
  total = 0;
  while (n < size) {
    const desc: u32 = ring + (((index + n) & (size - 1)) << 4);
    const word: u32 = r32(desc + 12);
    const flags: u32 = word >>> 16;
    bufferId = word & 0xffff;
    span = n + 1;
    if ((flags & GuestDesc.INDIRECT) != 0)
      return n == 0 ? fetchTable(q, desc, flags, direction) : badTable(q, n);
    if (append(q, desc, flags, n, direction) == 0) return 0;
    n++;
    if ((flags & GuestDesc.NEXT) == 0) return n;
  }
  queueFail(q, QueueError.CHAIN_TOO_LONG, n);
  return 0;
}

/** Packed ring: all entries of an indirect table, in order; it knows no NEXT (virtio 1.2, 2.8.8). */
function fetchTable(q: u32, desc: u32, flags: u32, direction: u32): u32 {
  const table: u32 = indirect(q, desc, flags);
  if (table == 0) return 0;
  const count: u32 = entries;
  for (let k: u32 = 0; k < count; k++) {
    const bits: u32 = r16(table + (k << 4) + 14);
    if ((bits & GuestDesc.INDIRECT) != 0) return badTable(q, k);
    if (append(q, table + (k << 4), bits, k, direction) == 0) return 0;
  }
  return count;
}

function badTable(q: u32, index: u32): u32 {
  queueFail(q, QueueError.BAD_INDIRECT, index);
  return 0;
}
