// The constants of the two file formats; plain numbers, which hot code uses too.
// pcap: draft-ietf-opsawg-pcap. pcapng: draft-ietf-opsawg-pcapng, its sections in brackets.
// Both: https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/

/** A pcap file's first word in its own byte order: stamps in microseconds or nanoseconds. And in the other order. */
export const enum Magic {
  /** A section header of pcapng, in either order. */
  PCAPNG = 0x0a0d0d0a,
  MICRO = 0xa1b2c3d4,
  NANO = 0xa1b23c4d,
  MICRO_SWAPPED = 0xd4c3b2a1,
  NANO_SWAPPED = 0x4d3cb2a1,
}

/** pcap's file header; version 2.4 at byte 4. */
export const enum FileHeader {
  VERSION = 4,
  SNAPLEN = 16,
  /** Low 16 bits; the others say whether frames end with an FCS. */
  LINKTYPE = 20,
  BYTES = 24,
}

/** pcap's record header. */
export const enum Record {
  SECONDS = 0,
  FRACTION = 4,
  CAPTURED = 8,
  LENGTH = 12,
  BYTES = 16,
}

/** Link types that both formats share: https://www.tcpdump.org/linktypes.html. */
export const enum LinkType {
  ETHERNET = 1,
}

/** pcapng's block types [4] and what all blocks have in common [3.1]. */
export const enum Block {
  /** Reads the same in both byte orders. */
  SECTION_HEADER = 0x0a0d0d0a,
  INTERFACE_DESCRIPTION = 1,
  /** Obsolete, still read. */
  PACKET = 2,
  SIMPLE_PACKET = 3,
  INTERFACE_STATISTICS = 5,
  ENHANCED_PACKET = 6,
  /** Type and length before the body, the length again behind it. */
  BYTES_MIN = 12,
}

/** A section's byte-order magic [4.1], where the order is ours, and where it is the other one. */
export const enum ByteOrder {
  OURS = 0x1a2b3c4d,
  SWAPPED = 0x4d3c2b1a,
}

/** Options that all blocks have [3.5]. */
export const enum Option {
  END = 0,
  COMMENT = 1,
}
export const enum SectionOption {
  HARDWARE = 2,
  OS = 3,
  USERAPPL = 4,
}
export const enum InterfaceOption {
  NAME = 2,
  DESCRIPTION = 3,
  MACADDR = 6,
  SPEED = 8,
  /** u8: stamps count 10^-n seconds, or 2^-n where bit 7 is set. */
  TSRESOL = 9,
  FILTER = 11,
  /** i64: seconds to be added to stamps. */
  TSOFFSET = 14,
}
export const enum PacketOption {
  FLAGS = 2,
  DROPCOUNT = 4,
  QUEUE = 6,
}
export const enum StatisticsOption {
  STARTTIME = 2,
  ENDTIME = 3,
  IFRECV = 4,
  IFDROP = 5,
  FILTERACCEPT = 6,
  OSDROP = 7,
  USRDELIV = 8,
}
