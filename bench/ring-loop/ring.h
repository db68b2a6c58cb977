// What loop.c and device.c share. The offsets come as -D flags from layout.ts; the structs must agree with them.
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

struct desc {
  uint64_t address;
  union {
    struct {
      uint32_t status;
      uint32_t length;
    } rx;
    struct {
      uint32_t command;
      uint32_t status;
    } tx;
    uint64_t second;
  };
};

struct queue {
  uint32_t rx_ring, rx_mbufs, rx_next, unused;
  uint32_t tx_ring, tx_mbufs, tx_next, tx_clean;
  uint32_t free, free_count, sum;
};

struct mbuf {
  uint32_t data, data_len, pkt_len, next;
  uint16_t port, nb_segs;
  uint32_t ol_flags, rss_hash, vlan_tci, buf, buf_len, pool, user[5];
};

struct device {
  uint32_t rx_head, tx_head, delivered, sent, wrong, digest, last;
};

static_assert(sizeof(struct desc) == 16, "a descriptor has 16 bytes");
static_assert(offsetof(struct queue, sum) == QUEUE_SUM && sizeof(struct queue) <= QUEUE_BYTES, "queue block");
static_assert(offsetof(struct mbuf, data) == MBUF_DATA && offsetof(struct mbuf, buf) == MBUF_BUF, "mbuf");
static_assert(sizeof(struct mbuf) == MBUF_BYTES, "mbuf");
static_assert(offsetof(struct device, last) == DEVICE_LAST, "device block");

#define DONE 1u
#define RING_MASK (RING_SIZE - 1)

// in loop.c and device.c
uint32_t drain(uint8_t *base, uint32_t batch, uint32_t app);
uint32_t device_step(uint8_t *base, uint32_t count);
