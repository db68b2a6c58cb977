// The hardware thread: looks at the doorbell registers, then lets queues and wires work, round after round.
//
// The kernel half changes what the thread works on only while it stands still: stop() waits until a round has ended,
// go() lets the next one begin. So the rounds themselves need no lock.
#define _GNU_SOURCE
#include "device.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
  TAP_ROUNDS = 8,                 // under load, a TAP's system call every so many rounds
  SPIN_ROUNDS = 400,              // without work, before the thread begins to sleep
  SLEEP_NS = 20000,
  COUNTERS_NS = 50000000,
};

uint64_t device_time_ns;

static pid_t started;              // the process that has the thread: a child of fork(2) has not; 0: none yet
static bool stop_wanted, stopped;

struct page_queues {              // send queues whose doorbells come through a UAR page
  struct queue_pair **list;
  uint32_t count;
};
static struct page_queues page_queues[UAR_PAGES_MAX];

// ---- standing still ----

static void stop(void) {
  if (started != getpid()) return;
  __atomic_store_n(&stop_wanted, true, __ATOMIC_SEQ_CST);
  while (!__atomic_load_n(&stopped, __ATOMIC_SEQ_CST)) sched_yield();
}

/** Waits until the thread has left, so that the next stop() does not take this pause for its own. */
static void go(void) {
  if (started != getpid()) return;
  __atomic_store_n(&stop_wanted, false, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&stopped, __ATOMIC_SEQ_CST)) sched_yield();
}

static void stand_still(void) {
  __atomic_store_n(&stopped, true, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&stop_wanted, __ATOMIC_SEQ_CST)) sched_yield();
  __atomic_store_n(&stopped, false, __ATOMIC_SEQ_CST);
}

// ---- doorbells ----

static uint64_t take_register(const struct uar_page *page, uint32_t offset) {
  uint64_t *address = (uint64_t *)(page->memory + offset);
  if (__atomic_load_n(address, __ATOMIC_RELAXED) == 0) return 0;
  return __atomic_exchange_n(address, 0, __ATOMIC_ACQ_REL);
}

/**
 * The register says which queue rang. But two queues may share it, and the second may have written before the first
 * was seen: so all queues of the page have their records looked at.
 */
static void ring(uint32_t page, uint64_t value) {
  const struct page_queues *queues = &page_queues[page];
  uint32_t qpn = be32toh((uint32_t)(value >> 32)) >> 8;
  bool known = false;
  if (settings.trace >= 3) trace(3, "UAR page %u: rung for queue 0x%x", page, qpn);
  for (uint32_t i = 0; i < queues->count; i++) {
    struct queue_pair *qp = queues->list[i];
    bool named = qp->qpn == qpn;
    known |= named;
    if (!qp->port->fatal) sq_doorbell(qp, named ? value : 0);
  }
  if (!known)
    complain("bf-mismatch", "UAR page %u: rung for queue 0x%x, which is not of this page", page, qpn);
}

static bool arm_rung(uint32_t page) {
  return __atomic_load_n((uint64_t *)(uar_pages[page].memory + UAR_CQ_ARM), __ATOMIC_ACQUIRE) != 0;
}

static bool poll_doorbells(void) {
  bool any = false;
  for (uint32_t i = 0; i < uar_pages_limit; i++) {
    const struct uar_page *page = &uar_pages[i];
    if (!page->used) continue;
    for (uint32_t offset = UAR_BLUE_FLAME; offset < UAR_BLUE_FLAME_END; offset += UAR_BLUE_FLAME_STEP) {
      uint64_t value = take_register(page, offset);
      if (!value) continue;
      ring(i, value);
      any = true;
    }
    uint64_t arm = take_register(page, UAR_CQ_ARM);
    if (arm) cq_arm(i, be64toh(arm), arm_rung);
    any |= arm != 0;
  }
  return any;
}

/** Rings that nobody is left to answer: the client may destroy a queue right after it rang. */
static void forget_doorbells(const struct queue_pair *qp) {
  const struct uar_page *page = &uar_pages[qp->uar_index];
  for (uint32_t offset = UAR_BLUE_FLAME; offset < UAR_BLUE_FLAME_END; offset += UAR_BLUE_FLAME_STEP) {
    uint64_t *address = (uint64_t *)(page->memory + offset);
    uint64_t value = __atomic_load_n(address, __ATOMIC_RELAXED);
    bool own = value && be32toh((uint32_t)(value >> 32)) >> 8 == qp->qpn;
    if (own) __atomic_compare_exchange_n(address, &value, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
  }
}

// ---- the thread ----

static uint64_t clock_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void tick(void) {
  device_time_ns = clock_ns();
  if (!core_clock) return;
  core_clock[0] = htobe32((uint32_t)(device_time_ns >> 32));
  core_clock[1] = htobe32((uint32_t)device_time_ns);
}

static bool run_round(bool busy, bool taps) {
  bool any = poll_doorbells();
  if (any || busy) tick();
  any |= sq_run_all();
  for (uint32_t i = 0; i < settings.ports; i++) any |= wire_poll(&ports[i], taps);
  cq_flush_all();
  return any;
}

static void rest(uint32_t idle_rounds) {
  struct timespec pause = {.tv_nsec = SLEEP_NS};
  if (idle_rounds < SPIN_ROUNDS / 4) {
    __builtin_ia32_pause();
  } else if (idle_rounds < SPIN_ROUNDS) {
    sched_yield();
  } else {
    nanosleep(&pause, NULL);
    tick();
  }
}

static void *hardware_main(void *unused) {
  uint32_t idle_rounds = 0;
  (void)unused;
  prctl(PR_SET_NAME, "softmlx5");
  prctl(PR_SET_TIMERSLACK, 1);    // nanosleep would be 50 us longer than asked
  for (uint32_t round = 0;; round++) {
    if (__atomic_load_n(&stop_wanted, __ATOMIC_ACQUIRE)) stand_still();
    bool busy = idle_rounds == 0;
    bool any = run_round(busy, !busy || round % TAP_ROUNDS == 0);
    idle_rounds = any ? 0 : idle_rounds + 1;
    if (!any) rest(idle_rounds);
  }
  return NULL;
}

static void *counters_main(void *unused) {
  struct timespec pause = {.tv_nsec = COUNTERS_NS};
  (void)unused;
  prctl(PR_SET_NAME, "softmlx5-stats");
  for (;;) {
    nanosleep(&pause, NULL);
    counters_write();
  }
  return NULL;
}

/**
 * SOFTMLX5_CPU=N: the hardware has a CPU of its own, where what polls it shall not run. Else it may run on any, not on
 * that of the thread alone (DPDK pins its own) that opened the device.
 */
static void place(pthread_t thread) {
  const char *text = getenv("SOFTMLX5_CPU");
  cpu_set_t set;
  CPU_ZERO(&set);
  for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!text || cpu == (size_t)atoi(text)) CPU_SET(cpu, &set);
  }
  if (pthread_setaffinity_np(thread, sizeof set, &set) != 0) trace(1, "cannot run the hardware on CPU %s", text);
}

/** Signals are the client's: its handlers do not run on threads of the hardware. */
static int start_threads(pthread_t *hardware) {
  pthread_t counters;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(hardware, NULL, hardware_main, NULL);
  if (!error) error = pthread_create(&counters, NULL, counters_main, NULL);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

int device_start(void) {
  pthread_t hardware;
  if (started) return 0;
  for (uint32_t i = 0; i < settings.ports; i++) {
    int error = wire_open(&ports[i]);
    if (error) return error;
  }
  tick();
  counters_write();
  int error = start_threads(&hardware);
  if (error) return error;
  started = getpid();
  place(hardware);
  return 0;
}

void device_quiesce(void) {
  stop();
  go();
}

// ---- objects come and go ----

void device_add_completion_queue(struct completion_queue *cq) {
  stop();
  cq_init(cq);
  go();
}

void device_remove_completion_queue(struct completion_queue *cq) {
  stop();
  cq_remove(cq);
  go();
}

void device_resize_completion_queue(struct completion_queue *cq, uint8_t *buffer, uint32_t entries,
                                    uint32_t cqe_bytes) {
  stop();
  cq_resize(cq, buffer, entries, cqe_bytes);
  go();
}

void device_add_receive_queue(struct receive_queue *rq) {
  rq->consumer = 0;
  rq->producer = 0;
  rq->stride = 0;
}

void device_remove_receive_queue(struct receive_queue *rq) {
  stop();
  cq_flush(rq->cq);
  go();
}

void device_add_queue_pair(struct queue_pair *qp) {
  stop();
  steer_queue_pair(qp);
  sq_init(qp);
  if (qp->send_wqebbs > 0) {
    struct page_queues *queues = &page_queues[qp->uar_index];
    queues->list = realloc(queues->list, (queues->count + 1) * sizeof *queues->list);
    queues->list[queues->count++] = qp;
  }
  go();
}

void device_remove_queue_pair(struct queue_pair *qp) {
  stop();
  if (qp->send_wqebbs > 0) {
    struct page_queues *queues = &page_queues[qp->uar_index];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < queues->count; i++) {
      if (queues->list[i] != qp) queues->list[kept++] = queues->list[i];
    }
    queues->count = kept;
    forget_doorbells(qp);
  }
  sq_release(qp);
  steer_release(qp);
  go();
}

void device_add_flow(struct flow *flow) {
  stop();
  steer_add(flow);
  go();
}

void device_remove_flow(struct flow *flow) {
  stop();
  steer_remove(flow);
  go();
}

void device_set_receive_state(struct receive_queue *rq, enum queue_state state) {
  stop();
  rq_set_state(rq, state);
  go();
}

void device_set_send_state(struct queue_pair *qp, enum queue_state state) {
  stop();
  sq_set_state(qp, state);
  go();
}

void port_link(struct port *port, bool up) {
  stop();
  port->up = up;
  go();
}

void port_fatal(struct port *port) {
  stop();
  port->fatal = true;
  go();
}
