// Queue pairs of type RAW_PACKET: an SQ and an RQ, or RSS over an indirection table (kernel hw/mlx5/qp.c:
// create_user_qp(), create_raw_packet_qp(), create_rss_raw_qp_tir(), modify_raw_packet_qp()).
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include "uverbs.h"

#define WQEBB_BYTES 64

enum { STATE_RESET, STATE_INIT, STATE_RTR, STATE_RTS, STATE_SQD, STATE_SQE, STATE_ERR };  // enum ib_qp_state
enum { MASK_STATE = 1 << 0, MASK_PORT = 1 << 5 };                                          // enum ib_qp_attr_mask

struct owned_qp {
  struct queue_pair qp;
  struct object *pd;
};

// ---- creation ----

static int check_rings(const struct mlx5_ib_create_qp *request) {
  uint32_t wqebbs = request->sq_wqe_count;
  uint32_t wqes = request->rq_wqe_count;
  if (!wqebbs && !wqes) return EINVAL;
  if (request->flags & (MLX5_QP_FLAG_SIGNATURE | MLX5_QP_FLAG_TUNNEL_OFFLOADS)) return EOPNOTSUPP;
  if (wqebbs && (!is_power_of_two(wqebbs) || wqebbs > WQES_MAX || !request->sq_buf_addr)) return EINVAL;
  if (wqes && (!is_power_of_two(wqes) || wqes > WQES_MAX || !request->buf_addr)) return EINVAL;
  if (wqes && (request->rq_wqe_shift < 4 || request->rq_wqe_shift > WQE_SHIFT_MAX)) return EINVAL;
  return request->db_addr ? 0 : EFAULT;
}

/** The UAR page that create_qp names: libmlx5 with dynamic UARs gives the page's id. */
static int find_uar(struct command *command, const struct mlx5_ib_create_qp *request, uint32_t *index) {
  *index = request->bfreg_index - 1;
  if (!request->sq_wqe_count) return 0;
  if (!(request->flags & MLX5_QP_FLAG_UAR_PAGE_INDEX)) return EINVAL;
  if (*index >= UAR_PAGES_MAX || !uar_pages[*index].used) return EINVAL;
  return uar_pages[*index].port == command->context->port ? 0 : EINVAL;
}

static void fill_receive_side(struct queue_pair *qp, const struct mlx5_ib_create_qp *request, uint32_t flags) {
  struct receive_queue *rq = &qp->own_receive;
  if (!request->rq_wqe_count) return;
  qp->receive = rq;
  rq->port = qp->port;
  rq->cq = qp->receive_cq;
  rq->rqn = next_queue_number();
  rq->user_index = request->uidx;
  rq->buffer = (uint8_t *)(uintptr_t)request->buf_addr;
  rq->wqes = request->rq_wqe_count;
  rq->wqe_shift = request->rq_wqe_shift;
  rq->doorbell = qp->doorbell;
  rq->strip_vlan = flags & IB_UVERBS_QP_CREATE_CVLAN_STRIPPING;
  rq->keep_fcs = flags & IB_UVERBS_QP_CREATE_SCATTER_FCS;
}

static void fill_queues(struct queue_pair *qp, const struct mlx5_ib_create_qp *request, uint32_t flags) {
  qp->doorbell = (volatile uint32_t *)(uintptr_t)request->db_addr;
  qp->user_index = request->uidx;
  qp->send_buffer = (uint8_t *)(uintptr_t)request->sq_buf_addr;
  qp->send_wqebbs = request->sq_wqe_count;
  qp->signal_all = flags & IB_UVERBS_QP_CREATE_SQ_SIG_ALL;
  qp->loopback_unicast = request->flags & MLX5_QP_FLAG_TIR_ALLOW_SELF_LB_UC;
  bool blocked = flags & IB_UVERBS_QP_CREATE_BLOCK_MULTICAST_LOOPBACK;
  qp->loopback_multicast = request->flags & MLX5_QP_FLAG_TIR_ALLOW_SELF_LB_MC && !blocked;
  fill_receive_side(qp, request, flags);
  qp->qpn = request->sq_wqe_count ? next_queue_number() : qp->own_receive.rqn;
}

static int pin_rings(struct object *object, const struct mlx5_ib_create_qp *request) {
  uint64_t receive_bytes = (uint64_t)request->rq_wqe_count << request->rq_wqe_shift;
  int error = receive_bytes ? pin(object, request->buf_addr, receive_bytes) : 0;
  if (error || !request->sq_wqe_count) return error;
  return pin(object, request->sq_buf_addr, (uint64_t)request->sq_wqe_count * WQEBB_BYTES);
}

static int create_with_rings(struct command *command, struct queue_pair *qp) {
  const uint32_t known = IB_UVERBS_QP_CREATE_SCATTER_FCS | IB_UVERBS_QP_CREATE_CVLAN_STRIPPING |
                         IB_UVERBS_QP_CREATE_SQ_SIG_ALL | IB_UVERBS_QP_CREATE_BLOCK_MULTICAST_LOOPBACK;
  struct mlx5_ib_create_qp request;
  uint32_t flags = number(command, UVERBS_ATTR_CREATE_QP_FLAGS);
  copy_in(command, UVERBS_ATTR_UHW_IN, &request, sizeof request);
  int error = flags & ~known ? EOPNOTSUPP : check_rings(&request);
  if (!error) error = cq_from_handle(command, UVERBS_ATTR_CREATE_QP_SEND_CQ_HANDLE, &qp->send_cq);
  if (!error) error = cq_from_handle(command, UVERBS_ATTR_CREATE_QP_RECV_CQ_HANDLE, &qp->receive_cq);
  if (!error) error = find_uar(command, &request, &qp->uar_index);
  if (!error) error = pin_rings(&qp->object, &request);
  if (error) return error;
  fill_queues(qp, &request, flags);
  qp->send_cq->object.users++;
  qp->receive_cq->object.users++;
  struct mlx5_ib_create_qp_resp response = {.bfreg_index = request.bfreg_index};
  output(command, UVERBS_ATTR_UHW_OUT, &response, sizeof response);
  trace(1, "create_qp 0x%x: SQ of %u WQEBBs, RQ of %u WQEs, user index %u, UAR page %u", qp->qpn, qp->send_wqebbs,
        request.rq_wqe_count, qp->user_index, qp->uar_index);
  return 0;
}

/** create_rss_raw_qp_tir(): what it refuses, in its order. */
static int check_hash(const struct mlx5_ib_create_qp_rss *request, const struct indirection_table *table) {
  const uint64_t known = 0xff;
  uint64_t fields = request->rx_hash_fields_mask;
  bool ipv4 = fields & (MLX5_RX_HASH_SRC_IPV4 | MLX5_RX_HASH_DST_IPV4);
  bool ipv6 = fields & (MLX5_RX_HASH_SRC_IPV6 | MLX5_RX_HASH_DST_IPV6);
  bool tcp = fields & (MLX5_RX_HASH_SRC_PORT_TCP | MLX5_RX_HASH_DST_PORT_TCP);
  bool udp = fields & (MLX5_RX_HASH_SRC_PORT_UDP | MLX5_RX_HASH_DST_PORT_UDP);
  if (request->comp_mask || fields & ~known) return EOPNOTSUPP;
  if (request->flags & ~(MLX5_QP_FLAG_TIR_ALLOW_SELF_LB_UC | MLX5_QP_FLAG_TIR_ALLOW_SELF_LB_MC)) return EOPNOTSUPP;
  if (request->rx_hash_function != MLX5_RX_HASH_FUNC_TOEPLITZ) return EOPNOTSUPP;
  if (request->rx_key_len != RSS_KEY_BYTES) return EINVAL;
  if (!fields) return table->entries == 1 ? 0 : EINVAL;  // without a hash: a steering target alone
  return (ipv4 && ipv6) || (tcp && udp) ? EINVAL : 0;
}

static int create_rss(struct command *command, struct queue_pair *qp) {
  struct mlx5_ib_create_qp_rss request;
  uint32_t handle = number(command, UVERBS_ATTR_CREATE_QP_IND_TABLE_HANDLE);
  struct indirection_table *table = object_find(command->context, handle, OBJECT_INDIRECTION);
  copy_in(command, UVERBS_ATTR_UHW_IN, &request, sizeof request);
  int error = table ? check_hash(&request, table) : ENOENT;
  if (error) return error;
  qp->indirection = table;
  qp->hash_fields = request.rx_hash_fields_mask;
  memcpy(qp->rss_key, request.rx_hash_key, RSS_KEY_BYTES);
  qp->loopback_unicast = request.flags & MLX5_QP_FLAG_TIR_ALLOW_SELF_LB_UC;
  qp->loopback_multicast = request.flags & MLX5_QP_FLAG_TIR_ALLOW_SELF_LB_MC;
  table->object.users++;
  struct mlx5_ib_create_qp_resp response = {0};  // an RSS QP has no number: qpn stays 0
  output(command, UVERBS_ATTR_UHW_OUT, &response, sizeof response);
  trace(1, "create_qp RSS: %u entries, fields 0x%lx", table->entries, (unsigned long)qp->hash_fields);
  return 0;
}

static void count_qp_loopback(struct queue_pair *qp, int by) {
  if (qp->loopback_unicast || qp->loopback_multicast) count_loopback(qp->port, 0, by);
}

int qp_create(struct command *command) {
  const uint64_t raw_packet = IB_UVERBS_QPT_RAW_PACKET;
  if (number(command, UVERBS_ATTR_CREATE_QP_TYPE) != raw_packet) return EOPNOTSUPP;
  if (!may_use_raw_packets()) return EPERM;
  struct object *pd = object_find(command->context, number(command, UVERBS_ATTR_CREATE_QP_PD_HANDLE), OBJECT_PD);
  if (!pd) return ENOENT;
  struct owned_qp *owned = object_create(command->context, OBJECT_QP, sizeof *owned);
  if (!owned) return ENOMEM;
  struct queue_pair *qp = &owned->qp;
  bool rss = attribute(command, UVERBS_ATTR_CREATE_QP_IND_TABLE_HANDLE);
  qp->port = command->context->port;
  qp->object.user_handle = number(command, UVERBS_ATTR_CREATE_QP_USER_HANDLE);
  copy_in(command, UVERBS_ATTR_CREATE_QP_CAP, qp->capabilities, sizeof qp->capabilities);
  int error = rss ? create_rss(command, qp) : create_with_rings(command, qp);
  if (error) {
    object_free(&qp->object);
    return error;
  }
  owned->pd = pd;
  pd->users++;
  count_qp_loopback(qp, 1);
  if (qp->receive) device_add_receive_queue(qp->receive);
  device_add_queue_pair(qp);
  output_handle(command, UVERBS_ATTR_CREATE_QP_HANDLE, qp->object.handle);
  output(command, UVERBS_ATTR_CREATE_QP_RESP_CAP, qp->capabilities, sizeof qp->capabilities);
  output(command, UVERBS_ATTR_CREATE_QP_RESP_QP_NUM, &qp->qpn, sizeof qp->qpn);
  return 0;
}

// ---- destruction ----

static void forget_qp(struct owned_qp *owned) {
  struct queue_pair *qp = &owned->qp;
  device_remove_queue_pair(qp);
  if (qp->receive) device_remove_receive_queue(qp->receive);
  events_forget(qp->object.context, NULL, &qp->object);
  count_qp_loopback(qp, -1);
  if (qp->send_cq) qp->send_cq->object.users--;
  if (qp->receive_cq) qp->receive_cq->object.users--;
  if (qp->indirection) qp->indirection->object.users--;
  owned->pd->users--;
}

void qp_release(struct object *object) {
  forget_qp((struct owned_qp *)object);
  object_free(object);
}

int qp_destroy(struct command *command) {
  struct object *object = object_find(command->context, number(command, UVERBS_ATTR_DESTROY_QP_HANDLE), OBJECT_QP);
  if (!object) return ENOENT;
  if (object->users > 0) return EBUSY;
  forget_qp((struct owned_qp *)object);
  struct ib_uverbs_destroy_qp_resp response = {.events_reported = object->async_events};
  output(command, UVERBS_ATTR_DESTROY_QP_RESP, &response, sizeof response);
  object_free(object);
  return 0;
}

// ---- modification ----

/** ib_modify_qp_is_ok() for RAW_PACKET: RESET to INIT needs the port, and nothing else may be given at all. */
static bool may_change(uint32_t from, uint32_t to, uint32_t mask) {
  uint32_t needed = from == STATE_RESET && to == STATE_INIT ? MASK_STATE | MASK_PORT : MASK_STATE;
  bool optional_port = from == STATE_INIT && to == STATE_INIT;
  if ((mask & ~(optional_port ? MASK_PORT : 0)) != needed) return false;
  if (to == STATE_RESET || to == STATE_ERR) return true;
  switch (from) {
    case STATE_RESET: return to == STATE_INIT;
    case STATE_INIT: return to == STATE_INIT || to == STATE_RTR;
    case STATE_RTR: return to == STATE_RTS;
    case STATE_RTS: return to == STATE_RTS;
    default: return false;
  }
}

/** modify_raw_packet_qp(): the RQ is ready from INIT on, the SQ from RTS on. */
static void change_queues(struct queue_pair *qp, uint32_t from, uint32_t to) {
  struct receive_queue *rq = qp->receive;
  bool sends = qp->send_wqebbs > 0;
  if (from == STATE_RESET && to == STATE_INIT && rq) device_set_receive_state(rq, QUEUE_READY);
  if (from == STATE_RTR && to == STATE_RTS && sends) device_set_send_state(qp, QUEUE_READY);
  if (to != STATE_RESET && to != STATE_ERR) return;
  enum queue_state state = to == STATE_RESET ? QUEUE_RESET : QUEUE_ERROR;
  if (sends) device_set_send_state(qp, state);
  if (rq) device_set_receive_state(rq, state);
}

static int change(struct command *command, const struct ib_uverbs_modify_qp *request) {
  struct queue_pair *qp = object_find(command->context, request->qp_handle, OBJECT_QP);
  if (!qp) return EINVAL;
  if (qp->indirection) return EOPNOTSUPP;
  uint32_t from = qp->state;
  uint32_t to = request->attr_mask & MASK_STATE ? request->qp_state : from;
  if (!may_change(from, to, request->attr_mask)) {
    trace(1, "modify_qp 0x%x: state %u to %u with mask 0x%x refused", qp->qpn, from, to, request->attr_mask);
    return EINVAL;
  }
  if (request->attr_mask & MASK_PORT && request->port_num != 1) return EINVAL;
  change_queues(qp, from, to);
  qp->state = to;
  trace(1, "modify_qp 0x%x: state %u to %u", qp->qpn, from, to);
  return 0;
}

int modify_qp(struct command *command) {
  struct ib_uverbs_modify_qp request;
  copy_in(command, UVERBS_ATTR_CORE_IN, &request, sizeof request);
  return change(command, &request);
}

int modify_qp_ex(struct command *command) {
  struct ib_uverbs_ex_modify_qp request;
  copy_in(command, UVERBS_ATTR_CORE_IN, &request, sizeof request);
  int error = request.rate_limit ? EOPNOTSUPP : change(command, &request.base);  // no packet pacing
  if (error) return error;
  struct ib_uverbs_ex_modify_qp_resp response = {.response_length = sizeof response};
  struct mlx5_ib_modify_qp_resp vendor = {.response_length = sizeof vendor};
  output(command, UVERBS_ATTR_CORE_OUT, &response, sizeof response);
  output(command, UVERBS_ATTR_UHW_OUT, &vendor, sizeof vendor);
  return 0;
}

int query_qp(struct command *command) {
  struct ib_uverbs_query_qp request;
  copy_in(command, UVERBS_ATTR_CORE_IN, &request, sizeof request);
  struct queue_pair *qp = object_find(command->context, request.qp_handle, OBJECT_QP);
  if (!qp) return EINVAL;
  if (qp->indirection) return EOPNOTSUPP;
  // A queue that erred by itself shows as the QP's state: query_raw_packet_qp_state() combines both.
  bool send_error = qp->send_wqebbs && qp->send_state == QUEUE_ERROR;
  bool receive_error = qp->receive && qp->receive->state == QUEUE_ERROR;
  uint32_t state = qp->state;
  if (send_error && (receive_error || !qp->receive)) state = STATE_ERR;
  else if (send_error) state = STATE_SQE;
  else if (receive_error) state = STATE_ERR;
  struct ib_uverbs_query_qp_resp response = {
      .qp_state = state,
      .cur_qp_state = state,
      .port_num = 1,
      .max_send_wr = qp->capabilities[0],
      .max_recv_wr = qp->capabilities[1],
      .max_send_sge = qp->capabilities[2],
      .max_recv_sge = qp->capabilities[3],
      .max_inline_data = qp->capabilities[4],
      .sq_sig_all = qp->signal_all,
  };
  output(command, UVERBS_ATTR_CORE_OUT, &response, sizeof response);
  return 0;
}
