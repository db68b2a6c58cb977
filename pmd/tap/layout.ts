// What control and hot code of net_tap share: words of a queue block.

/** The driver's words in a queue block. */
export const enum Tap {
  FD = 64,
  /** Receive: fresh mbufs that the next frame is read into: how many are there, how many there have to be, u32[]. */
  HELD = 68,
  WANTED = 72,
  SEGMENTS = 76,
  /** struct iovec[IOVECS_MAX]. */
  IOVECS = 80,
  /** Address of the arena in the process, low and high word. */
  BASE = 84,
  BASE_HIGH = 88,
  /** Receive, 1: the iovecs are not those of the mbufs held. */
  STALE = 92,
  /** Transmit: the longest frame that the interface takes, without a VLAN tag. */
  FRAME_MAX = 96,
  /** f64: frames that were longer than the mbufs held. They are among ERRORS. */
  TRUNCATED = 104,
  /** Of a queue: segments of a packet, at most. */
  IOVECS_MAX = 256,
}

/** struct iovec, both words of each field. */
export const enum Iovec {
  BASE = 0,
  BASE_HIGH = 4,
  LEN = 8,
  LEN_HIGH = 12,
  BYTES = 16,
}
