// What the tests of client.c are made of: verbs objects, and single frames.
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { FRAME_BYTES = 64, MEMORY_BYTES = 1 << 16, WRS = 16 };

static const uint8_t mac[6] = {0x02, 0x15, 0xb3, 0, 0, 1};
static const uint8_t key[RSS_KEY_BYTES] = {1};

struct ibv_context *open_device(int index) {
  int count;
  struct ibv_device **list = ibv_get_device_list(&count);
  CHECK(list && index < count);
  struct ibv_context *context = ibv_open_device(list[index]);
  ibv_free_device_list(list);
  return context;
}

struct ibv_cq *new_cq(struct ibv_context *context, struct ibv_comp_channel *channel) {
  struct ibv_cq *cq = ibv_create_cq(context, WQES, NULL, channel, 0);
  CHECK(cq);
  return cq;
}

struct ibv_qp *new_qp(struct ibv_pd *pd, struct ibv_cq *cq) {
  struct ibv_qp_init_attr attributes = {
      .send_cq = cq,
      .recv_cq = cq,
      .qp_type = IBV_QPT_RAW_PACKET,
      .cap = {.max_send_wr = WRS, .max_recv_wr = WRS, .max_send_sge = 1, .max_recv_sge = 1},
  };
  return ibv_create_qp(pd, &attributes);
}

int change_state(struct ibv_qp *qp, enum ibv_qp_state state, int mask) {
  struct ibv_qp_attr attributes = {.qp_state = state, .port_num = 1};
  return ibv_modify_qp(qp, &attributes, IBV_QP_STATE | mask);
}

void ready(struct ibv_qp *qp) {
  CHECK(change_state(qp, IBV_QPS_INIT, IBV_QP_PORT) == 0);
  CHECK(change_state(qp, IBV_QPS_RTR, 0) == 0);
  CHECK(change_state(qp, IBV_QPS_RTS, 0) == 0);
}

struct ibv_wq *new_wq(struct ibv_pd *pd, struct ibv_cq *cq) {
  struct ibv_wq_init_attr attributes = {.wq_type = IBV_WQT_RQ, .max_wr = WRS, .max_sge = 1, .pd = pd, .cq = cq};
  return ibv_create_wq(pd->context, &attributes);
}

struct ibv_rwq_ind_table *new_table(struct ibv_wq *wq) {
  struct ibv_wq *queues[2] = {wq, wq};
  struct ibv_rwq_ind_table_init_attr attributes = {.log_ind_tbl_size = 1, .ind_tbl = queues};
  return ibv_create_rwq_ind_table(wq->context, &attributes);
}

struct ibv_qp *new_hash_qp(struct ibv_pd *pd, struct ibv_rwq_ind_table *table, uint64_t fields, uint8_t bytes) {
  struct ibv_qp_init_attr_ex attributes = {
      .qp_type = IBV_QPT_RAW_PACKET,
      .comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_IND_TABLE | IBV_QP_INIT_ATTR_RX_HASH,
      .pd = pd,
      .rwq_ind_tbl = table,
      .rx_hash_conf = {IBV_RX_HASH_FUNC_TOEPLITZ, bytes, (uint8_t *)key, fields},
  };
  return ibv_create_qp_ex(pd->context, &attributes);
}

struct eth_rule {
  struct ibv_flow_attr attributes;
  struct ibv_flow_spec_eth eth;
  struct ibv_flow_spec_action_tag tag;
};

struct ibv_flow *new_flow(struct ibv_qp *qp, uint32_t tag, uint16_t priority, uint32_t flags) {
  struct eth_rule rule = {
      .attributes = {.type = IBV_FLOW_ATTR_NORMAL, .num_of_specs = tag ? 2 : 1, .port = 1, .priority = priority},
      .eth = {.type = IBV_FLOW_SPEC_ETH, .size = sizeof rule.eth},
      .tag = {.type = IBV_FLOW_SPEC_ACTION_TAG, .size = sizeof rule.tag, .tag_id = tag},
  };
  rule.attributes.size = sizeof rule;
  rule.attributes.flags = flags;
  memcpy(rule.eth.val.dst_mac, mac, sizeof mac);
  memset(rule.eth.mask.dst_mac, 0xff, sizeof mac);
  return ibv_create_flow(qp, &rule.attributes);
}

// ---- traffic ----

struct ibv_mr *new_mr(struct ibv_pd *pd) {
  uint8_t *memory = aligned_alloc(4096, MEMORY_BYTES);
  memset(memory, 0, MEMORY_BYTES);
  struct ibv_mr *mr = ibv_reg_mr(pd, memory, MEMORY_BYTES, IBV_ACCESS_LOCAL_WRITE);
  CHECK(mr);
  return mr;
}

void post(struct ibv_qp *qp, struct ibv_mr *mr) {
  struct ibv_sge sge = {.addr = (uintptr_t)mr->addr, .length = FRAME_BYTES, .lkey = mr->lkey};
  struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED};
  struct ibv_send_wr *bad;
  CHECK(ibv_post_send(qp, &wr, &bad) == 0);
}

void wait_completion(struct ibv_cq *cq) {
  struct ibv_wc wc;
  int count = 0;
  for (int tries = 0; count == 0 && tries < 20000; tries++) {
    count = ibv_poll_cq(cq, 1, &wc);
    if (count == 0) usleep(100);
  }
  CHECK(count == 1 && wc.status == IBV_WC_SUCCESS);
}

void send_armed(struct ibv_cq *cq, struct ibv_qp *qp, struct ibv_mr *mr) {
  struct pollfd file = {.fd = cq->channel->fd, .events = POLLIN};
  CHECK(ibv_req_notify_cq(cq, 0) == 0);
  post(qp, mr);
  CHECK(poll(&file, 1, 2000) == 1);
  wait_completion(cq);
}
