// The NIC at the other end of the rings. device_step is the quick one for timing; device_step_checked writes a numbered
// frame into every buffer and looks at each frame that comes back.
#include "ring.h"

#define FRAME_WORDS 16
#define NUMBER_WORD 4 // behind the MAC addresses, the same before and after the swap

static struct device *device_at(uint8_t *base) { return (struct device *)(base + AT_DEVICE); }
static uint32_t tail(uint8_t *base, uint32_t which) {
  return __atomic_load_n((uint32_t *)(base + AT_REGISTERS + which), __ATOMIC_ACQUIRE);
}
static uint32_t *frame_of(uint8_t *base, const struct desc *d) {
  return (uint32_t *)(base + (d->address - ((uint64_t)BUS_HIGH << 32)));
}

static void deliver(struct desc *d, uint32_t length) {
  d->address = 0x1234; // the write-back replaces the address: who reads it afterwards is wrong
  d->rx.length = length;
  __atomic_store_n(&d->rx.status, 3, __ATOMIC_RELEASE); // DD, EOP
}

static void complete(struct desc *d) {
  if (d->tx.command & COMMAND_REPORT) __atomic_store_n(&d->tx.status, DONE, __ATOMIC_RELEASE);
}

// Delivers up to `count` frames as far as there are buffers, and sends all that there is to send.
uint32_t device_step(uint8_t *base, uint32_t count) {
  struct device *device = device_at(base);
  struct desc *rx = (struct desc *)(base + AT_RX_RING), *tx = (struct desc *)(base + AT_TX_RING);
  uint32_t rx_tail = tail(base, REGISTER_RX_TAIL), tx_tail = tail(base, REGISTER_TX_TAIL), k = 0;
  for (; k < count && device->rx_head != rx_tail; k++) {
    deliver(&rx[device->rx_head], 60);
    device->rx_head = (device->rx_head + 1) & RING_MASK;
  }
  for (; device->tx_head != tx_tail; device->tx_head = (device->tx_head + 1) & RING_MASK)
    complete(&tx[device->tx_head]);
  return k;
}

static uint32_t frame_length(uint32_t number) { return 60 + number % 1441; }
static uint32_t frame_word(uint32_t number, uint32_t k) {
  return k == NUMBER_WORD ? number : (number + 1) * 2654435761u + k * 40503u;
}

// Word k of the frame as the application must have left it.
static uint32_t wanted_word(uint32_t number, uint32_t k, uint32_t swapped) {
  uint32_t a = frame_word(number, 0), b = frame_word(number, 1), c = frame_word(number, 2);
  if (!swapped || k > 2) return frame_word(number, k);
  return k == 0 ? b >> 16 | c << 16 : k == 1 ? c >> 16 | a << 16 : a >> 16 | b << 16;
}

static void check_sent(uint8_t *base, struct device *device, const struct desc *d, uint32_t swapped) {
  const uint32_t *frame = frame_of(base, d);
  uint32_t number = frame[NUMBER_WORD], wrong = number < device->last || number >= device->delivered;
  for (uint32_t k = 0; k < FRAME_WORDS; k++) wrong |= frame[k] != wanted_word(number, k, swapped);
  wrong |= (d->tx.command & 0xfffff) != frame_length(number) || d->tx.status != frame_length(number) << 14;
  device->wrong += wrong;
  device->sent++;
  device->last = number + 1;
  device->digest = (device->digest ^ number) * 16777619u;
}

// As device_step, but with numbered frames that are compared when they are sent on; sends at most `send_max`.
uint32_t device_step_checked(uint8_t *base, uint32_t count, uint32_t send_max, uint32_t swapped) {
  struct device *device = device_at(base);
  struct desc *rx = (struct desc *)(base + AT_RX_RING), *tx = (struct desc *)(base + AT_TX_RING);
  uint32_t rx_tail = tail(base, REGISTER_RX_TAIL), tx_tail = tail(base, REGISTER_TX_TAIL), k = 0;
  for (; k < count && device->rx_head != rx_tail; k++) {
    struct desc *d = &rx[device->rx_head];
    uint32_t number = device->delivered++, *frame = frame_of(base, d);
    for (uint32_t w = 0; w < FRAME_WORDS; w++) frame[w] = frame_word(number, w);
    deliver(d, frame_length(number));
    device->rx_head = (device->rx_head + 1) & RING_MASK;
  }
  for (; send_max > 0 && device->tx_head != tx_tail; send_max--) {
    check_sent(base, device, &tx[device->tx_head], swapped);
    complete(&tx[device->tx_head]);
    device->tx_head = (device->tx_head + 1) & RING_MASK;
  }
  return k;
}
