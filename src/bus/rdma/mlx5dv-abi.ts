// Offsets, sizes and constants of infiniband/mlx5dv.h, x86-64. test/bus/rdma/abi.bed.test.ts asks a C compiler.

/** struct mlx5dv_context, which later versions make longer: mlx5dv_query_device fills in what comp_mask asks for. */
export const MLX5DV_CONTEXT_FLAGS = 8;
export const MLX5DV_CONTEXT_COMP_MASK = 16;
export const MLX5DV_CONTEXT_CQE_COMP_CAPS_MAX_NUM = 24;
export const MLX5DV_CONTEXT_CQE_COMP_CAPS_SUPPORTED_FORMAT = 28;
export const MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MIN_SINGLE_STRIDE_LOG_NUM_OF_BYTES = 40;
export const MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MAX_SINGLE_STRIDE_LOG_NUM_OF_BYTES = 44;
export const MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MIN_SINGLE_WQE_LOG_NUM_OF_STRIDES = 48;
export const MLX5DV_CONTEXT_STRIDING_RQ_CAPS_MAX_SINGLE_WQE_LOG_NUM_OF_STRIDES = 52;
export const MLX5DV_CONTEXT_STRIDING_RQ_CAPS_SUPPORTED_QPTS = 56;
export const MLX5DV_CONTEXT_MASK_CQE_COMPRESION = 1 << 0;
export const MLX5DV_CONTEXT_MASK_STRIDING_RQ = 1 << 2;
export const MLX5DV_CONTEXT_FLAGS_CQE_V1 = 1 << 0;
export const MLX5DV_CONTEXT_FLAGS_MPW_ALLOWED = 1 << 2;
export const MLX5DV_CONTEXT_FLAGS_ENHANCED_MPW = 1 << 3;
export const MLX5DV_CONTEXT_FLAGS_CQE_128B_COMP = 1 << 4;
export const MLX5DV_CONTEXT_FLAGS_CQE_128B_PAD = 1 << 5;

/** struct mlx5dv_cq_init_attr. */
export const MLX5DV_CQ_INIT_ATTR_BYTES = 24;
export const MLX5DV_CQ_INIT_ATTR_COMP_MASK = 0;
export const MLX5DV_CQ_INIT_ATTR_CQE_COMP_RES_FORMAT = 8;
export const MLX5DV_CQ_INIT_ATTR_CQE_SIZE = 16;
export const MLX5DV_CQ_INIT_ATTR_MASK_COMPRESSED_CQE = 1 << 0;
export const MLX5DV_CQ_INIT_ATTR_MASK_CQE_SIZE = 1 << 2;
export const MLX5DV_CQE_RES_FORMAT_HASH = 1 << 0;
export const MLX5DV_CQE_RES_FORMAT_CSUM = 1 << 1;

/** struct mlx5dv_wq_init_attr. */
export const MLX5DV_WQ_INIT_ATTR_BYTES = 24;
export const MLX5DV_WQ_INIT_ATTR_COMP_MASK = 0;
export const MLX5DV_WQ_INIT_ATTR_STRIDING_RQ_ATTRS_SINGLE_STRIDE_LOG_NUM_OF_BYTES = 8;
export const MLX5DV_WQ_INIT_ATTR_STRIDING_RQ_ATTRS_SINGLE_WQE_LOG_NUM_OF_STRIDES = 12;
export const MLX5DV_WQ_INIT_ATTR_STRIDING_RQ_ATTRS_TWO_BYTE_SHIFT_EN = 16;
export const MLX5DV_WQ_INIT_ATTR_MASK_STRIDING_RQ = 1 << 0;

/** struct mlx5dv_ctx_allocators. */
export const MLX5DV_CTX_ALLOCATORS_BYTES = 24;
export const MLX5DV_CTX_ALLOCATORS_ALLOC = 0;
export const MLX5DV_CTX_ALLOCATORS_FREE = 8;
export const MLX5DV_CTX_ATTR_BUF_ALLOCATORS = 1;

/** struct mlx5dv_obj: pairs of pointers, in and out. */
export const MLX5DV_OBJ_BYTES = 112;
export const MLX5DV_OBJ_QP_IN = 0;
export const MLX5DV_OBJ_CQ_IN = 16;
export const MLX5DV_OBJ_RWQ_IN = 48;
export const MLX5DV_OBJ_QP = 1 << 0;
export const MLX5DV_OBJ_CQ = 1 << 1;
export const MLX5DV_OBJ_RWQ = 1 << 3;

export const MLX5DV_QP_BYTES = 96;
export const MLX5DV_QP_DBREC = 0;
export const MLX5DV_QP_SQ_BUF = 8;
export const MLX5DV_QP_SQ_WQE_CNT = 16;
export const MLX5DV_QP_SQ_STRIDE = 20;
export const MLX5DV_QP_BF_REG = 40;
export const MLX5DV_QP_BF_SIZE = 48;
export const MLX5DV_QP_COMP_MASK = 56;
export const MLX5DV_QP_UAR_MMAP_OFFSET = 64;
export const MLX5DV_QP_MASK_UAR_MMAP_OFFSET = 1 << 0;

export const MLX5DV_CQ_BYTES = 48;
export const MLX5DV_CQ_BUF = 0;
export const MLX5DV_CQ_DBREC = 8;
export const MLX5DV_CQ_CQE_CNT = 16;
export const MLX5DV_CQ_CQE_SIZE = 20;
export const MLX5DV_CQ_CQ_UAR = 24;
export const MLX5DV_CQ_CQN = 32;

export const MLX5DV_RWQ_BYTES = 32;
export const MLX5DV_RWQ_BUF = 0;
export const MLX5DV_RWQ_DBREC = 8;
export const MLX5DV_RWQ_WQE_CNT = 16;
export const MLX5DV_RWQ_STRIDE = 20;

/** struct mlx5dv_devx_uar. */
export const MLX5DV_DEVX_UAR_BASE_ADDR = 8;
export const MLX5DV_DEVX_UAR_MMAP_OFF = 24;
/** Not write-combining. */
export const MLX5DV_UAR_ALLOC_TYPE_NC = 1;

/** struct mlx5dv_flow_matcher_attr. */
export const MLX5DV_FLOW_MATCHER_ATTR_BYTES = 40;
export const MLX5DV_FLOW_MATCHER_ATTR_PRIORITY = 8;
export const MLX5DV_FLOW_MATCHER_ATTR_MATCH_CRITERIA_ENABLE = 10;
export const MLX5DV_FLOW_MATCHER_ATTR_MATCH_MASK = 16;
/** struct mlx5dv_flow_match_parameters: the length, then as many bytes. */
export const MLX5DV_FLOW_MATCH_PARAMETERS_MATCH_SZ = 0;
export const MLX5DV_FLOW_MATCH_PARAMETERS_MATCH_BUF = 8;
/** struct mlx5dv_flow_action_attr. */
export const MLX5DV_FLOW_ACTION_ATTR_BYTES = 16;
export const MLX5DV_FLOW_ACTION_ATTR_TYPE = 0;
export const MLX5DV_FLOW_ACTION_DROP = 1;
export const MLX5DV_FLOW_ACTION_DEFAULT_MISS = 7;
