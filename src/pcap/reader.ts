// Reads both formats, as a stream of bytes in pieces of any size. For control code; the data path has a parser of its
// own (pmd/pcap), which the tests hold against this one.
import { createReadStream } from "node:fs";
import type { PollmodeError } from "../errors.ts";
import { PCAP_FRAME_BYTES_MAX } from "../limits.ts";
import { readU16, readU32, readU64 } from "./bytes.ts";
import { captureFault } from "./fault.ts";
import { Block, FileHeader, InterfaceOption, Magic, Option, PacketOption, Record } from "./format.ts";
import { BlockWalker, padded, type RawBlock } from "./pcapng.ts";

/** A packet of a capture file, as readPackets() gives it. */
export interface CapturedPacket {
  /** Nanoseconds since 1970; undefined where the file has none (a simple packet block). */
  readonly stampNs: bigint | undefined;
  /** The bytes kept. A view, valid until the reader is given more. */
  readonly data: Buffer;
  /** Bytes that the packet had. */
  readonly length: number;
  /** Number of its interface in its section; 0 in a pcap file. */
  readonly interface: number;
  /** https://www.tcpdump.org/linktypes.html; 1 is Ethernet. */
  readonly linkType: number;
  /** Where its record or block begins. */
  readonly offset: number;
  /** Whether it was received or sent, where the file says so (pcapng). */
  readonly direction?: "in" | "out";
  /** Of a pcapng packet block. */
  readonly comment?: string;
}

/** What a file's first word says; the names are Wireshark's. */
export type FileFormat = "pcap" | "nsecpcap" | "pcapng";

/** The format that a file's first 4 bytes tell; undefined if it is neither. */
export function fileFormat(bytes: Buffer): { format: FileFormat; bigEndian: boolean } | undefined {
  switch (bytes.length < 4 ? 0 : bytes.readUInt32LE(0)) {
    case Magic.MICRO:
      return { format: "pcap", bigEndian: false };
    case Magic.MICRO_SWAPPED:
      return { format: "pcap", bigEndian: true };
    case Magic.NANO:
      return { format: "nsecpcap", bigEndian: false };
    case Magic.NANO_SWAPPED:
      return { format: "nsecpcap", bigEndian: true };
    case Block.SECTION_HEADER:
      return { format: "pcapng", bigEndian: false };
    default:
      return undefined;
  }
}

interface Interface {
  readonly linkType: number;
  readonly snaplen: number;
  /** Stamp units a second. */
  readonly units: bigint;
  readonly offsetNs: bigint;
}

/**
 * Turns bytes into packets. Throws PCAP_FORMAT, PCAP_CORRUPT and, at the end, PCAP_TRUNCATED; the packets before the
 * fault have been yielded then.
 */
export class PacketReader {
  private readonly name: string;
  private readonly walker: BlockWalker;
  private rest: Buffer = Buffer.alloc(0);
  /** Bytes before `rest`. */
  private offset = 0;
  private format: FileFormat | undefined;
  private bigEndian = false;
  private linkType = 0;
  private headerRead = false;
  private interfaces: Interface[] = [];

  /** `name`: the file, for messages. */
  constructor(name: string) {
    this.name = name;
    this.walker = new BlockWalker(name);
  }

  *push(bytes: Uint8Array): Generator<CapturedPacket, void, undefined> {
    if (this.format === "pcapng") {
      yield* this.blocks(bytes);
      return;
    }
    this.rest = Buffer.concat([this.rest, bytes]);
    if (this.format === undefined) {
      if (this.rest.length < 4) return;
      const found = fileFormat(this.rest);
      if (!found) throw this.fault("PCAP_FORMAT", "neither a pcap nor a pcapng file", 0);
      this.format = found.format;
      this.bigEndian = found.bigEndian;
    }
    if (this.format === "pcapng") yield* this.blocks(this.rest);
    else yield* this.records();
  }

  /** To be called when there are no more bytes: throws PCAP_TRUNCATED if they end within something. */
  end(): void {
    const [left, offset] =
      this.format === "pcapng"
        ? [this.walker.pending, this.walker.position]
        : [this.rest.length, this.offset];
    if (left > 0) throw this.fault("PCAP_TRUNCATED", `the file ends after ${left} bytes of a record`, offset);
    if (this.format === undefined) throw this.fault("PCAP_FORMAT", "the file is empty", 0);
    if (this.format !== "pcapng" && !this.headerRead)
      throw this.fault("PCAP_TRUNCATED", "the file ends within its header", 0);
  }

  private *records(): Generator<CapturedPacket, void, undefined> {
    const { bigEndian } = this;
    const unit = this.format === "nsecpcap" ? 1n : 1000n;
    if (!this.headerRead) {
      if (this.rest.length < FileHeader.BYTES) return;
      this.linkType = readU32(this.rest, FileHeader.LINKTYPE, bigEndian) & 0xffff;
      this.headerRead = true;
      this.advance(FileHeader.BYTES);
    }
    while (this.rest.length >= Record.BYTES) {
      const { rest, offset } = this;
      const read = (at: number) => readU32(rest, at, bigEndian);
      const captured = read(Record.CAPTURED);
      if (captured > PCAP_FRAME_BYTES_MAX)
        throw this.fault("PCAP_CORRUPT", `a packet of ${captured} bytes`, offset);
      if (rest.length < Record.BYTES + captured) return;
      this.advance(Record.BYTES + captured);
      yield {
        stampNs: BigInt(read(Record.SECONDS)) * 1_000_000_000n + BigInt(read(Record.FRACTION)) * unit,
        data: rest.subarray(Record.BYTES, Record.BYTES + captured),
        length: read(Record.LENGTH),
        interface: 0,
        linkType: this.linkType,
        offset,
      };
    }
  }

  private advance(bytes: number): void {
    this.rest = this.rest.subarray(bytes);
    this.offset += bytes;
  }

  private *blocks(bytes: Uint8Array): Generator<CapturedPacket, void, undefined> {
    for (const block of this.walker.push(bytes)) {
      this.bigEndian = block.bigEndian;
      switch (block.type) {
        case Block.SECTION_HEADER:
          if (block.bytes.length < 28) throw this.short(block);
          this.interfaces = [];
          break;
        case Block.INTERFACE_DESCRIPTION:
          if (block.bytes.length < 20) throw this.short(block);
          this.interfaces.push(this.describe(block));
          break;
        case Block.ENHANCED_PACKET:
        case Block.PACKET:
        case Block.SIMPLE_PACKET:
          yield this.packet(block);
          break;
        default:
          break;
      }
    }
  }

  private describe(block: RawBlock): Interface {
    const { bytes, bigEndian } = block;
    let resolution = 6;
    let offsetNs = 0n;
    for (const [code, value] of this.options(block, 16)) {
      if (code === InterfaceOption.TSRESOL && value.length === 1) resolution = value[0]!;
      if (code === InterfaceOption.TSOFFSET && value.length === 8)
        offsetNs = BigInt.asIntN(64, readU64(value, 0, bigEndian)) * 1_000_000_000n;
    }
    const base = resolution & 0x80 ? 2n : 10n;
    return {
      linkType: readU16(bytes, 8, bigEndian),
      snaplen: readU32(bytes, 12, bigEndian),
      units: base ** BigInt(resolution & 0x7f),
      offsetNs,
    };
  }

  private packet(block: RawBlock): CapturedPacket {
    const { bytes, bigEndian, offset, type } = block;
    const simple = type === Block.SIMPLE_PACKET;
    const head = simple ? 12 : 28;
    if (bytes.length < head + 4) throw this.short(block);
    const read = (at: number) => readU32(bytes, at, bigEndian);
    const index = simple ? 0 : type === Block.PACKET ? readU16(bytes, 8, bigEndian) : read(8);
    const from = this.interfaces[index];
    if (!from)
      throw this.fault("PCAP_CORRUPT", `a packet of interface ${index}, which is not described`, offset);
    const room = bytes.length - head - 4;
    const length = simple ? read(8) : read(24);
    const captured = simple ? Math.min(length, room, from.snaplen || length) : read(20);
    if (captured > room || captured > PCAP_FRAME_BYTES_MAX)
      throw this.fault("PCAP_CORRUPT", `a packet of ${captured} bytes in a block of ${bytes.length}`, offset);
    const stamp = simple ? undefined : (BigInt(read(12)) << 32n) | BigInt(read(16));
    return {
      stampNs: stamp === undefined ? undefined : (stamp * 1_000_000_000n) / from.units + from.offsetNs,
      data: bytes.subarray(head, head + captured),
      length,
      interface: index,
      linkType: from.linkType,
      offset,
      ...(simple ? {} : this.remarks(block, head + padded(captured))),
    };
  }

  private remarks(block: RawBlock, at: number): Pick<CapturedPacket, "direction" | "comment"> {
    const remarks: { direction?: "in" | "out"; comment?: string } = {};
    for (const [code, value] of this.options(block, at)) {
      if (code === Option.COMMENT) remarks.comment ??= value.toString();
      if (code !== PacketOption.FLAGS || value.length !== 4) continue;
      const direction = readU32(value, 0, block.bigEndian) & 3;
      if (direction === 1) remarks.direction = "in";
      if (direction === 2) remarks.direction = "out";
    }
    return remarks;
  }

  /** Options from byte `at` of the block on. Those that do not fit are no options: they end the list. */
  private *options({ bytes, bigEndian }: RawBlock, at: number): Generator<[code: number, value: Buffer]> {
    const end = bytes.length - 4;
    for (let p = at; p + 4 <= end; ) {
      const code = readU16(bytes, p, bigEndian);
      const length = readU16(bytes, p + 2, bigEndian);
      if (code === Option.END || p + 4 + length > end) return;
      yield [code, bytes.subarray(p + 4, p + 4 + length)];
      p += 4 + padded(length);
    }
  }

  private short({ bytes, type, offset }: RawBlock): PollmodeError {
    return this.fault("PCAP_CORRUPT", `a block of type ${type} with ${bytes.length} bytes`, offset);
  }

  private fault(code: string, what: string, offset: number): PollmodeError {
    return captureFault(this.name, code, what, offset);
  }
}

/**
 * The packets of a pcap or pcapng file (its path), or of a stream of bytes. What is wrong with it is thrown after those
 * before it: PCAP_FORMAT, PCAP_CORRUPT, PCAP_TRUNCATED; a file that cannot be read rejects with Node.js' own error.
 */
export async function* readPackets(
  source: string | AsyncIterable<Uint8Array>,
): AsyncGenerator<CapturedPacket, void, undefined> {
  const named = typeof source === "string";
  const reader = new PacketReader(named ? source : "the stream");
  for await (const bytes of named ? createReadStream(source) : source) yield* reader.push(bytes);
  reader.end();
}
