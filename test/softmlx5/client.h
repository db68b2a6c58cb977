// A client of the software ConnectX in C, over the machine's own libibverbs and libmlx5. It writes WQEs, doorbells and
// reads CQEs itself, with the layouts of infiniband/mlx5dv.h: those of the emulator (prm.h) are checked by that.
// Each test is a process: `client NAME`, which ends with status 0 if all was as it must be.
#ifndef SOFTMLX5_CLIENT_H
#define SOFTMLX5_CLIENT_H

#include <infiniband/mlx5dv.h>
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_BYTES (64u << 20)
#define WQE_BYTES_MAX 1008
#define MAC_BYTES 6

#define CHECK(condition, ...)                                                    \
  do {                                                                           \
    if (!(condition)) {                                                          \
      fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);            \
      fprintf(stderr, __VA_ARGS__);                                              \
      fputc('\n', stderr);                                                       \
      exit(1);                                                                   \
    }                                                                            \
  } while (0)

struct device {
  struct ibv_context *context;
  struct ibv_pd *pd;
  struct ibv_mr *mr;              // all of `memory`
  uint8_t *memory;
  size_t taken;
};
void device_open(struct device *device, int index);
/** Page-aligned bytes of the registered memory. */
uint8_t *device_memory(struct device *device, size_t bytes);

struct cq {
  struct ibv_cq *cq;
  struct mlx5dv_cq ring;
  uint32_t consumer;
};
/** compression: 0, or enum mlx5dv_cqe_comp_res_format. */
void cq_create(struct device *device, struct cq *cq, uint32_t entries, uint32_t compression);
/** The next CQE if the device has written it, else NULL. It stays until cq_taken(). */
struct mlx5_cqe64 *cq_peek(struct cq *cq);
/** Waits for it, a second at most. */
struct mlx5_cqe64 *cq_wait(struct cq *cq);
void cq_taken(struct cq *cq, uint32_t count);

struct wqe {                      // a send WQE while it is written
  uint8_t bytes[WQE_BYTES_MAX];
  uint32_t used;
};
void wqe_begin(struct wqe *wqe);
struct mlx5_wqe_eth_seg *wqe_ethernet(struct wqe *wqe, uint8_t cs_flags, const uint8_t *header, uint32_t bytes);
void wqe_pointer(struct wqe *wqe, const void *data, uint32_t bytes, uint32_t lkey);
void wqe_inline(struct wqe *wqe, const void *data, uint32_t bytes);

struct sender {
  struct device *device;
  struct ibv_qp *qp;
  struct mlx5dv_qp ring;
  struct cq cq;
  uint16_t producer;              // WQEBBs
  uint32_t blue_flame;            // which half of the register is next
  uint64_t last;                  // first 8 bytes of the last WQE
};
enum { CQ_UPDATE = MLX5_WQE_CTRL_CQ_UPDATE, ENHANCED_MPSW = 0x29 };
void sender_create(struct device *device, struct sender *sender, uint32_t wqebbs);
struct ibv_qp *raw_qp(struct device *device, struct cq *send, struct cq *receive, uint32_t send_wrs,
                      uint32_t receive_wrs);
/** Puts the WQE into the ring. */
void sender_put(struct sender *sender, struct wqe *wqe, uint8_t opcode, uint8_t flags);
/** Doorbell record, then the register. */
void sender_ring(struct sender *sender);
void sender_ring_register(struct sender *sender);
/** The completion of everything sent: CHECKs that it is good. */
void sender_wait(struct sender *sender);
/** One frame, one WQE, one completion. */
void send_frame(struct sender *sender, const uint8_t *frame, uint32_t bytes);

enum { SESSION_MAX = 64 };
struct mini {                     // mini CQE: hash, or checksum and stride; then byte_cnt. Big-endian
  uint8_t first[4];
  uint32_t byte_count;
};

struct receiver_options {
  uint32_t wqes;
  uint32_t buffer_bytes;          // of each WQE; striding: strides times stride
  uint32_t compression;
  uint32_t log_stride_bytes;      // 0: cyclic
  uint32_t log_strides;
  bool two_byte_shift;
  bool strip_vlan;
  uint32_t post;                  // WQEs posted at once; 0: all
};
struct receiver {
  struct device *device;
  struct receiver_options options;
  struct ibv_wq *wq;
  struct mlx5dv_rwq ring;
  struct cq cq;
  uint8_t *buffers;
  uint16_t posted;
  uint32_t strides_used;          // of the WQE at hand
  uint16_t wqe;                   // striding: the WQE at hand
  // a compressed session being taken apart
  struct mlx5_cqe64 title;
  struct mini minis[SESSION_MAX];
  uint32_t minis_count, minis_taken;
  // what came so far
  uint32_t compressed, sessions, fillers;
};
struct received {
  struct mlx5_cqe64 cqe;          // as it would have been written alone
  const uint8_t *data;
  uint32_t bytes;
  uint32_t hash;
  uint16_t checksum;              // as it lies in memory
};
void receiver_create(struct device *device, struct receiver *receiver, struct receiver_options options);
/** The next frame, or false. The buffer it lies in is posted again with the next receiver_post(). */
bool receiver_poll(struct receiver *receiver, struct received *frame);
/** Waits for a frame, a second at most. */
struct received receiver_wait(struct receiver *receiver);
void receiver_post(struct receiver *receiver, uint32_t count);

/** A QP that spreads over the receivers (a power of two). fields 0: all to the first. */
struct ibv_qp *hash_qp(struct device *device, struct receiver *receivers, uint32_t count, const uint8_t *key,
                       uint64_t fields);
/** The same with flags of mlx5dv_create_qp(). */
struct ibv_qp *hash_qp_flags(struct device *device, struct receiver *receivers, uint32_t count, const uint8_t *key,
                             uint64_t fields, uint32_t flags);
struct rule {
  uint8_t mac[MAC_BYTES];
  bool any_mac;
  uint16_t ethertype;             // 0: any
  uint16_t priority;
  uint32_t flags;                 // IBV_FLOW_ATTR_FLAGS_DONT_TRAP
  uint32_t tag;                   // 0: none
  bool drop;
};
struct ibv_flow *rule_create(struct ibv_qp *qp, struct rule rule);

// ---- frames (client-frames.c) ----
extern const uint8_t own_mac[MAC_BYTES];
extern const uint8_t other_mac[MAC_BYTES];
/** Ethertype 0x88b5 and bytes that `seed` determines. */
void frame_plain(uint8_t *frame, uint32_t bytes, uint32_t seed);
struct ip_frame {
  bool v6, udp, vlan;
  uint16_t tci;
  uint32_t payload_bytes;
  uint8_t source[16], destination[16];
  uint16_t source_port, destination_port;
  uint32_t seed;
};
/** A TCP or UDP frame with the right checksums. Returns its bytes, at least 60. */
uint32_t frame_ip(uint8_t *frame, const struct ip_frame *options);
/** By the book, bit by bit: 16-bit words in network order. */
uint16_t slow_checksum(const uint8_t *data, uint32_t bytes, uint32_t start);
/** Where the headers are: for frames of frame_ip() and what TSO made of them. */
bool ip_checksums_right(const uint8_t *frame, uint32_t bytes);
uint64_t now_us(void);

// ---- tests ----
void test_cyclic(void);
void test_striding(void);
void test_compressed_hash(void);
void test_compressed_checksum(void);
void test_compressed_hash_values(void);
void test_compressed_checksum_values(void);
void test_compressed_striding(void);
void test_compressed_striding_index(void);
void test_errors(void);
void test_lossless(void);
void test_events(void);
void test_mpsw(void);
void test_tso(void);
void test_vlan(void);
void test_checksums(void);
void test_chip(void);
void test_rss(void);
void test_rules(void);
void test_counters(void);
void test_loopback(void);
void test_link_send(void);
void test_link_receive(void);
void test_lint(const char *name);

#endif
