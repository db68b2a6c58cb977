// The forwarding modes by number, for the stream block. Names and options: src/forward/names.ts.
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
}
