// ib_uverbs: the device node and its commands (kernel drivers/infiniband/core/uverbs_main.c, uverbs_ioctl.c). Which
// file handles a command stands in the two tables below.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "uverbs.h"

#define DEVICE_NODE "/dev/infiniband/uverbs"

struct port ports[PORTS_MAX];
pthread_mutex_t control_lock = PTHREAD_MUTEX_INITIALIZER;

static struct context contexts[CONTEXTS_MAX];
static volatile unsigned contexts_used;

// ---- the device node ----

/**
 * What stands for each port's device node: a real character device, since fstat must tell the number that the tree's
 * `dev` file has. When the node cannot be opened, libibverbs tries the name that udev gives that number
 * (open_cdev.c).
 */
static const struct {
  const char *node, *by_number, *real;
} nodes[PORTS_MAX] = {
    {DEVICE_NODE "0", "/dev/char/1:3", "/dev/null"},
    {DEVICE_NODE "1", "/dev/char/1:5", "/dev/zero"},
};

int uverbs_port_of_path(const char *path) {
  if (!path || !settings.sysfs || strncmp(path, "/dev/", 5)) return -1;
  for (unsigned i = 0; i < settings.ports; i++) {
    if (!strcmp(path, nodes[i].node) || !strcmp(path, nodes[i].by_number)) return i;
  }
  return -1;
}

const char *uverbs_node(int port, char *path, size_t bytes) {
  snprintf(path, bytes, "%s" DEVICE_NODE "%d", settings.sysfs, port);
  return path;
}

/** Opens the node as its permissions in the tree allow; then a real character device in its place. */
static int open_node(int port) {
  char path[PATH_MAX];
  int node = real_open(uverbs_node(port, path, sizeof path), O_RDWR | O_CLOEXEC, 0);
  if (node < 0) return node;
  real_close(node);
  return real_open(nodes[port].real, O_RDWR | O_CLOEXEC, 0);
}

struct context *context_at(unsigned index) {
  return index < CONTEXTS_MAX && contexts[index].used ? &contexts[index] : NULL;
}

struct context *uverbs_context_of(int fd) {
  if (contexts_used == 0) return NULL;
  for (unsigned i = 0; i < CONTEXTS_MAX; i++) {
    if (contexts[i].used && contexts[i].fd == fd) return contexts[i].pid == getpid() ? &contexts[i] : NULL;
  }
  return NULL;
}

bool netdev_folder(const struct port *port, char *folder, size_t bytes) {
  size_t used = snprintf(folder, bytes, "%s/class/infiniband/mlx5_%u/device/net", settings.sysfs, port->index);
  DIR *netdevs = opendir(folder);
  struct dirent *entry = NULL;
  while (netdevs && (entry = readdir(netdevs)) && entry->d_name[0] == '.') continue;
  if (entry) snprintf(folder + used, bytes - used, "/%s", entry->d_name);
  if (netdevs) closedir(netdevs);
  return entry;
}

/** The first line of a file of the port's netdev; false: there is none. */
static bool read_netdev_file(const struct port *port, const char *name, char *line, size_t bytes) {
  char path[PATH_MAX];
  if (!netdev_folder(port, path, sizeof path)) return false;
  size_t used = strlen(path);
  snprintf(path + used, sizeof path - used, "/%s", name);
  FILE *file = fopen(path, "re");
  bool found = file && fgets(line, bytes, file);
  if (file) fclose(file);
  return found;
}

static void read_netdev(struct port *port) {
  char line[64];
  unsigned mac[6] = {2, 0x15, 0xb3, 0, 0, port->index + 1};
  if (read_netdev_file(port, "address", line, sizeof line)) {
    sscanf(line, "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5);
  }
  for (unsigned i = 0; i < 6; i++) port->mac[i] = mac[i];
  port->mtu = read_netdev_file(port, "mtu", line, sizeof line) ? atoi(line) : 1500;
}

static int start_once(void) {
  static int started_by;
  if (started_by == getpid()) return 0;
  if (started_by) return ENODEV;  // a fork has no threads of ours
  for (unsigned i = 0; i < settings.ports; i++) {
    ports[i].index = i;
    ports[i].up = true;
    read_netdev(&ports[i]);
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // of our threads: signals are for the client's own
  int error = device_start();
  if (!error) control_start();
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!error) started_by = getpid();
  return error;
}

static struct context *free_context(void) {
  for (unsigned i = 0; i < CONTEXTS_MAX; i++) {
    if (!contexts[i].used) return &contexts[i];
  }
  return NULL;
}

void count_loopback(struct port *port, int by_contexts, int by_qps) {
  static int open_contexts[PORTS_MAX];
  static int allowing_qps[PORTS_MAX];
  open_contexts[port->index] += by_contexts;
  allowing_qps[port->index] += by_qps;
  port->loopback = open_contexts[port->index] >= 2 || allowing_qps[port->index] >= 1;
}

int uverbs_open(int port) {
  pthread_mutex_lock(&control_lock);
  int error = start_once();
  if (!error) error = injected_failure("open");
  if (!error && ports[port].fatal) error = EIO;
  struct context *context = error ? NULL : free_context();
  if (!error && !context) error = ENOMEM;
  int fd = error ? -1 : open_node(port);
  if (!error && fd < 0) error = errno;
  if (!error) {
    *context = (struct context){.used = true, .fd = fd, .pid = getpid(), .port = &ports[port]};
    contexts_used++;
    count_loopback(&ports[port], 1, 0);
  }
  pthread_mutex_unlock(&control_lock);
  trace(1, "open mlx5_%d: %s", port, error ? strerror(error) : "ok");
  if (error) errno = error;
  return fd;
}

void uverbs_close(struct context *context) {
  pthread_mutex_lock(&control_lock);
  trace(1, "close mlx5_%u", context->port->index);
  release_all(context);
  count_loopback(context->port, -1, 0);
  context->used = false;
  contexts_used--;
  pthread_mutex_unlock(&control_lock);
}

void *uverbs_mmap(struct context *context, void *address, size_t bytes, int protection, int flags, uint64_t offset) {
  trace(1, "mmap offset 0x%lx, %zu bytes, protection %d", (unsigned long)offset, bytes, protection);
  int fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
  uint64_t page_command = offset / UAR_PAGE_BYTES >> 8;  // get_command() of an mlx5 offset
  bool clock = page_command == MLX5_IB_MMAP_CORE_CLOCK || page_command == MLX5_IB_MMAP_CLOCK_INFO;
  errno = context->port->fatal ? EIO : EINVAL;
  if (context->port->fatal || bytes != UAR_PAGE_BYTES) return MAP_FAILED;
  if (clock) return clock_map(address, protection, fixed, page_command);
  return uar_map(context, address, protection, fixed, offset);
}

// ---- commands ----

struct entry {
  uint32_t key;
  const char *name;
  command_handler *handler;
  bool destroys;  // never fails by `fail N`, which is about running out of something
};

#define METHOD(object, method) ((uint32_t)(object) << 16 | (method))

static const struct entry methods[] = {
    {METHOD(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_GET_CONTEXT), "get_context", get_context, false},
    {METHOD(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_QUERY_PORT), "query_port", query_port, false},
    {METHOD(UVERBS_OBJECT_ASYNC_EVENT, UVERBS_METHOD_ASYNC_EVENT_ALLOC), "async_event", async_event_alloc, false},
    {METHOD(MLX5_IB_OBJECT_UAR, MLX5_IB_METHOD_UAR_OBJ_ALLOC), "alloc_uar", uar_alloc, false},
    {METHOD(MLX5_IB_OBJECT_UAR, MLX5_IB_METHOD_UAR_OBJ_DESTROY), "destroy_uar", uar_destroy, true},
    {METHOD(UVERBS_OBJECT_PD, UVERBS_METHOD_PD_DESTROY), "dealloc_pd", pd_destroy, true},
    {METHOD(UVERBS_OBJECT_MR, UVERBS_METHOD_MR_DESTROY), "dereg_mr", mr_destroy, true},
    {METHOD(UVERBS_OBJECT_CQ, UVERBS_METHOD_CQ_CREATE), "create_cq", cq_create, false},
    {METHOD(UVERBS_OBJECT_CQ, UVERBS_METHOD_CQ_DESTROY), "destroy_cq", cq_destroy, true},
    {METHOD(UVERBS_OBJECT_QP, UVERBS_METHOD_QP_CREATE), "create_qp", qp_create, false},
    {METHOD(UVERBS_OBJECT_QP, UVERBS_METHOD_QP_DESTROY), "destroy_qp", qp_destroy, true},
    {METHOD(UVERBS_OBJECT_WQ, UVERBS_METHOD_WQ_CREATE), "create_wq", wq_create, false},
    {METHOD(UVERBS_OBJECT_WQ, UVERBS_METHOD_WQ_DESTROY), "destroy_wq", wq_destroy, true},
    {METHOD(UVERBS_OBJECT_RWQ_IND_TBL, UVERBS_METHOD_RWQ_IND_TBL_DESTROY), "destroy_rwq_ind_table",
     rwq_ind_table_destroy, true},
    {METHOD(UVERBS_OBJECT_FLOW, UVERBS_METHOD_FLOW_DESTROY), "destroy_flow", flow_destroy, true},
    {METHOD(UVERBS_OBJECT_FLOW, MLX5_IB_METHOD_CREATE_FLOW), "create_matched_flow", create_matched_flow, false},
    {METHOD(MLX5_IB_OBJECT_FLOW_MATCHER, MLX5_IB_METHOD_FLOW_MATCHER_CREATE), "create_matcher", matcher_create, false},
    {METHOD(MLX5_IB_OBJECT_FLOW_MATCHER, MLX5_IB_METHOD_FLOW_MATCHER_DESTROY), "destroy_matcher", matcher_destroy,
     true},
};

#define EXTENDED(command) (IB_USER_VERBS_CMD_FLAG_EXTENDED | (command))

// The older commands, which come within DEVICE/INVOKE_WRITE.
static const struct entry writes[] = {
    {IB_USER_VERBS_CMD_QUERY_DEVICE, "query_device", query_device, false},
    {EXTENDED(IB_USER_VERBS_EX_CMD_QUERY_DEVICE), "query_device_ex", query_device_ex, false},
    {IB_USER_VERBS_CMD_ALLOC_PD, "alloc_pd", alloc_pd, false},
    {IB_USER_VERBS_CMD_REG_MR, "reg_mr", reg_mr, false},
    {IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL, "create_comp_channel", create_comp_channel, false},
    {IB_USER_VERBS_CMD_RESIZE_CQ, "resize_cq", resize_cq, false},
    {EXTENDED(IB_USER_VERBS_EX_CMD_MODIFY_CQ), "modify_cq", modify_cq, false},
    {IB_USER_VERBS_CMD_MODIFY_QP, "modify_qp", modify_qp, false},
    {EXTENDED(IB_USER_VERBS_EX_CMD_MODIFY_QP), "modify_qp_ex", modify_qp_ex, false},
    {IB_USER_VERBS_CMD_QUERY_QP, "query_qp", query_qp, false},
    {EXTENDED(IB_USER_VERBS_EX_CMD_MODIFY_WQ), "modify_wq", modify_wq, false},
    {EXTENDED(IB_USER_VERBS_EX_CMD_CREATE_RWQ_IND_TBL), "create_rwq_ind_table", create_rwq_ind_table, false},
    {EXTENDED(IB_USER_VERBS_EX_CMD_CREATE_FLOW), "create_flow", create_flow, false},
};

static const struct entry *find(const struct entry *entries, size_t count, uint32_t key) {
  for (size_t i = 0; i < count; i++) {
    if (entries[i].key == key) return &entries[i];
  }
  return NULL;
}

static int execute(struct command *command) {
  struct ib_uverbs_ioctl_hdr *header = command->header;
  uint32_t key = METHOD(header->object_id, header->method_id);
  bool write = key == METHOD(UVERBS_OBJECT_DEVICE, UVERBS_METHOD_INVOKE_WRITE);
  if (write) key = number(command, UVERBS_ATTR_WRITE_CMD);
  const struct entry *entry = write ? find(writes, sizeof writes / sizeof *writes, key)
                                    : find(methods, sizeof methods / sizeof *methods, key);
  int error = 0;
  if (command->context->port->fatal) {
    error = EIO;  // kernel ib_uverbs_ioctl(): the device is disassociated
  } else if (!entry) {
    // EPROTONOSUPPORT makes libibverbs try an older form of the command.
    error = !write && header->object_id < MLX5_IB_OBJECT_DEVX ? EPROTONOSUPPORT : EOPNOTSUPP;
  } else {
    error = entry->destroys ? 0 : injected_failure(entry->name);
    if (!error) error = entry->handler(command);
  }
  if (entry) trace(1, "%s: %s", entry->name, error ? strerror(error) : "ok");
  else trace(1, "%s 0x%x: %s", write ? "write command" : "method", key, strerror(error));
  return error;
}

int uverbs_ioctl(struct context *context, struct ib_uverbs_ioctl_hdr *header) {
  struct command command = {.context = context, .header = header};
  pthread_mutex_lock(&control_lock);
  int error = execute(&command);
  pthread_mutex_unlock(&control_lock);
  return error;
}
