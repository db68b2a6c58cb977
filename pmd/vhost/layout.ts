// The device's side of a virtqueue: the guest owns the memory, and nothing in it is trusted.

/** The backend's words in a queue block, from Queue.DRIVER on. */
export const enum Vring {
  /** Arena offsets of descriptor table, avail ring (driver area) and used ring (device area), checked at the start. */
  DESC = 64,
  AVAIL = 68,
  USED = 72,
  /** Descriptors, a power of two. */
  SIZE = 76,
  /** Running index of the next avail entry (split) or descriptor (packed). */
  AVAIL_INDEX = 80,
  /** Running index of the next used entry; packed: always AVAIL_INDEX, for chains are used in order. */
  USED_INDEX = 84,
  /** Region table: see Region. */
  REGIONS = 88,
  /** VringFlag bits. */
  FLAGS = 92,
  /** eventfd that interrupts the guest, 0 if it gave none. */
  CALL_FD = 96,
  /** Value of USED_INDEX that the guest was last told of. */
  CALLED_INDEX = 100,
  /** Scratch, private: Segment entries of the chain at hand. */
  SEGMENTS = 104,
  /** Scratch, private: u32 pairs {head or id, bytes} of the buffers that one packet took. */
  HEADS = 108,
  /** Bytes of frame that an mbuf of the queue's pool holds. */
  ROOM = 116,
  /** Scratch, private: one mbuf word for the pool. */
  SCRATCH = 120,
  /** 1: the guest kicks nobody, so that only a look tells of what it sends. */
  POLLED = 124,
  /** Written by fences alone. */
  FENCE = 128,
}

export const enum VringFlag {
  /** VIRTIO_NET_F_MRG_RXBUF: a packet may take several buffers. */
  MERGEABLE = 1,
}

/** The guest's memory: a count, and as many entries of {base low, base high, size, arena offset}. */
export const enum Region {
  BASE_LOW = 0,
  BASE_HIGH = 4,
  SIZE = 8,
  OFFSET = 12,
  /** Bytes of an entry. The first one holds the count alone. */
  BYTES = 16,
  MAX = 32,
}

/** One piece of a chain in the arena: {offset, bytes}. */
export const enum Segment {
  BYTES = 8,
  MAX = 1024,
}

export const enum Wire {
  /** sizeof(struct virtio_net_hdr_v1). */
  HEADER = 12,
  FRAME_MIN = 14,
  FRAME_MAX = 65535,
}

/** VIRTQ_DESC_F_*. */
export const enum GuestDesc {
  NEXT = 1,
  WRITE = 2,
  INDIRECT = 4,
}
