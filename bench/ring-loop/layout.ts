// The NIC-like ring and its queue block as byte offsets: for the hot loop, for control code and, by way of the flags in
// arena.ts, for the C of loop.c and device.c. All of them work on the same bytes.

export const enum Ring {
  /** Descriptors; one always stays empty, so that "full" and "empty" differ. */
  SIZE = 512,
  /** Sent buffers are taken back in lots of this many, of which the last asked for a report. */
  LOT = 32,
  /** High word of every bus address: arena offsets begin at 2^32. */
  BUS_HIGH = 1,
}

/** A receive descriptor, in the form of the 82599's advanced one (datasheet 7.1.6). */
export const enum RxDesc {
  ADDRESS = 0,
  ADDRESS_HIGH = 4,
  /** Written back: DD (descriptor done) in bit 0. */
  STATUS = 8,
  /** Written back: u16. */
  LENGTH = 12,
  BYTES = 16,
}

/** A transmit descriptor (datasheet 7.2.3.2.4); its address lies as in receive ones. */
export const enum TxDesc {
  /** Length, type and flags. */
  COMMAND = 8,
  /** Payload length; written back with DD in bit 0. */
  STATUS = 12,
}

/** DD, in both. */
export const enum Status {
  DONE = 1,
}

export const enum Command {
  /** DEXT, advanced data descriptor, IFCS, EOP. */
  FRAME = 0x23300000,
  /** RS: report status. */
  REPORT = 0x08000000,
}

/** What the driver knows of its queue pair. */
export const enum Queue {
  RX_RING = 0,
  RX_MBUFS = 4,
  RX_NEXT = 8,
  TX_RING = 16,
  TX_MBUFS = 20,
  TX_NEXT = 24,
  /** The oldest sent buffer that has not been taken back. */
  TX_CLEAN = 28,
  /** The stack of free mbufs, and how many it holds. */
  FREE = 32,
  FREE_COUNT = 36,
  /** The application "touch" adds up each frame's first word here. */
  SUM = 40,
  BYTES = 64,
}

/** The device's registers, each in a cache line of its own, as the tails of a real one lie in pages of their own. */
export const enum Register {
  RX_TAIL = 0,
  TX_TAIL = 64,
}

/** The device model's own words. */
export const enum Device {
  RX_HEAD = 0,
  TX_HEAD = 4,
  /** Frames delivered, sent on, and sent on wrongly. */
  DELIVERED = 8,
  SENT = 12,
  WRONG = 16,
  /** Order and number of the sent frames, as one word. */
  DIGEST = 20,
  /** Number of the frame that was sent last, plus 1. */
  LAST = 24,
}

export const enum App {
  NONE = 0,
  TOUCH = 1,
  MACSWAP = 2,
}

/** What app.as.ts is to do: words of its scratch memory. */
export const enum Scratch {
  BATCH = 0,
  APP = 4,
}

/** Where everything lies in the bench's arena. */
export const enum At {
  QUEUE = 0x1000,
  REGISTERS = 0x2000,
  DEVICE = 0x3000,
  PKTS = 0x4000,
  /** Frame offsets, for an application in TypeScript. */
  FRAMES = 0x5000,
  /** Of the application in AssemblyScript. */
  SCRATCH = 0x6000,
  RX_RING = 0x10000,
  TX_RING = 0x12000,
  RX_MBUFS = 0x14000,
  TX_MBUFS = 0x15000,
  FREE = 0x16000,
  MBUFS = 0x40000,
  BUFFERS = 0x100000,
}

/** The packet buffers. */
export const enum Buffers {
  /** Not a power of two: 2048 would put all frames into a few cache sets. */
  STRIDE = 2176,
  COUNT_MAX = 4096,
}

/** Up to the end of the last buffer, in pages of 64 KiB. */
export const enum Arena {
  PAGES = 152,
}
