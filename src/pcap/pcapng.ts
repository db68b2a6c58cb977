// pcapng's blocks, written in either byte order (little-endian unless asked otherwise), and a walker over the blocks of
// a stream.
// The format: draft-ietf-opsawg-pcapng; its sections in brackets.
import type { PollmodeError } from "../errors.ts";
import { PCAP_BLOCK_BYTES_MAX } from "../limits.ts";
import { readU32, u16, u32, u64 } from "./bytes.ts";
import { captureFault } from "./fault.ts";
import {
  Block,
  ByteOrder,
  InterfaceOption,
  LinkType,
  Option,
  PacketOption,
  SectionOption,
  StatisticsOption,
} from "./format.ts";

type OptionValue = string | Uint8Array | undefined;

export const padded = (bytes: number) => (bytes + 3) & ~3;

/** Stamps are two words, the high one first, whatever the byte order [4.3]. */
function stampWords(stamp: bigint, bigEndian: boolean): Buffer {
  return Buffer.concat([u32(Number(stamp >> 32n), bigEndian), u32(Number(stamp & 0xffff_ffffn), bigEndian)]);
}

/** The options that have a value, with the end of options; nothing at all if there are none. */
function optionBytes(
  options: readonly (readonly [code: number, value: OptionValue])[],
  bigEndian: boolean,
): Buffer {
  const parts: Uint8Array[] = [];
  for (const [code, value] of options) {
    if (value === undefined) continue;
    // the length is 16 bits; a text that is longer is cut
    const bytes = (typeof value === "string" ? Buffer.from(value) : value).subarray(0, 0xffff);
    const padding = Buffer.alloc(padded(bytes.length) - bytes.length);
    parts.push(u16(code, bigEndian), u16(bytes.length, bigEndian), bytes, padding);
  }
  return parts.length > 0 ? Buffer.concat([...parts, Buffer.alloc(4)]) : Buffer.alloc(0);
}

function block(type: number, bigEndian: boolean, ...parts: readonly Uint8Array[]): Buffer {
  const bytes = Block.BYTES_MIN + parts.reduce((sum, part) => sum + part.length, 0);
  const length = u32(bytes, bigEndian);
  return Buffer.concat([u32(type, bigEndian), length, ...parts, length]);
}

export interface SectionOptions {
  hardware?: string;
  os?: string;
  /** The program that writes. */
  application?: string;
  comment?: string;
}

/** Section Header Block, which a file begins with [4.1]. Its length is left open: -1. */
export function sectionHeader(of: SectionOptions = {}, bigEndian = false): Buffer {
  const options = optionBytes(
    [
      [Option.COMMENT, of.comment],
      [SectionOption.HARDWARE, of.hardware],
      [SectionOption.OS, of.os],
      [SectionOption.USERAPPL, of.application],
    ],
    bigEndian,
  );
  const version = [u16(1, bigEndian), u16(0, bigEndian)];
  const open = u64(-1n, bigEndian);
  return block(Block.SECTION_HEADER, bigEndian, u32(ByteOrder.OURS, bigEndian), ...version, open, options);
}

export interface InterfaceOptions {
  name?: string;
  description?: string;
  /** 6 bytes. */
  mac?: Uint8Array;
  /** The capture filter's text. */
  filter?: string;
  /** Bits a second. */
  speed?: bigint;
  /** Bytes kept of each packet; 0: no limit. */
  snaplen?: number;
  linkType?: number;
  /** Stamps count 10^-tsresol seconds, or 2^-n with 0x80 | n; 9, nanoseconds, unless given. */
  tsresol?: number;
  /** Seconds that stamps lack. */
  tsoffset?: bigint;
}

/** Interface Description Block [4.2]. Interfaces of a section are numbered from 0 in the order of these blocks. */
export function interfaceDescription(of: InterfaceOptions = {}, bigEndian = false): Buffer {
  const count = (value: bigint | undefined) => (value === undefined ? undefined : u64(value, bigEndian));
  const options = optionBytes(
    [
      [InterfaceOption.NAME, of.name],
      [InterfaceOption.DESCRIPTION, of.description],
      [InterfaceOption.MACADDR, of.mac],
      [InterfaceOption.SPEED, count(of.speed)],
      [InterfaceOption.TSRESOL, Uint8Array.of(of.tsresol ?? 9)],
      // a byte before the text says what language it is in: 0 is libpcap's
      [InterfaceOption.FILTER, of.filter === undefined ? undefined : `\0${of.filter}`],
      [InterfaceOption.TSOFFSET, count(of.tsoffset)],
    ],
    bigEndian,
  );
  const body = [u16(of.linkType ?? LinkType.ETHERNET, bigEndian), u16(0, bigEndian)];
  return block(Block.INTERFACE_DESCRIPTION, bigEndian, ...body, u32(of.snaplen ?? 0, bigEndian), options);
}

export interface PacketOptions {
  /** Number of the interface in its section. */
  interface: number;
  /** In the interface's resolution: nanoseconds since 1970 unless it was described otherwise. */
  stamp: bigint;
  /** The bytes kept. */
  data: Uint8Array;
  /** Bytes that the packet had; those of `data` unless given. */
  length?: number;
  direction?: "in" | "out";
  /** Packets lost at this interface since the one before. */
  dropped?: bigint;
  queue?: number;
  comment?: string;
}

/** Enhanced Packet Block [4.3]. */
export function enhancedPacket(of: PacketOptions, bigEndian = false): Buffer {
  const { data, direction, dropped, queue } = of;
  const flags = direction === "in" ? 1 : 2;
  const options = optionBytes(
    [
      [Option.COMMENT, of.comment],
      [PacketOption.FLAGS, direction === undefined ? undefined : u32(flags, bigEndian)],
      [PacketOption.DROPCOUNT, dropped === undefined ? undefined : u64(dropped, bigEndian)],
      [PacketOption.QUEUE, queue === undefined ? undefined : u32(queue, bigEndian)],
    ],
    bigEndian,
  );
  const sizes = [u32(data.length, bigEndian), u32(of.length ?? data.length, bigEndian)];
  const head = [u32(of.interface, bigEndian), stampWords(of.stamp, bigEndian), ...sizes];
  const padding = Buffer.alloc(padded(data.length) - data.length);
  return block(Block.ENHANCED_PACKET, bigEndian, ...head, data, padding, options);
}

/** Simple Packet Block [4.4]: of the section's first interface, without a stamp. Cut at that one's snaplen. */
export function simplePacket(data: Uint8Array, length = data.length, bigEndian = false): Buffer {
  const padding = Buffer.alloc(padded(data.length) - data.length);
  return block(Block.SIMPLE_PACKET, bigEndian, u32(length, bigEndian), data, padding);
}

export interface StatisticsOptions {
  interface: number;
  stamp: bigint;
  /** When the capture began and ended. */
  start?: bigint;
  end?: bigint;
  /** Packets that came in at the interface. */
  received?: bigint;
  /** Packets that the interface lost for lack of room. */
  dropped?: bigint;
  /** Packets that the filter let pass. */
  accepted?: bigint;
  /** Packets that were lost between the interface and who captures. */
  osDropped?: bigint;
  /** Packets that were written. */
  delivered?: bigint;
}

/** Interface Statistics Block [4.6]. */
export function interfaceStatistics(of: StatisticsOptions, bigEndian = false): Buffer {
  const count = (value: bigint | undefined) => (value === undefined ? undefined : u64(value, bigEndian));
  const time = (value: bigint | undefined) =>
    value === undefined ? undefined : stampWords(value, bigEndian);
  const options = optionBytes(
    [
      [StatisticsOption.STARTTIME, time(of.start)],
      [StatisticsOption.ENDTIME, time(of.end)],
      [StatisticsOption.IFRECV, count(of.received)],
      [StatisticsOption.IFDROP, count(of.dropped)],
      [StatisticsOption.FILTERACCEPT, count(of.accepted)],
      [StatisticsOption.OSDROP, count(of.osDropped)],
      [StatisticsOption.USRDELIV, count(of.delivered)],
    ],
    bigEndian,
  );
  const head = [u32(of.interface, bigEndian), stampWords(of.stamp, bigEndian)];
  return block(Block.INTERFACE_STATISTICS, bigEndian, ...head, options);
}

export interface RawBlock {
  readonly type: number;
  /** All of the block, with type and both lengths. A view, valid until the walker is given more. */
  readonly bytes: Buffer;
  /** Where it begins, bytes from the stream's start. */
  readonly offset: number;
  readonly bigEndian: boolean;
}

/**
 * Cuts a stream that comes in pieces into whole blocks: a file that is to be split may be split between any two.
 * Throws PCAP_CORRUPT, with the offset, at what cannot be a block.
 */
export class BlockWalker {
  private rest: Buffer = Buffer.alloc(0);
  private offset = 0;
  private bigEndian = false;
  private begun = false;
  private readonly name: string;

  /** `name`: the stream, for messages. */
  constructor(name: string) {
    this.name = name;
  }

  /** Bytes of a block that is not yet whole. */
  get pending(): number {
    return this.rest.length;
  }

  /** Where the block that is not yet whole begins, bytes from the stream's start. */
  get position(): number {
    return this.offset;
  }

  /** The blocks that these bytes complete, one by one: what comes before a fault is still had. */
  *push(bytes: Uint8Array): Generator<RawBlock, void, undefined> {
    this.rest = Buffer.concat([this.rest, bytes]);
    for (let found = this.next(); found; found = this.next()) yield found;
  }

  private next(): RawBlock | undefined {
    const { rest, offset } = this;
    if (rest.length < Block.BYTES_MIN) return undefined;
    // a section header's type reads the same in both orders, and its magic says which one holds from here on
    if (rest.readUInt32LE(0) === Block.SECTION_HEADER) this.bigEndian = this.orderOf(rest.readUInt32LE(8));
    else if (!this.begun) throw this.corrupt("a pcapng stream begins with a section header");
    const read = (at: number) => readU32(rest, at, this.bigEndian);
    const length = read(4);
    if (length < Block.BYTES_MIN || length % 4 !== 0 || length > PCAP_BLOCK_BYTES_MAX)
      throw this.corrupt(`a block of ${length} bytes`);
    if (rest.length < length) return undefined;
    if (read(length - 4) !== length)
      throw this.corrupt(`a block of ${length} bytes that ends with another length`);
    this.begun = true;
    this.rest = rest.subarray(length);
    this.offset += length;
    return { type: read(0), bytes: rest.subarray(0, length), offset, bigEndian: this.bigEndian };
  }

  private orderOf(magic: number): boolean {
    if (magic === ByteOrder.OURS) return false;
    if (magic === ByteOrder.SWAPPED) return true;
    throw this.corrupt(`a section whose byte-order magic is 0x${magic.toString(16)}`);
  }

  private corrupt(what: string): PollmodeError {
    return captureFault(this.name, "PCAP_CORRUPT", what, this.offset);
  }
}
