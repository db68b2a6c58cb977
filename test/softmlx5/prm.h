// What the client and the ConnectX write into each other's memory: work queue entries (WQE), completions (CQE).
// Names follow the Programmer's Reference Manual and rdma-core's providers/mlx5/mlx5dv.h. Every multi-byte field is
// big-endian: be16toh() and friends wherever one is read.
#ifndef SOFTMLX5_PRM_H
#define SOFTMLX5_PRM_H

#include <endian.h>
#include <stdint.h>

typedef uint16_t be16;
typedef uint32_t be32;
typedef uint64_t be64;

// ---- doorbells: two 32-bit records in the client's memory, and registers in the UAR page ----

enum {
  RECORD_RECEIVE = 0,          // of a QP or WQ: receive WQEs posted (MLX5_RCV_DBR)
  RECORD_SEND = 1,             // of a QP: send WQEBBs posted (MLX5_SND_DBR)
  RECORD_CQ_CONSUMER = 0,      // of a CQ: CQEs consumed (MLX5_CQ_SET_CI)
  RECORD_CQ_ARM = 1,           // of a CQ: as the arm register (MLX5_CQ_ARM_DB)
};
enum {
  UAR_CQ_ARM = 0x20,           // be64: sequence << 60 | solicited << 56 | consumer index << 32 | cqn
  UAR_BLUE_FLAME = 0x800,      // the first of four: two BlueFlame registers with two halves each
  UAR_BLUE_FLAME_END = 0xc00,
  UAR_BLUE_FLAME_STEP = 0x100,
};

// ---- send WQEs: segments of 16 bytes in blocks (WQEBB) of 64, wrapping at the ring's end ----

enum { SEGMENT_BYTES = 16, WQEBB_BYTES = 64, WQE_SEGMENTS_MAX = 63 };

enum send_opcode {
  OPCODE_NOP = 0x00,
  OPCODE_SEND = 0x0a,
  OPCODE_TSO = 0x0e,           // large send offload: one TCP payload, cut into frames
  OPCODE_ENHANCED_MPSW = 0x29, // eMPW: many frames, a data segment each
};

struct control_segment {
  be32 opmod_index_opcode;     // opcode modifier 31:24, WQE index 23:8, opcode 7:0
  be32 qpn_ds;                 // send queue number 31:8, segments of the WQE 5:0
  uint8_t signature;
  uint8_t reserved[2];
  uint8_t fm_ce_se;            // completion mode 3:2
  be32 immediate;
};

enum completion_mode {         // ce
  COMPLETE_ON_ERROR = 0,
  COMPLETE_ON_FIRST_ERROR = 1,
  COMPLETE_ALWAYS = 2,         // MLX5_WQE_CTRL_CQ_UPDATE
};

struct ethernet_segment {
  uint8_t swp_offsets[4];      // software parser, for tunnels: not offered by this device
  uint8_t cs_flags;
  uint8_t swp_flags;
  be16 mss;                    // TSO: payload bytes of each frame
  be32 metadata;
  be16 inline_header_bytes;    // 9:0; or, with INSERT_VLAN, the tag's kind
  union {
    uint8_t inline_header[2];  // goes on in the segments that follow
    be16 vlan_tci;
  };
};
enum { ETH_L3_CHECKSUM = 1 << 6, ETH_L4_CHECKSUM = 1 << 7 };  // cs_flags
enum { INSERT_VLAN = 1 << 15, INSERT_SVLAN = 1 << 14, INLINE_HEADER_MASK = 0x3ff };
enum { INLINE_HEADER_OFFSET = 14 };  // of the inline header within the Ethernet segment

struct data_segment {          // in send and receive WQEs
  be32 byte_count;
  be32 lkey;
  be64 address;
};
#define INLINE_SEGMENT 0x80000000u  // byte_count: the data itself follows, from byte 4 on
enum { INVALID_LKEY = 0x100 };      // ends a receive WQE's scatter list early (MLX5_INVALID_LKEY)
enum { NEXT_SEGMENT_BYTES = 16 };   // before a striding WQE's data segment (mlx5_wqe_srq_next_seg)

// ---- completions ----

struct cqe {
  uint8_t reserved0[2];
  be16 wqe_id;                 // striding RQ: the WQE; wqe_counter is then the stride
  uint8_t lro[8];
  be32 rx_hash_result;
  uint8_t rx_hash_type;
  uint8_t ml_path;
  uint8_t reserved18[2];
  be16 checksum;               // one's complement sum from the IP header to the frame's end
  be16 slid;
  be32 flags_rqpn;
  uint8_t hds_ip_ext;          // L2_OK, L3_OK, L4_OK
  uint8_t l4_hdr_type_etc;     // VLAN stripped, IP options, IP version, L4 type, fragment
  be16 vlan_info;
  be32 srqn_uidx;              // CQE version 1: the queue's user index
  be32 immediate;
  uint8_t app[4];
  be32 byte_count;
  be64 timestamp;              // error CQE: bytes 6 and 7 are vendor_err_synd and syndrome
  be32 sop_drop_qpn;           // send: opcode 31:24 and queue number; receive: the rule's tag
  be16 wqe_counter;
  uint8_t signature;
  uint8_t op_own;              // opcode 7:4, format 3:2, owner 0
};
_Static_assert(sizeof(struct cqe) == 64, "a CQE is 64 bytes");

enum cqe_opcode {
  CQE_REQ = 0,
  CQE_RESP_SEND = 2,
  CQE_RESIZE = 5,
  CQE_REQ_ERROR = 13,
  CQE_RESP_ERROR = 14,
};
enum { CQE_FORMAT_COMPRESSED = 3 << 2 };
enum { CQE_L2_OK = 1, CQE_L3_OK = 2, CQE_L4_OK = 4 };                       // hds_ip_ext
enum {                                                                      // l4_hdr_type_etc
  CQE_VLAN_STRIPPED = 1,
  CQE_IP_OPTIONS = 2,
  CQE_IPV6 = 1 << 2,
  CQE_IPV4 = 2 << 2,
  CQE_TCP_NO_ACK = 1 << 4,
  CQE_UDP = 2 << 4,
  CQE_TCP_ACK_NO_DATA = 3 << 4,
  CQE_TCP_ACK_AND_DATA = 4 << 4,
  CQE_IP_FRAGMENT = 1 << 7,
};
enum {                                                                      // rx_hash_type: fields hashed
  HASH_SOURCE_IP_SHIFT = 0,       // 1: IPv4, 2: IPv6
  HASH_DESTINATION_IP_SHIFT = 2,
  HASH_SOURCE_PORT_SHIFT = 4,     // 1: TCP, 2: UDP
  HASH_DESTINATION_PORT_SHIFT = 6,
};
enum { STRIDE_COUNT_SHIFT = 16 };  // byte_count of a striding RQ: bytes 15:0, strides 29:16, FILLER 31
#define FILLER 0x80000000u

/** An entry of a compressed session (kernel struct mlx5_mini_cqe8). */
struct mini_cqe {
  union {
    be32 rx_hash_result;
    struct {
      be16 checksum;
      be16 stride_index;
    };
  };
  be32 byte_count;
};
enum { MINI_CQES_A_SLOT = 8 };

enum syndrome {
  SYNDROME_LENGTH = 0x01,
  SYNDROME_QP_OPERATION = 0x02,
  SYNDROME_PROTECTION = 0x04,
  SYNDROME_FLUSHED = 0x05,
};

// ---- RSS: fields of the hash (rdma/mlx5-abi.h, enum mlx5_rx_hash_fields) ----
enum {
  HASH_SOURCE_IPV4 = 1 << 0,
  HASH_DESTINATION_IPV4 = 1 << 1,
  HASH_SOURCE_IPV6 = 1 << 2,
  HASH_DESTINATION_IPV6 = 1 << 3,
  HASH_SOURCE_PORT_TCP = 1 << 4,
  HASH_DESTINATION_PORT_TCP = 1 << 5,
  HASH_SOURCE_PORT_UDP = 1 << 6,
  HASH_DESTINATION_PORT_UDP = 1 << 7,
};

#endif
