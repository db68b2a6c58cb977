// Completion queues, work queues and indirection tables (kernel core/uverbs_std_types_cq.c and _wq.c, uverbs_cmd.c;
// hw/mlx5/cq.c: mlx5_ib_create_cq(), mlx5_ib_resize_cq(); hw/mlx5/qp.c: mlx5_ib_create_wq(), mlx5_ib_modify_wq()).
#define _GNU_SOURCE
#include <errno.h>
#include "uverbs.h"

#define CQ_ENTRIES_MAX (1u << 22)
#define STRIDE_SHIFT_MIN 6
#define STRIDE_SHIFT_MAX 13
#define STRIDES_SHIFT_MAX 16
#define CQ_FLAGS (IB_UVERBS_CQ_FLAGS_TIMESTAMP_COMPLETION | IB_UVERBS_CQ_FLAGS_IGNORE_OVERRUN)
#define CQ_PERIOD_MAX 0xfff

static uint32_t round_up(uint32_t value) {
  uint32_t power = 1;
  while (power < value) power <<= 1;
  return power;
}

// ---- completion queues ----

/** One of the mini CQE formats that the device says it has. */
static int compression_of(const struct mlx5_ib_create_cq *request, enum cqe_compression *compression) {
  uint8_t format = request->cqe_comp_res_format;
  *compression = COMPRESSION_OFF;
  if (!request->cqe_comp_en) return 0;
  if (request->cqe_size != 64) return EOPNOTSUPP;  // FLAGS_CQE_128B_COMP is not among the device's
  if (!is_power_of_two(format) || !(format & compression_formats())) return EOPNOTSUPP;
  if (format == MLX5_IB_CQE_RES_FORMAT_HASH) *compression = COMPRESSION_HASH;
  if (format == MLX5_IB_CQE_RES_FORMAT_CSUM) *compression = COMPRESSION_CSUM;
  if (format == MLX5_IB_CQE_RES_FORMAT_CSUM_STRIDX) *compression = COMPRESSION_CSUM_STRIDX;
  return 0;
}

static int completion_channel(struct command *command, struct event_queue **channel) {
  struct ib_uverbs_attr *given = attribute(command, UVERBS_ATTR_CREATE_CQ_COMP_CHANNEL);
  *channel = given ? event_queue_of(given->data) : NULL;
  return given && !*channel ? EBADF : 0;
}

/** The UAR page that create_cq names, as create_qp does: without dynamic UARs there is none here. */
static int arm_page(struct command *command, const struct mlx5_ib_create_cq *request, uint32_t *index) {
  *index = request->uar_page_index - 1;
  if (!(request->flags & MLX5_IB_CREATE_CQ_FLAGS_UAR_PAGE_INDEX)) return EINVAL;
  if (*index >= UAR_PAGES_MAX || !uar_pages[*index].used) return EINVAL;
  return uar_pages[*index].port == command->context->port ? 0 : EINVAL;
}

int cq_create(struct command *command) {
  struct mlx5_ib_create_cq request;
  struct event_queue *channel;
  enum cqe_compression compression;
  uint32_t page;
  uint32_t asked = number(command, UVERBS_ATTR_CREATE_CQ_CQE);
  uint32_t flags = number(command, UVERBS_ATTR_CREATE_CQ_FLAGS);
  copy_in(command, UVERBS_ATTR_UHW_IN, &request, sizeof request);
  if (request.cqe_size != 64 && request.cqe_size != 128) return EINVAL;
  if (asked > CQ_ENTRIES_MAX - 1) return EINVAL;
  if (number(command, UVERBS_ATTR_CREATE_CQ_COMP_VECTOR) >= COMPLETION_VECTORS) return EINVAL;
  if (flags & ~CQ_FLAGS) return EOPNOTSUPP;
  if (request.flags & ~MLX5_IB_CREATE_CQ_FLAGS_UAR_PAGE_INDEX) return EOPNOTSUPP;  // padding, real-time timestamps
  int error = compression_of(&request, &compression);
  if (!error) error = completion_channel(command, &channel);
  if (!error) error = arm_page(command, &request, &page);
  if (error) return error;
  if (!request.buf_addr || !request.db_addr) return EFAULT;
  struct completion_queue *cq = object_create(command->context, OBJECT_CQ, sizeof *cq);
  if (!cq) return ENOMEM;
  error = pin(&cq->object, request.buf_addr, (uint64_t)round_up(asked + 1) * request.cqe_size);
  if (error) {
    object_free(&cq->object);
    return error;
  }
  cq->object.user_handle = number(command, UVERBS_ATTR_CREATE_CQ_USER_HANDLE);
  cq->port = command->context->port;
  cq->cqn = next_queue_number();
  cq->buffer = (uint8_t *)(uintptr_t)request.buf_addr;
  cq->entries = round_up(asked + 1);
  cq->cqe_bytes = request.cqe_size;
  cq->doorbell = (volatile uint32_t *)(uintptr_t)request.db_addr;
  cq->compression = compression;
  cq->ignore_overrun = flags & IB_UVERBS_CQ_FLAGS_IGNORE_OVERRUN;
  cq->uar_index = page;
  cq->channel = channel;
  if (channel) event_queue_hold(channel);
  device_add_completion_queue(cq);
  uint32_t usable = cq->entries - 1;
  struct mlx5_ib_create_cq_resp response = {.cqn = cq->cqn};
  output_handle(command, UVERBS_ATTR_CREATE_CQ_HANDLE, cq->object.handle);
  output(command, UVERBS_ATTR_CREATE_CQ_RESP_CQE, &usable, sizeof usable);
  output(command, UVERBS_ATTR_UHW_OUT, &response, sizeof response);
  trace(1, "create_cq 0x%x: %u entries of %u bytes, compression %u", cq->cqn, cq->entries, cq->cqe_bytes, compression);
  return 0;
}

void cq_release(struct object *object) {
  struct completion_queue *cq = (struct completion_queue *)object;
  device_remove_completion_queue(cq);
  events_forget(object->context, cq->channel, object);
  if (cq->channel) event_queue_release(cq->channel);
  object_free(object);
}

int cq_destroy(struct command *command) {
  uint32_t handle = number(command, UVERBS_ATTR_DESTROY_CQ_HANDLE);
  struct completion_queue *cq = object_find(command->context, handle, OBJECT_CQ);
  if (!cq) return ENOENT;
  if (cq->object.users > 0) return EBUSY;
  device_remove_completion_queue(cq);
  events_forget(command->context, cq->channel, &cq->object);
  struct ib_uverbs_destroy_cq_resp response = {.comp_events_reported = cq->completion_events,
                                               .async_events_reported = cq->object.async_events};
  output(command, UVERBS_ATTR_DESTROY_CQ_RESP, &response, sizeof response);
  if (cq->channel) event_queue_release(cq->channel);
  object_free(&cq->object);
  return 0;
}

int resize_cq(struct command *command) {
  struct ib_uverbs_resize_cq request;
  struct mlx5_ib_resize_cq vendor;
  copy_in(command, UVERBS_ATTR_CORE_IN, &request, sizeof request);
  copy_in(command, UVERBS_ATTR_UHW_IN, &vendor, sizeof vendor);
  struct completion_queue *cq = object_find(command->context, request.cq_handle, OBJECT_CQ);
  if (!cq || request.cqe < 1 || request.cqe > CQ_ENTRIES_MAX - 1) return EINVAL;
  uint32_t entries = round_up(request.cqe + 1);
  if (entries == cq->entries) return 0;
  if (vendor.cqe_size != cq->cqe_bytes || !vendor.buf_addr) return EINVAL;
  device_resize_completion_queue(cq, (uint8_t *)(uintptr_t)vendor.buf_addr, entries, vendor.cqe_size);
  struct ib_uverbs_resize_cq_resp response = {.cqe = entries - 1};
  output(command, UVERBS_ATTR_CORE_OUT, &response, offsetof(struct ib_uverbs_resize_cq_resp, driver_data));
  return 0;
}

int modify_cq(struct command *command) {
  enum { MODERATION = 1 };         // IB_CQ_MODERATE
  struct ib_uverbs_ex_modify_cq request;
  copy_in(command, UVERBS_ATTR_CORE_IN, &request, sizeof request);
  struct completion_queue *cq = object_find(command->context, request.cq_handle, OBJECT_CQ);
  if (!cq || !request.attr_mask || request.reserved) return EINVAL;
  if (request.attr_mask & ~MODERATION) return EOPNOTSUPP;
  if (request.attr.cq_period > CQ_PERIOD_MAX) return EINVAL;
  cq->moderation_count = request.attr.cq_count;
  cq->moderation_us = request.attr.cq_period;
  return 0;
}

int cq_from_handle(struct command *command, uint16_t id, struct completion_queue **cq) {
  *cq = object_find(command->context, number(command, id), OBJECT_CQ);
  return *cq ? 0 : ENOENT;
}

// ---- work queues ----

struct owned_wq {
  struct receive_queue rq;
  struct object *pd;
};

static int check_striding(const struct mlx5_ib_create_wq *request) {
  if (request->comp_mask & ~MLX5_IB_CREATE_WQ_STRIDING_RQ) return EOPNOTSUPP;
  if (!(request->comp_mask & MLX5_IB_CREATE_WQ_STRIDING_RQ)) return 0;
  uint32_t stride = request->single_stride_log_num_of_bytes;
  uint32_t strides = request->single_wqe_log_num_of_strides;
  if (stride < STRIDE_SHIFT_MIN || stride > STRIDE_SHIFT_MAX) return EINVAL;
  return strides < strides_log_min() || strides > STRIDES_SHIFT_MAX ? EINVAL : 0;
}

static int check_wq(struct command *command, const struct mlx5_ib_create_wq *request) {
  const uint32_t flags_known = IB_UVERBS_WQ_FLAGS_CVLAN_STRIPPING | IB_UVERBS_WQ_FLAGS_SCATTER_FCS;
  if (number(command, UVERBS_ATTR_CREATE_WQ_TYPE) != IB_UVERBS_WQT_RQ) return EINVAL;
  if (number(command, UVERBS_ATTR_CREATE_WQ_FLAGS) & ~flags_known) return EOPNOTSUPP;
  if (request->flags & MLX5_WQ_FLAG_SIGNATURE) return EOPNOTSUPP;
  if (!is_power_of_two(request->rq_wqe_count) || request->rq_wqe_count > WQES_MAX) return EINVAL;
  if (request->rq_wqe_shift < 4 || request->rq_wqe_shift > WQE_SHIFT_MAX) return EINVAL;
  if (!request->buf_addr || !request->db_addr) return EFAULT;
  return check_striding(request);
}

static void fill_wq(struct receive_queue *rq, const struct mlx5_ib_create_wq *request, uint32_t flags) {
  rq->rqn = next_queue_number();
  rq->user_index = request->user_index;
  rq->buffer = (uint8_t *)(uintptr_t)request->buf_addr;
  rq->wqes = request->rq_wqe_count;
  rq->wqe_shift = request->rq_wqe_shift;
  rq->doorbell = (volatile uint32_t *)(uintptr_t)request->db_addr;
  rq->strip_vlan = flags & IB_UVERBS_WQ_FLAGS_CVLAN_STRIPPING;
  rq->keep_fcs = flags & IB_UVERBS_WQ_FLAGS_SCATTER_FCS;
  rq->striding = request->comp_mask & MLX5_IB_CREATE_WQ_STRIDING_RQ;
  rq->stride_shift = request->single_stride_log_num_of_bytes;
  rq->strides_shift = request->single_wqe_log_num_of_strides;
  rq->two_byte_shift = request->two_byte_shift_en;
}

int wq_create(struct command *command) {
  struct mlx5_ib_create_wq request;
  struct completion_queue *cq;
  copy_in(command, UVERBS_ATTR_UHW_IN, &request, sizeof request);
  struct object *pd = object_find(command->context, number(command, UVERBS_ATTR_CREATE_WQ_PD_HANDLE), OBJECT_PD);
  int error = pd ? cq_from_handle(command, UVERBS_ATTR_CREATE_WQ_CQ_HANDLE, &cq) : ENOENT;
  if (!error) error = check_wq(command, &request);
  if (error) return error;
  struct owned_wq *owned = object_create(command->context, OBJECT_WQ, sizeof *owned);
  if (!owned) return ENOMEM;
  struct receive_queue *rq = &owned->rq;
  error = pin(&rq->object, request.buf_addr, (uint64_t)request.rq_wqe_count << request.rq_wqe_shift);
  if (error) {
    object_free(&rq->object);
    return error;
  }
  rq->object.user_handle = number(command, UVERBS_ATTR_CREATE_WQ_USER_HANDLE);
  rq->port = command->context->port;
  rq->cq = cq;
  fill_wq(rq, &request, number(command, UVERBS_ATTR_CREATE_WQ_FLAGS));
  owned->pd = pd;
  pd->users++;
  cq->object.users++;
  device_add_receive_queue(rq);
  uint32_t sges = number(command, UVERBS_ATTR_CREATE_WQ_MAX_SGE);
  struct mlx5_ib_create_wq_resp response = {.response_length = sizeof response};
  output_handle(command, UVERBS_ATTR_CREATE_WQ_HANDLE, rq->object.handle);
  output(command, UVERBS_ATTR_CREATE_WQ_RESP_MAX_WR, &rq->wqes, sizeof rq->wqes);
  output(command, UVERBS_ATTR_CREATE_WQ_RESP_MAX_SGE, &sges, sizeof sges);
  output(command, UVERBS_ATTR_CREATE_WQ_RESP_WQ_NUM, &rq->rqn, sizeof rq->rqn);
  output(command, UVERBS_ATTR_UHW_OUT, &response, sizeof response);
  trace(1, "create_wq 0x%x: %u WQEs of %u bytes, user index %u%s", rq->rqn, rq->wqes, 1u << rq->wqe_shift,
        rq->user_index, rq->striding ? ", striding" : "");
  return 0;
}

static void forget_wq(struct owned_wq *owned) {
  device_remove_receive_queue(&owned->rq);
  events_forget(owned->rq.object.context, NULL, &owned->rq.object);
  owned->rq.cq->object.users--;
  owned->pd->users--;
}

void wq_release(struct object *object) {
  forget_wq((struct owned_wq *)object);
  object_free(object);
}

int wq_destroy(struct command *command) {
  struct object *object = object_find(command->context, number(command, UVERBS_ATTR_DESTROY_WQ_HANDLE), OBJECT_WQ);
  if (!object) return ENOENT;
  if (object->users > 0) return EBUSY;
  forget_wq((struct owned_wq *)object);
  uint32_t events = object->async_events;
  output(command, UVERBS_ATTR_DESTROY_WQ_RESP, &events, sizeof events);
  object_free(object);
  return 0;
}

int modify_wq(struct command *command) {
  enum { STATE = 1, CURRENT_STATE = 2, FLAGS = 4 };  // enum ib_wq_attr_mask
  const uint32_t strip = IB_UVERBS_WQ_FLAGS_CVLAN_STRIPPING;
  struct ib_uverbs_ex_modify_wq request;
  copy_in(command, UVERBS_ATTR_CORE_IN, &request, sizeof request);
  struct receive_queue *rq = object_find(command->context, request.wq_handle, OBJECT_WQ);
  uint32_t mask = request.attr_mask;
  if (!rq || !mask || mask & ~(STATE | CURRENT_STATE | FLAGS)) return EINVAL;
  uint32_t current = mask & CURRENT_STATE ? request.curr_wq_state : rq->state;
  uint32_t wanted = mask & STATE ? request.wq_state : current;
  if (current != rq->state || wanted > QUEUE_ERROR) return EINVAL;
  // An RQ in error must be reset first, and one in reset cannot err (PRM, MODIFY_RQ).
  if (current == QUEUE_ERROR && wanted == QUEUE_READY) return EINVAL;
  if (current == QUEUE_RESET && wanted == QUEUE_ERROR) return EINVAL;
  if (mask & FLAGS && request.flags_mask & ~strip) return EOPNOTSUPP;
  if (mask & FLAGS && request.flags_mask & strip) rq->strip_vlan = request.flags & strip;
  if (wanted != current) device_set_receive_state(rq, wanted);
  trace(1, "modify_wq 0x%x: state %u to %u, VLAN stripping %s", rq->rqn, current, wanted,
        rq->strip_vlan ? "on" : "off");
  return 0;
}

// ---- indirection tables ----

int create_rwq_ind_table(struct command *command) {
  uint32_t bytes;
  const struct ib_uverbs_ex_create_rwq_ind_table *request = input(command, UVERBS_ATTR_CORE_IN, &bytes);
  if (!request || bytes < sizeof *request || request->comp_mask) return EINVAL;
  if (request->log_ind_tbl_size > 11) return EINVAL;
  uint32_t entries = 1u << request->log_ind_tbl_size;
  if (bytes < sizeof *request + entries * sizeof(uint32_t)) return EINVAL;
  for (uint32_t i = 0; i < entries; i++) {
    if (!object_find(command->context, request->wq_handles[i], OBJECT_WQ)) return EINVAL;
  }
  struct indirection_table *table = object_create(command->context, OBJECT_INDIRECTION, sizeof *table);
  if (!table) return ENOMEM;
  table->number = next_queue_number();
  table->entries = entries;
  for (uint32_t i = 0; i < entries; i++) {
    table->queues[i] = object_find(command->context, request->wq_handles[i], OBJECT_WQ);
    table->queues[i]->object.users++;
  }
  struct ib_uverbs_ex_create_rwq_ind_table_resp response = {
      .ind_tbl_handle = table->object.handle, .ind_tbl_num = table->number};
  response.response_length = response_bytes(command, UVERBS_ATTR_CORE_OUT, sizeof response);
  output(command, UVERBS_ATTR_CORE_OUT, &response, sizeof response);
  return 0;
}

void indirection_release(struct object *object) {
  struct indirection_table *table = (struct indirection_table *)object;
  for (uint32_t i = 0; i < table->entries; i++) table->queues[i]->object.users--;
  object_free(object);
}

int rwq_ind_table_destroy(struct command *command) {
  uint32_t handle = number(command, UVERBS_ATTR_DESTROY_RWQ_IND_TBL_HANDLE);
  struct object *object = object_find(command->context, handle, OBJECT_INDIRECTION);
  if (!object) return ENOENT;
  if (object->users > 0) return EBUSY;
  indirection_release(object);
  return 0;
}
