// The lossless link: `client link-send` and `client link-receive` in two processes, SOFTMLX5_WIRE0=link:FILE,0 and 1.
#include "client.h"

#include <unistd.h>

enum { FRAMES = 8000, BATCH = 32, SPACE = 2048 };

static uint32_t bytes_of(uint32_t number) { return 60 + number * 13 % 1455; }

void test_link_send(void) {
  struct device device;
  struct sender sender;
  device_open(&device, 0);
  sender_create(&device, &sender, 256);
  uint8_t *frames = device_memory(&device, BATCH * SPACE);
  for (uint32_t number = 0; number < FRAMES; number += BATCH) {
    for (uint32_t i = 0; i < BATCH; i++) {
      struct wqe wqe;
      uint8_t *frame = frames + (size_t)i * SPACE;
      frame_plain(frame, bytes_of(number + i), number + i);
      wqe_begin(&wqe);
      wqe_ethernet(&wqe, 0, NULL, 0);
      wqe_pointer(&wqe, frame, bytes_of(number + i), device.mr->lkey);
      sender_put(&sender, &wqe, MLX5_OPCODE_SEND, i + 1 == BATCH ? CQ_UPDATE : 0);
    }
    sender_ring(&sender);
    sender_wait(&sender);
  }
}

/** Slow now and then, and with few buffers: nothing may be lost all the same. */
void test_link_receive(void) {
  static uint8_t wanted[SPACE];
  struct device device;
  struct receiver receiver;
  device_open(&device, 0);
  receiver_create(&device, &receiver, (struct receiver_options){.wqes = 64, .buffer_bytes = SPACE});
  rule_create(hash_qp(&device, &receiver, 1, NULL, 0), (struct rule){.any_mac = true});
  printf("ready\n");
  fflush(stdout);
  for (uint32_t number = 0; number < FRAMES; number++) {
    uint64_t deadline = now_us() + 5000000;
    struct received frame;
    while (!receiver_poll(&receiver, &frame)) CHECK(now_us() < deadline, "no frame %u", number);
    frame_plain(wanted, bytes_of(number), number);
    CHECK(frame.bytes == bytes_of(number), "frame %u: %u bytes", number, frame.bytes);
    CHECK(memcmp(frame.data, wanted, frame.bytes) == 0, "frame %u differs", number);
    if (number % 2000 == 1000) usleep(20000);
    receiver_post(&receiver, 1);
  }
}
