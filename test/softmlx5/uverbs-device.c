// What the device says of itself, and its UAR pages (kernel hw/mlx5/main.c: mlx5_ib_query_device(),
// mlx5_ib_alloc_ucontext(), mlx5_query_port_roce(), uar_obj_alloc).
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uverbs.h"

#define VENDOR_ID 0x02c9           // Mellanox' IEEE number; the PCI vendor is 15b3
#define QPT_RAW_PACKET_BIT (1u << 8)
#define NODE_GUID 0x0215b30003000001ull
#define RSS_FIELDS                                                                                 \
  (MLX5_RX_HASH_SRC_IPV4 | MLX5_RX_HASH_DST_IPV4 | MLX5_RX_HASH_SRC_IPV6 | MLX5_RX_HASH_DST_IPV6 | \
   MLX5_RX_HASH_SRC_PORT_TCP | MLX5_RX_HASH_DST_PORT_TCP | MLX5_RX_HASH_SRC_PORT_UDP | MLX5_RX_HASH_DST_PORT_UDP)

struct uar_page uar_pages[UAR_PAGES_MAX];
volatile unsigned uar_pages_limit;

struct uar {                       // the object of a page
  struct object object;
  unsigned index;
};

enum { WIDTH_1X = 1, WIDTH_4X = 2, SPEED_EDR = 32 };

struct chip_facts {
  uint32_t pci_device;
  uint64_t firmware;               // major << 32 | minor << 16 | patch
  uint32_t multi_packet;           // enum mlx5_ib_mpw_caps
  uint32_t strides_log_min;
  uint32_t compression;            // enum mlx5_ib_cqe_comp_res_format
  uint8_t inline_mode;             // enum mlx5_user_inline_mode
  uint8_t width, speed;            // as in InfiniBand's PortInfo
};

#define FIRMWARE(major, minor, patch) ((uint64_t)(major) << 32 | (minor) << 16 | (patch))
#define HASH_AND_CSUM (MLX5_IB_CQE_RES_FORMAT_HASH | MLX5_IB_CQE_RES_FORMAT_CSUM)

static const struct chip_facts facts_of[] = {
    [CHIP_CONNECTX4LX] = {.pci_device = 0x1015,
                          .firmware = FIRMWARE(14, 32, 1010),
                          .multi_packet = MLX5_IB_ALLOW_MPW,
                          .strides_log_min = 9,
                          .compression = HASH_AND_CSUM,
                          .inline_mode = MLX5_USER_INLINE_MODE_L2,
                          .width = WIDTH_1X,
                          .speed = SPEED_EDR},
    // DPDK asks for CSUM_STRIDX with every multi-packet RQ (mlx5_verbs.c), from ConnectX-5 on.
    [CHIP_CONNECTX5] = {.pci_device = 0x1017,
                        .firmware = FIRMWARE(16, 35, 2000),
                        .multi_packet = MLX5_IB_ALLOW_MPW | MLX5_IB_SUPPORT_EMPW,
                        .strides_log_min = 9,
                        .compression = HASH_AND_CSUM | MLX5_IB_CQE_RES_FORMAT_CSUM_STRIDX,
                        .inline_mode = MLX5_USER_INLINE_MODE_NONE,
                        .width = WIDTH_4X,
                        .speed = SPEED_EDR},
    [CHIP_CONNECTX6DX] = {.pci_device = 0x101d,
                          .firmware = FIRMWARE(22, 35, 2000),
                          .multi_packet = MLX5_IB_ALLOW_MPW | MLX5_IB_SUPPORT_EMPW,
                          .strides_log_min = 3,
                          .compression = HASH_AND_CSUM | MLX5_IB_CQE_RES_FORMAT_CSUM_STRIDX,
                          .inline_mode = MLX5_USER_INLINE_MODE_NONE,
                          .width = WIDTH_4X,
                          .speed = SPEED_EDR},
};

static const struct chip_facts *facts(void) {
  return &facts_of[settings.chip];
}

uint32_t compression_formats(void) {
  return facts()->compression;
}

uint32_t strides_log_min(void) {
  return facts()->strides_log_min;
}

// ---- queries ----

static struct ib_uverbs_query_device_resp device_attributes(const struct port *port) {
  return (struct ib_uverbs_query_device_resp){
      .fw_ver = facts()->firmware,
      .node_guid = htobe64(NODE_GUID + port->index),
      .sys_image_guid = htobe64(NODE_GUID),
      .max_mr_size = ~0ull,
      .page_size_cap = 0xfffff000,
      .vendor_id = VENDOR_ID,
      .vendor_part_id = facts()->pci_device,
      .max_qp = 1 << 17,
      .max_qp_wr = 1 << 15,
      .device_cap_flags = IB_UVERBS_DEVICE_RAW_IP_CSUM | IB_UVERBS_DEVICE_MANAGED_FLOW_STEERING |
                          IB_UVERBS_DEVICE_PORT_ACTIVE_EVENT | IB_UVERBS_DEVICE_SYS_IMAGE_GUID,
      .max_sge = 30,
      .max_sge_rd = 30,
      .max_cq = 1 << 24,
      .max_cqe = (1 << 22) - 1,
      .max_mr = REGIONS_MAX,
      .max_pd = 1 << 24,
      .max_qp_rd_atom = 16,
      .max_res_rd_atom = 1 << 21,
      .max_qp_init_rd_atom = 16,
      .max_ah = 0x7fffffff,
      .max_srq = 1 << 23,
      .max_srq_wr = (1 << 15) - 1,
      .max_srq_sge = 31,
      .max_pkeys = 128,
      .local_ca_ack_delay = 16,
      .phys_port_cnt = 1,
  };
}

int query_device(struct command *command) {
  // libibverbs' probe for INVOKE_WRITE (device.c, has_ioctl_write()): any other error means there is none.
  if (!attribute(command, UVERBS_ATTR_CORE_OUT)) return ENOSPC;
  struct ib_uverbs_query_device_resp response = device_attributes(command->context->port);
  output(command, UVERBS_ATTR_CORE_OUT, &response, sizeof response);
  return 0;
}

static struct mlx5_ib_query_device_resp vendor_attributes(void) {
  return (struct mlx5_ib_query_device_resp){
      .tso_caps = {.max_tso = 1 << 18, .supported_qpts = QPT_RAW_PACKET_BIT},
      .rss_caps = {.rx_hash_fields_mask = RSS_FIELDS, .rx_hash_function = MLX5_RX_HASH_FUNC_TOEPLITZ},
      .cqe_comp_caps = {.max_num = 64, .supported_format = facts()->compression},
      .mlx5_ib_support_multi_pkt_send_wqes = facts()->multi_packet,
      .striding_rq_caps = {.min_single_stride_log_num_of_bytes = 6,
                           .max_single_stride_log_num_of_bytes = 13,
                           .min_single_wqe_log_num_of_strides = facts()->strides_log_min,
                           .max_single_wqe_log_num_of_strides = 16,
                           .supported_qpts = QPT_RAW_PACKET_BIT},
  };
}

int query_device_ex(struct command *command) {
  struct ib_uverbs_ex_query_device_resp core = {
      .base = device_attributes(command->context->port),
      .timestamp_mask = ~0ull,
      .hca_core_clock = 1000000,  // kHz: the CQE's timestamp counts nanoseconds
      .rss_caps = {.supported_qpts = QPT_RAW_PACKET_BIT,
                   .max_rwq_indirection_tables = 1 << 20,
                   .max_rwq_indirection_table_size = INDIRECTION_MAX},
      .max_wq_type_rq = 1 << 23,
      .raw_packet_caps = IB_UVERBS_RAW_PACKET_CAP_CVLAN_STRIPPING | IB_UVERBS_RAW_PACKET_CAP_SCATTER_FCS |
                         IB_UVERBS_RAW_PACKET_CAP_IP_CSUM,
      .cq_moderation_caps = {.max_cq_moderation_count = 0xffff, .max_cq_moderation_period = 0xfff},
  };
  struct mlx5_ib_query_device_resp vendor = vendor_attributes();
  core.device_cap_flags_ex = core.base.device_cap_flags | IB_UVERBS_DEVICE_RAW_SCATTER_FCS;
  core.response_length = response_bytes(command, UVERBS_ATTR_CORE_OUT, sizeof core);
  vendor.response_length = response_bytes(command, UVERBS_ATTR_UHW_OUT, sizeof vendor);
  output(command, UVERBS_ATTR_CORE_OUT, &core, sizeof core);
  output(command, UVERBS_ATTR_UHW_OUT, &vendor, sizeof vendor);
  return 0;
}

int get_context(struct command *command) {
  struct mlx5_ib_alloc_ucontext_req_v2 request;
  uint32_t vectors = COMPLETION_VECTORS;
  uint64_t core_support = IB_UVERBS_CORE_SUPPORT_OPTIONAL_MR_ACCESS;
  copy_in(command, UVERBS_ATTR_UHW_IN, &request, sizeof request);
  // A function without DEVX objects, as a VF's often is: libmlx5 then asks again without. UAR pages on demand are the
  // only ones there are here, and only the longest form of the request can tell that the client knows them.
  if (request.flags & MLX5_IB_ALLOC_UCTX_DEVX) return EOPNOTSUPP;
  if (!(request.lib_caps & MLX5_LIB_CAP_DYN_UAR)) return EOPNOTSUPP;
  struct mlx5_ib_alloc_ucontext_resp response = {
      .qp_tab_size = 1 << 18,
      .bf_reg_size = 512,          // two halves of 256 bytes
      .cache_line_size = 64,
      .max_sq_desc_sz = 1024,
      .max_rq_desc_sz = 512,
      .max_send_wqebb = 1 << 15,
      .max_recv_wr = 1 << 15,
      .max_srq_recv_wr = 1 << 15,
      .num_ports = 1,
      .cqe_version = request.max_cqe_version ? 1 : 0,
      .cmds_supp_uhw = MLX5_USER_CMDS_SUPP_UHW_QUERY_DEVICE | MLX5_USER_CMDS_SUPP_UHW_CREATE_AH,
      .eth_min_inline = facts()->inline_mode,
      .clock_info_versions = 1 << MLX5_IB_CLOCK_INFO_V1,
      .log_uar_size = 12,
      .num_uars_per_page = 1,
      .comp_mask = MLX5_IB_ALLOC_UCONTEXT_RESP_MASK_CORE_CLOCK_OFFSET,
  };
  response.response_length = response_bytes(command, UVERBS_ATTR_UHW_OUT, sizeof response);
  output(command, UVERBS_ATTR_GET_CONTEXT_NUM_COMP_VECTORS, &vectors, sizeof vectors);
  output(command, UVERBS_ATTR_GET_CONTEXT_CORE_SUPPORT, &core_support, sizeof core_support);
  output(command, UVERBS_ATTR_UHW_OUT, &response, sizeof response);
  return 0;
}

/** The largest InfiniBand MTU that fits into the netdev's (kernel iboe_get_mtu()): 1 = 256 … 5 = 4096 bytes. */
static uint8_t ib_mtu(unsigned netdev_mtu) {
  const unsigned headers = 128;    // GRH, BTH, DETH, atomic and immediate headers, and checksums: about
  uint8_t code = 0;
  while (code < 5 && netdev_mtu >= headers + (128u << (code + 1))) code++;
  return code;
}

int query_port(struct command *command) {
  enum { DOWN = 1, ACTIVE = 4, PHYSICALLY_DISABLED = 3, PHYSICALLY_UP = 5, ETHERNET = 2 };
  const struct port *port = command->context->port;
  if (number(command, UVERBS_ATTR_QUERY_PORT_PORT_NUM) != 1) return EINVAL;
  struct ib_uverbs_query_port_resp_ex response = {
      .legacy_resp = {.port_cap_flags = IB_UVERBS_PCF_CM_SUP | IB_UVERBS_PCF_IP_BASED_GIDS,
                      .max_msg_sz = 1 << 30,
                      .gid_tbl_len = 255,
                      .pkey_tbl_len = 1,
                      .state = port->up ? ACTIVE : DOWN,
                      .max_mtu = 5,
                      .active_mtu = ib_mtu(port->mtu),
                      .active_width = facts()->width,
                      .active_speed = facts()->speed,
                      .phys_state = port->up ? PHYSICALLY_UP : PHYSICALLY_DISABLED,
                      .link_layer = ETHERNET,
                      .flags = IB_UVERBS_QPF_GRH_REQUIRED},
  };
  output(command, UVERBS_ATTR_QUERY_PORT_RESP, &response, sizeof response);
  return 0;
}

// ---- UAR pages ----

static int uar_file = -1;

/** All pages are one memory file: clients map its pages, wherever and as often as they like. */
static uint8_t *uar_memory(void) {
  static uint8_t *memory;
  const size_t bytes = (size_t)UAR_PAGES_MAX * UAR_PAGE_BYTES;
  if (memory) return memory;
  uar_file = memfd_create("softmlx5-uar", MFD_CLOEXEC);
  if (uar_file < 0 || ftruncate(uar_file, bytes)) return NULL;
  void *mapped = real_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, uar_file, 0);
  if (mapped != MAP_FAILED) memory = mapped;
  return memory;
}

static unsigned free_uar_index(void) {
  unsigned index = 0;
  while (index < UAR_PAGES_MAX && uar_pages[index].used) index++;
  return index;
}

int uar_alloc(struct command *command) {
  unsigned index = free_uar_index();
  uint8_t *memory = uar_memory();
  uint64_t type = number(command, MLX5_IB_ATTR_UAR_OBJ_ALLOC_TYPE);
  if (type != MLX5_IB_UAPI_UAR_ALLOC_TYPE_BF && type != MLX5_IB_UAPI_UAR_ALLOC_TYPE_NC) return EOPNOTSUPP;
  if (!memory || index == UAR_PAGES_MAX) return ENOMEM;
  struct uar *uar = object_create(command->context, OBJECT_UAR, sizeof *uar);
  if (!uar) return ENOMEM;
  uint64_t offset = (uint64_t)(UAR_FIRST_PAGE + index) * UAR_PAGE_BYTES;
  uint32_t bytes = UAR_PAGE_BYTES;
  uint32_t page_id = index + 1;    // what create_qp and create_cq name
  uar->index = index;
  memory += (size_t)index * UAR_PAGE_BYTES;
  memset(memory, 0, UAR_PAGE_BYTES);
  uar_pages[index].port = command->context->port;
  uar_pages[index].memory = memory;
  uar_pages[index].used = true;
  if (index >= uar_pages_limit) uar_pages_limit = index + 1;
  output_handle(command, MLX5_IB_ATTR_UAR_OBJ_ALLOC_HANDLE, uar->object.handle);
  output(command, MLX5_IB_ATTR_UAR_OBJ_ALLOC_MMAP_OFFSET, &offset, sizeof offset);
  output(command, MLX5_IB_ATTR_UAR_OBJ_ALLOC_MMAP_LENGTH, &bytes, sizeof bytes);
  output(command, MLX5_IB_ATTR_UAR_OBJ_ALLOC_PAGE_ID, &page_id, sizeof page_id);
  return 0;
}

void uar_release(struct object *object) {
  struct uar *uar = (struct uar *)object;
  uar_pages[uar->index].used = false;
  device_quiesce();
  object_free(object);
}

int uar_destroy(struct command *command) {
  uint32_t handle = number(command, MLX5_IB_ATTR_UAR_OBJ_DESTROY_HANDLE);
  struct object *object = object_find(command->context, handle, OBJECT_UAR);
  if (!object) return ENOENT;
  uar_release(object);
  return 0;
}

void *uar_map(struct context *context, void *address, int protection, int flags, uint64_t offset) {
  uint64_t page = offset / UAR_PAGE_BYTES;
  unsigned index = page - UAR_FIRST_PAGE;
  if (page < UAR_FIRST_PAGE || index >= UAR_PAGES_MAX || !uar_pages[index].used ||
      uar_pages[index].port != context->port) {
    errno = EINVAL;
    return MAP_FAILED;
  }
  return real_mmap(address, UAR_PAGE_BYTES, protection, MAP_SHARED | flags, uar_file, (long)index * UAR_PAGE_BYTES);
}
