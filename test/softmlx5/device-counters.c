// The counter files of the tree: ports/1/hw_counters (kernel hw/mlx5/counters.c) and ports/1/counters.
#include "device.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

struct counter_file {
  const char *path;
  size_t offset;                  // in struct counters
  uint32_t divisor;               // port_*_data count 4-byte words (InfiniBand PortCounters)
};

#define COUNTER(field) offsetof(struct counters, field)
static const struct counter_file files[] = {
  {"hw_counters/out_of_buffer", COUNTER(out_of_buffer), 1},
  {"hw_counters/resp_local_length_error", COUNTER(rq_length_errors), 1},
  {"hw_counters/resp_cqe_error", COUNTER(rq_errors), 1},
  {"hw_counters/resp_cqe_flush_error", COUNTER(rq_flushed), 1},
  {"hw_counters/req_cqe_error", COUNTER(sq_errors), 1},
  {"hw_counters/req_cqe_flush_error", COUNTER(sq_flushed), 1},
  {"counters/port_xmit_packets", COUNTER(tx_packets), 1},
  {"counters/port_xmit_data", COUNTER(tx_bytes), 4},
  {"counters/port_rcv_packets", COUNTER(rx_packets), 1},
  {"counters/port_rcv_data", COUNTER(rx_bytes), 4},
};
enum { FILES = sizeof files / sizeof files[0] };

/** In place and without emptying the file first: whoever reads meanwhile sees the old number or the new one. */
static void write_number(const char *path, uint64_t number) {
  char text[32];
  int bytes = snprintf(text, sizeof text, "%" PRIu64 "\n", number);
  int fd = real_open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return;             // the tree has no such folder, or is gone
  if (pwrite(fd, text, (size_t)bytes, 0) != bytes || ftruncate(fd, bytes) != 0) trace(1, "cannot write %s", path);
  real_close(fd);
}

void counters_write(void) {
  static uint64_t written[PORTS_MAX][FILES];
  static bool once[PORTS_MAX];
  char path[4096];
  for (uint32_t i = 0; i < settings.ports; i++) {
    const uint8_t *counters = (const uint8_t *)&ports[i].counters;
    for (uint32_t f = 0; f < FILES; f++) {
      const uint64_t *counter = (const void *)(counters + files[f].offset);
      uint64_t number = __atomic_load_n(counter, __ATOMIC_RELAXED) / files[f].divisor;
      if (once[i] && number == written[i][f]) continue;
      written[i][f] = number;
      snprintf(path, sizeof path, "%s/class/infiniband/mlx5_%u/ports/1/%s", settings.sysfs, i, files[f].path);
      write_number(path, number);
    }
    once[i] = true;
  }
}
