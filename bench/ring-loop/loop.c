// The descriptor-ring loop in C: rx, application, tx. The same structures and steps as ring.ts, as fast as we know to
// write them here: runs up to the ring's end (7 % faster than wrapping at each packet), 64-bit stores to descriptors, a
// vector shuffle for the MAC swap (as DPDK's macswap_sse.h). Four packets at a time, as in ring.ts, were slower.
#include "ring.h"
#include <string.h>
#include <time.h>

typedef uint8_t frame_head __attribute__((vector_size(16), aligned(4), may_alias));

static inline uint32_t *words(uint8_t *base, uint32_t at) { return (uint32_t *)(base + at); }
static inline struct mbuf *mbuf_at(uint8_t *base, uint32_t at) { return (struct mbuf *)(base + at); }

static inline uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static inline void ring_doorbell(uint8_t *base, uint32_t which, uint32_t value) {
  __atomic_store_n(words(base, AT_REGISTERS + which), value, __ATOMIC_RELEASE);
}

// Takes up to `n` packets from slot `next` on, short of the ring's end, and gives their slots fresh buffers.
static uint32_t rx_run(uint8_t *base, struct queue *q, uint32_t next, uint32_t free, uint32_t *pkts, uint32_t n) {
  struct desc *d = (struct desc *)(base + q->rx_ring) + next;
  uint32_t *slot = words(base, q->rx_mbufs) + next, *top = words(base, q->free) + free, *out = pkts, *end = pkts + n;
  for (; out < end; out++, slot++, d++) {
    if (!(__atomic_load_n(&d->rx.status, __ATOMIC_ACQUIRE) & DONE)) break;
    uint32_t length = d->rx.length & 0xffff, got = *slot, fresh = *--top;
    struct mbuf *m = mbuf_at(base, got);
    m->data = m->buf + HEADROOM;
    m->data_len = length;
    m->pkt_len = length;
    m->next = 0;
    m->port = 0;
    m->nb_segs = 1;
    m->ol_flags = 0;
    *slot = fresh;
    d->address = (uint64_t)BUS_HIGH << 32 | (mbuf_at(base, fresh)->buf + HEADROOM);
    d->second = 0;
    *out = got;
  }
  return out - pkts;
}

static uint32_t rx_burst(uint8_t *base, struct queue *q, uint32_t *pkts, uint32_t n) {
  uint32_t next = q->rx_next, free = q->free_count, want = least(n, free), to_end = RING_SIZE - next;
  uint32_t k = rx_run(base, q, next, free, pkts, least(want, to_end));
  if (k == to_end) k += rx_run(base, q, 0, free - k, pkts + k, want - k);
  if (k > 0) {
    next = (next + k) & RING_MASK;
    q->rx_next = next;
    q->free_count = free - k;
    ring_doorbell(base, REGISTER_RX_TAIL, (next - 1) & RING_MASK);
  }
  return k;
}

// Takes sent buffers back, a lot at a time, when the last of a lot is done.
static void tx_clean(uint8_t *base, struct queue *q) {
  struct desc *ring = (struct desc *)(base + q->tx_ring);
  uint32_t *mbufs = words(base, q->tx_mbufs), *pool = words(base, q->free);
  uint32_t clean = q->tx_clean, free = q->free_count;
  while (((q->tx_next - clean) & RING_MASK) >= RING_LOT) {
    if (!(__atomic_load_n(&ring[clean + RING_LOT - 1].tx.status, __ATOMIC_ACQUIRE) & DONE)) break;
    memcpy(pool + free, mbufs + clean, RING_LOT * sizeof *pool); // lots begin at multiples: never across the end
    free += RING_LOT;
    clean = (clean + RING_LOT) & RING_MASK;
  }
  q->tx_clean = clean;
  q->free_count = free;
}

// Describes `n` packets from slot `next` on, short of the ring's end.
static void tx_run(uint8_t *base, struct queue *q, uint32_t next, const uint32_t *pkts, uint32_t n) {
  struct desc *d = (struct desc *)(base + q->tx_ring);
  uint32_t *slots = words(base, q->tx_mbufs);
  for (uint32_t k = 0; k < n; k++, next++) {
    struct mbuf *m = mbuf_at(base, pkts[k]);
    uint32_t length = m->data_len, report = (next & (RING_LOT - 1)) == RING_LOT - 1 ? COMMAND_REPORT : 0;
    d[next].address = (uint64_t)BUS_HIGH << 32 | m->data;
    d[next].second = (uint64_t)(length << 14) << 32 | (COMMAND_FRAME | report | length);
    slots[next] = pkts[k];
  }
}

static uint32_t tx_burst(uint8_t *base, struct queue *q, const uint32_t *pkts, uint32_t n) {
  tx_clean(base, q);
  uint32_t next = q->tx_next, k = least(n, (q->tx_clean - next - 1) & RING_MASK);
  if (k == 0) return 0;
  uint32_t first = least(k, RING_SIZE - next);
  tx_run(base, q, next, pkts, first);
  if (first < k) tx_run(base, q, 0, pkts + first, k - first);
  q->tx_next = (next + k) & RING_MASK;
  ring_doorbell(base, REGISTER_TX_TAIL, q->tx_next);
  return k;
}

static void apply(uint8_t *base, struct queue *q, const uint32_t *pkts, uint32_t n, uint32_t app) {
  if (app == APP_TOUCH) {
    uint32_t sum = q->sum;
    for (uint32_t k = 0; k < n; k++) sum += *words(base, mbuf_at(base, pkts[k])->data);
    q->sum = sum;
  } else if (app == APP_MACSWAP) {
    const frame_head order = {6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14, 15};
    for (uint32_t k = 0; k < n; k++) {
      frame_head *head = (frame_head *)(base + mbuf_at(base, pkts[k])->data);
      *head = __builtin_shuffle(*head, order);
    }
  }
}

// Polls until nothing comes any more. Returns the packets that came.
uint32_t drain(uint8_t *base, uint32_t batch, uint32_t app) {
  struct queue *q = (struct queue *)(base + AT_QUEUE);
  uint32_t *pkts = words(base, AT_PKTS), *pool = words(base, q->free), total = 0;
  for (;;) {
    uint32_t got = rx_burst(base, q, pkts, batch);
    if (got == 0) return total;
    apply(base, q, pkts, got, app);
    for (uint32_t sent = tx_burst(base, q, pkts, got); sent < got; sent++) pool[q->free_count++] = pkts[sent];
    total += got;
  }
}

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

// `rounds` times: the device delivers `count` frames, then the loop is timed until it has taken them all. Returns the
// time spent and adds the packets to `packets`.
double time_rounds(uint8_t *base, uint32_t rounds, uint32_t count, uint32_t batch, uint32_t app, double *packets) {
  double spent = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    device_step(base, count);
    double start = now_ns();
    *packets += drain(base, batch, app);
    spent += now_ns() - start;
  }
  return spent;
}
