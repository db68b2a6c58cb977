// Registers of the 82576's virtual function, as they lie in the VF's own BAR 0 (82576 datasheet, chapter 8, "Virtual
// Function Device Registers"; the I350's are the same but for the second queue). A VF sees no PHY, no EEPROM and no
// filters: all these belong to its physical function (PF), which it asks through the mailbox.

export const enum VfReg {
  /** VF Control: VTCTRL.RST alone. */
  VTCTRL = 0x0000,
  /** VF Status: the PF's STATUS. */
  VTSTATUS = 0x0008,
  /** VF Free Running Timer: microseconds. */
  VTFRTIMER = 0x1048,

  /** Extended interrupt cause set, mask set, mask clear, auto clear, auto mask, cause; one bit an MSI-X vector. */
  VTEICS = 0x1520,
  VTEIMS = 0x1524,
  VTEIMC = 0x1528,
  VTEIAC = 0x152c,
  VTEIAM = 0x1530,
  VTEICR = 0x1580,
  /** Throttle of vector 0; the next 4 bytes on. */
  VTEITR = 0x1680,
  /** Vectors of the queues: receive 0, transmit 0, receive 1, transmit 1, a byte each. */
  VTIVAR = 0x1700,
  /** Vector of the mailbox. */
  VTIVAR_MISC = 0x1740,

  /** The mailbox's control, VFMailbox (the kernel's V2PMAILBOX), and its 16 words. */
  V2PMAILBOX = 0x0c40,
  VMBMEM = 0x0800,
}

/** Where queue 0's registers (RingReg) begin, and how far on queue 1's are. */
export const VF_RINGS = { rx: 0x2800, tx: 0x3800, stride: 0x100 } as const;

/** Mailbox's words: VMBMEM. */
export const VMBMEM_WORDS = 16;

/** VTIVAR, VTIVAR_MISC: the entry counts. */
export const VTIVAR_VALID = 0x80;

export const VTCTRL_RST = 1 << 26;

export const enum V2pMailbox {
  /** Write: tells the PF of a message. */
  REQ = 1 << 0,
  /** Write: tells the PF that its message was read. */
  ACK = 1 << 1,
  /** The buffer is the VF's; can be set only while PFU is not. */
  VFU = 1 << 2,
  /** The buffer is the PF's. */
  PFU = 1 << 3,
  /** The PF wrote a message. Cleared by reading. */
  PFSTS = 1 << 4,
  /** The PF read the VF's message. Cleared by reading. */
  PFACK = 1 << 5,
  /** The PF is in reset, or its driver is not up. */
  RSTI = 1 << 6,
  /** The PF came out of a reset. Cleared by reading. */
  RSTD = 1 << 7,
  CLEARED_BY_READING = PFSTS | PFACK | RSTD,
}

/** Word 0 of a mailbox message, as the kernel's igb PF driver understands it (igb/e1000_mbx.h). */
export const enum VfMessage {
  RESET = 0x01,
  SET_MAC_ADDR = 0x02,
  SET_MULTICAST = 0x03,
  SET_VLAN = 0x04,
  SET_LPE = 0x05,
  SET_PROMISC = 0x06,
  /** From the PF of its own accord: its link or its state has changed. */
  PF_CONTROL = 0x100,
  TYPE_MASK = 0xffff,

  /** What the message means besides, bits 16 to 23. */
  INFO_SHIFT = 16,
  MAC_FILTER_CLR = 0x01 << 16,
  MAC_FILTER_ADD = 0x02 << 16,
  MULTICAST_OVERFLOW = 0x80 << 16,
  VLAN_ADD = 0x01 << 16,
  PROMISC_UNICAST = 0x01 << 16,
  PROMISC_MULTICAST = 0x02 << 16,

  /** Clear to send: the PF knows this VF. Lost by the PF's reset, until the VF sends RESET. */
  CTS = 0x2000_0000,
  NACK = 0x4000_0000,
}

/** With NACK in a message's word 0; apart, for it is bit 31. */
export const MESSAGE_ACK = 0x8000_0000;

/** Hashes that a SET_MULTICAST message has room for. */
export const MULTICAST_HASHES_MAX = 30;

/** Statistics: 32 bits each, never cleared, wrapping around. Octets without CRC. */
export const VF_STATS = {
  VFGPRC: 0x0f10,
  VFGPTC: 0x0f14,
  VFGORC: 0x0f18,
  VFGOTC: 0x0f34,
  VFMPRC: 0x0f3c,
  VFGPRLBC: 0x0f40,
  VFGPTLBC: 0x0f44,
  VFGORLBC: 0x0f48,
  VFGOTLBC: 0x0f50,
} as const;
