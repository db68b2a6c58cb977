// The queue blocks of direct verbs ("dv" mode): a completion queue, a work queue, and what the driver knows of both.
// Rings and doorbell records lie in the DMA zone, where the NIC reads and writes; the arrays named private do not.
//
// What the NIC reads is big-endian. Words that only ever go into its structures are kept swapped, so that the burst
// stores them as they are.

/** The driver's words in a queue block. */
export const enum Mlx5Queue {
  /** Completion queue: arena offset of its 64-byte entries, entries less one, log2 of the entries. */
  CQ = 64,
  CQ_MASK = 68,
  CQ_SHIFT = 72,
  /** Free-running index of the entry that is looked at next. */
  CQ_INDEX = 76,
  /** Arena offset of the consumer index's doorbell record. */
  CQ_RECORD = 80,

  /** Work queue: arena offset of its WQEs; WQEs (receive) or 64-byte blocks (transmit) less one: powers of two. */
  RING = 84,
  MASK = 88,
  /** Arena offset of the word of the doorbell record that is this direction's: MLX5_RCV_DBR or MLX5_SND_DBR. */
  RECORD = 92,
  /** Free-running index of the oldest WQE (receive) or block (transmit) that the NIC holds, and of the first free. */
  HEAD = 96,
  TAIL = 100,
  /** The memory region's lkey, swapped. */
  LKEY = 104,
  /** Address in the process of arena offset 0: what a data segment's address is counted from. */
  BASE_LOW = 108,
  BASE_HIGH = 112,
  /** Mlx5Flag. */
  FLAGS = 116,
  /**
   * u32[], private. Receive: the mbuf of each data segment, in groups of 1 << SEGMENT_SHIFT a WQE; 0: none.
   * Transmit: the packets that the NIC holds, a ring of PACKET_MASK + 1.
   */
  MBUFS = 120,

  /** Receive: bytes of the longest frame that is delivered. Longer ones are dropped. */
  ROOM = 124,
  /** Receive: bytes of one buffer, as the data segments say. */
  BUFFER_BYTES = 128,
  /** Receive: buffers of a WQE, and log2 of their places in MBUFS. */
  SEGMENTS = 132,
  SEGMENT_SHIFT = 136,
  /** Receive: log2 of a WQE's bytes. */
  WQE_SHIFT = 140,
  /** Receive: WQEs are given to the NIC in lots of so many. */
  LOT = 188,

  /** Receive, striding: arena offset of the WQEs' buffers, log2 of a stride's bytes and of a WQE's strides. */
  STRIDES = 144,
  STRIDE_SHIFT = 148,
  STRIDES_SHIFT = 152,
  /** Striding: strides of the oldest WQE that are used up. */
  CONSUMED = 156,

  /** Receive, compression: mini CQEs of the session at hand, 0: none; how many of them were taken. */
  MINIS = 160,
  MINI = 164,
  /** Compression: the next mini's wqe_counter, which continues the title's. */
  MINI_COUNTER = 168,
  /** Compression: what the session's packets have in common, of its title: the CQE's words 0, 16 and 28. */
  TITLE_WQE = 172,
  TITLE_HASH_TYPE = 176,
  TITLE_INFO = 180,

  /** Transmit: arena offset of the BlueField register, and of the half of it that is written next (0 or BF_BYTES). */
  BF = 192,
  BF_HALF = 196,
  BF_BYTES = 200,
  /** Transmit: the queue pair's number << 8, swapped: what a control segment's second word holds beside DS. */
  QPN = 204,
  /** Transmit: bytes of each packet that the NIC must find within the WQE. */
  INLINE = 208,
  /** Transmit: largest packet, bytes. */
  BYTES_MAX = 212,
  /** Transmit: packets less one that MBUFS has room for: a power of two. */
  PACKET_MASK = 216,
  /** Transmit: free-running index of the oldest packet that the NIC holds, and of the first free place. */
  PACKET_HEAD = 220,
  PACKET_TAIL = 224,
  /** Transmit: private, a Lot for each CQE: what the completion that comes there will mean. */
  LOTS = 228,
  /** Transmit: free-running index of the CQ entry that the next completion asked for will be written to. */
  LOT_TAIL = 232,
  /** Transmit, of the lot at hand: index of its last WQE, bytes, packets dropped, and Lot.ODD. */
  LAST_WQE = 236,
  LOT_BYTES = 240,
  LOT_DROPPED = 244,
  LOT_ODD = 248,
  /** A word for `fence`, which writes it. */
  FENCE = 184,
}

/** More words of a receive queue, where transmit has its own: of one that wakes its lcore. */
export const enum Mlx5Interrupt {
  /** VerbsEvents (src/hot/layout.ts), by which the completion queue's events are taken. */
  EVENTS = 192,
  /** Arena offset of the register that arms completion queues; 0: there is no interrupt. The CQ's number, swapped. */
  ARM = 240,
  CQN = 244,
  /** Events that were taken; the NIC compares two bits of it with what it knows. */
  EVENTS_TAKEN = 248,
}

export const enum Mlx5Flag {
  /** Receive: CQEs say whether checksums are right. Transmit: the NIC fills checksums in. */
  CHECKSUM = 1,
  /** Receive: CQEs have RSS hashes; tags are stripped. */
  RSS = 2,
  VLAN_STRIP = 4,
  /** Those by which a received packet's OL_FLAGS are made. */
  ANNOTATED = 7,
  /** Receive: a multi-packet RQ: the NIC writes many packets into a WQE's one buffer. */
  STRIDING = 8,
  /** Receive: CQEs may be compressed, into mini CQEs of the HASH format (else CSUM). */
  COMPRESSED = 16,
  MINI_HASH = 32,
  /** Transmit: runs of packets go into one WQE (enhanced multi-packet send). */
  MULTI_PACKET = 64,
  /** Transmit: the NIC inserts VLAN tags; else they are put into the inlined header. */
  VLAN_INSERT = 128,
}

/** What a completion of transmit will mean, 16 bytes. */
export const enum Lot {
  /** The index of the WQE that asked for it: the CQE's wqe_counter. */
  COUNTER = 0,
  /** TAIL and PACKET_TAIL behind the lot. */
  TAIL = 4,
  PACKET_TAIL = 8,
  /** Not 0: among the packets are some of several segments or of other pools. */
  ODD = 12,
  BYTES = 16,
}

/** OlFlag's bits of transmit. */
export const enum Asked {
  /** TX_TCP_CKSUM and TX_UDP_CKSUM. */
  L4 = 3 << 17,
  /** TX_IP_CKSUM, too. */
  CHECKSUMS = 7 << 16,
  /** TX_IPV4 and TX_VLAN, too. */
  ALL = 31 << 16,
}

/** Limits of a burst. */
export const enum Mlx5Limit {
  /** WQEs of a refill, and packets from one completion to the next. */
  LOT = 64,
  /** Buffers that are written to receive WQEs before it is looked whether the next ones are back in their places. */
  MOVED = 16,
  /** CQEs that one burst, or one cleaning, looks at. */
  COMPLETIONS = 256,
  /** Data segments of a packet sent: with the headers at most 60, as a WQE has (mlx5_prm.h, MLX5_WQE_SIZE_MAX). */
  SEGMENTS = 40,
  /** An Ethernet header: a shorter received frame is dropped, and none shorter is sent. */
  FRAME_MIN = 14,
  /** A shorter frame is made so long first; the NIC pads it on to 60 (DPDK sends none of up to 18 bytes either). */
  SENT_MIN = 19,
  /** Bytes that INLINE may say: with the control and Ethernet segments, three blocks. */
  INLINE_MAX = 146,
  /** The Ethernet header with a VLAN tag: what is inlined of a packet whose tag is put in here. */
  INLINE_VLAN = 18,
}
