// The loop over mlx5's rings in C: receive, as pmd/mlx5/hot-receive.ts and hot-minis.ts have it, and the clock;
// transmit is in send.c. The same structures, checks and writes, buffers that stay in their places and all. What the
// engine does with packets out of the ordinary is not here: the bench has none, and one that came would end it.
#include "ring.h"
#include <string.h>
#include <time.h>

// The lcore's cache of mbufs (src/hot/mbuf.ts).

static inline uint32_t cache_count(uint8_t *base, uint32_t cache) {
  return WORD(cache + CACHE_TAIL) - WORD(cache + CACHE_HEAD);
}

void cache_put(uint8_t *base, uint32_t cache, const uint32_t *from, uint32_t n) {
  uint32_t mask = WORD(cache + CACHE_MASK), tail = WORD(cache + CACHE_TAIL);
  uint32_t *ring = &WORD(WORD(cache + CACHE_RING));
  uint32_t start = tail & mask, first = least(n, mask + 1 - start);
  memcpy(ring + start, from, first * sizeof *ring);
  memcpy(ring, from + first, (n - first) * sizeof *ring);
  WORD(cache + CACHE_TAIL) = tail + n;
  if (cache_count(base, cache) > WORD(cache + CACHE_HIGH)) unusual();
}

// From the pool's stack, which is locked meanwhile.
static uint32_t cache_fill(uint8_t *base, uint32_t cache, uint32_t want) {
  uint32_t pool = WORD(cache + CACHE_POOL), unlocked = 0;
  if (!__atomic_compare_exchange_n(&WORD(pool + POOL_LOCK), &unlocked, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    return 0;
  uint32_t top = WORD(pool + POOL_TOP), n = least(want, top);
  cache_put(base, cache, &WORD(WORD(pool + POOL_STACK)) + (top - n), n);
  WORD(pool + POOL_TOP) = top - n;
  __atomic_store_n(&WORD(pool + POOL_LOCK), 0, __ATOMIC_RELEASE);
  return n;
}

void count_packets(uint8_t *base, uint32_t q, uint32_t packets, uint32_t bytes) {
  COUNTER(q + QUEUE_PACKETS) += packets;
  COUNTER(q + QUEUE_BYTES) += bytes;
}

// Receive.

static uint32_t take_run(uint8_t *base, uint32_t q, uint32_t *pkts, uint32_t n) {
  const struct cqe *cq = (struct cqe *)(base + WORD(q + MLX5_CQ));
  const uint32_t *mbufs = &WORD(WORD(q + MLX5_MBUFS));
  uint32_t cq_mask = WORD(q + MLX5_CQ_MASK), cq_shift = WORD(q + MLX5_CQ_SHIFT), mask = WORD(q + MLX5_MASK);
  uint32_t origin = WORD(q + QUEUE_ORIGIN), span = WORD(q + MLX5_ROOM) - FRAME_MIN;
  uint32_t index = WORD(q + MLX5_CQ_INDEX), head = WORD(q + MLX5_HEAD);
  uint32_t most = least(n, WORD(q + MLX5_TAIL) - head), bytes = 0, got = 0;
  for (; got < most; got++) {
    const struct cqe *cqe = &cq[(index + got) & cq_mask];
    uint32_t owner = ((index + got) >> cq_shift & 1) << OWNER_BIT;
    uint32_t wanted = OPCODE_RESP_SEND | owner | __builtin_bswap16(head + got);
    if ((__atomic_load_n(&cqe->owner, __ATOMIC_ACQUIRE) ^ wanted) & LOOKED_AT) break;
    uint32_t length = __builtin_bswap32(cqe->byte_cnt);
    if (length - FRAME_MIN > span) break;
    uint32_t at = mbufs[(head + got) & mask];
    struct mbuf *m = mbuf_at(base, at);
    m->data = m->buf + HEADROOM;
    m->data_len = length;
    m->pkt_len = length;
    m->next = 0;
    m->origin = origin;
    m->ol_flags = 0;
    pkts[got] = at;
    bytes += length;
  }
  if (got < n) {
    uint32_t word = __atomic_load_n(&cq[(index + got) & cq_mask].owner, __ATOMIC_ACQUIRE);
    uint32_t ours = (word >> OWNER_BIT & 1) == ((index + got) >> cq_shift & 1);
    if (got < most && ours && word >> 28 != 15) unusual();
  }
  if (got == 0) return 0;
  WORD(q + MLX5_HEAD) = head + got;
  WORD(q + MLX5_CQ_INDEX) = index + got;
  __atomic_store_n(&WORD(WORD(q + MLX5_CQ_RECORD)), __builtin_bswap32((index + got) & 0xffffff), __ATOMIC_RELEASE);
  count_packets(base, q, got, bytes);
  return got;
}

// A session's title stands where the next entry is looked for. Notes what it says of all its packets.
static void begin_session(uint8_t *base, uint32_t q, const struct cqe *cqe, uint32_t held) {
  uint32_t index = WORD(q + MLX5_CQ_INDEX), owner = (index >> WORD(q + MLX5_CQ_SHIFT) & 1) << OWNER_BIT;
  uint32_t word = __atomic_load_n(&cqe->owner, __ATOMIC_ACQUIRE);
  if (((word ^ owner) & 1u << OWNER_BIT) || word >> 28 == 15) return;
  uint32_t count = __builtin_bswap32(cqe->byte_cnt);
  if ((word & 0xfe000000u) != (OPCODE_RESP_SEND | FORMAT_COMPRESSED) || count == 0 || count > held) unusual();
  WORD(q + MLX5_MINIS) = count;
  WORD(q + MLX5_MINI) = 0;
  WORD(q + MLX5_MINI_COUNTER) = __builtin_bswap16(word & 0xffff);
  WORD(q + MLX5_TITLE_WQE) = __builtin_bswap16(cqe->words[0] >> 16);
  WORD(q + MLX5_TITLE_HASH_TYPE) = cqe->words[4] & 0xff;
  WORD(q + MLX5_TITLE_INFO) = cqe->words[7];
}

// The session's entries are told from those of the next laps.
static void end_session(uint8_t *base, uint32_t q, uint32_t minis) {
  uint32_t index = WORD(q + MLX5_CQ_INDEX), mask = WORD(q + MLX5_CQ_MASK), cq = WORD(q + MLX5_CQ);
  for (uint32_t k = 0; k < minis; k++) base[cq + (((index + k) & mask) << 6) + 63] = INVALID_OP_OWN;
  WORD(q + MLX5_MINIS) = 0;
  WORD(q + MLX5_CQ_INDEX) = index + minis;
}

static uint32_t take_minis(uint8_t *base, uint32_t q, uint32_t *pkts, uint32_t n) {
  const struct cqe *cq = (struct cqe *)(base + WORD(q + MLX5_CQ));
  const uint32_t *mbufs = &WORD(WORD(q + MLX5_MBUFS));
  uint32_t index = WORD(q + MLX5_CQ_INDEX), cq_mask = WORD(q + MLX5_CQ_MASK), mask = WORD(q + MLX5_MASK);
  uint32_t origin = WORD(q + QUEUE_ORIGIN), span = WORD(q + MLX5_ROOM) - FRAME_MIN, head = WORD(q + MLX5_HEAD);
  uint32_t held = WORD(q + MLX5_TAIL) - head, bytes = 0, got = 0;
  if (held == 0) return 0;
  if (WORD(q + MLX5_MINIS) == 0) begin_session(base, q, &cq[index & cq_mask], held);
  uint32_t minis = WORD(q + MLX5_MINIS), taken = WORD(q + MLX5_MINI), counter = WORD(q + MLX5_MINI_COUNTER);
  if (minis == 0) return 0;
  if (counter != (head & 0xffff)) unusual();
  for (uint32_t most = least(least(n, held), minis - taken); got < most; got++) {
    uint32_t k = taken + got, group = k < 8 ? 1 : k & ~7u;
    const struct mini *mini = (const struct mini *)&cq[(index + group) & cq_mask] + (k & 7);
    uint32_t length = __builtin_bswap32(mini->byte_cnt);
    if (length - FRAME_MIN > span) unusual();
    uint32_t at = mbufs[(head + got) & mask];
    struct mbuf *m = mbuf_at(base, at);
    m->data = m->buf + HEADROOM;
    m->data_len = length;
    m->pkt_len = length;
    m->next = 0;
    m->origin = origin;
    m->ol_flags = 0;
    pkts[got] = at;
    bytes += length;
  }
  WORD(q + MLX5_HEAD) = head + got;
  WORD(q + MLX5_MINI) = taken + got;
  WORD(q + MLX5_MINI_COUNTER) = (counter + got) & 0xffff;
  if (taken + got == minis) end_session(base, q, minis);
  count_packets(base, q, got, bytes);
  return got;
}

static uint32_t take_sessions(uint8_t *base, uint32_t q, uint32_t *pkts, uint32_t n) {
  uint32_t before = WORD(q + MLX5_CQ_INDEX), got = 0;
  while (got < n) {
    uint32_t took = take_minis(base, q, pkts + got, n - got);
    if (took == 0) break;
    got += took;
  }
  uint32_t index = WORD(q + MLX5_CQ_INDEX);
  if (index != before)
    __atomic_store_n(&WORD(WORD(q + MLX5_CQ_RECORD)), __builtin_bswap32(index & 0xffffff), __ATOMIC_RELEASE);
  return got;
}

// Points WQEs at the buffers of mbufs that have come to other places.
static void write_buffers(uint8_t *base, uint32_t q, uint32_t slot, const uint32_t *from, uint32_t n) {
  struct data_segment *wqes = (struct data_segment *)(base + WORD(q + MLX5_RING)) + slot;
  uint32_t *mbufs = &WORD(WORD(q + MLX5_MBUFS)) + slot;
  uint64_t address = (uint64_t)WORD(q + MLX5_BASE_HIGH) << 32 | WORD(q + MLX5_BASE_LOW);
  for (uint32_t k = 0; k < n; k++) {
    wqes[k].address = __builtin_bswap64(address + mbuf_at(base, from[k])->buf + HEADROOM);
    mbufs[k] = from[k];
  }
}

// Words at the beginning of both that are equal.
static uint32_t equal_run(const uint32_t *a, const uint32_t *b, uint32_t n) {
  uint32_t k = 0;
  for (; k + 8 <= n; k += 8)
    if (memcmp(a + k, b + k, 32) != 0) break;
  while (k < n && a[k] == b[k]) k++;
  return k;
}

static void place(uint8_t *base, uint32_t q, uint32_t cache, uint32_t tail, uint32_t count) {
  uint32_t mask = WORD(q + MLX5_MASK), from_mask = WORD(cache + CACHE_MASK), first = WORD(cache + CACHE_HEAD);
  const uint32_t *from = &WORD(WORD(cache + CACHE_RING)), *mbufs = &WORD(WORD(q + MLX5_MBUFS));
  for (uint32_t k = 0; k < count;) {
    uint32_t slot = (tail + k) & mask, at = (first + k) & from_mask;
    uint32_t span = least(least(count - k, mask + 1 - slot), from_mask + 1 - at);
    uint32_t home = equal_run(from + at, mbufs + slot, span), moved = least(span - home, MOVED);
    write_buffers(base, q, slot + home, from + at + home, moved);
    k += home + moved;
  }
  WORD(cache + CACHE_HEAD) = first + count;
}

static void refill(uint8_t *base, uint32_t q) {
  uint32_t mask = WORD(q + MLX5_MASK), tail = WORD(q + MLX5_TAIL), lot = WORD(q + MLX5_LOT);
  uint32_t held = tail - WORD(q + MLX5_HEAD), room = mask + 1 - held;
  if (room < lot) return;
  uint32_t cache = WORD(q + QUEUE_CACHE), have = cache_count(base, cache);
  if (have < lot) have += cache_fill(base, cache, room - have);
  if (have < lot && held > mask >> 1) return;
  uint32_t count = least(have, room);
  if (count == 0) return;
  place(base, q, cache, tail, count);
  WORD(q + MLX5_TAIL) = tail + count;
  __atomic_store_n(&WORD(WORD(q + MLX5_RECORD)), __builtin_bswap32((tail + count) & 0xffff), __ATOMIC_RELEASE);
}

static uint32_t rx_burst(uint8_t *base, uint32_t q, uint32_t *pkts, uint32_t n) {
  uint32_t compressed = WORD(q + MLX5_FLAGS) & FLAG_COMPRESSED;
  uint32_t got = compressed ? take_sessions(base, q, pkts, n) : take_run(base, q, pkts, n);
  refill(base, q);
  return got;
}

// Polls until nothing comes any more. Returns the packets that came.
uint32_t drain(uint8_t *base, uint32_t rxq, uint32_t txq, uint32_t pkts, uint32_t batch) {
  uint32_t *list = &WORD(pkts), total = 0;
  for (;;) {
    uint32_t got = rx_burst(base, rxq, list, batch);
    if (got == 0) return total;
    uint32_t sent = tx_burst(base, txq, list, got);
    if (sent < got) cache_put(base, WORD(rxq + QUEUE_CACHE), list + sent, got - sent);
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
double time_rounds(uint8_t *base, uint32_t device, uint32_t rxq, uint32_t txq, uint32_t pkts, uint32_t batch,
                   uint32_t rounds, uint32_t count, double *packets) {
  double spent = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    device_step(base, device, count);
    double start = now_ns();
    *packets += drain(base, rxq, txq, pkts, batch);
    spent += now_ns() - start;
  }
  return spent;
}
