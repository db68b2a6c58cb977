// Receive queues: frames into the buffers that the client posted.
//
// Cyclic: a WQE is a scatter list, a frame takes one WQE, the CQE names it (wqe_counter).
// Striding (multi-packet): a WQE is one large buffer in strides; frames take as many whole strides as they need, one
// after another. The CQE says which WQE (wqe_id), the first stride (wqe_counter) and how many (byte_count 29:16). A
// frame never crosses into the next WQE: what strides are left then go into a filler CQE, and the client counts those
// too. The WQE is done when all its strides are accounted for.
#include "device.h"

#include <stdlib.h>
#include <string.h>

enum { REREAD_MAX = 1000000, TWO_BYTE_SHIFT = 2, FCS_BYTES = 4 };

/** What the record says now. More than the ring holds: nonsense, or read while being written. */
static uint16_t read_posted(struct receive_queue *rq) {
  uint16_t count = (uint16_t)(record_read(&rq->doorbell[RECORD_RECEIVE]) - rq->consumer);
  if (count <= rq->wqes) return count;
  for (int tries = 0; tries < REREAD_MAX; tries++, __builtin_ia32_pause()) {
    uint16_t again = (uint16_t)(record_read(&rq->doorbell[RECORD_RECEIVE]) - rq->consumer);
    if (again > rq->wqes) continue;
    complain("torn-doorbell", "RQ 0x%x: its record was read while it was being written", rq->rqn);
    return again;
  }
  complain("rq-doorbell-beyond", "RQ 0x%x of %u WQEs: %u posted, at WQE %u", rq->rqn, rq->wqes, count, rq->consumer);
  return (uint16_t)rq->wqes;
}

/** WQEs posted and not yet taken. The record is read when those known of run out: the client's core writes it often. */
static uint16_t posted(struct receive_queue *rq) {
  uint16_t known = (uint16_t)(rq->producer - rq->consumer);
  if (known >= 2) return known;   // a frame takes the WQE at hand, or the one behind it
  uint16_t count = read_posted(rq);
  rq->producer = (uint16_t)(rq->consumer + count);
  return count;
}

static uint8_t *wqe_at(const struct receive_queue *rq, uint16_t index) {
  return rq->buffer + ((uint64_t)(index & (rq->wqes - 1)) << rq->wqe_shift);
}

static uint32_t strides_needed(const struct receive_queue *rq, uint32_t bytes) {
  uint32_t padded = bytes + (rq->two_byte_shift ? TWO_BYTE_SHIFT : 0) + (rq->keep_fcs ? FCS_BYTES : 0);
  return (padded + (1u << rq->stride_shift) - 1) >> rq->stride_shift;
}

bool rq_has_room(struct receive_queue *rq, uint32_t bytes) {
  if (rq->state != QUEUE_READY || rq->cq->overrun) return true;
  uint16_t count = posted(rq);
  if (count == 0) return false;
  if (!rq->striding) return true;
  uint32_t left = (1u << rq->strides_shift) - rq->stride;
  return count > 1 || strides_needed(rq, bytes) <= left;
}

// ---- states ----

static void flush(struct receive_queue *rq) {
  for (uint16_t count = read_posted(rq); count > 0 && !rq->cq->overrun && !cq_full(rq->cq); count--) {
    rq->port->counters.rq_flushed++;
    cq_error(rq->cq, CQE_RESP_ERROR, rq->user_index, rq->rqn, rq->consumer++, SYNDROME_FLUSHED);
  }
  rq->producer = rq->consumer;
}

void rq_set_state(struct receive_queue *rq, enum queue_state state) {
  cq_flush(rq->cq);
  if (state == QUEUE_RESET || rq->state == QUEUE_RESET) {
    rq->consumer = 0;
    rq->producer = 0;
    rq->stride = 0;
  }
  bool failed = state == QUEUE_ERROR && rq->state == QUEUE_READY;
  rq->state = state;
  if (failed) flush(rq);
}

/**
 * A frame too long for its WQE costs that WQE alone; everything else puts the queue into error (DPDK
 * mlx5_rx_err_handle tells the syndromes apart like this).
 */
static void fail(struct receive_queue *rq, uint8_t syndrome) {
  rq->port->counters.rq_errors++;
  if (syndrome == SYNDROME_LENGTH) rq->port->counters.rq_length_errors++;
  cq_error(rq->cq, CQE_RESP_ERROR, rq->user_index, rq->rqn, rq->consumer, syndrome);
  rq->consumer++;
  rq->stride = 0;
  if (syndrome == SYNDROME_LENGTH) return;
  rq->state = QUEUE_ERROR;
  flush(rq);
}

// ---- data ----

struct source {                   // what is written: the frame, perhaps less its VLAN tag, perhaps with its FCS
  const uint8_t *data[3];
  uint32_t bytes[3];
  uint32_t total;
};

static struct source source_of(const struct receive_queue *rq, const struct packet *packet, const uint8_t *fcs) {
  bool strip = rq->strip_vlan && packet->fields.has_cvlan;
  uint32_t head = strip ? 12 : packet->bytes;
  uint32_t tail = strip ? packet->bytes - 16 : 0;
  uint32_t check = rq->keep_fcs ? FCS_BYTES : 0;
  return (struct source){
    .data = {packet->data, packet->data + 16, fcs},
    .bytes = {head, tail, check},
    .total = head + tail + check,
  };
}

/** Copies `bytes` of the source from its offset `from` on. */
static void copy_out(const struct source *source, uint32_t from, uint8_t *to, uint32_t bytes) {
  for (int i = 0; i < 3 && bytes > 0; i++) {
    if (from >= source->bytes[i]) {
      from -= source->bytes[i];
      continue;
    }
    uint32_t part = source->bytes[i] - from;
    if (part > bytes) part = bytes;
    memcpy(to, source->data[i] + from, part);
    to += part;
    bytes -= part;
    from = 0;
  }
}

/** Into the scatter list of a WQE, `segments` entries from `segment` on. 0, or the syndrome. */
static uint8_t scatter(const struct data_segment *segment, uint32_t segments, const struct source *source) {
  uint32_t done = 0;
  for (uint32_t i = 0; i < segments && done < source->total; i++, segment++) {
    uint32_t room = be32toh(segment->byte_count);
    uint32_t lkey = be32toh(segment->lkey);
    if (lkey == INVALID_LKEY) break;
    uint32_t part = source->total - done < room ? source->total - done : room;
    uint8_t *to = dma(lkey, be64toh(segment->address), part, true);
    if (!to) return SYNDROME_PROTECTION;
    copy_out(source, done, to, part);
    done += part;
  }
  return done < source->total ? SYNDROME_LENGTH : 0;
}

static uint8_t l4_flags(const struct packet *packet) {
  if (packet->fields.l4_protocol == 17) return CQE_UDP;
  const uint8_t *tcp = packet->data + packet->l4;
  uint32_t header = (tcp[12] >> 4) * 4u;
  bool ack = tcp[13] & 0x10;
  if (!ack) return CQE_TCP_NO_ACK;
  return packet->l4_bytes > header ? CQE_TCP_ACK_AND_DATA : CQE_TCP_ACK_NO_DATA;
}

static void check_l4(const struct packet *packet, struct cqe *cqe, uint64_t l4_sum) {
  const uint8_t *l4 = packet->data + packet->l4;
  bool unchecked = packet->fields.l4_protocol == 17 && l4[6] == 0 && l4[7] == 0;
  cqe->l4_hdr_type_etc |= l4_flags(packet);
  bool right = unchecked || sum_fold(sum_pseudo_header(packet) + l4_sum) == 0xffff;
  if (right && !packet->truncated) cqe->hds_ip_ext |= CQE_L4_OK;
}

/** Header types, what was found right, and the sum of everything from the IP header on. */
static void check_headers(const struct packet *packet, struct cqe *cqe) {
  cqe->hds_ip_ext = CQE_L2_OK;
  if (packet->l3 == 0) return;
  bool v4 = packet->fields.ip_version == 4;
  uint64_t l3_sum = sum_words(packet->data + packet->l3, packet->l3_bytes);
  uint32_t behind = packet->l3 + packet->l3_bytes;
  uint64_t sum = l3_sum;
  cqe->l4_hdr_type_etc |= v4 ? CQE_IPV4 : CQE_IPV6;
  if (packet->l3_bytes > (v4 ? 20 : 40)) cqe->l4_hdr_type_etc |= CQE_IP_OPTIONS;
  if (packet->fields.is_fragment) cqe->l4_hdr_type_etc |= CQE_IP_FRAGMENT;
  if (!packet->truncated && (!v4 || sum_fold(l3_sum) == 0xffff)) cqe->hds_ip_ext |= CQE_L3_OK;
  if (packet->l4) {
    uint64_t l4_sum = sum_words(packet->data + packet->l4, packet->l4_bytes);
    check_l4(packet, cqe, l4_sum);
    sum += sum_fold(l4_sum);
    behind = packet->l4 + packet->l4_bytes;
  }
  if (behind < packet->bytes) {
    uint16_t rest = sum_fold(sum_words(packet->data + behind, packet->bytes - behind));
    bool odd = (behind - packet->l3) & 1;  // its bytes then stand in the other half of the 16-bit words
    sum += odd ? __builtin_bswap16(rest) : rest;
  }
  cqe->checksum = sum_fold(sum);
}

static struct cqe describe(struct receive_queue *rq, const struct packet *packet, uint32_t bytes, uint32_t hash,
                           uint8_t hash_type, const struct flow *flow) {
  struct cqe cqe = {
    .rx_hash_result = htobe32(hash),
    .rx_hash_type = hash_type,
    .srqn_uidx = htobe32(rq->user_index),
    .byte_count = htobe32(bytes),
    .timestamp = htobe64(device_time_ns),
    .sop_drop_qpn = htobe32(flow && flow->has_tag ? flow->tag & 0xffffff : 0),
    .wqe_counter = htobe16(rq->consumer),
  };
  check_headers(packet, &cqe);
  if (rq->strip_vlan && packet->fields.has_cvlan) {
    cqe.l4_hdr_type_etc |= CQE_VLAN_STRIPPED;
    cqe.vlan_info = packet->fields.vlan_tci;
  }
  return cqe;
}

static void received(struct receive_queue *rq, struct cqe *cqe, uint32_t bytes) {
  rq->port->counters.rx_packets++;
  rq->port->counters.rx_bytes += bytes;
  cq_receive_done(rq, cqe);
}

static void receive_cyclic(struct receive_queue *rq, const struct source *source, struct cqe *cqe) {
  const struct data_segment *list = (const void *)wqe_at(rq, rq->consumer);
  uint8_t syndrome = scatter(list, (1u << rq->wqe_shift) / SEGMENT_BYTES, source);
  if (syndrome) {
    fail(rq, syndrome);
    return;
  }
  received(rq, cqe, source->total);
  rq->consumer++;
}

/** The rest of the WQE's strides, if the frame does not fit into them. False: there is no other WQE. */
static bool skip_short_rest(struct receive_queue *rq, uint32_t needed) {
  uint32_t left = (1u << rq->strides_shift) - rq->stride;
  if (needed <= left || rq->stride == 0) return true;
  if (posted(rq) < 2) return false;
  struct cqe filler = {
    .wqe_id = htobe16(rq->consumer),
    .wqe_counter = htobe16((uint16_t)rq->stride),
    .srqn_uidx = htobe32(rq->user_index),
    .byte_count = htobe32(FILLER | left << STRIDE_COUNT_SHIFT),
    .timestamp = htobe64(device_time_ns),
  };
  cq_receive_done(rq, &filler);
  rq->consumer++;
  rq->stride = 0;
  return true;
}

static void receive_striding(struct receive_queue *rq, const struct source *source, struct cqe *cqe) {
  uint32_t needed = (source->total + (rq->two_byte_shift ? TWO_BYTE_SHIFT : 0) + (1u << rq->stride_shift) - 1) >>
                    rq->stride_shift;
  if (needed == 0) needed = 1;
  if (!skip_short_rest(rq, needed)) {
    rq->out_of_buffer++;
    rq->port->counters.out_of_buffer++;
    return;
  }
  const struct data_segment *whole = (const void *)(wqe_at(rq, rq->consumer) + NEXT_SEGMENT_BYTES);
  uint32_t offset = (rq->stride << rq->stride_shift) + (rq->two_byte_shift ? TWO_BYTE_SHIFT : 0);
  struct data_segment part = {
    .byte_count = htobe32(be32toh(whole->byte_count) - offset),
    .lkey = whole->lkey,
    .address = htobe64(be64toh(whole->address) + offset),
  };
  bool beyond = needed > 1u << rq->strides_shift || be32toh(whole->byte_count) < offset;
  uint8_t syndrome = beyond ? SYNDROME_LENGTH : scatter(&part, 1, source);
  if (syndrome) {
    fail(rq, syndrome);
    return;
  }
  cqe->wqe_id = htobe16(rq->consumer);
  cqe->wqe_counter = htobe16((uint16_t)rq->stride);
  cqe->byte_count = htobe32(needed << STRIDE_COUNT_SHIFT | source->total);
  received(rq, cqe, source->total);
  rq->stride += needed;
  if (rq->stride < 1u << rq->strides_shift) return;
  rq->consumer++;
  rq->stride = 0;
}

void rq_receive(struct receive_queue *rq, const struct packet *packet, uint32_t hash, uint8_t hash_type,
                const struct flow *flow) {
  struct counters *counters = &rq->port->counters;
  if (rq->state != QUEUE_READY || rq->cq->overrun) {
    counters->dropped++;
    return;
  }
  if (posted(rq) == 0) {
    rq->out_of_buffer++;
    counters->out_of_buffer++;
    return;
  }
  if (rq->port->next_receive_error) {
    fail(rq, rq->port->next_receive_error);
    rq->port->next_receive_error = 0;
    return;
  }
  uint32_t fcs = rq->keep_fcs ? htole32(frame_check_sequence(packet->data, packet->bytes)) : 0;
  struct source source = source_of(rq, packet, (const uint8_t *)&fcs);
  struct cqe cqe = describe(rq, packet, source.total, hash, hash_type, flow);
  if (settings.trace >= 2) trace(2, "RQ 0x%x WQE %u: %u bytes, hash 0x%x", rq->rqn, rq->consumer, source.total, hash);
  if (rq->striding) receive_striding(rq, &source, &cqe);
  else receive_cyclic(rq, &source, &cqe);
}
