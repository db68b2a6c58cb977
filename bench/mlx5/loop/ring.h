// What loop.c and device.c share. Offsets in the arena come as -D flags from flags.ts, which has them from the engine's
// own layouts; the structs of the NIC are those of <infiniband/mlx5dv.h>.
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// The words of a queue block, of a cache and of a pool are reached by their offsets, as in the engine.
#define WORD(at) (*(uint32_t *)(base + (uint32_t)(at)))
#define COUNTER(at) (*(double *)(base + (uint32_t)(at)))

struct mbuf {
  uint32_t data, data_len, pkt_len, next;
  uint32_t origin, ol_flags, rss_hash, vlan_tci;
  uint32_t buf, buf_len, pool, rest[5];
};

struct cqe {
  uint32_t words[11];
  uint32_t byte_cnt;
  uint32_t more[3];
  uint32_t owner;
};

// Eight of a compressed session's packets stand in one entry.
struct mini {
  uint32_t hash, byte_cnt;
};

struct data_segment {
  uint32_t byte_count, lkey;
  uint64_t address;
};

// A control and an Ethernet segment, and what fits behind them into the block.
struct wqe {
  uint32_t operation, qpn_ds, completion, immediate;
  uint32_t unused, checksums, reserved;
  uint16_t inline_size;
  uint8_t inline_start[2];
  struct data_segment data[2];
};

struct lot {
  uint32_t counter, tail, packet_tail, odd;
};

// The device's own words: rings and doorbell records as arena offsets, and how far it is.
struct device {
  uint32_t rx_cq, rx_cq_size, rx_ring, rx_mask, rx_record;
  uint32_t tx_cq, tx_cq_size, tx_ring, tx_mask, tx_record;
  uint32_t rx_cq_index, rx_head, tx_cq_index, tx_head;
  uint32_t lkey, compressed, delivered, sent, wrong, digest;
};

static_assert(sizeof(struct mbuf) == MBUF_BYTES && offsetof(struct mbuf, buf) == MBUF_BUF, "mbuf");
static_assert(offsetof(struct mbuf, ol_flags) == MBUF_OL_FLAGS && offsetof(struct mbuf, pool) == MBUF_POOL, "mbuf");
static_assert(sizeof(struct cqe) == 64 && offsetof(struct cqe, byte_cnt) == 44, "mlx5_cqe64");
static_assert(sizeof(struct wqe) == 64 && offsetof(struct wqe, data) == 32, "a send WQE");
static_assert(sizeof(struct lot) == LOT_SIZE, "lot");
static_assert(offsetof(struct device, digest) == DEVICE_DIGEST, "device block");

#define OPCODE_RESP_SEND (2u << 28)
#define OWNER_BIT 24
#define LOOKED_AT 0xff00ffffu
#define FORMAT_COMPRESSED (12u << 24)
#define INVALID_OP_OWN 0xf0
#define CQ_UPDATE (8u << 24)
#define SEND 0x0a000000u
#define ENHANCED_MPSW 0x29000000u
#define INLINE_BYTES 18

static inline struct mbuf *mbuf_at(uint8_t *base, uint32_t at) { return (struct mbuf *)(base + at); }
static inline uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
// What the bench has not.
static inline void unusual(void) { abort(); }

// in loop.c, send.c and device.c
void cache_put(uint8_t *base, uint32_t cache, const uint32_t *from, uint32_t n);
void count_packets(uint8_t *base, uint32_t q, uint32_t packets, uint32_t bytes);
uint32_t tx_burst(uint8_t *base, uint32_t q, const uint32_t *pkts, uint32_t n);
uint32_t drain(uint8_t *base, uint32_t rxq, uint32_t txq, uint32_t pkts, uint32_t batch);
uint32_t device_step(uint8_t *base, uint32_t device, uint32_t count);
