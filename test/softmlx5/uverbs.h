// What the files of the kernel half (uverbs*.c) and the system calls above them (interpose.c) share.
#ifndef SOFTMLX5_UVERBS_H
#define SOFTMLX5_UVERBS_H

#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/mlx5-abi.h>
#include <rdma/mlx5_user_ioctl_cmds.h>
#include <rdma/mlx5_user_ioctl_verbs.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include "softmlx5.h"

#define CONTEXTS_MAX 64
#define COMPLETION_VECTORS 4
#define WQES_MAX (1u << 15)       // max_qp_wr, max_recv_wr, max_send_wqebb
#define WQE_SHIFT_MAX 9           // max_rq_desc_sz 512
#define FLOW_PRIORITY_MAX 15      // MLX5_IB_FLOW_LAST_PRIO
#define FLOW_TAG_MAX 0xffffff
#define MULTICAST_BIT 1           // in the first byte of a MAC
#define UAR_FIRST_PAGE 0x10000    // page number of UAR page 0 in the uverbs file: its mmap offset / 4096

// The mlx5_user_inline_mode that alloc_ucontext answers and the header bytes of L2 mode: MACs, type, VLAN tag.
#define INLINE_L2_BYTES 18

enum { IP_PROTOCOL_TCP = 6, IP_PROTOCOL_UDP = 17 };

struct context {                  // one open of /dev/infiniband/uverbsN
  bool used;
  int fd;                         // a real descriptor, of /dev/null or /dev/zero: fstat tells a character device
  int pid;                        // its owner: a fork has the descriptor, but not our threads
  struct port *port;
  struct event_queue *async;      // made by ASYNC_EVENT_ALLOC
};

struct command {                  // an RDMA_VERBS_IOCTL under way
  struct context *context;
  struct ib_uverbs_ioctl_hdr *header;
};

// ---- attributes of a command (uverbs-objects.c) ----

struct ib_uverbs_attr *attribute(struct command *command, uint16_t id);
/** The bytes of an input attribute: up to 8 lie in the attribute itself. NULL and 0 if it is absent. */
const void *input(struct command *command, uint16_t id, uint32_t *bytes);
/** Copies an input structure; what the client's is shorter stays 0. False if the attribute is absent. */
bool copy_in(struct command *command, uint16_t id, void *to, uint32_t bytes);
/** An input number of 1, 2, 4 or 8 bytes; 0 if it is absent. */
uint64_t number(struct command *command, uint16_t id);
/** Fills an output attribute, if the client gave one: what its buffer is longer is zeroed. */
void output(struct command *command, uint16_t id, const void *from, uint32_t bytes);
/** How many bytes of a response of `bytes` the client has room for: the ABI's response_length. */
uint32_t response_bytes(struct command *command, uint16_t id, uint32_t bytes);
void output_handle(struct command *command, uint16_t id, uint64_t handle);

// ---- objects (uverbs-objects.c) ----

/** Allocates an object of `bytes`, whose first member is a struct object; NULL: out of memory or handles. */
void *object_create(struct context *context, enum object_type type, size_t bytes);
/** The object of that handle, type and context, or NULL. */
void *object_find(struct context *context, uint32_t handle, enum object_type type);
void object_free(struct object *object);
/** At close: the kernel destroys what the client left (uverbs_destroy_ufile_hw()). Complains: leaked-object. */
void release_all(struct context *context);
uint32_t next_queue_number(void);  // QPs and RQs share their numbers

static inline bool is_power_of_two(uint64_t value) {
  return value && !(value & (value - 1));
}

/**
 * Counts memory that the device uses against RLIMIT_MEMLOCK, until the object is freed, as ib_umem_get() does: ENOMEM
 * beyond it, without CAP_IPC_LOCK; EFAULT where nothing is mapped.
 */
int pin(struct object *object, uint64_t start, uint64_t bytes);
/** Whether the process has CAP_NET_RAW: raw packet QPs and flow rules want it. */
bool may_use_raw_packets(void);
/** mlx5_ib_enable_lb(): a second open context, or a QP that asks for it, turns local loopback on. */
void count_loopback(struct port *port, int by_contexts, int by_qps);

/** The folder of the port's first netdev in the tree, as its PCI device has it; false: there is none. */
bool netdev_folder(const struct port *port, char *folder, size_t bytes);

typedef int command_handler(struct command *command);

// uverbs-device.c. GIDs: QUERY_GID_… is answered EPROTONOSUPPORT, whereupon libibverbs reads them from sysfs.
command_handler query_device, query_device_ex, get_context, query_port, uar_alloc, uar_destroy;
void uar_release(struct object *object);
/** What query_device_ex says of this chip: enum mlx5_ib_cqe_comp_res_format; log2 of a WQE's strides, at least. */
uint32_t compression_formats(void);
uint32_t strides_log_min(void);
/** Maps the UAR page of that mmap offset; MAP_FAILED and EINVAL where there is none. */
void *uar_map(struct context *context, void *address, int protection, int flags, uint64_t offset);

// uverbs-clock.c
/** Maps one of the clock pages: MLX5_IB_MMAP_CORE_CLOCK, MLX5_IB_MMAP_CLOCK_INFO. MAP_FAILED: errno says why. */
void *clock_map(void *address, int protection, int flags, unsigned page_command);

// uverbs-memory.c
command_handler alloc_pd, pd_destroy, reg_mr, mr_destroy, create_comp_channel;
void region_release(struct object *object);

// uverbs-queues.c
command_handler cq_create, cq_destroy, resize_cq, modify_cq, wq_create, wq_destroy, modify_wq;
command_handler create_rwq_ind_table, rwq_ind_table_destroy;
void cq_release(struct object *object);
void wq_release(struct object *object);
void indirection_release(struct object *object);
int cq_from_handle(struct command *command, uint16_t id, struct completion_queue **cq);

// uverbs-qp.c: creating, modifying and destroying queue pairs
command_handler qp_create, qp_destroy, modify_qp, modify_qp_ex, query_qp;
void qp_release(struct object *object);

// uverbs-flow.c
command_handler create_flow, flow_destroy;
void flow_release(struct object *object);
bool is_multicast_mac(const struct flow *flow);
/** By an address's first byte. */
bool is_multicast_ipv4(uint8_t first);
bool can_receive(const struct queue_pair *qp);
/** Bits that the mask leaves out do not count: rules that are equal must be so bytewise. */
void apply_mask(struct flow *flow);
/** Makes the rule, of a matcher or NULL, and gives its handle. */
int add_flow(struct command *command, const struct flow *flow, struct object *matcher, uint32_t *handle);

// uverbs-matcher.c
command_handler matcher_create, matcher_destroy, create_matched_flow;
void matcher_release(struct object *object);

// uverbs-events.c
command_handler async_event_alloc;
/** Makes an event file of records of `record_bytes` for the port; NULL: no memory. */
struct event_queue *event_queue_open(const struct port *port, size_t record_bytes);
int event_queue_fd(const struct event_queue *queue);
struct event_queue *event_queue_of(int fd);
/** The client closed the file; the queue itself lives until no CQ refers to it. */
void event_queue_close(struct event_queue *queue);
void event_queue_hold(struct event_queue *queue);
void event_queue_release(struct event_queue *queue);
/** read() of an event file: one record, as ib_uverbs_event_read(). */
long event_queue_read(struct event_queue *queue, void *buffer, size_t bytes);
/** Takes unread events of an object that goes away out of its queues, as ib_uverbs_release_ucq() does. */
void events_forget(struct context *context, struct event_queue *channel, struct object *object);
/** Tells every open context of the port; `last`: there will be no further event (kernel disassociation). */
void async_port_event(struct port *port, uint32_t type, bool last);
/** Contexts, for those who visit all: NULL where none is open. */
struct context *context_at(unsigned index);

// uverbs-control.c
/** Starts to listen on SOFTMLX5_CONTROL, if that is set. */
void control_start(void);
/** The errno that this command shall fail with (control `fail`, SOFTMLX5_FAIL), or 0. */
int injected_failure(const char *command_name);
/** Writes the port's link state into the tree, as the kernel shows it in /sys. */
void show_link(const struct port *port);

// ---- for interpose.c ----

/** The port whose device node this is (/dev/infiniband/uverbs0 → 0), or -1. */
int uverbs_port_of_path(const char *path);
/** What stands for the device node in the tree, with its permissions: dev/infiniband/uverbs0. Returns `path`. */
const char *uverbs_node(int port, char *path, size_t bytes);
int uverbs_open(int port);
struct context *uverbs_context_of(int fd);
int uverbs_ioctl(struct context *context, struct ib_uverbs_ioctl_hdr *header);
void *uverbs_mmap(struct context *context, void *address, size_t bytes, int protection, int flags, uint64_t offset);
void uverbs_close(struct context *context);

long real_read(int fd, void *buffer, size_t bytes);

#endif
