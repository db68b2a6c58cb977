// The software ConnectX: what its two halves know of each other.
//
//   libibverbs, libmlx5 (the real ones)
//   ──── system calls ────────────────────────────── interpose.c: open, ioctl, mmap, close, paths of sysfs
//   kernel half: ib_uverbs and mlx5_ib ───────────── uverbs.c, uverbs-*.c: commands, objects, handles, events
//   hardware half: doorbells, rings, steering ────── device.c, device-*.c, wire.c: one thread, as the NIC's pipeline
//
// Every struct below is made by the kernel half, which fills it in from the command and then hands it to the hardware
// with device_add_…(). Fields named "hardware" belong to the hardware thread from then on, until device_remove_…()
// has returned: that waits until the thread is out of the object.
// Multi-byte fields are in host order unless they say otherwise. Memory that the client shares with the device
// (rings, doorbell records, UAR pages) is big-endian, as in the Programmer's Reference Manual (PRM).
#ifndef SOFTMLX5_H
#define SOFTMLX5_H

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PORTS_MAX 2
#define UAR_PAGES_MAX 256
#define UAR_PAGE_BYTES 4096
#define REGIONS_MAX 65536
#define INDIRECTION_MAX 2048      // rwq_ind_table: log2 is at most 11, as query_device says
#define RSS_KEY_BYTES 40          // ConnectX takes no other length (kernel create_rss_raw_qp_tir)

// ---- settings, from the environment (interpose.c reads them once) ----

enum chip { CHIP_CONNECTX4LX, CHIP_CONNECTX5, CHIP_CONNECTX6DX };

struct settings {
  unsigned ports;                 // SOFTMLX5_PORTS: 1 or 2; each port is an RDMA device of its own (mlx5_0, mlx5_1)
  enum chip chip;                 // SOFTMLX5_CHIP
  bool lossless;                  // SOFTMLX5_LOSSLESS: a loop's SQ waits for the RQ, as with priority flow control
  bool strict;                    // SOFTMLX5_STRICT: a complaint ends the process
  int trace;                      // SOFTMLX5_TRACE: 0 … 3
  bool privileged;                // SOFTMLX5_PRIVILEGED: as if the process had CAP_NET_RAW and CAP_IPC_LOCK
  unsigned min_inline_bytes;      // Ethernet header bytes every WQE must inline: 18 on ConnectX-4 Lx, else 0
  const char *sysfs;              // SOFTMLX5_SYSFS: the tree that stands for /sys
  const char *wire[PORTS_MAX];    // SOFTMLX5_WIREk, default "loop"
  const char *kernel[PORTS_MAX];  // SOFTMLX5_KERNELk, or NULL
};
extern struct settings settings;

// ---- ports ----

struct counters {                 // hw_counters and `counters K`; the hardware thread writes them
  uint64_t tx_packets, tx_bytes;  // onto the wire, by our queues
  uint64_t rx_packets, rx_bytes;  // into our receive queues
  uint64_t out_of_buffer;         // no receive WQE was posted
  uint64_t unmatched;             // no rule matched, so the kernel got them (or nobody)
  uint64_t dropped;               // by a drop rule, an RQ that is not ready, a link that is down
  uint64_t kernel_rx, kernel_tx;  // frames given to the kernel half, frames the kernel half sent
  uint64_t cqe_compressed;        // mini CQEs written
  uint64_t sq_errors, rq_errors;  // completions in error, flushed ones not counted
  uint64_t sq_flushed, rq_flushed;
  uint64_t rq_length_errors;      // of rq_errors
};

struct port {
  unsigned index;                 // 0 = mlx5_0
  uint8_t mac[6];                 // from the netdev's `address` in the tree
  unsigned mtu;                   // of the netdev; the wire takes frames of mtu + 18 bytes and longer alike
  volatile bool up;               // link state; port_link() changes it
  volatile bool fatal;            // DEVICE_FATAL was raised: the hardware does nothing any more, commands are EIO
  bool loopback;                  // local loopback is on (kernel mlx5_ib_enable_lb): see queue_pair.loopback_…
  struct counters counters;
  uint8_t next_receive_error;     // control `rx-error`: syndrome for the next frame received; 0: none
  uint8_t next_send_error;        // control `tx-error`
  bool next_receive_cq_error;     // control `cq-error K rx`: the next completion finds its CQ in error, as if overrun
  bool next_send_cq_error;        // control `cq-error K tx`
  void *hardware;                 // the device's own state of this port (wires, lists)
};
extern struct port ports[PORTS_MAX];

// ---- objects ----

enum object_type {
  OBJECT_NONE,
  OBJECT_PD,
  OBJECT_REGION,
  OBJECT_CHANNEL,
  OBJECT_CQ,
  OBJECT_QP,
  OBJECT_WQ,
  OBJECT_INDIRECTION,
  OBJECT_FLOW,
  OBJECT_MATCHER,
  OBJECT_UAR,
};

struct context;                   // one open of /dev/infiniband/uverbsN: uverbs.h
struct event_queue;               // uverbs-events.c

struct object {                   // first in every struct: the kernel half's
  enum object_type type;
  uint32_t handle;
  struct context *context;
  unsigned users;                 // objects that refer to this one: while there are any, destroying it is EBUSY
  uint64_t user_handle;           // libibverbs' own address of the object: comes back in events
  uint32_t async_events;          // read by the client so far: destroy reports it
  uint64_t pinned_pages;          // of the client's memory: count against RLIMIT_MEMLOCK
};

struct region {                   // memory region (mkey)
  struct object object;
  uint32_t lkey;                  // index in region_table << 8 | a key byte
  uint64_t address;               // as WQEs name it
  uint64_t bytes;
  uint8_t *memory;                // the same memory in this process
  bool writable;                  // IB_ACCESS_LOCAL_WRITE: received frames may go there
};
/** By lkey >> 8; the entry's lkey must equal the one asked for. NULL: no such key. */
extern struct region *region_table[REGIONS_MAX];

enum cqe_compression { COMPRESSION_OFF, COMPRESSION_HASH, COMPRESSION_CSUM, COMPRESSION_CSUM_STRIDX };

struct completion_queue {
  struct object object;
  struct port *port;
  uint32_t cqn;
  uint8_t *buffer;
  uint32_t entries;               // a power of two
  uint32_t cqe_bytes;             // 64, or 128 where the CQE is in the second half
  bool padded;                    // MLX5_IB_CREATE_CQ_FLAGS_CQE_128B_PAD
  volatile uint32_t *doorbell;    // [0] consumer index, [1] arm: both big-endian
  enum cqe_compression compression;
  bool ignore_overrun;            // IB_UVERBS_CQ_FLAGS_IGNORE_OVERRUN
  uint16_t moderation_count, moderation_us;
  struct event_queue *channel;    // where completion events go (uverbs-events.c); NULL: nowhere
  uint32_t completion_events;     // read by the client so far: destroy_cq reports it
  uint32_t arm_at_read;           // the arm record as it was when the last of them was read
  uint32_t uar_index;             // the page whose register arms it
  // hardware
  uint32_t producer;              // 24 bits count in the CQEs' owner bit and the consumer index
  uint32_t consumer;              // as the record was last read
  bool overrun;
  bool armed;
  bool armed_solicited;           // for completions in error alone: raw packet queues have no solicited ones
  uint32_t arm_command;           // as the client armed it last; what was looked at twice is no second arming
  uint32_t arm_consumer;          // the consumer index record as it was then
  uint32_t events;                // written to the channel so far
  struct completion_queue *next;  // all there are (device-cq.c)
  void *hardware;
};

enum queue_state { QUEUE_RESET, QUEUE_READY, QUEUE_ERROR };  // as enum ib_wq_state

struct receive_queue {            // a WQ, or the RQ of a raw packet QP
  struct object object;           // of a WQ alone; an RQ within a QP has type OBJECT_NONE
  struct port *port;
  struct completion_queue *cq;
  uint32_t rqn;
  uint32_t user_index;            // comes back in every CQE (CQE version 1)
  uint8_t *buffer;
  uint32_t wqes;                  // a power of two
  uint32_t wqe_shift;             // log2 of a WQE's bytes; scatter entries of 16 bytes, lkey 0x100 ends them early
  volatile uint32_t *doorbell;    // [0] (MLX5_RCV_DBR): WQEs posted, 16 bits, big-endian
  volatile enum queue_state state;
  volatile bool strip_vlan;       // modify_wq changes it while frames come in
  bool keep_fcs;                  // IB_WQ_FLAGS_SCATTER_FCS: the 4 bytes of FCS follow the frame
  bool striding;                  // the WQE begins with 16 bytes (mlx5_wqe_srq_next_seg), then one data segment
  uint32_t stride_shift;          // log2 of a stride's bytes
  uint32_t strides_shift;         // log2 of the strides in a WQE
  bool two_byte_shift;            // 2 bytes of padding before each frame, to align the IP header
  // hardware
  uint16_t consumer;              // the next WQE to fill; 0 whenever the queue leaves QUEUE_RESET
  uint16_t producer;              // WQEs posted, as the record was last read
  uint32_t stride;                // the next stride of that WQE
  uint64_t out_of_buffer;
  void *hardware;
};

struct indirection_table {
  struct object object;
  uint32_t number;
  uint32_t entries;               // a power of two
  struct receive_queue *queues[INDIRECTION_MAX];
};

struct queue_pair {               // type RAW_PACKET: an SQ, an RQ, both; or RSS over an indirection table
  struct object object;
  struct port *port;
  uint32_t state;                 // enum ib_qp_state; the queues have their own below
  // send queue: number, buffer … are 0 where there is none
  uint32_t qpn;                   // as in the WQE's control segment (sqn); where there is no SQ: the RQ's number
  uint32_t user_index;
  uint8_t *send_buffer;
  uint32_t send_wqebbs;           // ring size in 64-byte blocks, a power of two; 0: no send queue
  volatile uint32_t *doorbell;    // [1] (MLX5_SND_DBR): WQEBBs posted, 16 bits, big-endian
  struct completion_queue *send_cq;
  struct completion_queue *receive_cq;
  uint32_t uar_index;             // in uar_pages: where this queue's doorbells come
  volatile enum queue_state send_state;
  bool signal_all;                // informative: libmlx5 sets CQ_UPDATE in every WQE itself
  // receive side: at most one of the two
  struct receive_queue *receive;  // &own_receive or NULL
  struct receive_queue own_receive;
  struct indirection_table *indirection;
  uint64_t hash_fields;           // enum mlx5_rx_hash_fields; 0: always entry 0
  uint8_t rss_key[RSS_KEY_BYTES];
  bool loopback_unicast;          // MLX5_QP_FLAG_TIR_ALLOW_SELF_LB_UC: frames this port sends may come back here
  bool loopback_multicast;        // …_MC
  uint32_t capabilities[5];       // struct ib_uverbs_qp_cap, for query_qp
  // hardware
  uint16_t send_consumer;         // the next WQEBB to execute; 0 whenever the queue leaves QUEUE_RESET
  void *hardware;
};

// Fields of a frame in a form in which value and mask of a rule can be compared 8 bytes at a time. Multi-byte fields
// are in network order. Where a header is absent its fields are 0. IPv4 addresses are in the last 4 bytes.
struct packet_fields {
  uint8_t destination_mac[6];
  uint8_t source_mac[6];
  uint16_t ethertype;             // behind the VLAN tag
  uint16_t vlan_tci;
  uint8_t source_ip[16];
  uint8_t destination_ip[16];
  uint16_t source_port;           // TCP or UDP; 0 in a fragment
  uint16_t destination_port;
  uint8_t l4_protocol;            // 6 or 17 where the ports could be read, else 0
  uint8_t ip_version;             // 4, 6
  uint8_t ip_protocol;
  uint8_t ip_tos;                 // DSCP and ECN: IPv4 TOS, IPv6 traffic class
  uint8_t ip_ttl;
  uint8_t has_cvlan;              // 1: tagged 0x8100
  uint8_t has_svlan;              // 1: tagged 0x88a8
  uint8_t is_fragment;
  uint16_t tcp_flags;             // 9 bits
  uint8_t padding[2];
} __attribute__((aligned(8)));
_Static_assert(sizeof(struct packet_fields) == 64, "compared 8 bytes at a time");

// Where a rule stands (kernel fs_core.c, init_tree): the lower rank looks first. A frame goes to the first rank that
// has a rule for it; rules of equal rank, value and mask all get a copy; dont_trap goes on to later ranks as well.
enum rank {
  RANK_BYPASS = 0,                // + twice the priority; + 1 unless DONT_TRAP
  RANK_MULTICAST = 62,            // rules for multicast alone have the last of the bypass ranks
  RANK_KERNEL = 64,               // the netdev's own rules: its MAC, broadcast, multicast, if there is a kernel half
  RANK_ALL_DEFAULT = 66,          // "leftovers": what the netdev did not want either
  RANK_MC_DEFAULT = 65,
};

struct flow {
  struct object object;
  struct port *port;
  unsigned rank;
  uint32_t sequence;              // order of creation
  bool sniffer;                   // gets a copy of everything this port receives and sends, apart from all ranks
  bool dont_trap;                 // the frame goes on to later ranks too
  bool drop;                      // counters.dropped
  bool default_miss;              // to RANK_KERNEL at once
  bool has_tag;
  uint32_t tag;                   // 24 bits: CQE.sop_drop_qpn
  struct packet_fields value, mask;
  struct queue_pair *queue_pair;  // NULL with drop or default_miss
};

struct uar_page {                 // 4096 bytes of doorbell registers
  volatile bool used;
  struct port *port;
  uint8_t *memory;                // BF registers at 0x800, 0x900, 0xa00, 0xb00; CQ arm at 0x20
};
// Several queues may share a page and even a BF register, and a second doorbell may come before the first was seen:
// whoever finds a page rung must look at all send queues whose uar_index it is.
extern struct uar_page uar_pages[UAR_PAGES_MAX];
extern volatile unsigned uar_pages_limit;  // one more than the highest index ever used

// ---- the hardware, for the kernel half (device.c). All are called with control_lock held ----

/** Held by the kernel half during every command; the hardware thread takes it only where its lists change. */
extern pthread_mutex_t control_lock;

/** Opens the wires and starts the hardware thread; at the first open of any uverbs device. 0, or an errno. */
int device_start(void);
/** Returns when the hardware thread has finished every round that had begun: what was taken away is unused. */
void device_quiesce(void);

void device_add_completion_queue(struct completion_queue *cq);
void device_remove_completion_queue(struct completion_queue *cq);
/** Writes a CQE of opcode RESIZE_CQ (5) into the old ring and goes on, at the next index, in the new one. */
void device_resize_completion_queue(struct completion_queue *cq, uint8_t *buffer, uint32_t entries, uint32_t cqe_bytes);
void device_add_receive_queue(struct receive_queue *rq);       // WQs, and RQs within QPs
void device_remove_receive_queue(struct receive_queue *rq);
void device_add_queue_pair(struct queue_pair *qp);             // an RQ within was added before
void device_remove_queue_pair(struct queue_pair *qp);
void device_add_flow(struct flow *flow);
void device_remove_flow(struct flow *flow);
/** New states: on leaving QUEUE_RESET the indexes start at 0; QUEUE_ERROR flushes what is posted (syndrome 5). */
void device_set_receive_state(struct receive_queue *rq, enum queue_state state);
void device_set_send_state(struct queue_pair *qp, enum queue_state state);

/** Changes the link. The kernel half tells the client. */
void port_link(struct port *port, bool up);
/** Stops the port's hardware for good: nothing moves any more. */
void port_fatal(struct port *port);

// ---- the kernel half, for the hardware. Called from the hardware thread, without control_lock ----

// Event types are those of enum ib_event_type (rdma/ib_verbs.h), which libibverbs' ibv_event_type repeats.
void uverbs_cq_error(struct completion_queue *cq);             // IBV_EVENT_CQ_ERR
void uverbs_qp_fatal(struct queue_pair *qp);                   // IBV_EVENT_QP_FATAL
void uverbs_wq_fatal(struct receive_queue *rq);                // IBV_EVENT_WQ_FATAL; within a QP: nothing
/** The CQ was armed and has a completion: writes the event to its channel, if it has one. */
void uverbs_completion_event(struct completion_queue *cq);

/** The counter of the CQEs' time stamps as clients map it: high and low half, big-endian. NULL until one does. */
extern volatile uint32_t *core_clock;

// ---- both ----

/** The client did what silicon would punish without a word. Prints `softmlx5: complaint NAME: …`; strict: exit 86. */
void complain(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** To stderr, if SOFTMLX5_TRACE is at least `level`. */
void trace(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

// System calls that pass by the interposition: for wires and sockets of the emulator itself.
int real_open(const char *path, int flags, unsigned mode);
int real_ioctl(int fd, unsigned long request, void *argument);
int real_close(int fd);
void *real_mmap(void *address, size_t bytes, int protection, int flags, int fd, long offset);

#endif
