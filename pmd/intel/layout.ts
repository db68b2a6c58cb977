// What Intel's Ethernet families share, from the 82574 to the 82599: a ring of 16-byte descriptors that the NIC writes
// back in place, and a queue block over it. The 82574's extended receive descriptor (82574 datasheet, 7.1.5) and the
// advanced one of 82576, I350 and 82599 (82576 datasheet, 7.1.5) have the same words where one buffer a descriptor is
// used; the transmit descriptors differ in a few fields, which stand in the queue block.

/** The driver's words in a queue block. */
export const enum IntelQueue {
  /** Arena offset of the descriptors, in the DMA zone. */
  RING = 64,
  /** Descriptors less one; their number is a power of two. */
  MASK = 68,
  /** u32[size], private: the mbuf of each descriptor; transmit: at a packet's last one, 0 at the others. */
  MBUFS = 72,
  /** Free-running index of the oldest descriptor that the NIC holds. */
  HEAD = 76,
  /** Free-running index of the first descriptor that the NIC does not hold. */
  TAIL = 80,
  /** Arena offset of the tail register, RDT or TDT: the doorbell. */
  TAIL_REG = 84,
  /** IntelQueueFlag. */
  FLAGS = 88,

  /** Receive: bytes of a buffer, as the NIC was told. */
  ROOM = 92,
  /** Receive: descriptors are given to the NIC in lots of so many, for each costs a write of the tail register. */
  LOT = 100,
  /** Receive: the packet whose last descriptor is still to come: its first and last mbuf. 0: none. */
  PARTIAL = 104,
  PARTIAL_LAST = 108,
  /** Receive: the status bits of a damaged frame, and of one whose checksums were not looked at. */
  BAD_FRAME = 112,
  NO_CHECKSUM = 116,
  /** Receive: numbers of the status bits that call the IPv4 and the TCP or UDP checksum wrong. */
  IP_ERROR_BIT = 120,
  L4_ERROR_BIT = 124,

  /**
   * Transmit: u32[size], private: where a report was asked for, at the lot's first slot: its last one, and Report.ODD.
   */
  REPORTS = 128,
  /** Transmit: word 2 of each data descriptor but for length, EOP and RS. */
  COMMAND = 132,
  /** Transmit: 1 << the bit of word 3 where the packet's length stands (PAYLEN); 0: it has none. */
  PAYLEN_UNIT = 136,
  /** Transmit: largest packet, bytes. */
  BYTES_MAX = 140,
  /** Transmit: what the NIC's context holds, as hot-context.ts writes it down. */
  CONTEXT_FLAGS = 144,
  CONTEXT_FIELDS = 148,

  /** Receive: arena offset and value of the register write that lets the queue's interrupt fire once. 0: none. */
  ARM_REG = 152,
  ARM_VALUE = 156,
  /** Receive: arena offset of a register whose reading takes causes back, before the arming. 0: none. */
  ARM_CLEAR = 160,
  /** What was read there last. */
  CAUSES = 164,
}

export const enum IntelQueueFlag {
  /** Transmit: 82574's extended descriptors; else advanced ones. */
  EXTENDED = 1,
  /** Receive: the NIC strips VLAN tags. */
  VLAN_STRIP = 2,
  /** Receive: word 1 is an RSS hash, not a packet checksum. */
  RSS = 4,
  /** Receive: the NIC checks checksums. */
  CHECKSUM = 8,
  /** Those by which a received packet's OL_FLAGS are made. */
  ANNOTATED = 14,
  /** Receive: of frames looped back from another function the tag's bytes are swapped (I350 and I210). */
  LOOPBACK_VLAN_SWAPPED = 16,
  /** Transmit: a context holds until the queue gives another one. */
  KEEPS_CONTEXT = 32,
}

/** An entry of REPORTS. */
export const enum Report {
  SLOT = 0xffff,
  /** Among the lot's slots are ones without an mbuf, or mbufs of several segments or of another pool. */
  ODD = 1 << 16,
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
export const enum IntelLimit {
  /** A lot of receive descriptors, and packets from one transmit report to the next. */
  LOT = 64,
  /** Segments of a packet, both ways: 16 KiB of the smallest buffers, and what an 82599 takes (7.2.1.1). */
  SEGMENTS = 40,
  /** An Ethernet header: a shorter received frame is dropped. */
  RECEIVED_MIN = 14,
  /** A shorter frame the NIC cannot pad to 60 bytes (TCTL.PSP), so it is made so long first, as the kernel does. */
  SENT_MIN = 17,
}
