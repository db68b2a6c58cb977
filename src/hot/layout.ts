// The blocks that control code and hot code share, as byte offsets into the arena. All of them lie in private zones:
// no peer and no device ever writes here, so what stands in them may be trusted.
//
// `const enum`, because both compilers replace its names by numbers; an imported `const` would cost the TypeScript
// engine a load each (docs/decisions.md, "constants").

/** A packet's metadata, 64 bytes: one cache line. Its data lies elsewhere, where peers and devices may write. */
export const enum Mbuf {
  /** Arena offset of the segment's first byte. */
  DATA = 0,
  /** Bytes in this segment. */
  DATA_LEN = 4,
  /** Bytes in the whole packet; meant in the first segment alone. */
  PKT_LEN = 8,
  /** The next segment's mbuf, 0 in the last one. */
  NEXT = 12,
  /** u16: the port it came in by. */
  PORT = 16,
  /** u16: segments in the packet. */
  NB_SEGS = 18,
  /** OlFlag bits: what receive found out, what transmit is to do. 0 where a driver has no offloads. */
  OL_FLAGS = 20,
  /** Meant where OL_FLAGS has RX_RSS_HASH. */
  RSS_HASH = 24,
  /** u16: the 802.1Q tag that receive took off (RX_VLAN_STRIPPED) or transmit is to put in (TX_VLAN). */
  VLAN_TCI = 28,
  /** First byte of the buffer, where the headroom begins. Constant. */
  BUF = 32,
  /** Bytes of the buffer, headroom included. Constant. */
  BUF_LEN = 36,
  /** The pool it belongs to. Constant. */
  POOL = 40,
  /** The address of BUF as devices are given it, low and high word. Constant; a buffer never straddles 2 MiB. */
  BUF_IOVA = 44,
  BUF_IOVA_HIGH = 48,
  /** TxOffload fields: header lengths, which checksum offload needs. */
  TX_OFFLOAD = 52,
  /** The application's own 8 bytes. */
  USER = 56,
  BYTES = 64,
}

/** Bits of Mbuf.OL_FLAGS. Receive: neither GOOD nor BAD means that nothing was checked. */
export const enum OlFlag {
  RX_VLAN_STRIPPED = 1 << 0,
  RX_RSS_HASH = 1 << 1,
  RX_IP_CKSUM_GOOD = 1 << 2,
  RX_IP_CKSUM_BAD = 1 << 3,
  RX_L4_CKSUM_GOOD = 1 << 4,
  RX_L4_CKSUM_BAD = 1 << 5,
  /** Fill in the IPv4 header's checksum. Needs L2_LEN, L3_LEN and TX_IPV4. */
  TX_IP_CKSUM = 1 << 16,
  /** Fill in TCP's or UDP's checksum; the field holds the pseudo header's. Needs L2_LEN and L3_LEN. */
  TX_TCP_CKSUM = 1 << 17,
  TX_UDP_CKSUM = 1 << 18,
  /** The packet is IPv4; without it a packet with TX_TCP_CKSUM or TX_UDP_CKSUM is IPv6. */
  TX_IPV4 = 1 << 19,
  /** Insert VLAN_TCI. */
  TX_VLAN = 1 << 20,
}

/** Mbuf.TX_OFFLOAD, as DPDK's tx_offload: bits 0-6 bytes of the Ethernet header, 7-15 of the IP header. */
export const enum TxOffload {
  L2_MASK = 0x7f,
  L3_SHIFT = 7,
  L3_MASK = 0x1ff,
}

/** A packet buffer. */
export const enum Buffer {
  /** Bytes before the frame of a fresh buffer, as RTE_PKTMBUF_HEADROOM. A multiple of 64: frames start a cache line. */
  HEADROOM = 128,
}

/** A pool of mbufs: the stack that all lcores share. Each lcore has a cache in front of it. */
export const enum Pool {
  FIRST = 0,
  COUNT = 4,
  /** u32[COUNT]: the free mbufs that no cache holds. */
  STACK = 8,
  /** The segment's capacity behind the headroom, bytes. */
  DATA_ROOM = 12,
  /** u32[LCORES]: each lcore's cache, 0 where it has none. */
  CACHES = 16,
  /** On a line of their own: what lcores fight for. */
  LOCK = 64,
  TOP = 68,
  BYTES = 128,
}

/** One lcore's cache of one pool: a first-in-first-out queue, so that buffers keep their order (see mbuf.ts). */
export const enum Cache {
  POOL = 0,
  /** u32[MASK + 1]; as large as the pool, so that a put never fails. */
  RING = 4,
  MASK = 8,
  HEAD = 12,
  TAIL = 16,
  /** Above so many the older half goes back to the pool. */
  HIGH = 20,
  LCORE = 24,
  BYTES = 64,
}

/** What every queue block begins with; the driver's own words follow at `DRIVER`. */
export const enum Queue {
  KIND = 0,
  /** 1 while the lcore may touch the queue. Control sets and clears it; an error clears it. */
  RUN = 4,
  /** QueueError, 0 if none. */
  ERROR = 8,
  /** What was wrong: the index, id or length that the peer gave. */
  ERROR_ARG = 12,
  PORT = 16,
  INDEX = 20,
  /** The owning lcore's cache of the queue's pool. */
  CACHE = 24,
  /** Mbuf's words PORT and NB_SEGS of a packet received here: 1 << 16 | port. */
  ORIGIN = 28,
  /** f64 counters. */
  PACKETS = 32,
  BYTES = 40,
  /** Packets dropped for their own fault: runts, oversize. */
  ERRORS = 48,
  /** Receive: times that no mbuf was to be had. Transmit: packets refused because the ring was full. */
  STALLED = 56,
  DRIVER = 64,
  /** The first of the taps that packets are captured by (src/capture/layout.ts); 0: nobody captures. No driver's. */
  CAPTURE = 252,
  BLOCK_BYTES = 256,
}

/** Who serves a queue. */
export const enum QueueKind {
  NULL = 1,
  RING = 2,
  VIRTIO_SPLIT = 3,
  VIRTIO_PACKED = 4,
  VHOST_SPLIT = 5,
  VHOST_PACKED = 6,
  /** Intel's rings of advanced and extended descriptors: pmd/intel. */
  INTEL = 7,
  /** Sockets on the kernel's interfaces: pmd/af_packet. */
  AF_PACKET = 8,
  /** The kernel's TAP interfaces: pmd/tap. */
  TAP = 9,
  /** Files: pmd/pcap. */
  PCAP = 10,
  /** An mlx5's own rings: pmd/mlx5, mode dv. */
  MLX5 = 11,
  /** Any NIC's raw packet queue pairs through libibverbs: pmd/mlx5, mode ibv. */
  VERBS = 12,
}

/** Why a queue stopped itself. Texts: src/ethdev/queue-errors.ts. */
export const enum QueueError {
  NONE = 0,
  USED_INDEX_JUMPED = 1,
  BAD_USED_ID = 2,
  BAD_USED_LENGTH = 3,
  BAD_BUFFER_COUNT = 4,
  AVAIL_INDEX_JUMPED = 5,
  BAD_HEAD = 6,
  BAD_NEXT = 7,
  CHAIN_TOO_LONG = 8,
  BAD_ADDRESS = 9,
  ZERO_LENGTH = 10,
  BAD_DIRECTION = 11,
  BAD_INDIRECT = 12,
  NO_HEADER = 13,
  BAD_LENGTH = 14,
  DEVICE_LOST = 15,
  DMA_ERROR = 16,
  BAD_RING_FRAME = 17,
  CQE_ERROR = 18,
  VERBS_FAILED = 19,
  BAD_CQE = 20,
}

/** A function of libibverbs that hot code calls (verbsPoll …), in a private zone. Addresses are two words. */
export const enum VerbsCall {
  /** The function, and the ibv_cq, ibv_qp or ibv_wq that it is called for. */
  FUNCTION = 0,
  OBJECT = 8,
  /** A post that fails leaves here the address of the first work request that it did not take. */
  BAD_WR = 16,
  BYTES = 24,
}

/** How hot code takes a completion queue's events (verbsEvents). Addresses are two words. */
export const enum VerbsEvents {
  /** ibv_get_cq_event, and the ibv_comp_channel that it reads. */
  GET = 0,
  CHANNEL = 8,
  /** ibv_ack_cq_events, and the ibv_cq, the channel's only one. */
  ACK = 16,
  CQ = 24,
  /** What ibv_get_cq_event says of an event: an ibv_cq, and what that was created with. */
  OUT = 32,
  BYTES = 48,
}

/** One lcore's control block: the command mailbox, the heartbeat, what it measured. */
export const enum Lcore {
  /** LcoreCommand; control writes it and wakes the lcore by Atomics.notify. */
  COMMAND = 0,
  /** LcoreState; the lcore writes it. */
  STATE = 4,
  /** Counts rounds of 256 polls. */
  HEARTBEAT = 8,
  STREAMS = 12,
  /** Stream blocks, STREAMS of them. */
  STREAM = 16,
  BURST = 20,
  ID = 24,
  /** Where an lcore's thread shows itself: Linux thread id. */
  TID = 28,
  POLLS = 32,
  EMPTY_POLLS = 40,
  PACKETS = 48,
  /** Sampled polls that brought packets and were not interrupted: their time in ns, packets and number. */
  BUSY_NS = 56,
  BUSY_PACKETS = 64,
  BUSY_POLLS = 72,
  /** Longest time between two rounds, ns, since cleared. */
  ROUND_NS_MAX = 80,
  /** u32[BURST + 1] polls by packets brought. */
  BURST_HISTOGRAM = 88,
  /** u32[Histogram.BUCKETS] poll-to-poll times, sampled. */
  POLL_HISTOGRAM = 92,
  /** u32[]: the mbufs of the burst at hand. */
  PKTS = 96,
  /** u32[Histogram.BUCKETS] ages of the stamped packets that came in. */
  LATENCY_HISTOGRAM = 100,
  /** Milliseconds of the last round's end. */
  LAST_MS = 104,
  /** f64: times it slept until an interrupt (--rx-interrupt). */
  SLEEPS = 112,
  /** Ring of packets to be shown (forward/watch.ts); 0: none was asked for yet. */
  VERBOSE = 120,
  BYTES = 128,
}

export const enum LcoreCommand {
  IDLE = 0,
  RUN = 1,
  QUIT = 2,
  /** As RUN, and an application waits to take the running one's place. */
  RELOAD = 3,
}

export const enum LcoreState {
  STARTING = 0,
  WAITING = 1,
  RUNNING = 2,
  FAILED = 3,
  ENDED = 4,
}

/** What an lcore does over and over: receive from one queue, treat by one mode, send to another. */
export const enum Stream {
  MODE = 0,
  RX_QUEUE = 4,
  TX_QUEUE = 8,
  /** Watch bits; 0 costs the loop a load a burst. */
  WATCH = 12,
  /** The mode's own words, 64 bytes. */
  STATE = 16,
  /** f64: packets that transmit refused and that were given back. */
  TX_DROPPED = 80,
  /** f64: packets that the mode itself gave back without sending, having found fault with them. */
  BAD = 88,
  /** f64: packets received and sent by this stream. */
  RX_PACKETS = 96,
  TX_PACKETS = 104,
  /** f64, csum alone: packets that came with a wrong IPv4 header checksum, with a wrong TCP or UDP checksum. */
  BAD_IP_CKSUM = 112,
  BAD_L4_CKSUM = 120,
  /** u32[BURST_MAX + 1] each: bursts by the packets that were received, and sent. 0: not recorded. */
  RX_BURSTS = 128,
  TX_BURSTS = 132,
  /** u32[Histogram.BUCKETS]: the lcore's latency histogram. */
  LATENCY = 136,
  /** The lcore's ring of packets to be shown (forward/watch.ts). */
  VERBOSE = 140,
  /** Told from stamps of other programs by this number. */
  STAMP_TAG = 144,
  /** Receive bursts of this round of polls that were not empty, where bursts are recorded. */
  ROUND_BURSTS = 148,
  /** f64, csum alone: the same as BAD_IP_CKSUM and BAD_L4_CKSUM of the outer headers of a tunnel's packets. */
  BAD_OUTER_IP_CKSUM = 152,
  BAD_OUTER_L4_CKSUM = 160,
  BLOCK_BYTES = 256,
}

/** Bits of Stream.WATCH: what is looked at beside forwarding. */
export const enum Watch {
  /** Counts bursts by size into RX_BURSTS and TX_BURSTS. */
  BURSTS = 1 << 0,
  /** Copies received, and sent, packets' first bytes into VERBOSE. */
  RECEIVED = 1 << 1,
  SENT = 1 << 2,
  /** Measures how old stamped packets are that come in. */
  LATENCY = 1 << 3,
}

/** Log-linear histogram of ns: exact below 64, then 32 buckets each power of two, so a value is known to 3 %. */
export const enum Histogram {
  SUB_BITS = 6,
  BUCKETS = 1728,
}
