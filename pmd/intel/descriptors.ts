// Descriptors as they lie in memory: four words each. Names as in the datasheets of the 82574 (7.1.5, 7.2.10, 7.2.11)
// and of the 82576 (7.1.5, 7.2.2); the I350 and the 82599 have the 82576's but for error bits.

/** Byte offsets of the words. */
export const enum Word {
  /** Receive, read: the buffer's address. Written back: RSS type in bits 3:0. */
  ADDRESS = 0,
  /** Written back: the RSS hash, where RXCSUM.PCSD says so. */
  ADDRESS_HIGH = 4,
  /** Receive, written back: status 19:0, errors 31:20. Transmit: length and command. */
  STATUS = 8,
  /** Receive, written back: length 15:0, VLAN tag 31:16. Transmit: status, options, and what follows them. */
  LENGTH = 12,
}

/** A descriptor has 16 bytes: slots are shifted by so much. */
export const enum Desc {
  SHIFT = 4,
}

/** Receive, written back: word STATUS. */
export const enum RxStatus {
  DD = 1 << 0,
  EOP = 1 << 1,
  /** Ignore checksum indication. Reserved in the 82576, another thing in the 82599. */
  IXSM = 1 << 2,
  /** The packet's tag was stripped. */
  VP_BIT = 3,
  /** Checked were UDP's, TCP's (82576: any L4) and IPv4's checksum. */
  UDPCS_BIT = 4,
  L4CS_BIT = 5,
  IPCS_BIT = 6,
  /** Looped back from another function (82576 and later). */
  LB = 1 << 18,
  L4E_BIT = 29,
  IPE_BIT = 30,
}

/** CE, SE, SEQ, CXE and RXE: a damaged frame, stored only with RCTL.SBP. The 82576 has RXE alone. */
export const RX_BAD_FRAME = 0x97000000;

/** Receive, written back: word ADDRESS. 0: no hash was taken. */
export const enum RxInfo {
  RSS_TYPE = 15,
}

/** Transmit: word STATUS of a data descriptor. */
export const enum TxCommand {
  /** DTYP of the extended, and of the advanced data descriptor. */
  DATA_EXTENDED = 1 << 20,
  DATA_ADVANCED = 3 << 20,
  EOP = 1 << 24,
  IFCS = 1 << 25,
  /** Report status: DD is written back. */
  RS = 1 << 27,
  DEXT = 1 << 29,
  /** Insert the VLAN tag. */
  VLE = 1 << 30,
}

/** Transmit: word LENGTH of a data descriptor. */
export const enum TxStatus {
  DD = 1 << 0,
  /** POPTS.IXSM, POPTS.TXSM: insert IPv4's, TCP's or UDP's checksum. Those of the first descriptor count. */
  IXSM = 1 << 8,
  TXSM = 1 << 9,
  /** Advanced: PAYLEN, the packet's length. */
  PAYLEN_BIT = 14,
  /** Extended: the VLAN tag. */
  VLAN_BIT = 16,
}

/** The extended context descriptor (82574, 7.2.10): {IPCSS, IPCSO, IPCSE, TUCSS, TUCSO, TUCSE}, then word STATUS. */
export const enum ContextExtended {
  /** CSO stands in bits 15:8 and CSE in 31:16 of either word; CSE of 0 means the packet's end. */
  CSO_BIT = 8,
  CSE_BIT = 16,
  TCP = 1 << 24,
  IP = 1 << 25,
  /** CSS and CSO have 8 bits. */
  OFFSET_MAX = 255,
}

/** The advanced context descriptor (82576, 7.2.2.2): word ADDRESS, then word STATUS. IDX is 0. */
export const enum ContextAdvanced {
  /** IPLEN is 8:0, the VLAN tag 31:16. */
  MACLEN_BIT = 9,
  IPV4 = 1 << 10,
  /** L4T; 0 is UDP. */
  TCP = 1 << 11,
  DTYP = 2 << 20,
}

/** Offsets of the checksum fields within IPv4, TCP and UDP headers, and the least lengths. */
export const enum Header {
  ETHERNET = 14,
  IPV4 = 20,
  IPV4_CHECKSUM = 10,
  TCP_CHECKSUM = 16,
  UDP_CHECKSUM = 6,
}
