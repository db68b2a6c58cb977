// Attributes of a command, and the objects that commands make (kernel core/uverbs_ioctl.c, rdma_core.c, umem.c).
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uverbs.h"

#define OBJECTS_MAX 65536
#define FIRST_QUEUE_NUMBER 0x100
#define PAGE_BYTES 4096ull
#define PAGES_AT_ONCE 4096

static struct object *objects[OBJECTS_MAX];
static uint32_t objects_limit = 1;  // one more than the highest handle ever used; handle 0 is never given

// ---- attributes ----

struct ib_uverbs_attr *attribute(struct command *command, uint16_t id) {
  struct ib_uverbs_attr *attributes = command->header->attrs;
  for (unsigned i = 0; i < command->header->num_attrs; i++) {
    if (attributes[i].attr_id == id) return &attributes[i];
  }
  return NULL;
}

const void *input(struct command *command, uint16_t id, uint32_t *bytes) {
  struct ib_uverbs_attr *found = attribute(command, id);
  *bytes = found ? found->len : 0;
  if (!found) return NULL;
  // kernel uverbs_attr_ptr_is_inline()
  return found->len <= sizeof found->data ? (const void *)&found->data : (const void *)(uintptr_t)found->data;
}

bool copy_in(struct command *command, uint16_t id, void *to, uint32_t bytes) {
  uint32_t given;
  const void *from = input(command, id, &given);
  memset(to, 0, bytes);
  if (from) memcpy(to, from, given < bytes ? given : bytes);
  return from != NULL;
}

uint64_t number(struct command *command, uint16_t id) {
  struct ib_uverbs_attr *found = attribute(command, id);
  uint64_t value = 0;
  if (!found) return 0;
  // Handles and descriptors have length 0 and the value in `data`.
  if (found->len == 0 || found->len >= sizeof value) return found->data;
  memcpy(&value, &found->data, found->len);
  return value;
}

void output(struct command *command, uint16_t id, const void *from, uint32_t bytes) {
  struct ib_uverbs_attr *found = attribute(command, id);
  if (!found || !found->data) return;
  uint8_t *to = (uint8_t *)(uintptr_t)found->data;
  uint32_t taken = bytes < found->len ? bytes : found->len;
  memcpy(to, from, taken);
  memset(to + taken, 0, found->len - taken);
  found->flags |= UVERBS_ATTR_F_VALID_OUTPUT;
}

uint32_t response_bytes(struct command *command, uint16_t id, uint32_t bytes) {
  struct ib_uverbs_attr *found = attribute(command, id);
  return found && found->len < bytes ? found->len : bytes;
}

void output_handle(struct command *command, uint16_t id, uint64_t handle) {
  struct ib_uverbs_attr *found = attribute(command, id);
  if (found) found->data = handle;
}

// ---- objects ----

static uint64_t pinned_pages;

void *object_create(struct context *context, enum object_type type, size_t bytes) {
  uint32_t handle = 1;
  while (handle < OBJECTS_MAX && objects[handle]) handle++;
  if (handle == OBJECTS_MAX) return NULL;
  struct object *object = calloc(1, bytes);
  if (!object) return NULL;
  object->type = type;
  object->handle = handle;
  object->context = context;
  objects[handle] = object;
  if (handle >= objects_limit) objects_limit = handle + 1;
  return object;
}

void *object_find(struct context *context, uint32_t handle, enum object_type type) {
  struct object *object = handle < OBJECTS_MAX ? objects[handle] : NULL;
  if (!object || object->type != type || object->context != context) return NULL;
  return object;
}

void object_free(struct object *object) {
  pinned_pages -= object->pinned_pages;
  objects[object->handle] = NULL;
  free(object);
}

static bool has_capability(unsigned capability) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
  if (settings.privileged) return true;
  return syscall(SYS_capget, &header, sets) == 0 && sets[0].effective >> capability & 1;
}

bool may_use_raw_packets(void) {
  return has_capability(CAP_NET_RAW);
}

/** Whether every page is mapped. */
static bool is_mapped(uint64_t start, uint64_t bytes) {
  unsigned char resident[PAGES_AT_ONCE];
  for (uint64_t at = start & ~(PAGE_BYTES - 1), end = start + bytes; at < end; at += sizeof resident * PAGE_BYTES) {
    uint64_t left = end - at;
    uint64_t length = left < sizeof resident * PAGE_BYTES ? left : sizeof resident * PAGE_BYTES;
    if (mincore((void *)(uintptr_t)at, length, resident)) return false;
  }
  return true;
}

int pin(struct object *object, uint64_t start, uint64_t bytes) {
  struct rlimit limit;
  uint64_t pages = (start % PAGE_BYTES + bytes + PAGE_BYTES - 1) / PAGE_BYTES;
  getrlimit(RLIMIT_MEMLOCK, &limit);
  bool unlimited = limit.rlim_cur == RLIM_INFINITY || has_capability(CAP_IPC_LOCK);
  if (!unlimited && pinned_pages + pages > limit.rlim_cur / PAGE_BYTES) return ENOMEM;
  if (!is_mapped(start, bytes)) return EFAULT;
  object->pinned_pages += pages;
  pinned_pages += pages;
  return 0;
}

uint32_t next_queue_number(void) {
  static uint32_t next = FIRST_QUEUE_NUMBER;
  uint32_t number = next;
  next = next == 0xffffff ? FIRST_QUEUE_NUMBER : next + 1;
  return number;
}

/** How an object of each type ends when nobody refers to it, and in which order they end at close. */
static const struct {
  enum object_type type;
  const char *name;
  void (*release)(struct object *object);
  bool leak;  // the client should have destroyed it; libmlx5 itself leaves its UAR pages to close
} kinds[] = {
    {OBJECT_FLOW, "flow", flow_release, true},
    {OBJECT_MATCHER, "flow matcher", matcher_release, true},
    {OBJECT_QP, "QP", qp_release, true},
    {OBJECT_INDIRECTION, "indirection table", indirection_release, true},
    {OBJECT_WQ, "WQ", wq_release, true},
    {OBJECT_CQ, "CQ", cq_release, true},
    {OBJECT_REGION, "MR", region_release, true},
    {OBJECT_PD, "PD", object_free, true},
    {OBJECT_UAR, "UAR page", uar_release, false},
};

void release_all(struct context *context) {
  char leaked[200] = "";
  for (unsigned kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
    unsigned count = 0;
    for (uint32_t handle = 1; handle < objects_limit; handle++) {
      struct object *object = objects[handle];
      if (!object || object->context != context || object->type != kinds[kind].type) continue;
      kinds[kind].release(object);
      count++;
    }
    if (count == 0 || !kinds[kind].leak) continue;
    size_t used = strlen(leaked);
    snprintf(leaked + used, sizeof leaked - used, "%s%u %s", used ? ", " : "", count, kinds[kind].name);
  }
  // After removal of the device there was no way to destroy anything.
  if (!leaked[0] || context->port->fatal) return;
  complain("leaked-object", "mlx5_%u was closed with %s alive", context->port->index, leaked);
}
