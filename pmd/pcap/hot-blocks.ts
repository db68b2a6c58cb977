// pcapng in the window: blocks of a section in either byte order. draft-ietf-opsawg-pcapng, its sections in brackets.
import { min32, r8, r32, r32u, rf64, toF64, toU32, w32, wf64 } from "../../src/hot/mem.ts";
import { bump } from "../../src/hot/queue.ts";
import { Block, ByteOrder, InterfaceOption, LinkType, Option } from "../../src/pcap/format.ts";
import { consume, more, NO_STAMP, order16, order32, readFault, setRecord } from "./hot-window.ts";
import { Found, Interface, PcapLimit, PcapRx, ReadFault } from "./layout.ts";

/** Looks at the block at POS. */
export function nextBlock(q: u32): u32 {
  if (rf64(q + PcapRx.SKIP) > 0) return skip(q);
  const pos: u32 = r32(q + PcapRx.POS);
  const left: u32 = r32(q + PcapRx.FILL) - pos;
  if (left < <u32>Block.BYTES_MIN) return more(q, Block.BYTES_MIN);
  const p: u32 = r32(q + PcapRx.WINDOW) + pos;
  if (r32u(p) == <u32>Block.SECTION_HEADER) {
    const magic: u32 = r32u(p + 8);
    if (magic != <u32>ByteOrder.OURS && magic != <u32>ByteOrder.SWAPPED)
      return readFault(q, ReadFault.BYTE_ORDER, magic);
    w32(q + PcapRx.SWAP, magic == <u32>ByteOrder.OURS ? 0 : 1);
  }
  const swap: u32 = r32(q + PcapRx.SWAP);
  const type: u32 = order32(p, swap);
  const length: u32 = order32(p + 4, swap);
  if (length < <u32>Block.BYTES_MIN || (length & 3) != 0 || length > <u32>PcapLimit.BLOCK_BYTES)
    return readFault(q, ReadFault.BLOCK_LENGTH, length);
  if (left < length) {
    if (length <= r32(q + PcapRx.WINDOW_BYTES)) return more(q, length);
    if (isRead(type) != 0) return readFault(q, ReadFault.BLOCK_LENGTH, length);
    wf64(q + PcapRx.SKIP, toF64(length));
    return Found.AGAIN;
  }
  const end: u32 = order32(p + length - 4, swap);
  if (end != length) return readFault(q, ReadFault.BLOCK_END, end);
  return readBlock(q, p, type, length);
}

/** Whether blocks of this type matter here. */
function isRead(type: u32): u32 {
  if (type == <u32>Block.SECTION_HEADER || type == <u32>Block.INTERFACE_DESCRIPTION) return 1;
  return type == <u32>Block.ENHANCED_PACKET || type == <u32>Block.SIMPLE_PACKET || type == <u32>Block.PACKET
    ? 1
    : 0;
}

/** The block at `p` is whole. */
function readBlock(q: u32, p: u32, type: u32, length: u32): u32 {
  switch (type) {
    case Block.ENHANCED_PACKET:
    case Block.PACKET:
      return stampedPacket(q, p, type, length);
    case Block.SIMPLE_PACKET:
      return simplePacket(q, p, length);
    case Block.SECTION_HEADER:
      if (length < <u32>PcapLimit.SECTION_BYTES) return readFault(q, ReadFault.BLOCK_LENGTH, length);
      w32(q + PcapRx.INTERFACE_COUNT, 0);
      return consume(q, length);
    case Block.INTERFACE_DESCRIPTION:
      return describeInterface(q, p, length);
    default:
      return consume(q, length);
  }
}

/** Passes over what is left of a block that the window does not hold. */
function skip(q: u32): u32 {
  const left: u32 = r32(q + PcapRx.FILL) - r32(q + PcapRx.POS);
  if (left == 0) return more(q, 1);
  const rest: f64 = rf64(q + PcapRx.SKIP);
  const n: u32 = rest < toF64(left) ? toU32(rest) : left;
  wf64(q + PcapRx.SKIP, rest - toF64(n));
  return consume(q, n);
}

/** Interface Description Block [4.2]. */
function describeInterface(q: u32, p: u32, length: u32): u32 {
  if (length < <u32>PcapLimit.INTERFACE_BYTES) return readFault(q, ReadFault.BLOCK_LENGTH, length);
  const count: u32 = r32(q + PcapRx.INTERFACE_COUNT);
  if (count >= r32(q + PcapRx.INTERFACES_MAX)) return readFault(q, ReadFault.INTERFACE_COUNT, count + 1);
  const swap: u32 = r32(q + PcapRx.SWAP);
  const entry: u32 = r32(q + PcapRx.INTERFACES) + count * Interface.BYTES;
  w32(entry + Interface.LINK_TYPE, order16(p + 8, swap));
  w32(entry + Interface.SNAPLEN, order32(p + 12, swap));
  wf64(entry + Interface.UNITS, 1e6);
  wf64(entry + Interface.OFFSET, 0);
  const end: u32 = p + length - 4;
  let at: u32 = p + 16;
  while (at + 4 <= end) {
    const code: u32 = order16(at, swap);
    const bytes: u32 = order16(at + 2, swap);
    if (code == <u32>Option.END || at + 4 + bytes > end) break;
    if (code == <u32>InterfaceOption.TSRESOL && bytes == 1)
      wf64(entry + Interface.UNITS, unitsOf(r8(at + 4)));
    if (code == <u32>InterfaceOption.TSOFFSET && bytes == 8)
      wf64(entry + Interface.OFFSET, signedSeconds(at + 4, swap));
    at = at + 4 + padded(bytes);
  }
  w32(q + PcapRx.INTERFACE_COUNT, count + 1);
  return consume(q, length);
}

/** Stamp units a second, by if_tsresol: a power of ten, or of two where bit 7 is set. */
function unitsOf(resolution: u32): f64 {
  const base: f64 = (resolution & 0x80) != 0 ? 2 : 10;
  let units: f64 = 1;
  for (let k: u32 = resolution & 0x7f; k != 0; k--) units = units * base;
  return units;
}

/** if_tsoffset, a signed 64-bit number in the section's order. */
function signedSeconds(p: u32, swap: u32): f64 {
  const high: u32 = order32(swap != 0 ? p : p + 4, swap);
  const low: u32 = order32(swap != 0 ? p + 4 : p, swap);
  const signed: f64 = high < 0x80000000 ? toF64(high) : toF64(high) - 4294967296.0;
  return signed * 4294967296.0 + toF64(low);
}

/** Enhanced Packet Block [4.3], and the obsolete Packet Block, which differs in the width of the interface's number. */
function stampedPacket(q: u32, p: u32, type: u32, length: u32): u32 {
  if (length < <u32>PcapLimit.PACKET_BYTES) return readFault(q, ReadFault.BLOCK_LENGTH, length);
  const swap: u32 = r32(q + PcapRx.SWAP);
  const index: u32 = type == <u32>Block.PACKET ? order16(p + 8, swap) : order32(p + 8, swap);
  if (index >= r32(q + PcapRx.INTERFACE_COUNT)) return readFault(q, ReadFault.INTERFACE, index);
  const captured: u32 = order32(p + 20, swap);
  if (captured > length - PcapLimit.PACKET_BYTES || captured > <u32>PcapLimit.FRAME_BYTES)
    return readFault(q, ReadFault.PACKET_LENGTH, captured);
  const entry: u32 = r32(q + PcapRx.INTERFACES) + index * Interface.BYTES;
  if (r32(entry + Interface.LINK_TYPE) != <u32>LinkType.ETHERNET) return foreign(q, length);
  let stamp: f64 = 0;
  if (r32(q + PcapRx.PACE) != 0) {
    const units: f64 = toF64(order32(p + 12, swap)) * 4294967296.0 + toF64(order32(p + 16, swap));
    stamp = units / rf64(entry + Interface.UNITS) + rf64(entry + Interface.OFFSET);
  }
  return setRecord(p + 28, captured, length, stamp);
}

/** Simple Packet Block [4.4]: of interface 0, whose snaplen says how much of the packet is there. */
function simplePacket(q: u32, p: u32, length: u32): u32 {
  if (length < <u32>PcapLimit.SIMPLE_BYTES) return readFault(q, ReadFault.BLOCK_LENGTH, length);
  if (r32(q + PcapRx.INTERFACE_COUNT) == 0) return readFault(q, ReadFault.INTERFACE, 0);
  const entry: u32 = r32(q + PcapRx.INTERFACES);
  if (r32(entry + Interface.LINK_TYPE) != <u32>LinkType.ETHERNET) return foreign(q, length);
  const snaplen: u32 = r32(entry + Interface.SNAPLEN);
  let captured: u32 = min32(order32(p + 8, r32(q + PcapRx.SWAP)), length - PcapLimit.SIMPLE_BYTES);
  if (snaplen != 0) captured = min32(captured, snaplen);
  if (captured > <u32>PcapLimit.FRAME_BYTES) return readFault(q, ReadFault.PACKET_LENGTH, captured);
  return setRecord(p + 12, captured, length, NO_STAMP);
}

/** A packet that is not of an Ethernet. */
function foreign(q: u32, length: u32): u32 {
  bump(q + PcapRx.FOREIGN, 1);
  return consume(q, length);
}

function padded(bytes: u32): u32 {
  return (bytes + 3) & 0x1fffc;
}
