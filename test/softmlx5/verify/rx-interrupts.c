// Receive interrupts by DPDK's mlx5 PMD, which testpmd does not use: two queues whose completion queues are armed, one
// frame at a time over a loop wire. `rx-interrupts EAL ARGUMENTS -- ROUNDS`.
#include <rte_eal.h>
#include <rte_epoll.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUEUES = 2, DESCRIPTORS = 512, MBUFS = 4095, BURST = 32, FRAME_BYTES = 64, WAIT_MS = 1000 };

#define CHECK(holds, ...)                  \
  do {                                     \
    if (holds) break;                      \
    printf("line %d: ", __LINE__);         \
    printf(__VA_ARGS__);                   \
    printf("\n");                          \
    exit(1);                               \
  } while (0)

static struct rte_mempool *pool;

static void start(void) {
  struct rte_eth_conf conf = {.intr_conf = {.rxq = 1}};
  pool = rte_pktmbuf_pool_create("pool", MBUFS, 128, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
  CHECK(pool, "no pool");
  CHECK(rte_eth_dev_configure(0, QUEUES, 1, &conf) == 0, "the port is not configured");
  for (uint16_t queue = 0; queue < QUEUES; queue++)
    CHECK(rte_eth_rx_queue_setup(0, queue, DESCRIPTORS, 0, NULL, pool) == 0, "no receive queue %u", queue);
  CHECK(rte_eth_tx_queue_setup(0, 0, DESCRIPTORS, 0, NULL) == 0, "no transmit queue");
  CHECK(rte_eth_dev_start(0) == 0, "the port does not start");
  for (uint16_t queue = 0; queue < QUEUES; queue++) {
    void *data = (void *)(uintptr_t)queue;
    int error = rte_eth_dev_rx_intr_ctl_q(0, queue, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_ADD, data);
    CHECK(error == 0, "queue %u has no interrupt: %d", queue, error);
  }
}

/** Takes all that has come; how many frames. */
static unsigned receive(void) {
  struct rte_mbuf *frames[BURST];
  unsigned all = 0;
  for (uint16_t queue = 0; queue < QUEUES; queue++) {
    uint16_t got = rte_eth_rx_burst(0, queue, frames, BURST);
    rte_pktmbuf_free_bulk(frames, got);
    all += got;
  }
  return all;
}

static void send_frame(void) {
  struct rte_mbuf *frame = rte_pktmbuf_alloc(pool);
  uint8_t *bytes = frame ? (uint8_t *)rte_pktmbuf_append(frame, FRAME_BYTES) : NULL;
  CHECK(bytes, "no mbuf");
  memset(bytes, 0, FRAME_BYTES);
  CHECK(rte_eth_macaddr_get(0, (struct rte_ether_addr *)bytes) == 0, "no address");
  bytes[12] = 0x88;
  bytes[13] = 0xb6;
  CHECK(rte_eth_tx_burst(0, 0, &frame, 1) == 1, "the frame was not taken");
}

/** `early`: the frame is there before the queues are armed, and is told of all the same. */
static void round_trip(int round, bool early) {
  struct rte_epoll_event event;
  if (early) {
    send_frame();
    usleep(1000);
  }
  for (uint16_t queue = 0; queue < QUEUES; queue++)
    CHECK(rte_eth_dev_rx_intr_enable(0, queue) == 0, "queue %u is not armed", queue);
  if (!early) {
    CHECK(rte_epoll_wait(RTE_EPOLL_PER_THREAD, &event, 1, 1) == 0, "round %d: an event of no frame", round);
    send_frame();
  }
  CHECK(rte_epoll_wait(RTE_EPOLL_PER_THREAD, &event, 1, WAIT_MS) == 1, "round %d: no event", round);
  CHECK(rte_eth_dev_rx_intr_disable(0, (uint16_t)(uintptr_t)event.epdata.data) == 0, "the event is not taken");
  unsigned frames = receive();
  CHECK(frames == 1, "round %d: %u frames", round, frames);
}

int main(int count, char **words) {
  int used = rte_eal_init(count, words);
  CHECK(used >= 0 && count - used == 2, "give EAL arguments, -- and the rounds");
  int rounds = atoi(words[used + 1]);
  start();
  for (int round = 0; round < rounds; round++) round_trip(round, round % 3 == 2);
  CHECK(rte_eth_dev_stop(0) == 0 && rte_eth_dev_close(0) == 0, "the port does not stop");
  printf("%d events\n", rounds);
  return 0;
}
