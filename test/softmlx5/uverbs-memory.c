// Protection domains, memory regions and completion channels (kernel core/uverbs_cmd.c, hw/mlx5/mr.c).
#define _GNU_SOURCE
#include <errno.h>
#include "uverbs.h"

#define PAGE 4096ull
#define FIRST_PD_NUMBER 0x10

struct region *region_table[REGIONS_MAX];

struct protection_domain {
  struct object object;
};

int alloc_pd(struct command *command) {
  struct protection_domain *pd = object_create(command->context, OBJECT_PD, sizeof *pd);
  if (!pd) return ENOMEM;
  struct ib_uverbs_alloc_pd_resp response = {.pd_handle = pd->object.handle};
  struct mlx5_ib_alloc_pd_resp vendor = {.pdn = FIRST_PD_NUMBER + pd->object.handle};
  output(command, UVERBS_ATTR_CORE_OUT, &response, sizeof response);
  output(command, UVERBS_ATTR_UHW_OUT, &vendor, sizeof vendor);
  return 0;
}

int pd_destroy(struct command *command) {
  struct object *object = object_find(command->context, number(command, UVERBS_ATTR_DESTROY_PD_HANDLE), OBJECT_PD);
  if (!object) return ENOENT;
  if (object->users > 0) return EBUSY;
  object_free(object);
  return 0;
}

// ---- memory regions ----

struct owned_region {
  struct region region;
  struct object *pd;
};

/** A free index of region_table, going round, so that a key of a region that is gone stays invalid for long. */
static uint32_t free_region_index(void) {
  static uint32_t last;
  for (uint32_t tried = 0; tried < REGIONS_MAX - 1; tried++) {
    last = last % (REGIONS_MAX - 1) + 1;
    if (!region_table[last]) return last;
  }
  return 0;
}

int reg_mr(struct command *command) {
  struct ib_uverbs_reg_mr request;
  static uint8_t key;              // the low byte of an mkey: the kernel counts it up with every region
  copy_in(command, UVERBS_ATTR_CORE_IN, &request, sizeof request);
  struct object *pd = object_find(command->context, request.pd_handle, OBJECT_PD);
  if (!pd) return EINVAL;
  if (request.start % PAGE != request.hca_va % PAGE || request.length == 0) return EINVAL;
  if (request.start + request.length < request.start) return EINVAL;
  const uint32_t remote_writes = IB_UVERBS_ACCESS_REMOTE_WRITE | IB_UVERBS_ACCESS_REMOTE_ATOMIC;
  bool writable = request.access_flags & IB_UVERBS_ACCESS_LOCAL_WRITE;
  if ((request.access_flags & remote_writes) && !writable) return EINVAL;
  uint32_t index = free_region_index();
  struct owned_region *owned = index ? object_create(command->context, OBJECT_REGION, sizeof *owned) : NULL;
  if (!owned) return ENOMEM;
  struct region *region = &owned->region;
  int error = pin(&region->object, request.start, request.length);
  if (error) {
    object_free(&region->object);
    return error;
  }
  region->lkey = index << 8 | ++key;
  region->address = request.hca_va;
  region->bytes = request.length;
  region->memory = (uint8_t *)(uintptr_t)request.start;
  region->writable = writable;
  owned->pd = pd;
  pd->users++;
  region_table[index] = region;
  struct ib_uverbs_reg_mr_resp response = {
      .mr_handle = region->object.handle, .lkey = region->lkey, .rkey = region->lkey};
  output(command, UVERBS_ATTR_CORE_OUT, &response, offsetof(struct ib_uverbs_reg_mr_resp, driver_data));
  trace(1, "reg_mr 0x%lx, %lu bytes: lkey 0x%x%s", (unsigned long)region->address, (unsigned long)region->bytes,
        region->lkey, writable ? "" : ", read-only");
  return 0;
}

void region_release(struct object *object) {
  struct owned_region *owned = (struct owned_region *)object;
  region_table[owned->region.lkey >> 8] = NULL;
  device_quiesce();                // the hardware may be copying from or to it
  owned->pd->users--;
  object_free(object);
}

int mr_destroy(struct command *command) {
  struct object *object = object_find(command->context, number(command, UVERBS_ATTR_DESTROY_MR_HANDLE), OBJECT_REGION);
  if (!object) return ENOENT;
  region_release(object);
  return 0;
}

int create_comp_channel(struct command *command) {
  struct event_queue *queue = event_queue_open(command->context->port, sizeof(struct ib_uverbs_comp_event_desc));
  if (!queue) return ENOMEM;
  struct ib_uverbs_create_comp_channel_resp response = {.fd = event_queue_fd(queue)};
  output(command, UVERBS_ATTR_CORE_OUT, &response, sizeof response);
  return 0;
}
