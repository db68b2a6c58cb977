// Each complaint of the hardware provoked once, with SOFTMLX5_STRICT=0: `client lint NAME`. The runner looks for it on
// stderr, and ends stdin when it has seen it: what cannot be might be half written, and the device looks again for a
// while before it complains.
#include "client.h"

#include <endian.h>
#include <unistd.h>

static struct device device;
static struct sender sender;
static uint8_t *frame;
static struct wqe wqe;

static void put(uint8_t flags) {
  wqe_begin(&wqe);
  wqe_ethernet(&wqe, 0, NULL, 0);
  wqe_pointer(&wqe, frame, 60, device.mr->lkey);
  sender_put(&sender, &wqe, MLX5_OPCODE_SEND, flags);
}

static void put_many(uint32_t count, uint8_t flags) {
  for (uint32_t i = 0; i < count; i++) put(flags);
}

static void record(uint16_t wqebbs) {
  __atomic_store_n(&sender.ring.dbrec[MLX5_SND_DBR], htobe32(wqebbs), __ATOMIC_RELEASE);
}

static uint8_t *last_wqe(void) {
  uint32_t slot = (uint32_t)(sender.producer - 1) & (sender.ring.sq.wqe_cnt - 1);
  return (uint8_t *)sender.ring.sq.buf + (size_t)slot * 64;
}

static void never_signalled(void) {
  for (uint32_t i = 0; i < sender.ring.sq.wqe_cnt; i++) {
    put(0);
    sender_ring(&sender);
  }
}

static void sq_overwritten(void) {
  put_many(sender.ring.sq.wqe_cnt + 1, CQ_UPDATE);
  sender_ring(&sender);
}

static void doorbell_beyond_ring(void) {
  put(CQ_UPDATE);
  record((uint16_t)(sender.producer + 3 * sender.ring.sq.wqe_cnt));
  sender_ring_register(&sender);
}

static void doorbell_backwards(void) {
  put_many(10, CQ_UPDATE);
  sender_ring(&sender);
  sender_wait(&sender);
  record(5);
  sender_ring_register(&sender);
}

static void doorbell_before_record(void) {
  put(CQ_UPDATE);
  sender_ring_register(&sender);
}

static void doorbell_in_reset(void) {
  struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET};
  CHECK(ibv_modify_qp(sender.qp, &reset, IBV_QP_STATE) == 0, "%m");
  put(CQ_UPDATE);
  sender_ring(&sender);
}

/** From 0x00ff to 0x0100 byte by byte: 0x01ff lies between. Tried until the device is sure to have looked then. */
static void torn_doorbell(void) {
  uint8_t *bytes = (uint8_t *)&sender.ring.dbrec[MLX5_SND_DBR];
  for (int tries = 0; tries < 10; tries++) {
    while ((sender.producer & 0xff) != 0xff) {
      put(CQ_UPDATE);
      sender_ring(&sender);
      sender_wait(&sender);
    }
    put(CQ_UPDATE);
    __atomic_store_n(&bytes[2], (uint8_t)(sender.producer >> 8), __ATOMIC_RELEASE);
    sender_ring_register(&sender);
    uint64_t until = now_us() + 100;
    while (now_us() < until) continue;
    __atomic_store_n(&bytes[3], 0, __ATOMIC_RELEASE);
    sender_wait(&sender);
  }
}

static void missing_cq_index(void) {
  for (uint32_t i = 0; i <= sender.cq.ring.cqe_cnt; i++) {
    put(CQ_UPDATE);
    sender_ring(&sender);
    usleep(100);
  }
}

static void cq_overrun(void) {
  put(CQ_UPDATE);
  sender_ring(&sender);
  sender_wait(&sender);           // the record is written this one time
  missing_cq_index();
}

static void cq_doorbell_ahead(void) {
  sender.cq.ring.dbrec[0] = htobe32(5);
  put(CQ_UPDATE);
  sender_ring(&sender);
}

static void bad_opcode(void) {
  wqe_begin(&wqe);
  wqe_ethernet(&wqe, 0, NULL, 0);
  sender_put(&sender, &wqe, MLX5_OPCODE_RDMA_WRITE, CQ_UPDATE);
  sender_ring(&sender);
}

static void bad_ds(void) {
  wqe_begin(&wqe);                // a SEND that ends with its control segment
  sender_put(&sender, &wqe, MLX5_OPCODE_SEND, CQ_UPDATE);
  sender_ring(&sender);
}

static void inline_too_short(void) {
  wqe_begin(&wqe);
  wqe_ethernet(&wqe, 0, frame, 14);
  wqe_pointer(&wqe, frame + 14, 60, device.mr->lkey);
  sender_put(&sender, &wqe, MLX5_OPCODE_SEND, CQ_UPDATE);
  sender_ring(&sender);
}

static void bf_mismatch(void) {
  put(CQ_UPDATE);
  sender.last ^= 1ull << 56;      // the number of segments
  sender_ring(&sender);
}

static void wrong_qpn(void) {
  put(CQ_UPDATE);
  last_wqe()[5] ^= 1;
  memcpy(&sender.last, last_wqe(), 8);
  record(sender.producer);
  uint64_t named = sender.last ^ 1ull << 40;  // the register names the queue rightly: bf-mismatch is complained of too
  sender.last = named;
  sender_ring_register(&sender);
}

static void wrong_wqe_index(void) {
  put(CQ_UPDATE);
  put(CQ_UPDATE);
  last_wqe()[2] ^= 4;
  sender_ring(&sender);
}

static void reserved_nonzero(void) {
  put(CQ_UPDATE);
  last_wqe()[16] = 1;
  sender_ring(&sender);
}

static void rq_doorbell_beyond(void) {
  struct receiver receiver;
  receiver_create(&device, &receiver, (struct receiver_options){.wqes = 64, .buffer_bytes = 2048});
  rule_create(hash_qp(&device, &receiver, 1, NULL, 0), (struct rule){.any_mac = true});
  receiver.ring.dbrec[0] = htobe32(65);
  put(CQ_UPDATE);
  sender_ring(&sender);
}

static void arm_unknown_cq(void) {
  *(volatile uint64_t *)((uint8_t *)sender.cq.ring.cq_uar + 0x20) = htobe64(0xffffff);
}

/** Arms the sender's CQ: with that sequence number and consumer index, the record and the register apart. */
static void arm(uint32_t sequence, uint32_t consumer, uint32_t record) {
  volatile uint64_t *page = (uint64_t *)((uint8_t *)sender.cq.ring.cq_uar + 0x20);
  uint32_t command = sequence << 28 | consumer;
  __atomic_store_n(&sender.cq.ring.dbrec[1], htobe32(record), __ATOMIC_RELEASE);
  *page = htobe64((uint64_t)command << 32 | sender.cq.ring.cqn);
  usleep(20000);                  // it has been seen
}

static void arm_before_record(void) { arm(0, 0, 1 << 24); }

static void arm_wrong_sequence(void) { arm(1, 0, 1u << 28); }

static void arm_index_ahead(void) { arm(0, 1, 1); }

static void arm_stale_index(void) {
  put(CQ_UPDATE);
  sender_ring(&sender);
  sender_wait(&sender);
  arm(0, 1, 1);
  arm(0, 0, 0);
}

static void arm_foreign_page(void) {
  uintptr_t page = (uintptr_t)sender.ring.bf.reg & ~(uintptr_t)4095;  // the send queue's
  sender.cq.ring.dbrec[1] = 0;
  *(volatile uint64_t *)(page + 0x20) = htobe64(sender.cq.ring.cqn);
}

static void leaked_object(void) { ibv_close_device(device.context); }

static const struct lint {
  const char *name;
  void (*provoke)(void);
} lints[] = {
  {"never-signalled", never_signalled},
  {"sq-overwritten", sq_overwritten},
  {"doorbell-beyond-ring", doorbell_beyond_ring},
  {"doorbell-backwards", doorbell_backwards},
  {"doorbell-before-record", doorbell_before_record},
  {"doorbell-in-reset", doorbell_in_reset},
  {"torn-doorbell", torn_doorbell},
  {"missing-cq-index", missing_cq_index},
  {"cq-overrun", cq_overrun},
  {"cq-doorbell-ahead", cq_doorbell_ahead},
  {"bad-opcode", bad_opcode},
  {"bad-ds", bad_ds},
  {"inline-too-short", inline_too_short},
  {"bf-mismatch", bf_mismatch},
  {"wrong-qpn", wrong_qpn},
  {"wrong-wqe-index", wrong_wqe_index},
  {"reserved-nonzero", reserved_nonzero},
  {"rq-doorbell-beyond", rq_doorbell_beyond},
  {"arm-unknown-cq", arm_unknown_cq},
  {"arm-before-record", arm_before_record},
  {"arm-wrong-sequence", arm_wrong_sequence},
  {"arm-index-ahead", arm_index_ahead},
  {"arm-stale-index", arm_stale_index},
  {"arm-foreign-page", arm_foreign_page},
  {"leaked-object", leaked_object},
};

void test_lint(const char *name) {
  for (size_t i = 0; i < sizeof lints / sizeof lints[0]; i++) {
    if (strcmp(lints[i].name, name) != 0) continue;
    device_open(&device, 0);
    sender_create(&device, &sender, 64);
    frame = device_memory(&device, 4096);
    frame_plain(frame, 60, 1);
    lints[i].provoke();
    usleep(50000);                // the device has looked, if nobody waits for its complaint
    while (getchar() != EOF) continue;
    return;
  }
  CHECK(false, "no lint %s", name);
}
