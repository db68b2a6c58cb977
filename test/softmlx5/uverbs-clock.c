// The two clock pages that a client may map (kernel hw/mlx5/main.c, mlx5_ib_mmap(): MLX5_IB_MMAP_CORE_CLOCK and
// MLX5_IB_MMAP_CLOCK_INFO): the free-running counter of the CQEs' time stamps, and how it becomes nanoseconds of the
// wall clock (mlx5dv_ts_to_ns()).
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "uverbs.h"

enum { CORE_CLOCK_PAGE, INFO_PAGE, PAGES };
#define PAGE_BYTES 4096l
#define SHIFT 8                    // nanoseconds are cycles times 2^SHIFT, shifted back: the counter is in nanoseconds

volatile uint32_t *core_clock;

static int file = -1;

static uint64_t nanoseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/** The counter is CLOCK_MONOTONIC (device.c); cycle 0 was that long after the epoch. */
static void fill_info(struct mlx5_ib_clock_info *info) {
  info->nsec = nanoseconds(CLOCK_REALTIME) - nanoseconds(CLOCK_MONOTONIC);
  info->mult = 1 << SHIFT;
  info->shift = SHIFT;
  info->mask = ~0ull;
  info->overflow_period = 1000000000;
}

static bool make_pages(void) {
  if (core_clock) return true;
  file = memfd_create("softmlx5-clock", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, PAGES * PAGE_BYTES)) return false;
  uint8_t *memory = real_mmap(NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) return false;
  fill_info((void *)(memory + INFO_PAGE * PAGE_BYTES));
  core_clock = (volatile uint32_t *)(memory + CORE_CLOCK_PAGE * PAGE_BYTES);
  return true;
}

void *clock_map(void *address, int protection, int flags, unsigned page_command) {
  int page = page_command == MLX5_IB_MMAP_CORE_CLOCK ? CORE_CLOCK_PAGE : INFO_PAGE;
  errno = protection & PROT_WRITE ? EPERM : ENOMEM;
  if (protection & PROT_WRITE || !make_pages()) return MAP_FAILED;
  return real_mmap(address, PAGE_BYTES, protection, MAP_SHARED | flags, file, page * PAGE_BYTES);
}
