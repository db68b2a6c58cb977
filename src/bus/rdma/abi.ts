// Offsets, sizes and constants of infiniband/verbs.h, x86-64. test/bus/rdma/abi.bed.test.ts asks a C compiler for each.

/** struct ibv_context: what libibverbs' inline functions look at. */
export const IBV_CONTEXT_OPS_POLL_CQ = 96;
export const IBV_CONTEXT_OPS_REQ_NOTIFY_CQ = 104;
export const IBV_CONTEXT_OPS_POST_SEND = 208;
export const IBV_CONTEXT_CMD_FD = 264;
export const IBV_CONTEXT_ASYNC_FD = 268;
export const IBV_CONTEXT_NUM_COMP_VECTORS = 272;
export const IBV_CONTEXT_ABI_COMPAT = 320;
export const IBV_CONTEXT_BYTES = 328;

// struct verbs_context lies around struct ibv_context, which is its last member. New fields go to its beginning, so the
// distances from the ibv_context downwards stay.
export const VERBS_CONTEXT_SZ = -8;
export const VERBS_CONTEXT_CREATE_QP_EX = -56;
export const VERBS_CONTEXT_IBV_CREATE_FLOW = -80;
export const VERBS_CONTEXT_IBV_DESTROY_FLOW = -96;
export const VERBS_CONTEXT_QUERY_DEVICE_EX = -104;
export const VERBS_CONTEXT_CREATE_WQ = -136;
export const VERBS_CONTEXT_MODIFY_WQ = -144;
export const VERBS_CONTEXT_DESTROY_WQ = -152;
export const VERBS_CONTEXT_CREATE_RWQ_IND_TABLE = -160;
export const VERBS_CONTEXT_DESTROY_RWQ_IND_TABLE = -168;
export const VERBS_CONTEXT_QUERY_PORT = -320;

export const IBV_MR_LKEY = 36;
export const IBV_QP_QP_NUM = 52;
export const IBV_WQ_WQ_NUM = 32;
export const IBV_WQ_POST_RECV = 48;
export const IBV_CQ_CQE = 28;
export const IBV_COMP_CHANNEL_FD = 8;
export const IBV_ACCESS_LOCAL_WRITE = 1;

/** struct ibv_device_attr_ex; its first member is a struct ibv_device_attr. */
export const IBV_DEVICE_ATTR_EX_BYTES = 400;
export const IBV_DEVICE_ATTR_FW_VER = 0;
export const IBV_DEVICE_ATTR_NODE_GUID = 64;
export const IBV_DEVICE_ATTR_MAX_MR_SIZE = 80;
export const IBV_DEVICE_ATTR_MAX_QP = 108;
export const IBV_DEVICE_ATTR_MAX_QP_WR = 112;
export const IBV_DEVICE_ATTR_DEVICE_CAP_FLAGS = 116;
export const IBV_DEVICE_ATTR_MAX_SGE = 120;
export const IBV_DEVICE_ATTR_MAX_CQ = 128;
export const IBV_DEVICE_ATTR_MAX_CQE = 132;
export const IBV_DEVICE_ATTR_PHYS_PORT_CNT = 227;
export const IBV_DEVICE_ATTR_EX_TSO_CAPS_MAX_TSO = 288;
export const IBV_DEVICE_ATTR_EX_TSO_CAPS_SUPPORTED_QPTS = 292;
export const IBV_DEVICE_ATTR_EX_RSS_CAPS_SUPPORTED_QPTS = 296;
export const IBV_DEVICE_ATTR_EX_RSS_CAPS_MAX_RWQ_INDIRECTION_TABLES = 300;
export const IBV_DEVICE_ATTR_EX_RSS_CAPS_MAX_RWQ_INDIRECTION_TABLE_SIZE = 304;
export const IBV_DEVICE_ATTR_EX_RSS_CAPS_RX_HASH_FIELDS_MASK = 312;
export const IBV_DEVICE_ATTR_EX_RSS_CAPS_RX_HASH_FUNCTION = 320;
export const IBV_DEVICE_ATTR_EX_MAX_WQ_TYPE_RQ = 328;
export const IBV_DEVICE_ATTR_EX_RAW_PACKET_CAPS = 344;
export const IBV_DEVICE_RAW_IP_CSUM = 1 << 26;
export const IBV_RAW_PACKET_CAP_CVLAN_STRIPPING = 1 << 0;
export const IBV_RAW_PACKET_CAP_SCATTER_FCS = 1 << 1;
export const IBV_RAW_PACKET_CAP_IP_CSUM = 1 << 2;

/** struct ibv_port_attr. */
export const IBV_PORT_ATTR_BYTES = 52;
export const IBV_PORT_ATTR_STATE = 0;
export const IBV_PORT_ATTR_ACTIVE_MTU = 8;
export const IBV_PORT_ATTR_ACTIVE_WIDTH = 43;
export const IBV_PORT_ATTR_ACTIVE_SPEED = 44;
export const IBV_PORT_ATTR_LINK_LAYER = 46;
export const IBV_PORT_ACTIVE = 4;
export const IBV_LINK_LAYER_INFINIBAND = 1;
export const IBV_LINK_LAYER_ETHERNET = 2;

/** struct ibv_qp_init_attr, with which struct ibv_qp_init_attr_ex begins. */
export const IBV_QP_INIT_ATTR_BYTES = 64;
export const IBV_QP_INIT_ATTR_SEND_CQ = 8;
export const IBV_QP_INIT_ATTR_RECV_CQ = 16;
export const IBV_QP_INIT_ATTR_CAP_MAX_SEND_WR = 32;
export const IBV_QP_INIT_ATTR_CAP_MAX_SEND_SGE = 40;
export const IBV_QP_INIT_ATTR_CAP_MAX_INLINE_DATA = 48;
export const IBV_QP_INIT_ATTR_QP_TYPE = 52;
export const IBV_QP_INIT_ATTR_EX_BYTES = 136;
export const IBV_QP_INIT_ATTR_EX_COMP_MASK = 60;
export const IBV_QP_INIT_ATTR_EX_PD = 64;
export const IBV_QP_INIT_ATTR_EX_MAX_TSO_HEADER = 84;
export const IBV_QP_INIT_ATTR_EX_RWQ_IND_TBL = 88;
export const IBV_QP_INIT_ATTR_EX_RX_HASH_CONF_RX_HASH_FUNCTION = 96;
export const IBV_QP_INIT_ATTR_EX_RX_HASH_CONF_RX_HASH_KEY_LEN = 97;
export const IBV_QP_INIT_ATTR_EX_RX_HASH_CONF_RX_HASH_KEY = 104;
export const IBV_QP_INIT_ATTR_EX_RX_HASH_CONF_RX_HASH_FIELDS_MASK = 112;
export const IBV_QP_INIT_ATTR_PD = 1 << 0;
export const IBV_QP_INIT_ATTR_MAX_TSO_HEADER = 1 << 3;
export const IBV_QP_INIT_ATTR_IND_TABLE = 1 << 4;
export const IBV_QP_INIT_ATTR_RX_HASH = 1 << 5;
export const IBV_RX_HASH_FUNC_TOEPLITZ = 1 << 0;
export const IBV_QPT_RAW_PACKET = 8;

/** struct ibv_qp_attr. */
export const IBV_QP_ATTR_BYTES = 144;
export const IBV_QP_ATTR_QP_STATE = 0;
export const IBV_QP_ATTR_PORT_NUM = 129;
export const IBV_QP_STATE = 1 << 0;
export const IBV_QP_PORT = 1 << 5;
export const IBV_QPS_INIT = 1;
export const IBV_QPS_RTR = 2;
export const IBV_QPS_RTS = 3;

/** struct ibv_wq_init_attr, struct ibv_wq_attr. */
export const IBV_WQ_INIT_ATTR_BYTES = 48;
export const IBV_WQ_INIT_ATTR_MAX_WR = 12;
export const IBV_WQ_INIT_ATTR_MAX_SGE = 16;
export const IBV_WQ_INIT_ATTR_PD = 24;
export const IBV_WQ_INIT_ATTR_CQ = 32;
export const IBV_WQ_INIT_ATTR_COMP_MASK = 40;
export const IBV_WQ_INIT_ATTR_CREATE_FLAGS = 44;
export const IBV_WQ_INIT_ATTR_FLAGS = 1 << 0;
export const IBV_WQ_FLAGS_CVLAN_STRIPPING = 1 << 0;
export const IBV_WQ_ATTR_BYTES = 20;
export const IBV_WQ_ATTR_ATTR_MASK = 0;
export const IBV_WQ_ATTR_WQ_STATE = 4;
export const IBV_WQ_ATTR_FLAGS_OFFSET = 12;
export const IBV_WQ_ATTR_FLAGS_MASK = 16;
export const IBV_WQ_ATTR_STATE = 1 << 0;
export const IBV_WQ_ATTR_FLAGS = 1 << 2;
export const IBV_WQS_RDY = 1;

/** struct ibv_rwq_ind_table_init_attr. */
export const IBV_RWQ_IND_TABLE_INIT_ATTR_BYTES = 24;
export const IBV_RWQ_IND_TABLE_INIT_ATTR_LOG_IND_TBL_SIZE = 0;
export const IBV_RWQ_IND_TABLE_INIT_ATTR_IND_TBL = 8;

/** struct ibv_cq_init_attr_ex. */
export const IBV_CQ_INIT_ATTR_EX_BYTES = 56;
export const IBV_CQ_INIT_ATTR_EX_CQE = 0;
export const IBV_CQ_INIT_ATTR_EX_CHANNEL = 16;
export const IBV_CQ_INIT_ATTR_EX_COMP_VECTOR = 24;

/** struct ibv_flow_attr, and the specs that follow it. */
export const IBV_FLOW_ATTR_BYTES = 20;
export const IBV_FLOW_ATTR_TYPE = 4;
export const IBV_FLOW_ATTR_SIZE = 8;
export const IBV_FLOW_ATTR_PRIORITY = 10;
export const IBV_FLOW_ATTR_NUM_OF_SPECS = 12;
export const IBV_FLOW_ATTR_PORT = 13;
export const IBV_FLOW_ATTR_FLAGS = 16;
export const IBV_FLOW_ATTR_FLAGS_DONT_TRAP = 1 << 1;
export const IBV_FLOW_ATTR_NORMAL = 0;
export const IBV_FLOW_ATTR_ALL_DEFAULT = 1;
export const IBV_FLOW_ATTR_MC_DEFAULT = 2;
/** Of each spec. */
export const IBV_FLOW_SPEC_ETH_SIZE = 4;
export const IBV_FLOW_SPEC_ETH = 0x20;
export const IBV_FLOW_SPEC_ETH_BYTES = 40;
export const IBV_FLOW_SPEC_ETH_VAL = 6;
export const IBV_FLOW_SPEC_ETH_MASK = 22;
export const IBV_FLOW_ETH_FILTER_DST_MAC = 0;
export const IBV_FLOW_ETH_FILTER_SRC_MAC = 6;
export const IBV_FLOW_ETH_FILTER_ETHER_TYPE = 12;
export const IBV_FLOW_ETH_FILTER_VLAN_TAG = 14;
export const IBV_FLOW_SPEC_IPV4_EXT = 0x32;
export const IBV_FLOW_SPEC_IPV4_EXT_BYTES = 32;
export const IBV_FLOW_SPEC_IPV4_EXT_VAL = 8;
export const IBV_FLOW_SPEC_IPV4_EXT_MASK = 20;
export const IBV_FLOW_IPV4_EXT_FILTER_SRC_IP = 0;
export const IBV_FLOW_IPV4_EXT_FILTER_DST_IP = 4;
export const IBV_FLOW_IPV4_EXT_FILTER_PROTO = 8;
export const IBV_FLOW_IPV4_EXT_FILTER_TOS = 9;
export const IBV_FLOW_IPV4_EXT_FILTER_TTL = 10;
export const IBV_FLOW_SPEC_IPV6 = 0x31;
export const IBV_FLOW_SPEC_IPV6_BYTES = 88;
export const IBV_FLOW_SPEC_IPV6_VAL = 8;
export const IBV_FLOW_SPEC_IPV6_MASK = 48;
export const IBV_FLOW_IPV6_FILTER_SRC_IP = 0;
export const IBV_FLOW_IPV6_FILTER_DST_IP = 16;
export const IBV_FLOW_IPV6_FILTER_FLOW_LABEL = 32;
export const IBV_FLOW_IPV6_FILTER_NEXT_HDR = 36;
export const IBV_FLOW_IPV6_FILTER_TRAFFIC_CLASS = 37;
export const IBV_FLOW_IPV6_FILTER_HOP_LIMIT = 38;
export const IBV_FLOW_SPEC_TCP = 0x40;
export const IBV_FLOW_SPEC_UDP = 0x41;
export const IBV_FLOW_SPEC_TCP_UDP_BYTES = 16;
export const IBV_FLOW_SPEC_TCP_UDP_VAL = 6;
export const IBV_FLOW_SPEC_TCP_UDP_MASK = 10;
export const IBV_FLOW_TCP_UDP_FILTER_DST_PORT = 0;
export const IBV_FLOW_TCP_UDP_FILTER_SRC_PORT = 2;
export const IBV_FLOW_SPEC_ACTION_TAG = 0x1000;
export const IBV_FLOW_SPEC_ACTION_TAG_BYTES = 12;
export const IBV_FLOW_SPEC_ACTION_TAG_TAG_ID = 8;
export const IBV_FLOW_SPEC_ACTION_DROP = 0x1001;
export const IBV_FLOW_SPEC_ACTION_DROP_BYTES = 8;

/** struct ibv_async_event. */
export const IBV_ASYNC_EVENT_BYTES = 16;
export const IBV_ASYNC_EVENT_ELEMENT = 0;
export const IBV_ASYNC_EVENT_EVENT_TYPE = 8;
export const IBV_EVENT_CQ_ERR = 0;
export const IBV_EVENT_QP_FATAL = 1;
export const IBV_EVENT_QP_REQ_ERR = 2;
export const IBV_EVENT_QP_ACCESS_ERR = 3;
export const IBV_EVENT_SQ_DRAINED = 5;
export const IBV_EVENT_DEVICE_FATAL = 8;
export const IBV_EVENT_PORT_ACTIVE = 9;
export const IBV_EVENT_PORT_ERR = 10;
export const IBV_EVENT_LID_CHANGE = 11;
export const IBV_EVENT_PKEY_CHANGE = 12;
export const IBV_EVENT_SM_CHANGE = 13;
export const IBV_EVENT_CLIENT_REREGISTER = 17;
export const IBV_EVENT_GID_CHANGE = 18;
export const IBV_EVENT_WQ_FATAL = 19;
