// Send queues: doorbell, WQE, frame, completion.
//
// The client writes WQEs, then how many 64-byte blocks (WQEBB) it has posted into the doorbell record, then the first 8
// bytes of the last WQE into a BlueFlame register of the queue's UAR page. That write alone starts the device.
// A CQE is written only where the WQE asks for one (CQ_UPDATE): it completes everything before it as well.
#include "device.h"

#include <stdlib.h>
#include <string.h>

enum { REREAD_MAX = 1000000, WQE_BYTES_MAX = WQE_SEGMENTS_MAX * SEGMENT_BYTES };

struct send_state {               // queue_pair.hardware
  uint16_t producer;              // WQEBBs posted, as of the last doorbell
  uint16_t reported;              // the WQEBB behind the last WQE that got a CQE: what the client may reuse ends here
  uint32_t frames_sent;           // of the WQE at queue_pair.send_consumer, before it had to wait
  bool error_reported;            // COMPLETE_ON_FIRST_ERROR
  bool active;                    // in `active`
};

static struct queue_pair **active;     // queues with something to do
static uint32_t active_count, active_room;

static uint16_t posted(const struct queue_pair *qp) {
  return (uint16_t)record_read(&qp->doorbell[RECORD_SEND]);
}

static void activate(struct queue_pair *qp) {
  struct send_state *state = qp->hardware;
  if (state->active) return;
  state->active = true;
  active[active_count++] = qp;
}

// ---- errors ----

static void report_error(struct queue_pair *qp, uint8_t opcode, uint16_t index, uint8_t mode, uint8_t syndrome) {
  struct send_state *state = qp->hardware;
  bool again = state->error_reported;
  state->error_reported = true;
  if (mode == COMPLETE_ON_FIRST_ERROR && again) return;
  if (syndrome == SYNDROME_FLUSHED && cq_full(qp->send_cq)) return;
  cq_error(qp->send_cq, CQE_REQ_ERROR, qp->user_index, (uint32_t)opcode << 24 | qp->qpn, index, syndrome);
}

static const struct control_segment *wqe_at(const struct queue_pair *qp, uint16_t index) {
  return (const void *)(qp->send_buffer + (size_t)(index & (qp->send_wqebbs - 1)) * WQEBB_BYTES);
}

static uint16_t wqebbs_of(uint32_t segments) {
  return (uint16_t)((segments * SEGMENT_BYTES + WQEBB_BYTES - 1) / WQEBB_BYTES);
}

static uint8_t mode_of(const struct control_segment *control) { return control->fm_ce_se >> 2 & 3; }

/** What is posted to a queue in error completes with syndrome 5. */
static void flush(struct queue_pair *qp) {
  struct send_state *state = qp->hardware;
  while (qp->send_consumer != state->producer) {
    const struct control_segment *control = wqe_at(qp, qp->send_consumer);
    uint16_t wqebbs = wqebbs_of(segments_of(control));
    if (wqebbs == 0 || wqebbs > (uint16_t)(state->producer - qp->send_consumer)) break;
    uint8_t opcode = (uint8_t)be32toh(control->opmod_index_opcode);
    qp->port->counters.sq_flushed++;
    report_error(qp, opcode, qp->send_consumer, mode_of(control), SYNDROME_FLUSHED);
    qp->send_consumer += wqebbs;
    state->reported = qp->send_consumer;
  }
  qp->send_consumer = state->producer;
}

static void fail(struct queue_pair *qp, const struct control_segment *control, uint8_t syndrome) {
  struct send_state *state = qp->hardware;
  uint16_t wqebbs = wqebbs_of(segments_of(control));
  uint8_t opcode = (uint8_t)be32toh(control->opmod_index_opcode);
  qp->port->counters.sq_errors++;
  qp->send_state = QUEUE_ERROR;
  report_error(qp, opcode, qp->send_consumer, COMPLETE_ON_ERROR, syndrome);
  uint16_t available = (uint16_t)(state->producer - qp->send_consumer);
  qp->send_consumer += wqebbs < available ? wqebbs : available;
  state->reported = qp->send_consumer;
  state->frames_sent = 0;
  flush(qp);
}

// ---- execution ----

/** The control segment against what the device knows. */
static bool check_control(struct queue_pair *qp, const struct control_segment *control) {
  struct send_state *state = qp->hardware;
  uint16_t index = (uint16_t)(be32toh(control->opmod_index_opcode) >> 8);
  uint32_t qpn = be32toh(control->qpn_ds) >> 8;
  uint32_t segments = segments_of(control);
  uint16_t available = (uint16_t)(state->producer - qp->send_consumer);
  if (index != qp->send_consumer)
    complain("wrong-wqe-index", "SQ 0x%x: the WQE at %u says it is %u", qp->qpn, qp->send_consumer, index);
  else if (qpn != qp->qpn)
    complain("wrong-qpn", "SQ 0x%x WQE %u: its control segment names queue 0x%x", qp->qpn, index, qpn);
  else if (segments == 0 || wqebbs_of(segments) > available)
    complain("bad-ds", "SQ 0x%x WQE %u: %u segments, %u WQEBBs are posted", qp->qpn, index, segments, available);
  else
    return true;
  return false;
}

/** A WQE in one piece: where it wraps at the ring's end, a copy. */
static const struct control_segment *in_one_piece(const struct queue_pair *qp, uint32_t segments) {
  static uint8_t copy[WQE_BYTES_MAX];
  const uint8_t *start = (const uint8_t *)wqe_at(qp, qp->send_consumer);
  const uint8_t *end = qp->send_buffer + (size_t)qp->send_wqebbs * WQEBB_BYTES;
  size_t bytes = (size_t)segments * SEGMENT_BYTES;
  size_t first = (size_t)(end - start);
  if (bytes <= first) return (const void *)start;
  memcpy(copy, start, first);
  memcpy(copy + first, qp->send_buffer, bytes - first);
  return (const void *)copy;
}

static void complete(struct queue_pair *qp, const struct control_segment *control) {
  struct send_state *state = qp->hardware;
  uint8_t opcode = (uint8_t)be32toh(control->opmod_index_opcode);
  uint16_t index = qp->send_consumer;
  qp->send_consumer += wqebbs_of(segments_of(control));
  state->frames_sent = 0;
  if (mode_of(control) >= COMPLETE_ALWAYS) {
    cq_send_done(qp, opcode, index);
    state->reported = qp->send_consumer;
  } else if ((uint16_t)(qp->send_consumer - state->reported) >= qp->send_wqebbs) {
    complain("never-signalled", "SQ 0x%x: a whole ring of %u WQEBBs executed, and no WQE asked for a completion",
             qp->qpn, qp->send_wqebbs);
    state->reported = qp->send_consumer;
  }
}

static enum outcome run_one(struct queue_pair *qp) {
  struct send_state *state = qp->hardware;
  const struct control_segment *control = wqe_at(qp, qp->send_consumer);
  if (!check_control(qp, control)) {
    fail(qp, control, SYNDROME_QP_OPERATION);
    return FAILED;
  }
  uint32_t segments = segments_of(control);
  control = in_one_piece(qp, segments);
  uint8_t syndrome;
  struct emission emission = {.qp = qp, .resume = state->frames_sent};
  enum outcome outcome = wqe_execute(&emission, control, &syndrome);
  if (settings.trace >= 2)
    trace(2, "SQ 0x%x WQE %u: %u segments, %u frames", qp->qpn, qp->send_consumer, segments, emission.sent);
  if (outcome == DONE) complete(qp, control);
  else if (outcome == FAILED) fail(qp, control, syndrome);
  else state->frames_sent = emission.sent;
  return outcome;
}

bool sq_run_all(void) {
  bool moved = false;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < active_count; i++) {
    struct queue_pair *qp = active[i];
    struct send_state *state = qp->hardware;
    for (int budget = ROUND_FRAMES; budget > 0 && qp->send_consumer != state->producer; budget--) {
      if (qp->port->fatal || qp->send_state != QUEUE_READY || run_one(qp) != DONE) break;
      moved = true;
    }
    bool more = qp->send_state == QUEUE_READY && qp->send_consumer != state->producer && !qp->port->fatal;
    state->active = more;
    if (more) active[kept++] = qp;
  }
  active_count = kept;
  return moved;
}

// ---- doorbells ----

/** How far the record is ahead of `from`, or more than the ring if that makes no sense. */
static uint16_t ahead(const struct queue_pair *qp, uint16_t from) { return (uint16_t)(posted(qp) - from); }

/** The record after a doorbell. It may not go back, nor beyond what the client knows to be free. */
static bool read_producer(struct queue_pair *qp) {
  struct send_state *state = qp->hardware;
  uint32_t raw = record_read(&qp->doorbell[RECORD_SEND]);
  uint16_t producer = (uint16_t)raw;
  uint16_t outstanding = (uint16_t)(producer - state->reported);
  uint16_t before = (uint16_t)(state->producer - state->reported);
  if (outstanding >= before && outstanding <= qp->send_wqebbs) {
    state->producer = producer;
    return true;
  }
  for (int tries = 0; tries < REREAD_MAX; tries++, __builtin_ia32_pause()) {
    uint16_t again = ahead(qp, state->reported);
    if (again < before || again > qp->send_wqebbs) continue;
    complain("torn-doorbell", "SQ 0x%x: its record was read as 0x%x while it was being written", qp->qpn, raw);
    state->producer = (uint16_t)(state->reported + again);
    return true;
  }
  if ((int16_t)(producer - state->producer) < 0)
    complain("doorbell-backwards", "SQ 0x%x: the record went from %u to %u", qp->qpn, state->producer, producer);
  else if (outstanding > 2 * qp->send_wqebbs)
    complain("doorbell-beyond-ring", "SQ 0x%x of %u WQEBBs: %u posted at once", qp->qpn, qp->send_wqebbs, outstanding);
  else
    complain("sq-overwritten", "SQ 0x%x of %u WQEBBs: %u posted, completions were written up to %u only", qp->qpn,
             qp->send_wqebbs, producer, state->reported);
  state->producer = qp->send_consumer;
  return false;
}

/** The register's 8 bytes must be the control segment of a WQE that the record covers. */
static void check_blue_flame(const struct queue_pair *qp, uint64_t value) {
  const struct send_state *state = qp->hardware;
  uint16_t index = (uint16_t)(be32toh((uint32_t)value) >> 8);
  int16_t behind = (int16_t)(state->producer - index);
  if (behind <= 0 && behind != INT16_MIN) {  // a ring of 32768 can be that far behind
    complain("doorbell-before-record", "SQ 0x%x: rung for WQE %u, the record says %u", qp->qpn, index,
             state->producer);
    return;
  }
  if ((int16_t)(index - qp->send_consumer) < 0) return;  // executed already: an earlier doorbell saw its record
  uint64_t posted_wqe;
  memcpy(&posted_wqe, wqe_at(qp, index), sizeof posted_wqe);
  if (posted_wqe != value)
    complain("bf-mismatch", "SQ 0x%x WQE %u: register 0x%016llx, WQE 0x%016llx", qp->qpn, index,
             (unsigned long long)value, (unsigned long long)posted_wqe);
}

void sq_doorbell(struct queue_pair *qp, uint64_t value) {
  struct send_state *state = qp->hardware;
  if (qp->send_state == QUEUE_RESET) {
    if (value) complain("doorbell-in-reset", "SQ 0x%x: rung before the queue is ready to send", qp->qpn);
    return;
  }
  if (qp->send_state == QUEUE_ERROR) {
    state->producer = posted(qp);
    flush(qp);
    return;
  }
  if (!read_producer(qp)) {
    fail(qp, wqe_at(qp, qp->send_consumer), SYNDROME_QP_OPERATION);
    return;
  }
  if (value) check_blue_flame(qp, value);
  if (qp->send_consumer != state->producer) activate(qp);
}

// ---- life ----

void sq_set_state(struct queue_pair *qp, enum queue_state state) {
  struct send_state *own = qp->hardware;
  if (!own) return;
  if (state == QUEUE_RESET || qp->send_state == QUEUE_RESET) {
    qp->send_consumer = 0;
    *own = (struct send_state){.active = own->active};
  }
  bool failed = state == QUEUE_ERROR && qp->send_state == QUEUE_READY;
  qp->send_state = state;
  if (failed) flush(qp);
}

void sq_init(struct queue_pair *qp) {
  if (qp->send_wqebbs == 0) return;
  qp->hardware = calloc(1, sizeof(struct send_state));
  active_room++;
  active = realloc(active, active_room * sizeof *active);
}

void sq_release(struct queue_pair *qp) {
  if (qp->send_wqebbs == 0) return;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < active_count; i++) {
    if (active[i] != qp) active[kept++] = active[i];
  }
  active_count = kept;
  active_room--;
  free(qp->hardware);
  qp->hardware = NULL;
}
