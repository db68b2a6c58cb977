// What control and hot code of net_af_packet share: words of a queue block, and the ring that the kernel and we write.

/** The driver's words in a queue block. */
export const enum AfPacket {
  FD = 64,
  /** Arena offset of the ring: BLOCKS blocks of BLOCK_BYTES, each with BLOCK_FRAMES slots of FRAME_BYTES. */
  RING = 68,
  FRAME_BYTES = 72,
  BLOCK_BYTES = 76,
  BLOCK_FRAMES = 80,
  BLOCKS = 84,
  /** Arena offset of the slot that comes next, its block's number, and the slots from it to the block's end. */
  SLOT = 88,
  BLOCK = 92,
  LEFT = 96,
  /** Receive, 1: VLAN tags go to VLAN_TCI; 0: they are put back into the frame. */
  STRIP = 100,
  /** Receive: u32[] as many as a slot's frame needs segments. */
  SEGMENTS = 104,
  /** Transmit: the longest frame that the interface takes, without a VLAN tag. */
  FRAME_MAX = 108,
  /** Transmit, 1: slots wait for the kernel to be told of them. */
  PENDING = 112,
  /** f64: frames longer than a slot. They are among ERRORS. */
  TRUNCATED = 120,
  /** f64: checksums that were filled in here. */
  COMPLETED = 128,
  /** f64: times that the kernel or the interface refused a frame that lay in the ring. */
  REFUSED = 136,
  /** Receive, 1: what this machine sends by the interface, too. */
  OUTGOING = 144,
}

/** struct tpacket2_hdr at a slot's beginning (linux/if_packet.h). */
export const enum Slot {
  STATUS = 0,
  LEN = 4,
  SNAPLEN = 8,
  /** u16: where the frame begins, from the slot's beginning. */
  MAC = 12,
  VLAN_TCI = 24,
  VLAN_TPID = 26,
  /** u8 sll_pkttype of the struct sockaddr_ll behind the header. */
  PACKET_TYPE = 42,
  /** Transmit: the frame (TPACKET2_HDRLEN - sizeof(struct sockaddr_ll)). */
  TX_DATA = 32,
  /** Receive: the header and the address, which no frame begins before. */
  RX_META_BYTES = 52,
}

/** TP_STATUS_* of receive. */
export const enum RxStatus {
  KERNEL = 0,
  USER = 1 << 0,
  CHECKSUM_NOT_READY = 1 << 3,
  VLAN_VALID = 1 << 4,
  VLAN_TPID_VALID = 1 << 6,
  CHECKSUM_VALID = 1 << 7,
}

/** TP_STATUS_* of transmit. */
export const enum TxStatus {
  AVAILABLE = 0,
  SEND_REQUEST = 1,
  WRONG_FORMAT = 4,
}

/** struct virtio_net_hdr (linux/virtio_net.h), which PACKET_VNET_HDR puts before a received frame. */
export const enum VnetHeader {
  FLAGS = 0,
  CSUM_START = 6,
  CSUM_OFFSET = 8,
  BYTES = 10,
  /** FLAGS: the checksum is yet to be filled in. */
  NEEDS_CSUM = 1,
}

/** sll_pkttype of a frame that this machine sends. */
export const enum PacketType {
  OUTGOING = 4,
}
