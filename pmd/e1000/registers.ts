// Registers of the 82574L (datasheet 3.4, chapter 10), the 82576 (datasheet 2.9, chapter 8) and the I350 (datasheet
// 2.4, chapter 8), as the manuals spell them. "82574" and "igb" (82576, I350) say which chips have one; without, all
// do.

export const enum Reg {
  // General
  CTRL = 0x0000,
  STATUS = 0x0008,
  EECD = 0x0010,
  EERD = 0x0014,
  CTRL_EXT = 0x0018,
  MDIC = 0x0020,
  VET = 0x0038,
  EEMNGCTL = 0x1010,
  MANC = 0x5820,
  /** PCIe control; 82574: GCR2. */
  GCR = 0x5b00,
  GCR2 = 0x5b64,
  /** 82574: who may use MDIO. */
  EXTCNF_CTRL = 0x0f00,
  SWSM = 0x5b50,
  /** igb. */
  SW_FW_SYNC = 0x5b5c,

  // Interrupts. igb has these three at 0x1500, 0x1508 and 0x150c as well, but QEMU's igb has not.
  ICR = 0x00c0,
  IMS = 0x00d0,
  IMC = 0x00d8,

  // Interrupts, 82574
  /** Throttle of MSI and INTx. */
  ITR_82574 = 0x00c4,
  EIAC_82574 = 0x00dc,
  IAM_82574 = 0x00e0,
  IVAR_82574 = 0x00e4,
  /** Throttle of a vector, 4 bytes on. */
  EITR_82574 = 0x00e8,

  // Interrupts, igb
  GPIE = 0x1514,
  EIMS = 0x1524,
  EIMC = 0x1528,
  EIAC = 0x152c,
  EIAM = 0x1530,
  EICR = 0x1580,
  /** Throttle of a vector, 4 bytes on; a reset leaves it as it is. */
  EITR = 0x1680,
  /** 8 of them, 4 bytes on. */
  IVAR0 = 0x1700,

  // Receive
  RCTL = 0x0100,
  RXCSUM = 0x5000,
  /** igb. */
  RLPML = 0x5004,
  RFCTL = 0x5008,
  /** 128 words of multicast hash bits. */
  MTA = 0x5200,
  /** Unicast addresses, 8 bytes on; from the 17th on at RAL_HIGH. */
  RAL = 0x5400,
  RAH = 0x5404,
  RAL_HIGH = 0x54e0,
  /** 128 words of VLAN bits. */
  VFTA = 0x5600,
  MRQC = 0x5818,
  /** 32 words of 4 entries. */
  RETA = 0x5c00,
  /** 10 words of the key. */
  RSSRK = 0x5c80,

  // Queues by what a packet is, igb (82576, 8.10 and 8.11). 8 of each but for SYNQF, 4 bytes on.
  /** SYN packet. */
  SYNQF = 0x55fc,
  /** 82576: source and destination address, source port. */
  SAQF = 0x5980,
  DAQF = 0x59a0,
  SPQF = 0x59c0,
  /** 82576: 5-tuple. I350: the same place is TTQF, 2-tuple. */
  FTQF = 0x59e0,
  /** Destination port, priority. */
  IMIR = 0x5a80,
  IMIREXT = 0x5aa0,
  /** EtherType. */
  ETQF = 0x5cb0,

  // Transmit
  TCTL = 0x0400,
  TIPG = 0x0410,
  /** 82574. */
  TARC0 = 0x3840,
}

/** Registers of a queue, from its base on. */
export const enum RingReg {
  BAL = 0x00,
  BAH = 0x04,
  LEN = 0x08,
  /** igb, receive. */
  SRRCTL = 0x0c,
  HEAD = 0x10,
  TAIL = 0x18,
  /** RXDCTL, TXDCTL. */
  DCTL = 0x28,
  /** igb, receive: packets dropped for want of a descriptor. Cleared by reading. */
  RQDPC = 0x30,
}

/** Where queue 0's registers begin, and how far apart queues are. */
export const RINGS_82574 = { rx: 0x2800, tx: 0x3800, stride: 0x100 } as const;
export const RINGS_IGB = { rx: 0xc000, tx: 0xe000, stride: 0x40 } as const;

export const enum Ctrl {
  FD = 1 << 0,
  GIO_MASTER_DISABLE = 1 << 2,
  SLU = 1 << 6,
  FRCSPD = 1 << 11,
  FRCDPLX = 1 << 12,
  RST = 1 << 26,
  VME = 1 << 30,
}

export const enum Status {
  FD = 1 << 0,
  LU = 1 << 1,
  LAN_ID_SHIFT = 2,
  SPEED_100 = 1 << 6,
  SPEED_1000 = 1 << 7,
  GIO_MASTER_ENABLE = 1 << 19,
}

export const enum Eecd {
  /** The EEPROM's words have been loaded into the registers. */
  AUTO_RD = 1 << 9,
}

/** Bits that the 82574 needs otherwise than a reset leaves them, by register: set, and cleared. See reset.ts. */
export const MENDED_82574 = [
  { register: Reg.TARC0, set: 1 << 26, clear: 0xf << 27 },
  { register: Reg.CTRL, set: 0, clear: 1 << 29 },
  { register: Reg.CTRL_EXT, set: 1 << 22, clear: 1 << 23 },
  { register: Reg.GCR, set: (1 << 22) | (1 << 27), clear: 0 },
  { register: Reg.GCR2, set: 1 << 0, clear: 0 },
] as const;

/** EEMNGCTL: the PHY has its settings from the EEPROM; the next function's bit is one higher. */
export const CFG_DONE = 1 << 18;

/** MANC: the management firmware receives by this port's PHY, or wants its link kept up. */
export const enum Manc {
  RCV_TCO_EN = 1 << 17,
  KEEP_PHY_LINK_UP = 1 << 18,
}

export const enum Eerd {
  START = 1 << 0,
  DONE = 1 << 1,
  ADDR_SHIFT = 2,
  DATA_SHIFT = 16,
}

export const enum CtrlExt {
  /** igb. 0: copper. */
  LINK_MODE_SHIFT = 22,
  /** 82574: MSI-X masks by IAM what it tells. */
  EIAME = 1 << 24,
  DRV_LOAD = 1 << 28,
}

export const enum Mdic {
  REGADD_SHIFT = 16,
  PHYADD_1 = 1 << 21,
  OP_WRITE = 1 << 26,
  OP_READ = 2 << 26,
  READY = 1 << 28,
  ERROR = 1 << 30,
}

export const enum ExtcnfCtrl {
  MDIO_SW_OWN = 1 << 5,
}

export const enum Swsm {
  SMBI = 1 << 0,
  SWESMBI = 1 << 1,
}

/** SW_FW_SYNC: the PHY of each of four functions; the firmware's bits are 16 higher. */
export const PHY_SYNC_BITS = [1 << 1, 1 << 2, 1 << 5, 1 << 6] as const;

export const enum Gpie {
  NSICR = 1 << 0,
  MULTIPLE_MSIX = 1 << 4,
  EIAME = 1 << 30,
}

/** IVAR registers: the entry counts. */
export const IVAR_VALID = 0x80;
/** 82574: valid bit of a 4-bit entry; receive queue k has entry k, cause bit RXQ0 << k. */
export const IVAR_82574_VALID = 0x8;
export const CAUSE_82574_RXQ0 = 1 << 20;
/** Without MSI-X: RXT0 of the 82574, RXDW of igb; a frame is in memory. */
export const CAUSE_RX = 1 << 7;

export const enum Rctl {
  EN = 1 << 1,
  UPE = 1 << 3,
  MPE = 1 << 4,
  LPE = 1 << 5,
  BAM = 1 << 15,
  BSIZE_1024 = 1 << 16,
  BSIZE_512 = 2 << 16,
  BSIZE_256 = 3 << 16,
  VFE = 1 << 18,
  BSEX = 1 << 25,
  SECRC = 1 << 26,
}

export const enum Rxcsum {
  IPOFLD = 1 << 8,
  TUOFLD = 1 << 9,
  /** No packet checksum: the descriptor has the RSS hash there. */
  PCSD = 1 << 13,
}

export const enum Rfctl {
  /** 82574: extended receive descriptors. */
  EXSTEN = 1 << 15,
  /** igb: the SYN filter comes before the 5-tuple filters. */
  SYNQFP = 1 << 19,
}

/** ETQF: the EtherType, bits 0 to 15. */
export const enum Etqf {
  QUEUE_SHIFT = 16,
  FILTER_ENABLE = 1 << 26,
}
/** ETQF.QUEUE_ENABLE. Bit 31. */
export const ETQF_QUEUE_ENABLE = 0x8000_0000;

/** FTQF and TTQF: the protocol, bits 0 to 7; what is left out of the comparison, bits 15 and 28 to 31. */
export const enum Ftqf {
  QUEUE_ENABLE = 1 << 8,
  VF_BP = 1 << 15,
  QUEUE_SHIFT = 16,
  MASK_PROTO_BP = 1 << 28,
  MASK_SOURCE_ADDR_BP = 1 << 29,
  MASK_DEST_ADDR_BP = 1 << 30,
}
/** FTQF.MASK_SOURCE_PORT_BP. Bit 31. */
export const FTQF_MASK_SOURCE_PORT_BP = 0x8000_0000;

/** IMIR: the destination port, bits 0 to 15. */
export const enum Imir {
  PORT_BP = 1 << 17,
  PRIORITY_SHIFT = 29,
}

export const enum Imirext {
  SIZE_BP = 1 << 12,
  CTRL_BP = 1 << 19,
}

export const enum Synqf {
  ENABLE = 1 << 0,
  QUEUE_SHIFT = 1,
}

export const enum Srrctl {
  /** Buffers in KiB, bits 0 to 6. */
  DESCTYPE_ADVANCED = 1 << 25,
}
/** SRRCTL.DROP_EN: a queue without descriptors drops instead of holding the others up. Bit 31. */
export const SRRCTL_DROP_EN = 0x8000_0000;

export const enum Dctl {
  /** 82574: thresholds count descriptors. */
  GRAN = 1 << 24,
  /** 82574, transmit: to be set (datasheet 10.2.6.11, COUNT_DESC). */
  COUNT_DESC = 1 << 22,
  /** igb. */
  ENABLE = 1 << 25,
  HTHRESH_SHIFT = 8,
  WTHRESH_SHIFT = 16,
}

export const enum Tctl {
  EN = 1 << 1,
  PSP = 1 << 3,
  CT_SHIFT = 4,
  COLD_SHIFT = 12,
  /** 82574: several reads at a time. */
  MULR = 1 << 28,
}

/** RAH: the address is compared. Bit 31. */
export const RAH_AV = 0x8000_0000;

export const enum Mrqc {
  RSS_82574 = 1,
  RSS_IGB = 2,
}

/** MRQC's bits by what is hashed; those of UDP only igb has. */
export const MRQC_FIELDS = {
  "ipv4-tcp": 1 << 16,
  ipv4: 1 << 17,
  "ipv6-tcp": (1 << 18) | (1 << 21),
  ipv6: (1 << 19) | (1 << 20),
  "ipv4-udp": 1 << 22,
  "ipv6-udp": (1 << 23) | (1 << 24),
} as const;
/** The same in the 82574, which has fewer bits. */
export const MRQC_FIELDS_82574 = {
  "ipv4-tcp": 1 << 16,
  ipv4: 1 << 17,
  "ipv6-tcp": 1 << 18,
  ipv6: (1 << 19) | (1 << 20),
} as const;

/** The PHY's registers (IEEE 802.3, 22.2.4). */
export const enum Phy {
  CONTROL = 0,
  ID1 = 2,
  POWER_DOWN = 1 << 11,
  ISOLATE = 1 << 10,
  ENABLE_AN = 1 << 12,
  RESTART_AN = 1 << 9,
}

/** Statistics, 32 bits each, cleared by reading. Names of the datasheets (82576, 8.18; 82574, 10.2.7). All chips'. */
export const STATISTICS = {
  CRCERRS: 0x4000,
  ALGNERRC: 0x4004,
  RXERRC: 0x400c,
  MPC: 0x4010,
  SCC: 0x4014,
  ECOL: 0x4018,
  MCC: 0x401c,
  LATECOL: 0x4020,
  COLC: 0x4028,
  DC: 0x4030,
  TNCRS: 0x4034,
  RLEC: 0x4040,
  XONRXC: 0x4048,
  XONTXC: 0x404c,
  XOFFRXC: 0x4050,
  XOFFTXC: 0x4054,
  FCRUC: 0x4058,
  PRC64: 0x405c,
  PRC127: 0x4060,
  PRC255: 0x4064,
  PRC511: 0x4068,
  PRC1023: 0x406c,
  PRC1522: 0x4070,
  GPRC: 0x4074,
  BPRC: 0x4078,
  MPRC: 0x407c,
  GPTC: 0x4080,
  RNBC: 0x40a0,
  RUC: 0x40a4,
  RFC: 0x40a8,
  ROC: 0x40ac,
  RJC: 0x40b0,
  MGTPRC: 0x40b4,
  MGTPDC: 0x40b8,
  MGTPTC: 0x40bc,
  TPR: 0x40d0,
  TPT: 0x40d4,
  PTC64: 0x40d8,
  PTC127: 0x40dc,
  PTC255: 0x40e0,
  PTC511: 0x40e4,
  PTC1023: 0x40e8,
  PTC1522: 0x40ec,
  MPTC: 0x40f0,
  BPTC: 0x40f4,
  TSCTC: 0x40f8,
  IAC: 0x4100,
} as const;

/** The 82574's own. */
export const STATISTICS_82574 = {
  CEXTERR: 0x403c,
  TSCTFC: 0x40fc,
  ICRXPTC: 0x4104,
  ICRXATC: 0x4108,
  ICTXPTC: 0x410c,
  ICTXATC: 0x4110,
  ICTXQEC: 0x4118,
  ICTXQMTC: 0x411c,
  ICRXDMTC: 0x4120,
  ICRXOC: 0x4124,
} as const;

/** Those of 82576 and I350 alone: for what went to the host and came from it, where there are several functions. */
export const STATISTICS_IGB = {
  SYMERRS: 0x4008,
  SEC: 0x4038,
  HTDPMC: 0x403c,
  RPTHC: 0x4104,
  HGPTC: 0x4118,
  RXDMTC: 0x4120,
  LENERRS: 0x4138,
  SCVPC: 0x4228,
} as const;

/** Statistics of 64 bits: the low word's register; the high one's follows, and reading it clears both. */
export const STATISTICS_64 = {
  GORC: 0x4088,
  GOTC: 0x4090,
  TOR: 0x40c0,
  TOT: 0x40c8,
} as const;

/** The same, of 82576 and I350 alone. */
export const STATISTICS_IGB_64 = {
  HGORC: 0x4128,
  HGOTC: 0x4130,
} as const;
