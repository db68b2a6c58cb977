// The classic pcap format, written: a file header, then records. Nanoseconds and little-endian unless asked otherwise.
import { PCAP_FRAME_BYTES_MAX } from "../limits.ts";
import { u16, u32 } from "./bytes.ts";
import { LinkType, Magic } from "./format.ts";

export interface PcapOptions {
  /** Stamps in microseconds: for readers that know nothing else. */
  micro?: boolean;
  bigEndian?: boolean;
}

/** The 24 bytes that a file begins with. */
export function pcapHeader(of: PcapOptions & { snaplen?: number; linkType?: number } = {}): Buffer {
  const { bigEndian = false } = of;
  const magic = of.micro ? Magic.MICRO : Magic.NANO;
  const version = [u16(2, bigEndian), u16(4, bigEndian)];
  const snaplen = u32(of.snaplen ?? PCAP_FRAME_BYTES_MAX, bigEndian);
  const linkType = u32(of.linkType ?? LinkType.ETHERNET, bigEndian);
  // between version and snaplen: two words that nobody has ever filled in
  return Buffer.concat([u32(magic, bigEndian), ...version, Buffer.alloc(8), snaplen, linkType]);
}

/** A packet's record. `stampNs`: since 1970. `length`: bytes that the packet had, where `data` is not all of it. */
export function pcapRecord(
  stampNs: bigint,
  data: Uint8Array,
  of: PcapOptions & { length?: number } = {},
): Buffer {
  const { bigEndian = false } = of;
  const fraction = Number(stampNs % 1_000_000_000n);
  const words = [
    Number(stampNs / 1_000_000_000n),
    of.micro ? Math.floor(fraction / 1000) : fraction,
    data.length,
    of.length ?? data.length,
  ];
  return Buffer.concat([...words.map((word) => u32(word, bigEndian)), data]);
}
