// The driver's words in a queue block, and the interface table of a pcapng section.

/** Of a receive queue, which reads a file through a window of the arena. */
export const enum PcapRx {
  FD = 64,
  /** ReadState. */
  STATE = 68,
  /** ReadFault, and the value that was wrong. The place is BASE + POS. */
  FAULT = 72,
  FAULT_ARG = 76,
  /** Where the window lies, and its size. */
  WINDOW = 80,
  WINDOW_BYTES = 84,
  /** The next record, and the end of what was read, bytes from the window's start. */
  POS = 88,
  FILL = 92,
  /** Format; NONE until the file's first word was looked at, in each pass anew. */
  FORMAT = 96,
  /** 1: the file's, or the section's, byte order is not ours. */
  SWAP = 100,
  /** 1: the last read gave nothing, for the file has no more. */
  AT_END = 104,
  /** Passes still to be begun, FOREVER for no end to them. */
  LOOPS_LEFT = 108,
  /** f64: the file offset of the window's first byte. */
  BASE = 112,
  /** f64: bytes still to be passed over: a block larger than the window that is of no interest. */
  SKIP = 120,
  /** f64: passes that were finished. */
  LOOPS = 128,
  /** f64: packets left out because their interface is not Ethernet. */
  FOREIGN = 136,
  /** 1: the pass at hand has brought packets. One without any is the last. */
  PASS_PACKETS = 144,
  INTERFACES = 148,
  INTERFACE_COUNT = 152,
  INTERFACES_MAX = 156,
  /** 1: packets come as they are stamped. */
  PACE = 160,
  /** 1: the pass's first packet has come, which the next two words tell of. */
  PACE_STARTED = 164,
  /** f64: when it came, milliseconds of the lcore's clock, and its stamp in seconds. */
  START_MS = 168,
  START_STAMP = 176,
  /** f64: a pcap file's stamp units a second. */
  UNITS = 184,
  /** A place for one mbuf's number. */
  ONE = 192,
  /** 1: the window holds all of the file, so what was read stays in its place. */
  KEEP = 196,
}

export const enum ReadState {
  READING = 0,
  /** All passes are done. */
  ENDED = 1,
  /** PcapRx.FAULT says why. */
  FAILED = 2,
}

/** What is wrong with an input file; device.ts has the words. */
export const enum ReadFault {
  NONE = 0,
  /** The argument: errno. */
  READ = 1,
  /** It ends within a record. The argument: bytes of it that are there. */
  TRUNCATED = 2,
  EMPTY = 3,
  /** The argument: the first word. */
  NOT_CAPTURE = 4,
  LINK_TYPE = 5,
  PACKET_LENGTH = 6,
  BLOCK_LENGTH = 7,
  BYTE_ORDER = 8,
  /** A block's two lengths differ. The argument: the second one. */
  BLOCK_END = 9,
  INTERFACE = 10,
  INTERFACE_COUNT = 11,
}

export const enum Format {
  NONE = 0,
  PCAP = 1,
  PCAPNG = 2,
}

export const enum Loops {
  FOREVER = 0xffffffff,
}

/** What a look at the window came to. */
export const enum Found {
  /** No packet now, and none at this poll: the end, a fault, or bytes that have not come yet. */
  NOTHING = 0,
  PACKET = 1,
  /** Something was read or passed over: look again. */
  AGAIN = 2,
}

/** Bytes. src/limits.ts has the first two, which hot code cannot import; a test holds them together. */
export const enum PcapLimit {
  BLOCK_BYTES = 16777216,
  FRAME_BYTES = 262144,
  /** The least that blocks of each type have. */
  SECTION_BYTES = 28,
  INTERFACE_BYTES = 20,
  PACKET_BYTES = 32,
  SIMPLE_BYTES = 16,
  /** An Ethernet header: shorter frames are none. */
  FRAME_BYTES_MIN = 14,
  /** Read at once. */
  READ_BYTES = 131072,
  /** Records that a poll passes over before it gives up its turn. */
  STEPS = 64,
}

/** One interface of a section. */
export const enum Interface {
  LINK_TYPE = 0,
  SNAPLEN = 4,
  /** f64: stamp units a second. */
  UNITS = 8,
  /** f64: seconds that stamps lack. */
  OFFSET = 16,
  BYTES = 32,
}

/** Of a transmit queue, which gathers records in a batch and writes it out. */
export const enum PcapTx {
  FD = 64,
  BATCH = 68,
  BATCH_BYTES = 72,
  /** Bytes of whole records in the batch, and how many of them were written. */
  FILL = 76,
  DONE = 80,
  /** WriteFormat. */
  FORMAT = 84,
  /** Bytes kept of a frame. */
  SNAPLEN = 88,
  /** Of the last write if it failed, else 0. */
  ERRNO = 92,
  /** f64: bytes of the file before the batch. */
  WRITTEN = 96,
  /** f64: packets cut at SNAPLEN. */
  CUT = 104,
  /** Wall clock at the lcore's time 0: u32 seconds since 1970, and f64 milliseconds. */
  EPOCH_SECONDS = 112,
  EPOCH_MS = 120,
}

export const enum WriteFormat {
  NANO = 0,
  MICRO = 1,
  PCAPNG = 2,
}

/** errno-base.h: failures that pass. */
export const enum Errno {
  EINTR = 4,
  EAGAIN = 11,
}
