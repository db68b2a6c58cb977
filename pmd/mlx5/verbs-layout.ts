// What control and hot code of ibv mode share: words of a queue block, and where libibverbs has the fields of the
// structs that its calls take. The offsets are those of <infiniband/verbs.h> on x86-64; a test compiles the header.

/** The driver's words in a queue block. */
export const enum VerbsQueue {
  /** Work requests that may be outstanding less one; their number is a power of two. */
  MASK = 64,
  /** Free-running index of the oldest work request that has not completed. */
  HEAD = 68,
  /** Free-running index of the next one to be posted. */
  TAIL = 72,
  /** u32[], private: the mbufs of each work request: SEGMENTS of receive, the packet's first of transmit. */
  MBUFS = 76,
  /** Work requests are posted from an array of LOT that is chained once, ibv_recv_wr[] or ibv_send_wr[]. */
  WRS = 80,
  LOT = 84,
  /** ibv_sge[LOT * SEGMENTS]. */
  SGES = 88,
  /** Entries of a work request's sg_list. */
  SEGMENTS = 92,
  /** ibv_wc[LOT]. */
  WCS = 96,
  /** Address of the arena in the process, low and high word. */
  BASE = 100,
  BASE_HIGH = 104,
  /** Transmit: VerbsFlag. */
  FLAGS = 108,
  /** Receive: bytes of each buffer. */
  ROOM = 112,
  /** Largest packet, bytes. */
  BYTES_MAX = 116,
  /** Receive: completions in WCS that were polled for to see whether there are any. */
  PEEKED = 124,
  /** VerbsCall (src/hot/layout.ts): poll_cq, and post_recv or post_send. */
  POLL = 128,
  POST = 152,
  /** Receive, with an interrupt: VerbsEvents, and as VerbsCall req_notify_cq, whose FUNCTION is 0 without one. */
  EVENTS = 176,
  NOTIFY = 224,
}

export const enum VerbsFlag {
  /** The queue pair fills checksums in. */
  CHECKSUM = 1,
}

export const enum VerbsLimit {
  /** Work requests a post, and completions a poll. */
  LOT = 64,
  /** An Ethernet header: a shorter frame is dropped. */
  FRAME_MIN = 14,
  /** libmlx5 refuses what is shorter than the header it inlines (MLX5_ETH_L2_INLINE_HEADER_SIZE): padded so far. */
  SENT_MIN = 18,
  /** Segments of a packet to send, empty ones among them. */
  SEGMENTS = 255,
}

/** struct ibv_wc, 48 bytes. */
export const enum Wc {
  WR_ID = 0,
  WR_ID_HIGH = 4,
  STATUS = 8,
  BYTE_LEN = 20,
  BYTES = 48,
}

/** Of enum ibv_wc_status. */
export const enum WcStatus {
  SUCCESS = 0,
  /** Receive: the frame was longer than its buffers. Nothing of it can be used, and the queue goes on. */
  LOC_LEN_ERR = 1,
}

/** struct ibv_sge, 16 bytes. */
export const enum Sge {
  ADDR = 0,
  LENGTH = 8,
  LKEY = 12,
  SHIFT = 4,
}

/** struct ibv_recv_wr, 32 bytes. */
export const enum RecvWr {
  WR_ID = 0,
  NEXT = 8,
  SG_LIST = 16,
  NUM_SGE = 24,
  SHIFT = 5,
}

/** struct ibv_send_wr, 128 bytes, of which raw packets use these. */
export const enum SendWr {
  WR_ID = 0,
  NEXT = 8,
  SG_LIST = 16,
  NUM_SGE = 24,
  OPCODE = 28,
  SEND_FLAGS = 32,
  SHIFT = 7,
}

/** enum ibv_wr_opcode. */
export const enum WrOpcode {
  SEND = 2,
}

/** enum ibv_send_flags. */
export const enum SendFlag {
  SIGNALED = 1 << 1,
  /** IPv4 header checksum, and TCP's or UDP's. */
  IP_CSUM = 1 << 4,
}

/** errno-base.h: what a post returns if the queue is full. */
export const enum Errno {
  ENOMEM = 12,
}

/** Who reports an error in QueueError.CQE_ERROR's second byte: as a CQE's opcode (MLX5_CQE_REQ_ERR, _RESP_ERR). */
export const enum FailedSide {
  SEND = 0xd,
  RECEIVE = 0xe,
}
