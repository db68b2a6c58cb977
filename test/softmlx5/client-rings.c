// The client's objects: verbs make them, the rings are its own.
#include "client.h"

#include <endian.h>
#include <sys/mman.h>

// ---- device, memory ----

void device_open(struct device *device, int index) {
  int count;
  struct ibv_device **list = ibv_get_device_list(&count);
  CHECK(list && count > index, "%d devices", count);
  device->context = ibv_open_device(list[index]);
  CHECK(device->context, "%m");
  ibv_free_device_list(list);
  device->pd = ibv_alloc_pd(device->context);
  CHECK(device->pd, "%m");
  device->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(device->memory != MAP_FAILED, "%m");
  device->mr = ibv_reg_mr(device->pd, device->memory, MEMORY_BYTES, IBV_ACCESS_LOCAL_WRITE);
  CHECK(device->mr, "%m");
  device->taken = 0;
}

uint8_t *device_memory(struct device *device, size_t bytes) {
  uint8_t *found = device->memory + device->taken;
  device->taken += (bytes + 4095) & ~(size_t)4095;
  CHECK(device->taken <= MEMORY_BYTES, "%zu bytes", device->taken);
  return found;
}

// ---- completion queues ----

void cq_create(struct device *device, struct cq *cq, uint32_t entries, uint32_t compression) {
  struct ibv_cq_init_attr_ex attributes = {.cqe = entries - 1};
  struct mlx5dv_cq_init_attr vendor = {
    .comp_mask = compression ? MLX5DV_CQ_INIT_ATTR_MASK_COMPRESSED_CQE : 0,
    .cqe_comp_res_format = (uint8_t)compression,
  };
  struct ibv_cq_ex *made = mlx5dv_create_cq(device->context, &attributes, &vendor);
  CHECK(made, "%m");
  cq->cq = ibv_cq_ex_to_cq(made);
  cq->consumer = 0;
  struct mlx5dv_obj object = {.cq = {cq->cq, &cq->ring}};
  CHECK(mlx5dv_init_obj(&object, MLX5DV_OBJ_CQ) == 0, "%m");
  CHECK(cq->ring.cqe_size == 64, "%u", cq->ring.cqe_size);
}

static struct mlx5_cqe64 *cq_slot(const struct cq *cq, uint32_t index) {
  return (struct mlx5_cqe64 *)((uint8_t *)cq->ring.buf + (size_t)(index & (cq->ring.cqe_cnt - 1)) * 64);
}

struct mlx5_cqe64 *cq_peek(struct cq *cq) {
  struct mlx5_cqe64 *cqe = cq_slot(cq, cq->consumer);
  uint8_t op_own = __atomic_load_n(&cqe->op_own, __ATOMIC_ACQUIRE);
  bool lap = (cq->consumer & cq->ring.cqe_cnt) != 0;
  return op_own >> 4 != MLX5_CQE_INVALID && (op_own & 1) == lap ? cqe : NULL;
}

struct mlx5_cqe64 *cq_wait(struct cq *cq) {
  uint64_t deadline = now_us() + 1000000;
  struct mlx5_cqe64 *cqe;
  while ((cqe = cq_peek(cq)) == NULL) CHECK(now_us() < deadline, "no completion in CQ 0x%x", cq->ring.cqn);
  return cqe;
}

void cq_taken(struct cq *cq, uint32_t count) {
  cq->consumer += count;
  __atomic_store_n(&cq->ring.dbrec[0], htobe32(cq->consumer & 0xffffff), __ATOMIC_RELEASE);
}

// ---- send WQEs ----

void wqe_begin(struct wqe *wqe) {
  memset(wqe->bytes, 0, sizeof wqe->bytes);
  wqe->used = sizeof(struct mlx5_wqe_ctrl_seg);
}

/** Rounded up to whole segments. */
static uint8_t *wqe_take(struct wqe *wqe, uint32_t bytes) {
  uint8_t *found = wqe->bytes + wqe->used;
  wqe->used += (bytes + 15) & ~15u;
  CHECK(wqe->used <= sizeof wqe->bytes, "%u bytes", wqe->used);
  return found;
}

struct mlx5_wqe_eth_seg *wqe_ethernet(struct wqe *wqe, uint8_t cs_flags, const uint8_t *header, uint32_t bytes) {
  uint32_t more = bytes > 2 ? bytes - 2 : 0;
  struct mlx5_wqe_eth_seg *segment = (void *)wqe_take(wqe, 16 + more);
  segment->cs_flags = cs_flags;
  segment->inline_hdr_sz = htobe16((uint16_t)bytes);
  memcpy(segment->inline_hdr_start, header ? header : segment->inline_hdr_start, bytes);
  return segment;
}

void wqe_pointer(struct wqe *wqe, const void *data, uint32_t bytes, uint32_t lkey) {
  mlx5dv_set_data_seg((void *)wqe_take(wqe, 16), bytes, lkey, (uintptr_t)data);
}

void wqe_inline(struct wqe *wqe, const void *data, uint32_t bytes) {
  uint8_t *segment = wqe_take(wqe, 4 + bytes);
  uint32_t count = htobe32(MLX5_INLINE_SEG | bytes);
  memcpy(segment, &count, 4);
  memcpy(segment + 4, data, bytes);
}

// ---- senders ----

struct ibv_qp *raw_qp(struct device *device, struct cq *send, struct cq *receive, uint32_t send_wrs,
                      uint32_t receive_wrs) {
  struct ibv_qp_init_attr attributes = {
    .send_cq = send->cq,
    .recv_cq = receive->cq,
    .qp_type = IBV_QPT_RAW_PACKET,
    .cap = {.max_send_wr = send_wrs, .max_recv_wr = receive_wrs, .max_send_sge = 1, .max_recv_sge = 1},
  };
  struct ibv_qp *qp = ibv_create_qp(device->pd, &attributes);
  CHECK(qp, "%m");
  struct ibv_qp_attr state = {.qp_state = IBV_QPS_INIT, .port_num = 1};
  CHECK(ibv_modify_qp(qp, &state, IBV_QP_STATE | IBV_QP_PORT) == 0, "%m");
  state.qp_state = IBV_QPS_RTR;
  CHECK(ibv_modify_qp(qp, &state, IBV_QP_STATE) == 0, "%m");
  state.qp_state = IBV_QPS_RTS;
  CHECK(ibv_modify_qp(qp, &state, IBV_QP_STATE) == 0, "%m");
  return qp;
}

void sender_create(struct device *device, struct sender *sender, uint32_t wqebbs) {
  memset(sender, 0, sizeof *sender);
  sender->device = device;
  cq_create(device, &sender->cq, wqebbs, 0);
  sender->qp = raw_qp(device, &sender->cq, &sender->cq, wqebbs, 0);
  struct mlx5dv_obj object = {.qp = {sender->qp, &sender->ring}};
  CHECK(mlx5dv_init_obj(&object, MLX5DV_OBJ_QP) == 0, "%m");
  CHECK(sender->ring.sq.stride == 64, "%u", sender->ring.sq.stride);
}

void sender_put(struct sender *sender, struct wqe *wqe, uint8_t opcode, uint8_t flags) {
  uint32_t segments = wqe->used / 16;
  mlx5dv_set_ctrl_seg((void *)wqe->bytes, sender->producer, opcode, 0, sender->qp->qp_num, flags, (uint8_t)segments, 0,
                      0);
  for (uint32_t at = 0; at < wqe->used; at += 64, sender->producer++) {
    uint32_t slot = sender->producer & (sender->ring.sq.wqe_cnt - 1);
    memcpy((uint8_t *)sender->ring.sq.buf + (size_t)slot * 64, wqe->bytes + at, 64);
  }
  memcpy(&sender->last, wqe->bytes, sizeof sender->last);
}

void sender_ring_register(struct sender *sender) {
  uint64_t *address = (uint64_t *)((uint8_t *)sender->ring.bf.reg + sender->blue_flame);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  *(volatile uint64_t *)address = sender->last;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  sender->blue_flame ^= sender->ring.bf.size;
}

void sender_ring(struct sender *sender) {
  __atomic_store_n(&sender->ring.dbrec[MLX5_SND_DBR], htobe32(sender->producer), __ATOMIC_RELEASE);
  sender_ring_register(sender);
}

void sender_wait(struct sender *sender) {
  for (;;) {
    struct mlx5_cqe64 *cqe = cq_wait(&sender->cq);
    CHECK(mlx5dv_get_cqe_opcode(cqe) == MLX5_CQE_REQ, "opcode %u syndrome 0x%x", mlx5dv_get_cqe_opcode(cqe),
          ((struct mlx5_err_cqe *)cqe)->syndrome);
    uint16_t index = be16toh(cqe->wqe_counter);
    uint32_t slot = index & (sender->ring.sq.wqe_cnt - 1);
    const struct mlx5_wqe_ctrl_seg *control = (void *)((uint8_t *)sender->ring.sq.buf + (size_t)slot * 64);
    uint16_t behind = (uint16_t)(index + ((be32toh(control->qpn_ds) & 63) * 16 + 63) / 64);
    cq_taken(&sender->cq, 1);
    if (behind == sender->producer) return;
  }
}

void send_frame(struct sender *sender, const uint8_t *frame, uint32_t bytes) {
  struct wqe wqe;
  wqe_begin(&wqe);
  wqe_ethernet(&wqe, 0, NULL, 0);
  wqe_pointer(&wqe, frame, bytes, sender->device->mr->lkey);
  sender_put(sender, &wqe, MLX5_OPCODE_SEND, CQ_UPDATE);
  sender_ring(sender);
  sender_wait(sender);
}

// ---- hash QPs, rules ----

struct ibv_qp *hash_qp(struct device *device, struct receiver *receivers, uint32_t count, const uint8_t *key,
                       uint64_t fields) {
  return hash_qp_flags(device, receivers, count, key, fields, 0);
}

struct ibv_qp *hash_qp_flags(struct device *device, struct receiver *receivers, uint32_t count, const uint8_t *key,
                             uint64_t fields, uint32_t flags) {
  static const uint8_t no_key[40];
  struct ibv_wq *queues[64];
  uint32_t log = 0;
  for (uint32_t i = 0; i < count; i++) queues[i] = receivers[i].wq;
  while (1u << log < count) log++;
  struct ibv_rwq_ind_table_init_attr table = {.log_ind_tbl_size = log, .ind_tbl = queues};
  struct ibv_rwq_ind_table *indirection = ibv_create_rwq_ind_table(device->context, &table);
  CHECK(indirection, "%m");
  struct ibv_qp_init_attr_ex attributes = {
    .qp_type = IBV_QPT_RAW_PACKET,
    .comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_IND_TABLE | IBV_QP_INIT_ATTR_RX_HASH,
    .pd = device->pd,
    .rwq_ind_tbl = indirection,
    .rx_hash_conf = {IBV_RX_HASH_FUNC_TOEPLITZ, 40, (uint8_t *)(key ? key : no_key), fields},
  };
  struct mlx5dv_qp_init_attr vendor = {
    .comp_mask = MLX5DV_QP_INIT_ATTR_MASK_QP_CREATE_FLAGS,
    .create_flags = flags,
  };
  struct ibv_qp *qp = mlx5dv_create_qp(device->context, &attributes, &vendor);
  CHECK(qp, "%m");
  return qp;
}

struct ibv_flow *rule_create(struct ibv_qp *qp, struct rule rule) {
  struct {
    struct ibv_flow_attr attributes;
    struct ibv_flow_spec_eth ethernet;
    uint8_t actions[sizeof(struct ibv_flow_spec_action_tag) + sizeof(struct ibv_flow_spec_action_drop)];
  } __attribute__((packed, aligned(4))) all = {
    .attributes = {.type = IBV_FLOW_ATTR_NORMAL, .priority = rule.priority, .port = 1, .flags = rule.flags},
    .ethernet = {.type = IBV_FLOW_SPEC_ETH, .size = sizeof all.ethernet},
  };
  uint8_t *action = all.actions;
  if (!rule.any_mac) {
    memcpy(all.ethernet.val.dst_mac, rule.mac, MAC_BYTES);
    memset(all.ethernet.mask.dst_mac, 0xff, MAC_BYTES);
  }
  all.ethernet.val.ether_type = htobe16(rule.ethertype);
  all.ethernet.mask.ether_type = rule.ethertype ? 0xffff : 0;
  all.attributes.num_of_specs = 1;
  if (rule.tag) {
    struct ibv_flow_spec_action_tag tag = {IBV_FLOW_SPEC_ACTION_TAG, sizeof tag, rule.tag};
    memcpy(action, &tag, sizeof tag);
    action += sizeof tag;
    all.attributes.num_of_specs++;
  }
  if (rule.drop) {
    struct ibv_flow_spec_action_drop drop = {IBV_FLOW_SPEC_ACTION_DROP, sizeof drop};
    memcpy(action, &drop, sizeof drop);
    action += sizeof drop;
    all.attributes.num_of_specs++;
  }
  all.attributes.size = (uint16_t)(action - (uint8_t *)&all);
  struct ibv_flow *flow = ibv_create_flow(qp, &all.attributes);
  CHECK(flow, "%m");
  return flow;
}
