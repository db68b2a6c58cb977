// The virtqueue: what lies in memory shared with the device (virtio 1.2, 2.7 and 2.8), and the driver's private words
// about it. Control code (queue.ts) fills the private words; hot-split.ts and hot-packed.ts work on them.
/** The driver's words in a queue block, from Queue.DRIVER on. Indices run freely; a slot is `index & (SIZE - 1)`. */
export const enum Virtq {
  /** Arena offsets of descriptor area, driver area (avail ring), device area (used ring). */
  DESC = 64,
  AVAIL = 68,
  USED = 72,
  SIZE = 76,
  /** u32[SIZE]: the mbuf that each descriptor carries. Never read back from shared memory. */
  MBUFS = 80,
  /** u32[SIZE]: the frame address that each descriptor was given, so that an unchanged one is not written again. */
  DATA = 84,
  /** u32[SIZE]: transmit: the length that each descriptor was given. */
  LENGTHS = 88,
  /** u32[SIZE]: transmit: descriptors of the chain that begins here. */
  CHAIN = 92,
  /** u8[SIZE]: 1 where the device returned a descriptor before an older one (out of order). */
  DONE = 96,
  /** Next used entry to look at. */
  USED_INDEX = 100,
  /** Next descriptor to hand over. */
  AVAIL_INDEX = 104,
  /** First descriptor not yet given back: descriptors are used again in ring order. */
  FREE_INDEX = 108,
  /** Split transmit: running index of the avail ring; differs from AVAIL_INDEX once a chain was sent. */
  RING_INDEX = 112,
  /** u16[SIZE]: split transmit: the head that each avail slot was given. */
  HEADS = 116,
  /** VirtqFlag bits. */
  FLAGS = 120,
  /** Bytes of frame that a receive buffer holds. */
  ROOM = 124,
  /** eventfd that wakes a device which asked for it. */
  KICK_FD = 128,
  /** Index of the last publication that the device was, or needed not be, told of. */
  KICKED_INDEX = 132,
  /** Arena offset of a virtio_net_hdr of zeros in shared memory, for frames without headroom. */
  ZERO_HEADER = 136,
  /** Written by fences alone. */
  FENCE = 140,
}

export const enum VirtqFlag {
  /** VIRTIO_F_IN_ORDER. */
  IN_ORDER = 1,
  /** VIRTIO_NET_F_MRG_RXBUF. */
  MERGEABLE = 2,
  /** The device has returned a descriptor before an older one; slots may no longer be told from positions. */
  DISORDERED = 4,
  /** Transmit: a chain of more than one descriptor was sent since the start. */
  CHAINED = 8,
  /** Transmit: a packet of another pool, or of several segments, was sent since the start. */
  MIXED = 16,
}

/** sizeof(struct virtio_net_hdr_v1), virtio 1.2, 5.1.6. */
export const enum Header {
  BYTES = 12,
  /** num_buffers, u16, counted back from the frame. */
  NUM_BUFFERS_BEFORE = 2,
}

/** VIRTQ_DESC_F_*, virtio 1.2, 2.7.5 and 2.8.10.1. */
export const enum Desc {
  BYTES = 16,
  NEXT = 1,
  WRITE = 2,
  INDIRECT = 4,
  PACKED_AVAIL = 0x80,
  PACKED_USED = 0x8000,
}

/** Receive buffers are handed over in lots of so many: each publication costs the device a cache line. */
export const enum Lot {
  REFILL = 32,
}

/** An Ethernet header: a shorter frame is dropped and counted. */
export const enum Frame {
  LENGTH_MIN = 14,
}
