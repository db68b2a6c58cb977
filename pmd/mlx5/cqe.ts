// Completion queue entries as the NIC writes them: struct mlx5_cqe64 and mlx5_err_cqe of rdma-core's mlx5dv.h, whose
// names these are. Fields are big-endian; a word here is what a little-endian load finds.

/** Byte offsets in a 64-byte CQE. */
export const enum Cqe {
  SHIFT = 6,
  /** rsvd0 and wqe_id: the low half, then bytes 2 and 3: a multi-packet receive WQE's index. */
  WQE_ID = 0,
  /** The hash that receive-side scaling went by, and what it was taken over: 0 if there is none. */
  RX_HASH_RESULT = 12,
  RX_HASH_TYPE = 16,
  /** hds_ip_ext, l4_hdr_type_etc, vlan_info: CqeInfo. */
  INFO = 28,
  BYTE_CNT = 44,
  /** Of an error: bytes 54 and 55 are vendor_err_synd and syndrome. */
  ERROR_WORD = 52,
  /** wqe_counter, signature, op_own: the bytes that are written last. */
  OWNER_WORD = 60,
  OP_OWN = 63,
}

/** Word OWNER_WORD: op_own is its top byte: opcode, format, solicited event, owner. */
export const enum Owner {
  OP_OWN_BIT = 24,
  /** All of it but the signature. */
  LOOKED_AT = 0xff00ffff,
  OWNER = 1 << 24,
  /** Opcodes (MLX5_CQE_REQ, MLX5_CQE_RESP_SEND, …) in their place. */
  OPCODE_BIT = 28,
  REQ = 0 << 28,
  RESP_SEND = 2 << 28,
  REQ_ERR = 13,
  RESP_ERR = 14,
  INVALID = 15,
  /** MLX5_INLINE_SCATTER_32 and _64, or with both bits set a compressed session's title (MLX5_COMPRESSED). */
  FORMAT = 12 << 24,
  /** op_own of an entry that nobody may take for a completion. */
  INVALID_OP_OWN = 0xf0,
}

/**
 * A completion queue's doorbell record, two big-endian words: the consumer index, and behind it what the CQ was armed
 * with, which the arm register repeats (MLX5_CQ_ARM_DB): the index, and above it a number of two bits.
 */
export const enum CqRecord {
  ARM = 4,
  INDEX = 0xffffff,
  SEQUENCE = 3,
  SEQUENCE_BIT = 28,
}

/** Byte 55 of an error: MLX5_CQE_SYNDROME_… */
export const enum Syndrome {
  LOCAL_LENGTH_ERR = 1,
}

/** Word INFO. */
export const enum CqeInfo {
  /** hds_ip_ext: MLX5_CQE_L3_OK, MLX5_CQE_L4_OK. */
  L3_OK = 1 << 1,
  L4_OK = 1 << 2,
  /** l4_hdr_type_etc: cv (the tag was stripped), then the types of the headers. */
  CV = 1 << 8,
  L3_TYPE = 3 << 10,
  /** MLX5_CQE_L3_HDR_TYPE_IPV4. */
  IPV4 = 2 << 10,
  /** Neither TCP nor UDP: 0. */
  L4_TYPE = 7 << 12,
  IP_FRAG = 1 << 15,
  VLAN_BIT = 16,
}

/** A CQE's place holds so many mini CQEs of a compressed session: 8 bytes each, byte_cnt the second word. */
export const enum Mini {
  SHIFT = 3,
  IN_A_CQE = 8,
  BYTE_CNT = 4,
}

/** byte_cnt of a multi-packet RQ's CQE (mlx5 kernel driver, include/linux/mlx5/device.h: mpwrq_get_cqe_…). */
export const enum Mpwrq {
  BYTES = 0xffff,
  STRIDES_BIT = 16,
  STRIDES = 0x3fff,
  /** The strides up to the buffer's end were skipped; there is no packet in them. */
  FILLER = 0x80000000,
}
