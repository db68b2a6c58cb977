// The forwarding modes by number, for the stream block. Names and options: src/forward/streams.ts.
export const enum Mode {
  /** Receives, counts, frees. */
  COUNT = 1,
  /** The same, and reads each frame's first cache line. */
  TOUCH = 2,
  IO = 3,
  MACSWAP = 4,
  /** Sends one made-up frame over and over. */
  TXONLY = 5,
  ICMPECHO = 6,
  /** Sends numbered frames, no more under way than a window. */
  SEQ_SEND = 7,
  /** Receives them and checks number and content. */
  SEQ_CHECK = 8,
  /** Sends on with other MAC addresses. */
  MAC = 9,
  /** Sends made-up frames of many flows, frees what comes. */
  FLOWGEN = 10,
  /** Sends on with checksums anew. */
  CSUM = 11,
  /** Exchanges MAC addresses, IP addresses and ports. */
  FIVE_TUPLE_SWAP = 12,
  /** Lets packets wait, and reads and writes memory beside. */
  NOISY = 13,
}
