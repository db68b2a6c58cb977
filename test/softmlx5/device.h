// The hardware half among itself. A frame's way:
//
//   doorbell → device-sq.c → device-wqe.c (WQE → frame; device-tso.c) → wire.c ─┐ loop, TAP, link to another process
//   CQE ← device-cq.c ← device-rq.c (frame → posted buffers) ← device-steer.c (rules, RSS) ← wire.c ←─┘
//
// All of it runs on the hardware thread (device.c). The kernel half changes lists and states only while that thread
// stands still between two rounds, so nothing here takes a lock.
#ifndef SOFTMLX5_DEVICE_H
#define SOFTMLX5_DEVICE_H

#include "prm.h"
#include "softmlx5.h"

#define FRAME_BYTES_MAX 65536
#define FRAME_BYTES_MIN 60        // the port pads what is shorter (IEEE 802.3 4.2.3.3), FCS not counted
#define ROUND_FRAMES 64           // a queue or wire does this much before it is the next one's turn
#define DESTINATIONS_MAX 16

// ---- DMA ----

/** What the device's MMU does with a WQE's address; NULL: protection error. */
static inline uint8_t *dma(uint32_t lkey, uint64_t address, uint64_t bytes, bool write) {
  uint32_t index = lkey >> 8;
  struct region *region = index < REGIONS_MAX ? region_table[index] : NULL;
  if (!region || region->lkey != lkey || (write && !region->writable)) return NULL;
  uint64_t offset = address - region->address;
  if (offset > region->bytes || bytes > region->bytes - offset) return NULL;
  return region->memory + offset;
}

/** The client's other core may be writing the record: one 32-bit load, before anything that depends on it. */
static inline uint32_t record_read(volatile uint32_t *record) {
  return be32toh(__atomic_load_n(record, __ATOMIC_ACQUIRE));
}

// ---- frames (device-packet.c) ----

struct packet {
  const uint8_t *data;
  uint32_t bytes;
  uint32_t l3;                    // offset of the IP header; 0: not IP
  uint32_t l3_bytes;              // IP header with options or extension headers
  uint32_t l4;                    // offset of the TCP or UDP header; 0: neither, or a fragment
  uint32_t l4_bytes;              // header and payload, as the IP header says
  bool truncated;                 // the IP header says more than there is
  struct packet_fields fields;
};
void packet_parse(struct packet *packet, const uint8_t *data, uint32_t bytes);
/** Sum of 16-bit words as they lie in memory, to be folded: RFC 1071 is indifferent to the byte order. */
uint64_t sum_words(const uint8_t *data, uint32_t bytes);
uint16_t sum_fold(uint64_t sum);
/** TCP's and UDP's pseudo header. */
uint64_t sum_pseudo_header(const struct packet *packet);
/** Writes the checksums that cs_flags asks for into the frame. */
void packet_write_checksums(uint8_t *data, uint32_t bytes, uint8_t cs_flags);
uint32_t frame_check_sequence(const uint8_t *data, uint32_t bytes);

// ---- completion queues (device-cq.c) ----

void cq_init(struct completion_queue *cq);
void cq_remove(struct completion_queue *cq);
void cq_resize(struct completion_queue *cq, uint8_t *buffer, uint32_t entries, uint32_t cqe_bytes);
void cq_send_done(struct queue_pair *qp, uint8_t opcode, uint16_t index);
/** A frame came in. It may wait for others to be compressed with, until cq_flush_all(). */
void cq_receive_done(struct receive_queue *rq, struct cqe *cqe);
void cq_error(struct completion_queue *cq, uint8_t cqe_opcode, uint32_t user_index, uint32_t sop_qpn,
              uint16_t index, uint8_t syndrome);
bool cq_full(struct completion_queue *cq);
void cq_flush(struct completion_queue *cq);
void cq_flush_all(void);
/** The client wrote a page's arm register; `rung` tells whether it has written it again since. */
void cq_arm(uint32_t page, uint64_t doorbell, bool (*rung)(uint32_t page));

// ---- receive queues (device-rq.c) ----

/** Is there a posted buffer for a frame of so many bytes? Also true where waiting would not help. */
bool rq_has_room(struct receive_queue *rq, uint32_t bytes);
void rq_receive(struct receive_queue *rq, const struct packet *packet, uint32_t hash, uint8_t hash_type,
                const struct flow *flow);
void rq_set_state(struct receive_queue *rq, enum queue_state state);

// ---- send queues (device-sq.c; a WQE's segments: device-wqe.c) ----

static inline uint32_t segments_of(const struct control_segment *control) { return be32toh(control->qpn_ds) & 0x3f; }

void sq_init(struct queue_pair *qp);
void sq_release(struct queue_pair *qp);
/** The queue's page was rung; `value` is what was written, if it names this queue, else 0. */
void sq_doorbell(struct queue_pair *qp, uint64_t value);
/** Executes what is posted in every queue that was rung. Returns whether any moved. */
bool sq_run_all(void);
void sq_set_state(struct queue_pair *qp, enum queue_state state);

/** What became of a WQE or a frame. WAITING: the receiver has no room; try again with the same frame. */
enum outcome { DONE, WAITING, FAILED };

/** Where the frames of one WQE go: those before `resume` went before the queue had to wait. */
struct emission {
  struct queue_pair *qp;
  uint8_t cs_flags;
  uint32_t sent;                  // frames of this WQE passed so far in this try
  uint32_t resume;
};
/** Executes a WQE that lies in one piece. FAILED: `*syndrome` says why. */
enum outcome wqe_execute(struct emission *emission, const struct control_segment *control, uint8_t *syndrome);
enum outcome emit(struct emission *emission, const uint8_t *data, uint32_t bytes);
/** Cuts `payload` behind a copy of `header` into frames of `mss` (device-tso.c). */
enum outcome tso_emit(struct emission *emission, const uint8_t *header, uint32_t header_bytes,
                      const uint8_t *payload, uint32_t payload_bytes, uint32_t mss);

// ---- steering (device-steer.c) ----

void steer_add(struct flow *flow);
void steer_remove(struct flow *flow);
void steer_queue_pair(struct queue_pair *qp);       // its Toeplitz table is made
void steer_release(struct queue_pair *qp);
/** A frame from the wire. False: `lossless`, and a destination has no room. */
bool port_receive(struct port *port, const uint8_t *data, uint32_t bytes, bool lossless);
/** A frame the port sends: what sniffers and local loopback take of it. True: it does not go onto the wire. */
bool port_receive_own(struct port *port, const uint8_t *data, uint32_t bytes);

// ---- wires (wire.c) ----

int wire_open(struct port *port);
/** Onto the wire. False: it is lossless and has no room. */
bool wire_send(struct port *port, const uint8_t *data, uint32_t bytes);
/** Has the port a kernel half, and would the netdev take this frame: its own MAC, broadcast, multicast? */
bool kernel_wants(const struct port *port, const struct packet *packet);
void kernel_receive(struct port *port, const uint8_t *data, uint32_t bytes);
/**
 * Frames that came in on the wire or from the kernel. Links are always looked at; TAPs, which cost a system call, only
 * if `taps`. Returns whether anything came.
 */
bool wire_poll(struct port *port, bool taps);

// ---- time, counters (device.c, device-counters.c) ----

/** Nanoseconds, read at most once a round. */
extern uint64_t device_time_ns;
/** Called from a thread of its own, every 50 ms: brings the tree's counter files up to date. */
void counters_write(void);

#endif
