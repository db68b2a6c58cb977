// The client's receive queues: cyclic and striding, CQEs whole and compressed.
#include "client.h"

#include <endian.h>

static struct ibv_wq *create_wq(struct device *device, const struct receiver *receiver) {
  const struct receiver_options *options = &receiver->options;
  struct ibv_wq_init_attr attributes = {
    .wq_type = IBV_WQT_RQ,
    .max_wr = options->wqes,
    .max_sge = 1,
    .pd = device->pd,
    .cq = receiver->cq.cq,
    .comp_mask = options->strip_vlan ? IBV_WQ_INIT_ATTR_FLAGS : 0,
    .create_flags = options->strip_vlan ? IBV_WQ_FLAGS_CVLAN_STRIPPING : 0,
  };
  struct mlx5dv_wq_init_attr vendor = {
    .comp_mask = MLX5DV_WQ_INIT_ATTR_MASK_STRIDING_RQ,
    .striding_rq_attrs = {
      .single_stride_log_num_of_bytes = options->log_stride_bytes,
      .single_wqe_log_num_of_strides = options->log_strides,
      .two_byte_shift_en = options->two_byte_shift,
    },
  };
  if (options->log_stride_bytes == 0) return ibv_create_wq(device->context, &attributes);
  return mlx5dv_create_wq(device->context, &attributes, &vendor);
}

void receiver_create(struct device *device, struct receiver *receiver, struct receiver_options options) {
  memset(receiver, 0, sizeof *receiver);
  receiver->device = device;
  receiver->options = options;
  bool striding = options.log_stride_bytes > 0;
  uint32_t frames = striding ? options.wqes << options.log_strides : options.wqes;
  cq_create(device, &receiver->cq, options.compression ? frames * 2 : frames, options.compression);
  receiver->wq = create_wq(device, receiver);
  CHECK(receiver->wq, "%m");
  struct ibv_wq_attr ready = {.attr_mask = IBV_WQ_ATTR_STATE, .wq_state = IBV_WQS_RDY};
  CHECK(ibv_modify_wq(receiver->wq, &ready) == 0, "%m");
  struct mlx5dv_obj object = {.rwq = {receiver->wq, &receiver->ring}};
  CHECK(mlx5dv_init_obj(&object, MLX5DV_OBJ_RWQ) == 0, "%m");
  CHECK(receiver->ring.wqe_cnt == options.wqes, "%u", receiver->ring.wqe_cnt);
  CHECK(receiver->ring.stride == (striding ? 32u : 16u), "%u", receiver->ring.stride);
  receiver->buffers = device_memory(device, (size_t)options.wqes * options.buffer_bytes);
  receiver_post(receiver, options.post ? options.post : options.wqes);
}

void receiver_post(struct receiver *receiver, uint32_t count) {
  uint32_t mask = receiver->options.wqes - 1;
  uint32_t before_data = receiver->options.log_stride_bytes ? sizeof(struct mlx5_wqe_srq_next_seg) : 0;
  for (uint32_t i = 0; i < count; i++, receiver->posted++) {
    uint32_t index = receiver->posted & mask;
    uint8_t *wqe = (uint8_t *)receiver->ring.buf + (size_t)index * receiver->ring.stride;
    uint8_t *data = receiver->buffers + (size_t)index * receiver->options.buffer_bytes;
    mlx5dv_set_data_seg((void *)(wqe + before_data), receiver->options.buffer_bytes, receiver->device->mr->lkey,
                        (uintptr_t)data);
  }
  __atomic_store_n(receiver->ring.dbrec, htobe32(receiver->posted), __ATOMIC_RELEASE);
}

// ---- compressed sessions ----

static uint8_t *slot(const struct cq *cq, uint32_t index) {
  return (uint8_t *)cq->ring.buf + (size_t)(index & (cq->ring.cqe_cnt - 1)) * 64;
}

/** Title, 8 minis in the next slot, then 8 in every eighth. All the session's slots are made invalid. */
static void open_session(struct receiver *receiver, const struct mlx5_cqe64 *title) {
  struct cq *cq = &receiver->cq;
  uint32_t count = be32toh(title->byte_cnt);
  CHECK(count >= 2 && count <= SESSION_MAX, "a session of %u", count);
  receiver->title = *title;
  for (uint32_t at = 0; at < count; at += 8)
    memcpy(receiver->minis + at, slot(cq, cq->consumer + (at == 0 ? 1 : at)), 64);
  for (uint32_t i = 0; i < count; i++) slot(cq, cq->consumer + i)[63] = MLX5_CQE_INVALID << 4;
  receiver->minis_count = count;
  receiver->minis_taken = 0;
  receiver->compressed += count;
  receiver->sessions++;
  cq_taken(cq, count);
}

/** The next mini CQE as the whole one that it stands for. */
static struct received from_session(struct receiver *receiver) {
  const struct mini *mini = &receiver->minis[receiver->minis_taken++];
  struct received frame = {.cqe = receiver->title};
  uint32_t compression = receiver->options.compression;
  uint16_t counter = be16toh(receiver->title.wqe_counter);
  uint32_t taken = receiver->options.log_stride_bytes ? be32toh(mini->byte_count) >> 16 & 0x3fff : 1;
  frame.cqe.byte_cnt = mini->byte_count;
  if (compression == MLX5DV_CQE_RES_FORMAT_HASH) {
    uint32_t hash;
    memcpy(&hash, mini->first, 4);
    frame.hash = be32toh(hash);
  } else {
    memcpy(&frame.checksum, mini->first, 2);
  }
  if (compression == MLX5DV_CQE_RES_FORMAT_CSUM_STRIDX) memcpy(&frame.cqe.wqe_counter, mini->first + 2, 2);
  else receiver->title.wqe_counter = htobe16((uint16_t)(counter + taken));
  return frame;
}

static bool next_completion(struct receiver *receiver, struct received *frame) {
  if (receiver->minis_taken < receiver->minis_count) {
    *frame = from_session(receiver);
    return true;
  }
  struct mlx5_cqe64 *cqe = cq_peek(&receiver->cq);
  if (!cqe) return false;
  uint8_t opcode = mlx5dv_get_cqe_opcode(cqe);
  CHECK(opcode == MLX5_CQE_RESP_SEND, "opcode %u syndrome 0x%x", opcode, ((struct mlx5_err_cqe *)cqe)->syndrome);
  if (mlx5dv_get_cqe_format(cqe) == 3) {
    open_session(receiver, cqe);
    *frame = from_session(receiver);
    return true;
  }
  *frame = (struct received){.cqe = *cqe};
  const uint8_t *bytes = (const uint8_t *)cqe;
  uint32_t hash;
  memcpy(&hash, bytes + 12, 4);   // rx_hash_res; mlx5dv.h has no name for it
  memcpy(&frame->checksum, bytes + 20, 2);
  frame->hash = be32toh(hash);
  cq_taken(&receiver->cq, 1);
  return true;
}

// ---- frames ----

static void find_cyclic(const struct receiver *receiver, struct received *frame) {
  uint32_t index = be16toh(frame->cqe.wqe_counter) & (receiver->options.wqes - 1);
  frame->data = receiver->buffers + (size_t)index * receiver->options.buffer_bytes;
  frame->bytes = be32toh(frame->cqe.byte_cnt);
}

/** False: a filler, which only accounts for strides. */
static bool find_striding(struct receiver *receiver, struct received *frame) {
  const struct receiver_options *options = &receiver->options;
  uint32_t count = be32toh(frame->cqe.byte_cnt);
  uint32_t strides = count >> 16 & 0x3fff;
  uint32_t stride = be16toh(frame->cqe.wqe_counter);
  bool filler = count >> 31;
  CHECK(be16toh(frame->cqe.wqe_id) == receiver->wqe, "WQE %u, not %u", be16toh(frame->cqe.wqe_id), receiver->wqe);
  CHECK(stride == receiver->strides_used, "stride %u, not %u", stride, receiver->strides_used);
  size_t offset = ((size_t)(receiver->wqe & (options->wqes - 1)) * options->buffer_bytes) +
                  ((size_t)stride << options->log_stride_bytes) + (options->two_byte_shift ? 2 : 0);
  frame->data = receiver->buffers + offset;
  frame->bytes = count & 0xffff;
  receiver->strides_used += strides;
  receiver->fillers += filler;
  CHECK(strides > 0 && receiver->strides_used <= 1u << options->log_strides, "%u strides", strides);
  if (receiver->strides_used == 1u << options->log_strides) {
    receiver->strides_used = 0;
    receiver->wqe++;
  }
  return !filler;
}

bool receiver_poll(struct receiver *receiver, struct received *frame) {
  while (next_completion(receiver, frame)) {
    if (receiver->options.log_stride_bytes == 0) {
      find_cyclic(receiver, frame);
      return true;
    }
    if (find_striding(receiver, frame)) return true;
  }
  return false;
}

struct received receiver_wait(struct receiver *receiver) {
  uint64_t deadline = now_us() + 1000000;
  struct received frame;
  while (!receiver_poll(receiver, &frame)) CHECK(now_us() < deadline, "no frame in RQ %u", receiver->wq->wq_num);
  return frame;
}
