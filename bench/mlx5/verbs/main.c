// `verbs IBDEV MODE CPU`: io, flowgen or txonly as testpmd has them, polling on that CPU. Says `ready`, and ends on a
// line at its stdin.
#define _GNU_SOURCE
#include "port.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  FRAME_BYTES = 64,
  FLOWS = 1024,
  FIRST_BURSTS = 16,              // bench/mlx5/workloads.ts: bursts that io begins with
  IP_CHECKSUM = 24,
  IP_DESTINATION = 30,
  FIRST_DESTINATION = 0x0afd0000,
};

static struct port port;
static uint8_t template[FRAME_BYTES];
static uint32_t header_sum;       // of the template's IPv4 header without checksum and destination
static bool stopped;

static uint32_t word(uint32_t at) { return (uint32_t)template[at] << 8 | template[at + 1]; }

static void put16(uint8_t *at, uint32_t value) {
  uint16_t big = __builtin_bswap16((uint16_t)value);
  memcpy(at, &big, sizeof big);
}

static void make_template(void) {
  static const uint8_t head[] = {
    2, 0, 0, 0, 0, 0, 2, 0x15, 0xb3, 0, 0, 1, 8, 0,                            // Ethernet
    0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2,     // IPv4
    0, 9, 0, 9, 0, 30, 0, 0,                                                    // UDP
  };
  memcpy(template, head, sizeof head);
  for (uint32_t at = 14; at < IP_DESTINATION; at += 2) header_sum += at == IP_CHECKSUM ? 0 : word(at);
}

/** Ethernet, IPv4 and UDP in 64 bytes, written anew into each buffer as both testpmds do. */
static bool make_burst(struct frame *frames) {
  if (!port_take(&port, frames, BURST)) return false;
  for (uint32_t k = 0; k < BURST; k++) {
    memcpy(frames[k].data, template, FRAME_BYTES);
    frames[k].bytes = FRAME_BYTES;
  }
  return true;
}

static uint32_t send_or_drop(const struct frame *frames, uint32_t n) {
  uint32_t sent = port_send(&port, frames, n);
  port_give(&port, frames + sent, n - sent);
  return sent;
}

static void io(void) {
  struct frame frames[BURST];
  uint32_t got = port_receive(&port, frames);
  if (got > 0) send_or_drop(frames, got);
}

static void txonly(void) {
  struct frame frames[BURST];
  if (make_burst(frames)) send_or_drop(frames, BURST);
}

static void flowgen(void) {
  static uint32_t first;
  struct frame frames[BURST];
  port_give(&port, frames, port_receive(&port, frames));
  if (!make_burst(frames)) return;
  for (uint32_t k = 0; k < BURST; k++) {
    uint32_t destination = FIRST_DESTINATION + (first + k) % FLOWS;
    uint32_t sum = header_sum + (destination >> 16) + (destination & 0xffff);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(frames[k].data + IP_DESTINATION, destination >> 16);
    put16(frames[k].data + IP_DESTINATION + 2, destination);
    put16(frames[k].data + IP_CHECKSUM, ~(sum + (sum >> 16)));
  }
  first = (first + send_or_drop(frames, BURST)) % FLOWS;
}

static void send_first(void) {
  struct frame frames[BURST];
  port_receive(&port, frames);    // posts buffers
  for (uint32_t k = 0; k < FIRST_BURSTS; k++) {
    need(make_burst(frames), "buffers");
    need(send_or_drop(frames, BURST) == BURST, "the first bursts");
  }
}

static void *wait_for_line(void *unused) {
  (void)unused;
  getchar();
  __atomic_store_n(&stopped, true, __ATOMIC_RELAXED);
  return NULL;
}

static void pin(const char *cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)atoi(cpu), &set);
  need(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
}

int main(int count, char **words) {
  static const struct mode {
    const char *name;
    void (*run)(void);
  } modes[] = {{"io", io}, {"flowgen", flowgen}, {"txonly", txonly}};
  void (*run)(void) = NULL;
  pthread_t reader;
  for (size_t k = 0; count == 4 && k < sizeof modes / sizeof modes[0]; k++) {
    if (strcmp(words[2], modes[k].name) == 0) run = modes[k].run;
  }
  if (!run) {
    fprintf(stderr, "usage: verbs IBDEV io|flowgen|txonly CPU\n");
    return 2;
  }
  make_template();
  port_open(&port, words[1]);
  need(pthread_create(&reader, NULL, wait_for_line, NULL) == 0, "pthread_create");
  pin(words[3]);
  printf("ready\n");
  fflush(stdout);
  if (run == io) send_first();
  while (!__atomic_load_n(&stopped, __ATOMIC_RELAXED)) run();
  pthread_join(reader, NULL);
  port_close(&port);
  return 0;
}
