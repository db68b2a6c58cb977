// Work queue entries as the NIC reads them: segments of 16 bytes, named as in rdma-core's mlx5dv.h (mlx5_wqe_ctrl_seg,
// mlx5_wqe_eth_seg, mlx5_wqe_data_seg). Fields are big-endian; constants here are what a little-endian store writes.

/** A send queue is made of blocks of MLX5_SEND_WQE_BB bytes, a WQE of segments. */
export const enum WqeSize {
  BLOCK_SHIFT = 6,
  BLOCK_BYTES = 64,
  SEGMENT_SHIFT = 4,
  SEGMENT_BYTES = 16,
}

/** Byte offsets in a send WQE: a control, an Ethernet segment, data segments. */
export const enum Wqe {
  /** Control segment: opmod_idx_opcode, qpn_ds, then fm_ce_se in the top byte. */
  QPN_DS = 4,
  FM_CE_SE = 8,
  /** Ethernet segment: cs_flags, mss; then inline_hdr_sz, or what VLAN tag to insert; then the inlined header. */
  CS_FLAGS = 20,
  INLINE_HDR_SZ = 28,
  INLINE_HDR_START = 30,
  /** The first data segment, where nothing is inlined, and where 18 bytes are. */
  DATA = 32,
  DATA_INLINE_18 = 48,
}

export const enum Opcode {
  /** MLX5_OPCODE_SEND, and enhanced multi-packet send (DPDK, mlx5_prm.h: MLX5_OPCODE_ENHANCED_MPSW), swapped. */
  SEND = 0x0a000000,
  ENHANCED_MPSW = 0x29000000,
}

/** Fields of WQEs. */
export const enum WqeField {
  /** MLX5_WQE_CTRL_CQ_UPDATE in word FM_CE_SE. */
  CQ_UPDATE = 8 << 24,
  /** qpn_ds: segments of the WQE, in its top byte. */
  DS_BIT = 24,
  /** MLX5_ETH_WQE_L3_CSUM and MLX5_ETH_WQE_L4_CSUM in word CS_FLAGS. */
  L3_CSUM = 1 << 6,
  L4_CSUM = 1 << 7,
  /** Word INLINE_HDR_SZ: insert the tag that follows (kernel, MLX5_ETH_WQE_INSERT_VLAN). */
  INSERT_VLAN = 0x80,
  TAG_BIT = 16,
  /** inline_hdr_sz = 18. */
  INLINE_18 = 0x1200,
  /** Segments of a multi-packet WQE (DPDK, MLX5_WQE_SIZE_MAX): qpn_ds has six bits for them. */
  SEGMENTS_MAX = 60,
  /** Those before the packets'. */
  TITLE_SEGMENTS = 2,
}

/** A data segment: byte_count, lkey, addr. */
export const enum DataSegment {
  BYTES = 16,
  LKEY = 4,
  ADDR = 8,
  /** MLX5_INVALID_LKEY, swapped: ends a receive WQE's list. */
  INVALID_LKEY = 0x00010000,
}

/** A multi-packet receive WQE: struct mlx5_mprq_wqe, mlx5_wqe_srq_next_seg and a data segment. */
export const enum MprqWqe {
  SHIFT = 5,
  DATA = 16,
}

/** Doorbell records: MLX5_RCV_DBR and MLX5_SND_DBR, in bytes. */
export const enum DoorbellRecord {
  RCV = 0,
  SND = 4,
}
