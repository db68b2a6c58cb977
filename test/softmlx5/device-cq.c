// Completion queues: owner bit, overrun, error CQEs, compression, events.
//
// The device writes CQEs round and round; which of them are new the client sees from the owner bit alone: it is the
// parity of the lap (producer / entries), and the client keeps count of its own laps. The CQ starts with every
// op_own as 0xf0 (invalid), which the client has to write (libmlx5 alloc_cq_buf).
//
// Compression puts N receive completions that differ in little more than length and hash (or checksum) into
//   slot p:      the title, a whole CQE: what they have in common; byte_count = N; format = compressed
//   slot p + 1:  the first 8 mini CQEs; then 8 more each in slot p + 8, p + 16 …
// and goes on at slot p + N. The other slots are not written: they keep what was there a lap ago, and the 64 bytes of
// an array end in a mini CQE where op_own would be. A client that leaves them so reads them as valid CQEs one or two
// laps later: it has to invalidate all N (DPDK mlx5_rx_poll_len; kernel mlx5e_cqes_update_owner).
#include "device.h"

#include <stdlib.h>
#include <string.h>

enum { SESSION_MAX = 64, CQN_SLOTS = 65536, REREAD_MAX = 1000000 };
#define NEVER_ARMED 0xffffffffu

struct session {                  // completions that wait to be written together
  struct completion_queue *cq;
  struct receive_queue *rq;
  struct cqe title;               // the first one as it would be written alone
  struct mini_cqe minis[SESSION_MAX];
  uint32_t count;
  uint32_t next_stride;           // striding: where the next frame must lie, to follow
  bool listed;                    // in `open_list`
};

static struct completion_queue *by_number[CQN_SLOTS];
static struct completion_queue *all;
static struct session **open_list;     // sessions that may have something to write; room for all there are
static uint32_t open_count, open_room;

// ---- slots ----

static uint8_t *slot(const struct completion_queue *cq, uint32_t index) {
  uint8_t *entry = cq->buffer + (uint64_t)(index & (cq->entries - 1)) * cq->cqe_bytes;
  return cq->cqe_bytes == 128 ? entry + 64 : entry;
}

/** CQEs the client has not taken, modulo twice the ring: DPDK's send CQs count in 16 of the 24 bits. */
static uint32_t used(struct completion_queue *cq) {
  cq->consumer = record_read(&cq->doorbell[RECORD_CQ_CONSUMER]);
  return (cq->producer - cq->consumer) & (2 * cq->entries - 1);
}

/**
 * More used than there are slots: the record is ahead of the producer, or was read while its bytes were being
 * written one by one. Then it turns sensible a moment later.
 */
static uint32_t used_checked(struct completion_queue *cq) {
  uint32_t count = used(cq);
  if (count <= cq->entries) return count;
  uint32_t consumer = cq->consumer;
  for (int tries = 0; tries < REREAD_MAX; tries++, __builtin_ia32_pause()) {
    if (used(cq) > cq->entries) continue;
    complain("torn-doorbell", "CQ 0x%x: its consumer index was read as 0x%x while it was being written", cq->cqn,
             consumer);
    return used(cq);
  }
  complain("cq-doorbell-ahead", "CQ 0x%x: consumer index 0x%x is ahead of the producer 0x%x", cq->cqn, consumer,
           cq->producer);
  return 0;                       // as the silicon would read it: plenty of room
}

bool cq_full(struct completion_queue *cq) {
  return !cq->ignore_overrun && used_checked(cq) >= cq->entries;
}

/** The CQ is in error for good; its queues' completions have nowhere to go. */
static void break_down(struct completion_queue *cq) {
  cq->overrun = true;
  uverbs_cq_error(cq);
}

/** A CQE finds no slot. */
static void overrun(struct completion_queue *cq) {
  uint32_t consumer = record_read(&cq->doorbell[RECORD_CQ_CONSUMER]);
  if (consumer == 0)
    complain("missing-cq-index", "CQ 0x%x: %u CQEs written, and its consumer index record never was", cq->cqn,
             cq->producer);
  else
    complain("cq-overrun", "CQ 0x%x of %u entries: producer 0x%x, consumer 0x%x", cq->cqn, cq->entries, cq->producer,
             consumer);
  break_down(cq);
}

/** An error that a test asked for by the control command `cq-error`. */
static void inject(struct completion_queue *cq, bool *wanted) {
  if (!*wanted) return;
  *wanted = false;
  break_down(cq);
}

/** The client's core writes the record often: it is read for every eighth CQE, and when there seems to be no room. */
static bool room_for(struct completion_queue *cq, uint32_t count) {
  uint32_t known = (cq->producer - cq->consumer) & (2 * cq->entries - 1);
  if (cq->overrun) return false;
  if (cq->producer % 8 != 0 && known + count <= cq->entries) return true;
  if (cq->ignore_overrun || used_checked(cq) + count <= cq->entries) return true;
  overrun(cq);
  return false;
}

static void event(struct completion_queue *cq, uint8_t op) {
  bool error = op >> 4 == CQE_REQ_ERROR || op >> 4 == CQE_RESP_ERROR;
  if (!cq->armed || (cq->armed_solicited && !error)) return;
  cq->armed = false;
  if (cq->channel) cq->events++;
  uverbs_completion_event(cq);
}

/** The owner byte goes last: the client takes the CQE as soon as it sees it. */
static void put(struct completion_queue *cq, struct cqe *cqe, uint8_t op, uint32_t advance) {
  uint8_t owner = (cq->producer & cq->entries) != 0;
  uint8_t *entry = slot(cq, cq->producer);
  memcpy(entry, cqe, sizeof *cqe - 1);
  __atomic_store_n(entry + sizeof *cqe - 1, (uint8_t)(op | owner), __ATOMIC_RELEASE);
  cq->producer = (cq->producer + advance) & 0xffffff;
  event(cq, op);
}

// ---- single completions ----

void cq_send_done(struct queue_pair *qp, uint8_t opcode, uint16_t index) {
  struct completion_queue *cq = qp->send_cq;
  struct cqe cqe = {
    .srqn_uidx = htobe32(qp->user_index),
    .sop_drop_qpn = htobe32((uint32_t)opcode << 24 | qp->qpn),
    .wqe_counter = htobe16(index),
    .timestamp = htobe64(device_time_ns),
  };
  cq_flush(cq);
  inject(cq, &qp->port->next_send_cq_error);
  if (room_for(cq, 1)) put(cq, &cqe, CQE_REQ << 4, 1);
}

void cq_error(struct completion_queue *cq, uint8_t cqe_opcode, uint32_t user_index, uint32_t sop_qpn,
              uint16_t index, uint8_t syndrome) {
  struct cqe cqe = {
    .srqn_uidx = htobe32(user_index),
    .sop_drop_qpn = htobe32(sop_qpn),
    .wqe_counter = htobe16(index),
    .timestamp = htobe64(syndrome),  // struct mlx5_err_cqe: the last byte of the time stamp
  };
  cq_flush(cq);
  trace(1, "error CQE in CQ 0x%x: opcode %u, queue 0x%x, WQE %u, syndrome 0x%x", cq->cqn, cqe_opcode,
        sop_qpn & 0xffffff, index, syndrome);
  if (room_for(cq, 1)) put(cq, &cqe, (uint8_t)(cqe_opcode << 4), 1);
}

// ---- compression ----

static void fill_mini(struct session *session, const struct cqe *cqe) {
  struct mini_cqe *mini = &session->minis[session->count++];
  mini->byte_count = cqe->byte_count;
  if (session->cq->compression == COMPRESSION_HASH) {
    mini->rx_hash_result = cqe->rx_hash_result;
  } else {
    mini->checksum = cqe->checksum;
    mini->stride_index = session->cq->compression == COMPRESSION_CSUM_STRIDX ? cqe->wqe_counter : 0;
  }
  uint32_t strides = be32toh(cqe->byte_count) >> STRIDE_COUNT_SHIFT & 0x3fff;
  session->next_stride = be16toh(cqe->wqe_counter) + (session->rq->striding ? strides : 1);
}

/** Everything that has no place in a mini CQE must be as in the title. */
static bool fits(const struct session *session, const struct receive_queue *rq, const struct cqe *cqe) {
  const struct cqe *title = &session->title;
  const struct completion_queue *cq = session->cq;
  // A session never runs across the ring's end: DPDK's vector receive takes `cq + 1` … without wrapping.
  uint32_t until_end = cq->entries - (cq->producer & (cq->entries - 1));
  return session->count < SESSION_MAX && session->count < until_end && session->rq == rq &&
         title->hds_ip_ext == cqe->hds_ip_ext && title->l4_hdr_type_etc == cqe->l4_hdr_type_etc &&
         title->vlan_info == cqe->vlan_info && title->rx_hash_type == cqe->rx_hash_type &&
         title->sop_drop_qpn == cqe->sop_drop_qpn && title->wqe_id == cqe->wqe_id &&
         (uint16_t)session->next_stride == be16toh(cqe->wqe_counter);
}

static void write_session(struct session *session) {
  struct completion_queue *cq = session->cq;
  for (uint32_t at = 0; at < session->count; at += MINI_CQES_A_SLOT) {
    uint32_t offset = at == 0 ? 1 : at;
    memcpy(slot(cq, cq->producer + offset), session->minis + at, sizeof(struct mini_cqe) * MINI_CQES_A_SLOT);
  }
  session->title.byte_count = htobe32(session->count);
  cq->port->counters.cqe_compressed += session->count;
  put(cq, &session->title, CQE_RESP_SEND << 4 | CQE_FORMAT_COMPRESSED, session->count);
}

void cq_flush(struct completion_queue *cq) {
  struct session *session = cq->hardware;
  if (!session || session->count == 0) return;
  if (room_for(cq, session->count)) {
    if (session->count == 1) put(cq, &session->title, CQE_RESP_SEND << 4, 1);
    else write_session(session);
  }
  session->count = 0;
  memset(session->minis, 0, sizeof session->minis);
}

void cq_flush_all(void) {
  for (uint32_t i = 0; i < open_count; i++) {
    open_list[i]->listed = false;
    cq_flush(open_list[i]->cq);
  }
  open_count = 0;
}

static void list_session(struct session *session) {
  if (session->listed) return;
  session->listed = true;
  open_list[open_count++] = session;
}

void cq_receive_done(struct receive_queue *rq, struct cqe *cqe) {
  struct completion_queue *cq = rq->cq;
  struct session *session = cq->hardware;
  bool filler = rq->striding && be32toh(cqe->byte_count) & FILLER;
  inject(cq, &rq->port->next_receive_cq_error);
  if (!session || filler) {
    cq_flush(cq);
    if (room_for(cq, 1)) put(cq, cqe, CQE_RESP_SEND << 4, 1);
    return;
  }
  if (session->count > 0 && !fits(session, rq, cqe)) cq_flush(cq);
  if (session->count == 0) {
    session->title = *cqe;
    session->rq = rq;
    list_session(session);
  }
  fill_mini(session, cqe);
}

// ---- arming, life ----

/**
 * The client counts the events that it has read, and arms with that number, of which two bits go along: by them the
 * device tells an arming from one that was overtaken by its own event, which it leaves alone. So an event that waits
 * unread makes an arming void, and that is no fault: whoever waits for the channel finds it readable.
 */
static bool sequence_holds(struct completion_queue *cq, uint32_t command) {
  uint32_t sequence = command >> 28 & 3;
  uint32_t read = __atomic_load_n(&cq->completion_events, __ATOMIC_ACQUIRE);
  if (sequence == (cq->events & 3)) return true;
  bool waits = read != cq->events && sequence == (read & 3);
  if (waits || command == cq->arm_at_read) return false;  // or it was written before the event was read
  complain("arm-wrong-sequence", "CQ 0x%x: armed with sequence number %u, and %u events were read of it", cq->cqn,
           sequence, read);
  return false;
}

/** The consumer index that it is armed with is the record's, which the client may have moved on since; never less. */
static void check_arm_index(struct completion_queue *cq, uint32_t index) {
  uint32_t record = record_read(&cq->doorbell[RECORD_CQ_CONSUMER]) & 0xffffff;
  uint32_t ahead = (index - record) & 0xffffff, behind = (cq->arm_consumer - index) & 0xffffff;
  if (ahead != 0 && ahead < 0x800000)
    complain("arm-index-ahead", "CQ 0x%x: armed with consumer index 0x%x, and its record says 0x%x", cq->cqn, index,
             record);
  else if (behind != 0 && behind < 0x800000)  // the record was further already when it was armed before
    complain("arm-stale-index", "CQ 0x%x: armed with consumer index 0x%x, and its record said 0x%x before that",
             cq->cqn, index, cq->arm_consumer);
  cq->arm_consumer = record;
}

/** `command`: sequence << 28 | solicited only << 24 | consumer index. */
static void arm(struct completion_queue *cq, uint32_t command) {
  uint32_t mask = 2 * cq->entries - 1;
  if (command != cq->arm_command) check_arm_index(cq, command & 0xffffff);
  cq->arm_command = command;
  if (settings.trace >= 3) trace(3, "CQ 0x%x: armed, 0x%x", cq->cqn, command);
  if (!sequence_holds(cq, command)) return;
  cq->armed_solicited = command >> 24 & 1;
  cq->armed = true;
  // what the client has not seen yet raises the event at once: it may have looked just before it came
  if (((cq->producer - command) & mask) != 0) event(cq, CQE_REQ << 4);
}

/** The record is written first; or it is that of a later arming, whose register is on its way. */
static bool record_agrees(struct completion_queue *cq, uint32_t page, uint32_t command,
                          bool (*rung)(uint32_t page)) {
  for (int tries = 0; tries < REREAD_MAX; tries++, __builtin_ia32_pause()) {
    if (record_read(&cq->doorbell[RECORD_CQ_ARM]) == command) return true;
    if (rung(page)) return false;
  }
  complain("arm-before-record", "CQ 0x%x: armed by 0x%x, and its arm record is 0x%x", cq->cqn, command,
           record_read(&cq->doorbell[RECORD_CQ_ARM]));
  return false;
}

/**
 * UAR_CQ_ARM: the command in the upper half, the CQ's number below. All CQs are armed through one register, and a
 * second may have been before the first was seen: so all of the page have their records looked at.
 */
void cq_arm(uint32_t page, uint64_t doorbell, bool (*rung)(uint32_t page)) {
  uint32_t cqn = (uint32_t)doorbell & 0xffffff;
  uint32_t command = (uint32_t)(doorbell >> 32);
  struct completion_queue *named = by_number[cqn & (CQN_SLOTS - 1)];
  if (!named || named->cqn != cqn)
    complain("arm-unknown-cq", "the arm register was written for CQ 0x%x, which there is not", cqn);
  else if (named->uar_index != page)
    complain("arm-foreign-page", "CQ 0x%x was armed through UAR page %u, and is of page %u", cqn, page,
             named->uar_index);
  else if (record_agrees(named, page, command, rung))
    arm(named, command);
  for (struct completion_queue *cq = all; cq; cq = cq->next) {
    uint32_t record = cq->uar_index == page ? record_read(&cq->doorbell[RECORD_CQ_ARM]) : cq->arm_command;
    if (record != cq->arm_command) arm(cq, record);
  }
}

/** SOFTMLX5_FIRST_CQE=N: as if N had been written before, for a test that will not wait for 2^24 of them. */
static uint32_t first_cqe(void) {
  const char *text = getenv("SOFTMLX5_FIRST_CQE");
  return text ? (uint32_t)strtoul(text, NULL, 10) & 0xffffff : 0;
}

void cq_init(struct completion_queue *cq) {
  cq->producer = first_cqe();
  cq->overrun = false;
  cq->hardware = NULL;
  by_number[cq->cqn & (CQN_SLOTS - 1)] = cq;
  // no client reads it; 0, which clients begin with, would not be told from the first arming
  cq->doorbell[RECORD_CQ_ARM] = cq->arm_command = NEVER_ARMED;
  cq->arm_consumer = record_read(&cq->doorbell[RECORD_CQ_CONSUMER]) & 0xffffff;
  cq->next = all;
  all = cq;
  if (cq->compression == COMPRESSION_OFF) return;
  struct session *session = calloc(1, sizeof *session);
  session->cq = cq;
  cq->hardware = session;
  open_room++;
  open_list = realloc(open_list, open_room * sizeof *open_list);
}

void cq_remove(struct completion_queue *cq) {
  struct completion_queue **link = &all;
  cq_flush_all();
  while (*link != cq) link = &(*link)->next;
  *link = cq->next;
  if (cq->hardware) open_room--;
  free(cq->hardware);
  cq->hardware = NULL;
  by_number[cq->cqn & (CQN_SLOTS - 1)] = NULL;
}

void cq_resize(struct completion_queue *cq, uint8_t *buffer, uint32_t entries, uint32_t cqe_bytes) {
  struct cqe cqe = {.wqe_counter = 0};
  cq_flush(cq);
  if (room_for(cq, 1)) put(cq, &cqe, CQE_RESIZE << 4, 1);
  cq->buffer = buffer;
  cq->entries = entries;
  cq->cqe_bytes = cqe_bytes;
}
