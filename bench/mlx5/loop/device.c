// The NIC at the other end of the rings. device_step is the quick one for timing; device_step_checked writes a numbered
// frame into every buffer and looks at each frame that comes back, and at the WQEs that bring it.
#include "ring.h"
#include <string.h>

#define FRAME_WORDS 16
#define NUMBER_WORD 5 // behind what is inlined
#define SESSION_MAX 64
#define COUNT_MAX 512 // frames a step

static struct cqe *entry(uint8_t *base, uint32_t cq, uint32_t size, uint32_t index) {
  return (struct cqe *)(base + cq) + (index & (size - 1));
}

static void complete(struct cqe *cqe, uint32_t size, uint32_t index, uint32_t opcode, uint32_t counter,
                     uint32_t bytes) {
  uint32_t owner = (index & size) != 0;
  cqe->byte_cnt = __builtin_bswap32(bytes);
  uint32_t word = opcode | owner << OWNER_BIT | __builtin_bswap16(counter);
  __atomic_store_n(&cqe->owner, word, __ATOMIC_RELEASE);
}

// How many 16-bit indices the doorbell record is ahead of `head`.
static uint32_t ahead(uint8_t *base, uint32_t record, uint32_t head) {
  uint32_t tail = __builtin_bswap32(__atomic_load_n(&WORD(record), __ATOMIC_ACQUIRE));
  return (tail - head) & 0xffff;
}

static void deliver(uint8_t *base, struct device *d, uint32_t bytes) {
  struct cqe *cqe = entry(base, d->rx_cq, d->rx_cq_size, d->rx_cq_index);
  complete(cqe, d->rx_cq_size, d->rx_cq_index, OPCODE_RESP_SEND, d->rx_head, bytes);
  d->rx_cq_index++;
  d->rx_head++;
}

// The next `count` frames as one session: the title, behind it eight minis, and eight more in every eighth entry.
static void deliver_session(uint8_t *base, struct device *d, const uint32_t *lengths, uint32_t count) {
  uint32_t title = d->rx_cq_index;
  for (uint32_t k = 0; k < count; k++) {
    struct cqe *cqe = entry(base, d->rx_cq, d->rx_cq_size, title + (k < 8 ? 1 : k & ~7u));
    ((struct mini *)cqe)[k & 7].byte_cnt = __builtin_bswap32(lengths[k]);
  }
  struct cqe *cqe = entry(base, d->rx_cq, d->rx_cq_size, title);
  complete(cqe, d->rx_cq_size, title, OPCODE_RESP_SEND | FORMAT_COMPRESSED, d->rx_head, count);
  d->rx_cq_index += count;
  d->rx_head += count;
}

static void deliver_all(uint8_t *base, struct device *d, const uint32_t *lengths, uint32_t count) {
  if (!d->compressed) {
    for (uint32_t k = 0; k < count; k++) deliver(base, d, lengths[k]);
    return;
  }
  for (uint32_t k = 0, part; k < count; k += part) {
    part = count - k < SESSION_MAX ? count - k : SESSION_MAX;
    deliver_session(base, d, lengths + k, part);
  }
}

static struct wqe *sent_wqe(uint8_t *base, const struct device *d) {
  return (struct wqe *)(base + d->tx_ring) + (d->tx_head & d->tx_mask);
}

static void finish(uint8_t *base, struct device *d, const struct wqe *w) {
  if (w->completion & CQ_UPDATE) {
    struct cqe *cqe = entry(base, d->tx_cq, d->tx_cq_size, d->tx_cq_index);
    complete(cqe, d->tx_cq_size, d->tx_cq_index, 0, d->tx_head, 0);
    d->tx_cq_index++;
  }
  d->tx_head += ((w->qpn_ds >> 24 & 63) + 3) >> 2;
}

// Delivers up to `count` frames, at most COUNT_MAX, as far as there are buffers, and sends all that there is to send.
uint32_t device_step(uint8_t *base, uint32_t device, uint32_t count) {
  struct device *d = (struct device *)(base + device);
  uint32_t room = ahead(base, d->rx_record, d->rx_head), lengths[COUNT_MAX];
  uint32_t frames = count < room ? count : room;
  for (uint32_t k = 0; k < frames; k++) lengths[k] = 60;
  deliver_all(base, d, lengths, frames);
  while (ahead(base, d->tx_record, d->tx_head) != 0) finish(base, d, sent_wqe(base, d));
  return frames;
}

static uint32_t frame_length(uint32_t number) { return 64 + number % 1400; }
static uint32_t frame_word(uint32_t number, uint32_t k) {
  return k == NUMBER_WORD ? number : (number + 1) * 2654435761u + k * 40503u;
}

static uint8_t *at_address(uint64_t address) { return (uint8_t *)(uintptr_t)__builtin_bswap64(address); }

// A frame of which `head` bytes stand at `start`, and the rest in the data segment.
static void check_frame(struct device *d, const uint8_t *start, uint32_t head, const struct data_segment *segment) {
  uint32_t words[FRAME_WORDS];
  memcpy(words, start, head);
  memcpy((uint8_t *)words + head, at_address(segment->address), sizeof words - head);
  uint32_t number = words[NUMBER_WORD], wrong = 0;
  for (uint32_t k = 0; k < FRAME_WORDS; k++) wrong |= words[k] != frame_word(number, k);
  wrong |= __builtin_bswap32(segment->byte_count) + head != frame_length(number);
  wrong |= segment->lkey != d->lkey || number != d->sent;
  d->wrong += wrong;
  d->sent++;
  d->digest = (d->digest ^ number) * 16777619u;
}

static void check_sent(uint8_t *base, struct device *d, const struct wqe *w) {
  uint32_t segments = w->qpn_ds >> 24 & 63, operation = (uint32_t)__builtin_bswap16(d->tx_head) << 8;
  uint32_t inlined = __builtin_bswap16(w->inline_size);
  d->wrong += (w->operation & 0xffff00) != operation;
  if (w->operation >> 24 == SEND >> 24) {
    d->wrong += segments != (inlined ? 4 : 3) || (inlined != 0 && inlined != INLINE_BYTES);
    check_frame(d, w->inline_start, inlined, &w->data[inlined ? 1 : 0]);
    return;
  }
  d->wrong += w->operation >> 24 != ENHANCED_MPSW >> 24;
  uint32_t end = (d->tx_mask + 1) << 6;
  for (uint32_t k = 2; k < segments; k++) {
    uint32_t at = (((d->tx_head & d->tx_mask) << 6) + (k << 4)) & (end - 1);
    check_frame(d, w->inline_start, 0, (struct data_segment *)(base + d->tx_ring + at));
  }
}

// As device_step, but with numbered frames that are compared when they are sent on; sends at most `send_max` WQEs.
uint32_t device_step_checked(uint8_t *base, uint32_t device, uint32_t count, uint32_t send_max) {
  struct device *d = (struct device *)(base + device);
  uint32_t room = ahead(base, d->rx_record, d->rx_head), lengths[COUNT_MAX];
  uint32_t frames = count < room ? count : room;
  for (uint32_t k = 0; k < frames; k++) {
    const struct data_segment *s = (struct data_segment *)(base + d->rx_ring) + ((d->rx_head + k) & d->rx_mask);
    uint32_t number = d->delivered++;
    for (uint32_t w = 0; w < FRAME_WORDS; w++) {
      uint32_t word = frame_word(number, w);
      memcpy(at_address(s->address) + 4 * w, &word, sizeof word);
    }
    lengths[k] = frame_length(number);
  }
  deliver_all(base, d, lengths, frames);
  for (; send_max > 0 && ahead(base, d->tx_record, d->tx_head) != 0; send_max--) {
    const struct wqe *w = sent_wqe(base, d);
    check_sent(base, d, w);
    finish(base, d, w);
  }
  return frames;
}
