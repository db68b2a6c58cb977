// Tests of receiving.
#include "client.h"

#include <endian.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BATCH = 64, JUMBO = 9018 };

static struct device device;
static struct sender sender;
static struct receiver receiver;

static void start(struct receiver_options options) {
  device_open(&device, 0);
  sender_create(&device, &sender, 256);
  receiver_create(&device, &receiver, options);
  rule_create(hash_qp(&device, &receiver, 1, NULL, 0), (struct rule){.mac = {2, 0, 0, 0, 0, 1}, .tag = 0x1234});
}

/** A batch of frames under one doorbell, one completion for all; each is `bytes(i)` long. */
static void send_batch(uint8_t *frames, uint32_t first, uint32_t count, uint32_t (*bytes)(uint32_t)) {
  struct wqe wqe;
  for (uint32_t i = 0; i < count; i++) {
    uint8_t *frame = frames + (size_t)i * 16384;
    frame_plain(frame, bytes(first + i), first + i);
    wqe_begin(&wqe);
    wqe_ethernet(&wqe, 0, frame, i % 2 ? 18 : 0);
    wqe_pointer(&wqe, frame + (i % 2 ? 18 : 0), bytes(first + i) - (i % 2 ? 18 : 0), device.mr->lkey);
    sender_put(&sender, &wqe, MLX5_OPCODE_SEND, i + 1 == count ? CQ_UPDATE : 0);
  }
  sender_ring(&sender);
  sender_wait(&sender);
}

static void expect(const struct received *frame, uint32_t number, uint32_t bytes) {
  uint8_t wanted[16384];
  frame_plain(wanted, bytes, number);
  CHECK(frame->bytes == bytes, "frame %u: %u bytes, not %u", number, frame->bytes, bytes);
  CHECK(memcmp(frame->data, wanted, bytes) == 0, "frame %u differs", number);
  CHECK((be32toh(frame->cqe.sop_drop_qpn) & 0xffffff) == 0x1234, "tag 0x%x", be32toh(frame->cqe.sop_drop_qpn));
}

static uint32_t any_bytes(uint32_t number) { return number % 100 == 99 ? JUMBO : 60 + number * 7 % 1455; }

/** More than 65536 frames, so that every 16-bit counter wraps; the CQ's lap changes a thousand times. */
void test_cyclic(void) {
  start((struct receiver_options){.wqes = 128, .buffer_bytes = 9216});
  uint8_t *frames = device_memory(&device, BATCH * 16384);
  for (uint32_t number = 0; number < 70000; number += BATCH) {
    send_batch(frames, number, BATCH, any_bytes);
    for (uint32_t i = 0; i < BATCH; i++) {
      struct received frame = receiver_wait(&receiver);
      expect(&frame, number + i, any_bytes(number + i));
      CHECK(frame.cqe.hds_ip_ext == MLX5_CQE_L2_OK, "0x%x", frame.cqe.hds_ip_ext);
    }
    receiver_post(&receiver, BATCH);
  }
}

static void striding(uint32_t compression, bool shift, uint32_t total) {
  struct mlx5dv_context limits = {.comp_mask = MLX5DV_CONTEXT_MASK_STRIDING_RQ};
  device_open(&device, 0);
  CHECK(mlx5dv_query_device(device.context, &limits) == 0, "%m");
  uint32_t log_strides = limits.striding_rq_caps.min_single_wqe_log_num_of_strides;
  if (log_strides < 6) log_strides = 6;  // room for a jumbo frame
  sender_create(&device, &sender, 256);
  receiver_create(&device, &receiver, (struct receiver_options){
    .wqes = 16,
    .buffer_bytes = 256u << log_strides,
    .log_stride_bytes = 8,
    .log_strides = log_strides,
    .two_byte_shift = shift,
    .compression = compression,
  });
  rule_create(hash_qp(&device, &receiver, 1, NULL, 0), (struct rule){.mac = {2, 0, 0, 0, 0, 1}, .tag = 0x1234});
  uint8_t *frames = device_memory(&device, BATCH * 16384);
  for (uint32_t number = 0; number < total; number += BATCH) {
    send_batch(frames, number, BATCH, any_bytes);
    for (uint32_t i = 0; i < BATCH; i++) {
      struct received frame = receiver_wait(&receiver);
      expect(&frame, number + i, any_bytes(number + i));
      uint16_t taken = (uint16_t)(receiver.posted - receiver.wqe);
      if (taken < 16) receiver_post(&receiver, 1);
    }
  }
  CHECK(receiver.fillers > 0, "no WQE ended in a filler");
  printf("%u fillers, %u compressed in %u sessions\n", receiver.fillers, receiver.compressed, receiver.sessions);
}

void test_striding(void) { striding(0, true, 10000); }

static uint32_t same_bytes(uint32_t number) { return 60 + number % 64; }

/** The CQ holds as many frames as the RQ twice: sessions come to lie everywhere in it, and old slots show. */
static void compressed_cyclic(uint32_t format) {
  start((struct receiver_options){.wqes = 64, .buffer_bytes = 2048, .compression = format});
  uint8_t *frames = device_memory(&device, 64 * 16384);
  for (uint32_t number = 0, batch = 1; number < 8000; number += batch, batch = batch % 61 + 1) {
    send_batch(frames, number, batch, same_bytes);
    for (uint32_t i = 0; i < batch; i++) {
      struct received frame = receiver_wait(&receiver);
      expect(&frame, number + i, same_bytes(number + i));
      CHECK(frame.hash == 0, "hash 0x%x of no IP", frame.hash);
    }
    receiver_post(&receiver, batch);
  }
  CHECK(receiver.compressed > 7000, "only %u were compressed", receiver.compressed);
  printf("%u compressed in %u sessions\n", receiver.compressed, receiver.sessions);
}

/** Each mini CQE carries its frame's hash or checksum; a change of what is common begins a new session. */
static void compressed_values(uint32_t format) {
  static const uint8_t key[40] = {1, 2, 3, 4, 5, 6, 7, 8};
  device_open(&device, 0);
  sender_create(&device, &sender, 256);
  struct receiver pair[2];        // the same frames, compressed and not
  for (int i = 0; i < 2; i++) {
    receiver_create(&device, &pair[i],
                    (struct receiver_options){.wqes = 64, .buffer_bytes = 2048, .compression = i ? format : 0});
    uint64_t fields = IBV_RX_HASH_SRC_IPV4 | IBV_RX_HASH_DST_IPV4 | IBV_RX_HASH_SRC_PORT_UDP;
    struct ibv_qp *qp = hash_qp(&device, &pair[i], 1, key, fields);
    rule_create(qp, (struct rule){.mac = {2, 0, 0, 0, 0, 1}});  // equal rules: both get a copy
  }
  uint8_t *frames = device_memory(&device, BATCH * 16384);
  for (uint32_t i = 0; i < BATCH; i++) {
    struct ip_frame options = {
      .udp = i < 20, .payload_bytes = 40 + i, .source = {10, 0, 0, (uint8_t)i}, .source_port = 1000 + i, .seed = i};
    struct wqe wqe;
    wqe_begin(&wqe);
    wqe_ethernet(&wqe, 0, NULL, 0);
    wqe_pointer(&wqe, frames + (size_t)i * 16384, frame_ip(frames + (size_t)i * 16384, &options), device.mr->lkey);
    sender_put(&sender, &wqe, MLX5_OPCODE_SEND, i + 1 == BATCH ? CQ_UPDATE : 0);
  }
  sender_ring(&sender);
  sender_wait(&sender);
  for (uint32_t i = 0; i < BATCH; i++) {
    struct received whole = receiver_wait(&pair[0]);
    struct received mini = receiver_wait(&pair[1]);
    CHECK(mini.bytes == whole.bytes && memcmp(mini.data, whole.data, whole.bytes) == 0, "frame %u differs", i);
    if (format == MLX5DV_CQE_RES_FORMAT_HASH) CHECK(mini.hash == whole.hash && whole.hash, "hash 0x%x", mini.hash);
    else CHECK(mini.checksum == whole.checksum && whole.checksum, "checksum 0x%x", mini.checksum);
    CHECK(mini.cqe.l4_hdr_type_etc == whole.cqe.l4_hdr_type_etc, "0x%x", mini.cqe.l4_hdr_type_etc);
    uint16_t sum = (uint16_t)~slow_checksum(whole.data + 14, whole.bytes - 14, 0);
    CHECK(be16toh(whole.checksum) == sum, "frame %u: checksum 0x%x, not 0x%x", i, be16toh(whole.checksum), sum);
  }
  CHECK(pair[1].compressed == BATCH && pair[1].sessions == 2, "%u in %u", pair[1].compressed, pair[1].sessions);
}

void test_compressed_hash(void) { compressed_cyclic(MLX5DV_CQE_RES_FORMAT_HASH); }
void test_compressed_checksum(void) { compressed_cyclic(MLX5DV_CQE_RES_FORMAT_CSUM); }
void test_compressed_hash_values(void) { compressed_values(MLX5DV_CQE_RES_FORMAT_HASH); }
void test_compressed_checksum_values(void) { compressed_values(MLX5DV_CQE_RES_FORMAT_CSUM); }
void test_compressed_striding(void) { striding(MLX5DV_CQE_RES_FORMAT_HASH, false, 10000); }
void test_compressed_striding_index(void) { striding(MLX5DV_CQE_RES_FORMAT_CSUM_STRIDX, true, 10000); }

// ---- errors, events ----

static void expect_error(struct cq *cq, uint8_t opcode, uint8_t syndrome, uint16_t index) {
  struct mlx5_cqe64 *cqe = cq_wait(cq);
  const struct mlx5_err_cqe *error = (const void *)cqe;
  CHECK(mlx5dv_get_cqe_opcode(cqe) == opcode, "opcode %u", mlx5dv_get_cqe_opcode(cqe));
  CHECK(error->syndrome == syndrome, "syndrome 0x%x, not 0x%x", error->syndrome, syndrome);
  CHECK(be16toh(error->wqe_counter) == index, "WQE %u, not %u", be16toh(error->wqe_counter), index);
  cq_taken(cq, 1);
}

void test_errors(void) {
  start((struct receiver_options){.wqes = 8, .buffer_bytes = 256});
  uint8_t *frame = device_memory(&device, 2048);
  frame_plain(frame, 300, 1);
  send_frame(&sender, frame, 300);  // too long for its buffer: that WQE alone
  expect_error(&receiver.cq, MLX5_CQE_RESP_ERR, MLX5_CQE_SYNDROME_LOCAL_LENGTH_ERR, 0);
  frame_plain(frame, 100, 2);
  send_frame(&sender, frame, 100);
  struct received good = receiver_wait(&receiver);
  expect(&good, 2, 100);
  // a buffer that no region has: the queue is in error, the other WQEs are flushed
  struct mlx5_wqe_data_seg *segment = (void *)((uint8_t *)receiver.ring.buf + 2 * 16);
  segment->lkey ^= htobe32(0x100);
  send_frame(&sender, frame, 100);
  expect_error(&receiver.cq, MLX5_CQE_RESP_ERR, MLX5_CQE_SYNDROME_LOCAL_PROT_ERR, 2);
  for (uint16_t i = 3; i < 8; i++) expect_error(&receiver.cq, MLX5_CQE_RESP_ERR, MLX5_CQE_SYNDROME_WR_FLUSH_ERR, i);
  struct wqe wqe;
  for (int i = 0; i < 3; i++) {     // the second of three names memory beyond the region
    wqe_begin(&wqe);
    wqe_ethernet(&wqe, 0, NULL, 0);
    wqe_pointer(&wqe, i == 1 ? device.memory + MEMORY_BYTES - 50 : frame, 100, device.mr->lkey);
    sender_put(&sender, &wqe, MLX5_OPCODE_SEND, i == 2 ? CQ_UPDATE : 0);
  }
  uint16_t first = (uint16_t)(sender.producer - 3);
  sender_ring(&sender);
  expect_error(&sender.cq, MLX5_CQE_REQ_ERR, MLX5_CQE_SYNDROME_LOCAL_PROT_ERR, (uint16_t)(first + 1));
  expect_error(&sender.cq, MLX5_CQE_REQ_ERR, MLX5_CQE_SYNDROME_WR_FLUSH_ERR, (uint16_t)(first + 2));
}

/** SOFTMLX5_LOSSLESS: what is sent waits for buffers. */
void test_lossless(void) {
  start((struct receiver_options){.wqes = 64, .buffer_bytes = 2048, .post = 1});
  uint8_t *frames = device_memory(&device, BATCH * 16384);
  for (uint32_t i = 0; i < BATCH; i += 4) {  // four frames a WQE: it has to stop within
    struct wqe wqe;
    wqe_begin(&wqe);
    wqe_ethernet(&wqe, 0, NULL, 0);
    for (uint32_t number = i; number < i + 4; number++) {
      uint8_t *frame = frames + (size_t)number * 16384;
      frame_plain(frame, 100, number);
      wqe_pointer(&wqe, frame, 100, device.mr->lkey);
    }
    sender_put(&sender, &wqe, ENHANCED_MPSW, i + 4 == BATCH ? CQ_UPDATE : 0);
  }
  sender_ring(&sender);
  for (uint32_t i = 0; i < BATCH; i++) {
    struct received frame = receiver_wait(&receiver);
    expect(&frame, i, 100);
    usleep(200);
    struct received early;
    CHECK(!receiver_poll(&receiver, &early), "frame %u came without a buffer", i + 1);
    receiver_post(&receiver, 1);
  }
  sender_wait(&sender);
}

/** An armed CQ writes one event to its channel. */
void test_events(void) {
  device_open(&device, 0);
  struct ibv_comp_channel *channel = ibv_create_comp_channel(device.context);
  CHECK(channel, "%m");
  struct cq sends = {.cq = ibv_create_cq(device.context, 31, NULL, channel, 0)};
  CHECK(sends.cq, "%m");
  struct ibv_qp *qp = raw_qp(&device, &sends, &sends, 16, 0);
  uint8_t *frame = device_memory(&device, 2048);
  struct pollfd ready = {.fd = channel->fd, .events = POLLIN};
  for (uint32_t i = 0; i < 5; i++) {
    struct ibv_sge piece = {(uintptr_t)frame, 64, device.mr->lkey};
    struct ibv_send_wr send = {
      .wr_id = i, .sg_list = &piece, .num_sge = 1, .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED};
    struct ibv_send_wr *bad;
    struct ibv_wc done;
    struct ibv_cq *about;
    void *context;
    CHECK(ibv_req_notify_cq(sends.cq, 0) == 0, "%m");
    CHECK(poll(&ready, 1, 20) == 0, "an event without a completion");
    CHECK(ibv_post_send(qp, &send, &bad) == 0, "%m");
    CHECK(poll(&ready, 1, 1000) == 1, "no event");
    CHECK(ibv_get_cq_event(channel, &about, &context) == 0 && about == sends.cq, "%m");
    ibv_ack_cq_events(about, 1);
    CHECK(ibv_poll_cq(sends.cq, 1, &done) == 1 && done.status == IBV_WC_SUCCESS && done.wr_id == i, "%u", i);
  }
  CHECK(ibv_destroy_qp(qp) == 0 && ibv_destroy_cq(sends.cq) == 0, "%m");
}
