// Capture's blocks in the arena. A tap is an lcore's view of one queue of one capture; its packets go into a ring that
// the capturing program reads, often another process.
//
//   queue block -> tap -> tap …      private zone: what the lcore believes
//                   |
//                   +-> ring header and ring bytes: a sealed memfd that the capturing program has mapped too
//
// Nothing that the other side can write is believed but Ring.HEAD, and that only as far as it makes sense: a wrong one
// costs the reader its packets and nobody anything else.

/** An lcore's own notes about one queue of one capture. */
export const enum Tap {
  /** The next tap of the same queue; 0: none. */
  NEXT = 0,
  /** Instructions of the filter (Insn); 0: all packets pass. */
  PROGRAM = 4,
  /** Bytes kept of a packet, at most. */
  SNAPLEN = 8,
  /** Arena offset of the ring's bytes, and their number less one: a power of two. */
  RING = 12,
  MASK = 16,
  /** Arena offset of the ring's header, a Ring. */
  HEADER = 20,
  /** Running number of the first byte not yet written. Blocks begin at multiples of 4. */
  TAIL = 24,
  /** Arena offset of the word that holds the valid CaptureClock's. */
  CLOCK = 28,
  /** Packets of a transmit burst that were looked at before the driver was given them. */
  STAGED = 32,
  /** epb_flags: 1 inbound, 2 outbound. */
  DIRECTION = 36,
  /** epb_queue. */
  QUEUE = 40,
  /** u32[16]: the filter's scratch memory. */
  SCRATCH = 64,
  /** u32[STAGED_MAX]: of each staged packet the tail behind it, and a TapResult in the low two bits. */
  RESULTS = 128,
  /** Packets that are offered to a driver at a time while its queue is captured; as limits.ts' BURST_MAX. */
  STAGED_MAX = 512,
  BYTES = 2176,
}

export const enum TapResult {
  REFUSED = 0,
  WRITTEN = 1,
  /** It passed the filter, but the ring was full. */
  DROPPED = 2,
}

/** A ring's header, shared with the reader. Two cache lines, one written from each side. */
export const enum Ring {
  /** Running number of the first byte not yet read; the reader's. */
  HEAD = 0,
  /** The lcore's. A block that does not fit before the ring's end begins at its start; there a 0 word stands then. */
  TAIL = 64,
  /** f64: packets that went by, that passed the filter, and of those the ones the ring had no room for. */
  SEEN = 72,
  ACCEPTED = 80,
  DROPPED = 88,
  BYTES = 128,
}

/** Turns the lcores' clock into ns since 1970, as two words. Written by control while not valid, then made so. */
export const enum CaptureClock {
  /** f64: milliseconds of the lcores' clock … */
  MS = 0,
  /** … and the same moment in ns since 1970. */
  LOW = 8,
  HIGH = 12,
  BYTES = 16,
}

/** An Enhanced Packet Block (draft-ietf-opsawg-pcapng, 4.3): words before the data. */
export const enum Epb {
  TYPE = 0,
  LENGTH = 4,
  INTERFACE = 8,
  STAMP_HIGH = 12,
  STAMP_LOW = 16,
  CAPTURED = 20,
  ORIGINAL = 24,
  DATA = 28,
}

/** What stands behind the data: epb_flags (2) and epb_queue (6), 4 bytes each, the end of options, the length again. */
export const enum EpbEnd {
  FLAGS = 0x0004_0002,
  QUEUE = 0x0004_0006,
  BYTES = 24,
}

/** struct bpf_insn, 8 bytes: u16 code, u8 jt, u8 jf, u32 k. */
export const enum Insn {
  CODE = 0,
  JT = 2,
  JF = 3,
  K = 4,
  BYTES = 8,
}

// Classic BPF's codes are sums: The BSD Packet Filter (McCanne and Jacobson, 1993), 3.3; uapi/linux/bpf_common.h.

/** Bits 0 to 2 of a code. */
export const enum BpfClass {
  MASK = 7,
  LD = 0,
  LDX = 1,
  ST = 2,
  STX = 3,
  ALU = 4,
  JMP = 5,
  RET = 6,
}

/** Of LD and LDX: how much is loaded. */
export const enum BpfSize {
  MASK = 0x18,
  WORD = 0,
  HALF = 0x08,
  BYTE = 0x10,
}

/** Of LD and LDX: from where. */
export const enum BpfMode {
  MASK = 0xe0,
  IMM = 0,
  ABS = 0x20,
  IND = 0x40,
  MEM = 0x60,
  LEN = 0x80,
  MSH = 0xa0,
}

/** Of ALU. */
export const enum BpfOp {
  MASK = 0xf0,
  ADD = 0,
  SUB = 0x10,
  MUL = 0x20,
  DIV = 0x30,
  OR = 0x40,
  AND = 0x50,
  LSH = 0x60,
  RSH = 0x70,
  NEG = 0x80,
  MOD = 0x90,
  XOR = 0xa0,
}

/** Of JMP. */
export const enum BpfJump {
  MASK = 0xf0,
  JA = 0,
  JEQ = 0x10,
  JGT = 0x20,
  JGE = 0x30,
  JSET = 0x40,
}

/** The operand is X, else K; of RET: A is returned, else K; of class 7 (MISC): TXA, else TAX. */
export const enum BpfBit {
  X = 0x08,
  RET_A = 0x10,
  TXA = 0x80,
}
