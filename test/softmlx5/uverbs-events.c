// Event files: asynchronous events of a context, and completion channels (kernel core/uverbs_main.c,
// ib_uverbs_event_read(); uverbs_std_types_async_fd.c). Each is an eventfd that counts the records in a list here, so
// that poll(2) and O_NONBLOCK work as they do on the kernel's; read(2) of it is caught and takes a record.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>
#include "uverbs.h"

#define QUEUES_MAX 256
#define RECORD_BYTES_MAX sizeof(struct ib_uverbs_async_event_desc)

struct record {
  struct record *next;
  struct object *about;           // counts what is read of it; NULL: a port or the device
  uint8_t bytes[RECORD_BYTES_MAX];
};

struct event_queue {
  bool used;
  bool open;                      // the client has its file
  bool closed;                    // there will be nothing more: EIO once it is empty
  int fd;
  int pid;
  const struct port *port;
  unsigned holders;               // CQs that write here
  size_t record_bytes;
  struct record *first, **end;
};

static struct event_queue queues[QUEUES_MAX];
static volatile unsigned queues_used;
/** Guards everything here and the counts in objects. Taken last, by the hardware thread too. */
static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;

// ---- files ----

struct event_queue *event_queue_open(const struct port *port, size_t record_bytes) {
  struct event_queue *queue = NULL;
  pthread_mutex_lock(&events_lock);
  for (unsigned i = 0; i < QUEUES_MAX && !queue; i++) {
    if (!queues[i].used) queue = &queues[i];
  }
  int fd = queue ? eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE) : -1;
  if (fd >= 0) {
    *queue = (struct event_queue){.used = true,
                                  .open = true,
                                  .fd = fd,
                                  .pid = getpid(),
                                  .port = port,
                                  .record_bytes = record_bytes,
                                  .end = &queue->first};
    queues_used++;
  }
  pthread_mutex_unlock(&events_lock);
  return fd >= 0 ? queue : NULL;
}

int event_queue_fd(const struct event_queue *queue) {
  return queue->fd;
}

struct event_queue *event_queue_of(int fd) {
  if (queues_used == 0) return NULL;
  for (unsigned i = 0; i < QUEUES_MAX; i++) {
    struct event_queue *queue = &queues[i];
    if (queue->used && queue->open && queue->fd == fd) return queue->pid == getpid() ? queue : NULL;
  }
  return NULL;
}

/** With events_lock. */
static void free_if_unused(struct event_queue *queue) {
  if (queue->open || queue->holders > 0) return;
  while (queue->first) {
    struct record *record = queue->first;
    queue->first = record->next;
    free(record);
  }
  queue->used = false;
  queues_used--;
}

void event_queue_close(struct event_queue *queue) {
  pthread_mutex_lock(&events_lock);
  for (unsigned i = 0; i < CONTEXTS_MAX; i++) {
    struct context *context = context_at(i);
    if (context && context->async == queue) context->async = NULL;
  }
  queue->open = false;
  free_if_unused(queue);
  pthread_mutex_unlock(&events_lock);
}

void event_queue_hold(struct event_queue *queue) {
  pthread_mutex_lock(&events_lock);
  queue->holders++;
  pthread_mutex_unlock(&events_lock);
}

void event_queue_release(struct event_queue *queue) {
  pthread_mutex_lock(&events_lock);
  queue->holders--;
  free_if_unused(queue);
  pthread_mutex_unlock(&events_lock);
}

// ---- records ----

/** With events_lock. */
static void push(struct event_queue *queue, struct object *about, const void *bytes) {
  struct record *record = queue && queue->open ? calloc(1, sizeof *record) : NULL;
  uint64_t one = 1;
  if (!record) return;  // the client closed the file: the kernel drops the event too
  record->about = about;
  memcpy(record->bytes, bytes, queue->record_bytes);
  *queue->end = record;
  queue->end = &record->next;
  if (write(queue->fd, &one, sizeof one) < 0) trace(1, "event file %d is full", queue->fd);
}

/** What it was armed by before its event was read, it is not armed by again. The hardware thread reads both. */
static void count_read(struct completion_queue *cq) {
  enum { ARM_RECORD = 1 };
  cq->arm_at_read = be32toh(cq->doorbell[ARM_RECORD]);
  __atomic_store_n(&cq->completion_events, cq->completion_events + 1, __ATOMIC_RELEASE);
}

/** With events_lock. */
static struct record *pop(struct event_queue *queue) {
  struct record *record = queue->first;
  if (!record) return NULL;
  queue->first = record->next;
  if (!queue->first) queue->end = &queue->first;
  bool completion = queue->record_bytes == sizeof(struct ib_uverbs_comp_event_desc);
  if (record->about && completion) count_read((struct completion_queue *)record->about);
  if (record->about && !completion) record->about->async_events++;
  return record;
}

long event_queue_read(struct event_queue *queue, void *buffer, size_t bytes) {
  uint64_t count;
  if (bytes < queue->record_bytes) {
    errno = EINVAL;
    return -1;
  }
  for (;;) {
    long got = real_read(queue->fd, &count, sizeof count);  // waits, or says EAGAIN, as the client set the file
    if (got < 0) return got;
    pthread_mutex_lock(&events_lock);
    struct record *record = pop(queue);
    bool over = !record && queue->closed;
    uint64_t one = 1;
    // A file of a removed device stays readable and every read of it fails (ib_uverbs_event_poll(): EPOLLERR).
    if (over && write(queue->fd, &one, sizeof one) < 0) trace(1, "event file %d is full", queue->fd);
    pthread_mutex_unlock(&events_lock);
    if (over) {
      errno = EIO;
      return -1;
    }
    if (!record) continue;  // it was about an object that is gone by now
    long taken = queue->record_bytes;
    memcpy(buffer, record->bytes, taken);
    free(record);
    return taken;
  }
}

/** Takes one off the eventfd's count, unless a reader that waits for events_lock was quicker. */
static void uncount(struct event_queue *queue) {
  uint64_t count;
  struct iovec vector = {.iov_base = &count, .iov_len = sizeof count};
  if (preadv2(queue->fd, &vector, 1, -1, RWF_NOWAIT) < 0) trace(2, "event file %d: a reader was quicker", queue->fd);
}

/** With events_lock. */
static void forget(struct event_queue *queue, struct object *object) {
  if (!queue) return;
  struct record **link = &queue->first;
  while (*link) {
    struct record *record = *link;
    if (record->about != object) {
      link = &record->next;
      continue;
    }
    *link = record->next;
    free(record);
    uncount(queue);
  }
  queue->end = link;
}

void events_forget(struct context *context, struct event_queue *channel, struct object *object) {
  pthread_mutex_lock(&events_lock);
  forget(context->async, object);
  forget(channel, object);
  pthread_mutex_unlock(&events_lock);
}

// ---- what happens ----

int async_event_alloc(struct command *command) {
  struct event_queue *queue = event_queue_open(command->context->port, sizeof(struct ib_uverbs_async_event_desc));
  if (!queue) return ENOMEM;
  command->context->async = queue;
  output_handle(command, UVERBS_ATTR_ASYNC_EVENT_ALLOC_FD_HANDLE, queue->fd);
  return 0;
}

void async_port_event(struct port *port, uint32_t type, bool last) {
  struct ib_uverbs_async_event_desc event = {.element = 1, .event_type = type};  // every device has port 1 alone
  uint64_t one = 1;
  pthread_mutex_lock(&events_lock);
  for (unsigned i = 0; i < CONTEXTS_MAX; i++) {
    struct context *context = context_at(i);
    if (context && context->port == port && context->async) push(context->async, NULL, &event);
  }
  // completion channels, too (ib_uverbs_free_event_queue())
  for (unsigned i = 0; i < QUEUES_MAX && last; i++) {
    struct event_queue *queue = &queues[i];
    if (!queue->used || queue->port != port) continue;
    queue->closed = true;
    if (write(queue->fd, &one, sizeof one) < 0) trace(1, "event file is full");
  }
  pthread_mutex_unlock(&events_lock);
}

static void async_object_event(struct object *object, uint32_t type) {
  struct ib_uverbs_async_event_desc event = {.element = object->user_handle, .event_type = type};
  trace(1, "asynchronous event %u of handle %u", type, object->handle);
  pthread_mutex_lock(&events_lock);
  push(object->context->async, object, &event);
  pthread_mutex_unlock(&events_lock);
}

// As in enum ib_event_type of the kernel's rdma/ib_verbs.h, which has no user-space header.
enum { EVENT_CQ_ERR = 0, EVENT_QP_FATAL = 1, EVENT_WQ_FATAL = 19 };

void uverbs_cq_error(struct completion_queue *cq) {
  async_object_event(&cq->object, EVENT_CQ_ERR);
}

void uverbs_qp_fatal(struct queue_pair *qp) {
  async_object_event(&qp->object, EVENT_QP_FATAL);
}

void uverbs_wq_fatal(struct receive_queue *rq) {
  if (rq->object.type == OBJECT_WQ) async_object_event(&rq->object, EVENT_WQ_FATAL);
}

void uverbs_completion_event(struct completion_queue *cq) {
  struct ib_uverbs_comp_event_desc event = {.cq_handle = cq->object.user_handle};
  if (!cq->channel) return;
  pthread_mutex_lock(&events_lock);
  push(cq->channel, &cq->object, &event);
  pthread_mutex_unlock(&events_lock);
}
