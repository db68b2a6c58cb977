// Transmit in C, as pmd/mlx5/hot-send.ts, hot-mpw.ts and hot-transmit.ts have it: one packet a WQE, or many (eMPW); a
// completion a lot; the doorbell record and the BlueFlame register a burst.
#include "ring.h"
#include <string.h>

static inline uint32_t inside(const struct mbuf *m, uint32_t length) {
  uint32_t offset = m->data - m->buf;
  return offset <= m->buf_len && length <= m->buf_len - offset;
}

// Whether the packet is ordinary: one segment, and nothing asked for.
static inline uint32_t ordinary(const struct mbuf *m, uint32_t span) {
  uint32_t length = m->data_len;
  uint32_t odd = m->next | (m->pkt_len ^ length) | (m->ol_flags & ASKED_ALL);
  return odd == 0 && length - SENT_MIN <= span && inside(m, length);
}

struct send {
  uint64_t address;
  uint32_t lkey, qpn, span, pool, ring, mask, tail, packet_mask, packet_tail, *packets;
};

static struct send send_state(uint8_t *base, uint32_t q) {
  return (struct send){
      .address = (uint64_t)WORD(q + MLX5_BASE_HIGH) << 32 | WORD(q + MLX5_BASE_LOW),
      .lkey = WORD(q + MLX5_LKEY),
      .qpn = WORD(q + MLX5_QPN),
      .span = WORD(q + MLX5_BYTES_MAX) - SENT_MIN,
      .pool = WORD(WORD(q + QUEUE_CACHE) + CACHE_POOL),
      .ring = WORD(q + MLX5_RING),
      .mask = WORD(q + MLX5_MASK),
      .tail = WORD(q + MLX5_TAIL),
      .packet_mask = WORD(q + MLX5_PACKET_MASK),
      .packet_tail = WORD(q + MLX5_PACKET_TAIL),
      .packets = &WORD(WORD(q + MLX5_MBUFS)),
  };
}

static inline void write_head(struct wqe *w, uint32_t operation, uint32_t qpn_ds) {
  w->operation = operation;
  w->qpn_ds = qpn_ds;
  w->completion = 0;
  w->immediate = 0;
  w->unused = 0;
  w->checksums = 0;
  w->reserved = 0;
  w->inline_size = 0;
  memset(w->inline_start, 0, sizeof w->inline_start);
}

static inline void write_segment(struct data_segment *d, uint64_t address, uint32_t length, uint32_t lkey) {
  d->byte_count = __builtin_bswap32(length);
  d->lkey = lkey;
  d->address = __builtin_bswap64(address);
}

static void described(uint8_t *base, uint32_t q, uint32_t packets, uint32_t bytes, uint32_t blocks, uint32_t last) {
  WORD(q + MLX5_PACKET_TAIL) += packets;
  WORD(q + MLX5_TAIL) += blocks;
  WORD(q + MLX5_LAST_WQE) = last;
  WORD(q + MLX5_LOT_BYTES) += bytes;
}

// A block each; `inlined`: 0, or 18.
static uint32_t send_singles(uint8_t *base, uint32_t q, const uint32_t *pkts, uint32_t n, uint32_t inlined) {
  struct send s = send_state(base, q);
  struct wqe *ring = (struct wqe *)(base + s.ring);
  uint32_t blocks = s.mask + 1 - (s.tail - WORD(q + MLX5_HEAD));
  uint32_t places = s.packet_mask + 1 - (s.packet_tail - WORD(q + MLX5_PACKET_HEAD));
  uint32_t most = least(n, least(blocks, places)), qpn_ds = s.qpn | (inlined ? 4u : 3u) << 24;
  uint32_t odd = 0, bytes = 0, k = 0;
  for (; k < most; k++) {
    const struct mbuf *m = mbuf_at(base, pkts[k]);
    if (!ordinary(m, s.span)) unusual();
    struct wqe *w = &ring[(s.tail + k) & s.mask];
    write_head(w, SEND | (uint32_t)__builtin_bswap16(s.tail + k) << 8, qpn_ds);
    if (inlined) {
      w->inline_size = __builtin_bswap16(INLINE_BYTES);
      memcpy(w->inline_start, base + m->data, INLINE_BYTES);
      write_segment(&w->data[1], s.address + m->data + INLINE_BYTES, m->data_len - INLINE_BYTES, s.lkey);
    } else {
      write_segment(&w->data[0], s.address + m->data, m->data_len, s.lkey);
    }
    s.packets[(s.packet_tail + k) & s.packet_mask] = pkts[k];
    odd |= m->pool ^ s.pool;
    bytes += m->data_len;
  }
  if (k == 0) return 0;
  WORD(q + MLX5_LOT_ODD) |= odd;
  described(base, q, k, bytes, k, s.tail + k - 1);
  return k;
}

// Many packets in one WQE.
static uint32_t send_run(uint8_t *base, uint32_t q, const uint32_t *pkts, uint32_t n) {
  struct send s = send_state(base, q);
  uint32_t blocks = s.mask + 1 - (s.tail - WORD(q + MLX5_HEAD));
  if (blocks == 0) return 0;
  uint32_t places = s.packet_mask + 1 - (s.packet_tail - WORD(q + MLX5_PACKET_HEAD));
  uint32_t most = least(least(n, least(RUN_MAX, blocks * 4 - 2)), places);
  uint32_t start = (s.tail & s.mask) << 6, end = ((s.mask + 1) << 6) - 1, odd = 0, bytes = 0, k = 0;
  uint8_t *ring = base + s.ring;
  for (; k < most; k++) {
    const struct mbuf *m = mbuf_at(base, pkts[k]);
    if (!ordinary(m, s.span)) unusual();
    uint32_t at = (start + 32 + (k << 4)) & end;
    write_segment((struct data_segment *)(ring + at), s.address + m->data, m->data_len, s.lkey);
    s.packets[(s.packet_tail + k) & s.packet_mask] = pkts[k];
    odd |= m->pool ^ s.pool;
    bytes += m->data_len;
  }
  if (k == 0) return 0;
  uint32_t operation = ENHANCED_MPSW | (uint32_t)__builtin_bswap16(s.tail) << 8;
  write_head((struct wqe *)(ring + start), operation, s.qpn | (k + 2) << 24);
  WORD(q + MLX5_LOT_ODD) |= odd;
  described(base, q, k, bytes, (k + 5) >> 2, s.tail);
  return k;
}

static void ask_completion(uint8_t *base, uint32_t q, uint32_t asked) {
  uint32_t last = WORD(q + MLX5_LAST_WQE);
  struct wqe *w = (struct wqe *)(base + WORD(q + MLX5_RING)) + (last & WORD(q + MLX5_MASK));
  w->completion = CQ_UPDATE;
  struct lot *lot = (struct lot *)(base + WORD(q + MLX5_LOTS)) + (asked & WORD(q + MLX5_CQ_MASK));
  lot->counter = last & 0xffff;
  lot->tail = WORD(q + MLX5_TAIL);
  lot->packet_tail = WORD(q + MLX5_PACKET_TAIL);
  lot->odd = WORD(q + MLX5_LOT_ODD);
  WORD(q + MLX5_LOT_TAIL) = asked + 1;
}

static uint32_t send_lot(uint8_t *base, uint32_t q, const uint32_t *pkts, uint32_t n) {
  uint32_t asked = WORD(q + MLX5_LOT_TAIL), start = WORD(q + MLX5_TAIL), k = 0;
  WORD(q + MLX5_LOT_BYTES) = 0;
  WORD(q + MLX5_LOT_ODD) = 0;
  if (asked - WORD(q + MLX5_CQ_INDEX) > WORD(q + MLX5_CQ_MASK)) return 0;
  uint32_t multi = WORD(q + MLX5_FLAGS) & FLAG_MULTI_PACKET, inlined = WORD(q + MLX5_INLINE);
  while (k < n) {
    uint32_t sent = multi ? send_run(base, q, pkts + k, n - k) : send_singles(base, q, pkts + k, n - k, inlined);
    if (sent == 0) break;
    k += sent;
  }
  if (WORD(q + MLX5_TAIL) != start) ask_completion(base, q, asked);
  return k;
}

static void ring_doorbell(uint8_t *base, uint32_t q) {
  uint32_t last = WORD(q + MLX5_LAST_WQE) & WORD(q + MLX5_MASK), half = WORD(q + MLX5_BF_HALF);
  uint64_t head;
  memcpy(&head, (struct wqe *)(base + WORD(q + MLX5_RING)) + last, sizeof head);
  uint32_t *record = &WORD(WORD(q + MLX5_RECORD));
  __atomic_store_n(record, __builtin_bswap32(WORD(q + MLX5_TAIL) & 0xffff), __ATOMIC_RELEASE);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  *(volatile uint64_t *)(base + WORD(q + MLX5_BF) + half) = head;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  WORD(q + MLX5_BF_HALF) = half ^ WORD(q + MLX5_BF_BYTES);
}

static void give_back(uint8_t *base, uint32_t q, uint32_t end, uint32_t odd) {
  uint32_t cache = WORD(q + QUEUE_CACHE), mask = WORD(q + MLX5_PACKET_MASK), head = WORD(q + MLX5_PACKET_HEAD);
  const uint32_t *packets = &WORD(WORD(q + MLX5_MBUFS));
  uint32_t first = head & mask, count = end - head, whole = least(count, mask + 1 - first);
  if (odd) unusual();
  WORD(q + MLX5_PACKET_HEAD) = end;
  cache_put(base, cache, packets + first, whole);
  if (whole < count) cache_put(base, cache, packets, count - whole);
}

static void tx_clean(uint8_t *base, uint32_t q) {
  const struct cqe *cq = (struct cqe *)(base + WORD(q + MLX5_CQ));
  uint32_t start = WORD(q + MLX5_CQ_INDEX), mask = WORD(q + MLX5_CQ_MASK), shift = WORD(q + MLX5_CQ_SHIFT), k = 0;
  uint32_t most = least(WORD(q + MLX5_LOT_TAIL) - start, COMPLETIONS);
  for (; k < most; k++) {
    uint32_t index = start + k, owner = (index >> shift & 1) << OWNER_BIT;
    uint32_t word = __atomic_load_n(&cq[index & mask].owner, __ATOMIC_ACQUIRE);
    if (((word ^ owner) & 1u << OWNER_BIT) || word >> 28 == 15) break;
    const struct lot *lot = (struct lot *)(base + WORD(q + MLX5_LOTS)) + (index & mask);
    if ((word ^ (owner | __builtin_bswap16(lot->counter))) & LOOKED_AT) unusual();
    give_back(base, q, lot->packet_tail, lot->odd);
    WORD(q + MLX5_HEAD) = lot->tail;
  }
  if (k == 0) return;
  WORD(q + MLX5_CQ_INDEX) = start + k;
  __atomic_store_n(&WORD(WORD(q + MLX5_CQ_RECORD)), __builtin_bswap32((start + k) & 0xffffff), __ATOMIC_RELEASE);
}

uint32_t tx_burst(uint8_t *base, uint32_t q, const uint32_t *pkts, uint32_t n) {
  uint32_t before = WORD(q + MLX5_TAIL), k = 0, bytes = 0, cleaned = 0;
  uint32_t places = WORD(q + MLX5_PACKET_MASK) + 1 - (WORD(q + MLX5_PACKET_TAIL) - WORD(q + MLX5_PACKET_HEAD));
  if (places < n || before - WORD(q + MLX5_HEAD) > WORD(q + MLX5_MASK) >> 1) {
    tx_clean(base, q);
    cleaned = 1;
  }
  while (k < n) {
    uint32_t lot = least(n - k, LOT), taken = send_lot(base, q, pkts + k, lot);
    k += taken;
    bytes += WORD(q + MLX5_LOT_BYTES);
    if (taken == lot) continue;
    if (cleaned) break;
    tx_clean(base, q);
    cleaned = 1;
  }
  if (WORD(q + MLX5_TAIL) != before) ring_doorbell(base, q);
  if (k != 0) count_packets(base, q, k, bytes);
  return k;
}
