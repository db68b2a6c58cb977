// Send WQEs: segments become frames. Control segment, Ethernet segment with perhaps an inlined header, data segments
// that point or carry the data themselves. A WQE is one frame (SEND), several (eMPW) or one that is cut (TSO).
#include "device.h"

#include <string.h>

// One frame being put together: the device's packet buffer.
static uint8_t buffer[FRAME_BYTES_MAX];

enum outcome emit(struct emission *emission, const uint8_t *data, uint32_t bytes) {
  struct port *port = emission->qp->port;
  if (emission->sent < emission->resume) {  // it went before this WQE had to wait
    emission->sent++;
    return DONE;
  }
  if (bytes < FRAME_BYTES_MIN || emission->cs_flags) {
    if (data != buffer) memcpy(buffer, data, bytes);
    if (bytes < FRAME_BYTES_MIN) memset(buffer + bytes, 0, FRAME_BYTES_MIN - bytes);
    if (emission->cs_flags) packet_write_checksums(buffer, bytes, emission->cs_flags);
    data = buffer;
    if (bytes < FRAME_BYTES_MIN) bytes = FRAME_BYTES_MIN;
  }
  if (!wire_send(port, data, bytes)) return WAITING;
  port->counters.tx_packets++;
  port->counters.tx_bytes += bytes;
  emission->sent++;
  return DONE;
}

struct cursor {                   // walks a WQE that lies in one piece
  const uint8_t *at;
  uint32_t left;                  // segments
};

struct gathered {                 // bytes named by data segments, in `buffer` or, if they are in one piece, in place
  const uint8_t *data;
  uint32_t bytes;
  uint8_t syndrome;
};

/** One data segment. With `data` NULL the WQE or the address is wrong; the syndrome says which. */
static struct gathered take_segment(struct cursor *cursor) {
  const struct data_segment *segment = (const void *)cursor->at;
  uint32_t count = be32toh(segment->byte_count);
  if (count & INLINE_SEGMENT) {
    uint32_t bytes = count & 0x3ff;
    uint32_t segments = (bytes + 4 + SEGMENT_BYTES - 1) / SEGMENT_BYTES;
    if (segments > cursor->left) return (struct gathered){.syndrome = SYNDROME_QP_OPERATION};
    struct gathered found = {.data = cursor->at + 4, .bytes = bytes};
    cursor->at += segments * SEGMENT_BYTES;
    cursor->left -= segments;
    return found;
  }
  cursor->at += SEGMENT_BYTES;
  cursor->left--;
  if (count > FRAME_BYTES_MAX) return (struct gathered){.syndrome = SYNDROME_LENGTH};
  const uint8_t *data = dma(be32toh(segment->lkey), be64toh(segment->address), count, false);
  if (!data) return (struct gathered){.syndrome = SYNDROME_PROTECTION};
  return (struct gathered){.data = data, .bytes = count};
}

/** All the data segments that are left, behind `bytes` that are in the buffer already. */
static struct gathered gather(struct cursor *cursor, uint32_t bytes) {
  bool in_place = bytes == 0 && cursor->left == 1;
  while (cursor->left > 0) {
    struct gathered part = take_segment(cursor);
    if (!part.data || in_place) return part;
    if (bytes + part.bytes > FRAME_BYTES_MAX) return (struct gathered){.syndrome = SYNDROME_LENGTH};
    memcpy(buffer + bytes, part.data, part.bytes);
    bytes += part.bytes;
  }
  return (struct gathered){.data = buffer, .bytes = bytes};
}

static void insert_vlan(struct gathered *frame, be16 tci) {
  static const uint8_t cvlan[2] = {0x81, 0x00};
  if (frame->data != buffer) memcpy(buffer, frame->data, frame->bytes);
  memmove(buffer + 16, buffer + 12, frame->bytes - 12);
  memcpy(buffer + 12, cvlan, 2);
  memcpy(buffer + 14, &tci, 2);
  frame->data = buffer;
  frame->bytes += 4;
}

// ---- opcodes ----

struct wqe {
  struct queue_pair *qp;
  const struct control_segment *control;
  const struct ethernet_segment *ethernet;
  struct cursor cursor;           // behind the Ethernet segment and its inline header
  uint32_t inline_bytes;
  bool insert_vlan;
  uint8_t syndrome;               // of a WQE that failed
};

static enum outcome refuse(struct wqe *wqe, uint8_t syndrome) {
  wqe->syndrome = syndrome;
  return FAILED;
}

static enum outcome execute_send(struct wqe *wqe, struct emission *emission) {
  memcpy(buffer, wqe->ethernet->inline_header, wqe->inline_bytes);
  struct gathered frame = gather(&wqe->cursor, wqe->inline_bytes);
  if (!frame.data) return refuse(wqe, frame.syndrome);
  if (frame.bytes == 0) return DONE;  // a WQE without data sends nothing
  if (frame.bytes < 14 || frame.bytes + 4 > FRAME_BYTES_MAX) return refuse(wqe, SYNDROME_LENGTH);
  if (wqe->insert_vlan) insert_vlan(&frame, wqe->ethernet->vlan_tci);
  return emit(emission, frame.data, frame.bytes);
}

static enum outcome execute_tso(struct wqe *wqe, struct emission *emission) {
  static uint8_t payload[4 * FRAME_BYTES_MAX];
  uint32_t mss = be16toh(wqe->ethernet->mss);
  uint32_t bytes = 0;
  if (mss == 0 || wqe->inline_bytes < 54) return refuse(wqe, SYNDROME_QP_OPERATION);
  while (wqe->cursor.left > 0) {
    struct gathered part = take_segment(&wqe->cursor);
    if (!part.data) return refuse(wqe, part.syndrome);
    if (bytes + part.bytes > sizeof payload) return refuse(wqe, SYNDROME_LENGTH);
    memcpy(payload + bytes, part.data, part.bytes);
    bytes += part.bytes;
  }
  enum outcome outcome = tso_emit(emission, wqe->ethernet->inline_header, wqe->inline_bytes, payload, bytes, mss);
  return outcome == FAILED ? refuse(wqe, SYNDROME_QP_OPERATION) : outcome;
}

/** eMPW: each data segment is a frame of its own; the Ethernet segment's flags hold for all of them. */
static enum outcome execute_mpsw(struct wqe *wqe, struct emission *emission) {
  if (wqe->inline_bytes > 0 || settings.chip == CHIP_CONNECTX4LX) {
    complain("bad-opcode", "SQ 0x%x: eMPW where headers must be inlined, which it cannot", wqe->qp->qpn);
    return refuse(wqe, SYNDROME_QP_OPERATION);
  }
  while (wqe->cursor.left > 0) {
    struct gathered frame = take_segment(&wqe->cursor);
    if (!frame.data) return refuse(wqe, frame.syndrome);
    if (frame.bytes < 14 || frame.bytes + 4 > FRAME_BYTES_MAX) return refuse(wqe, SYNDROME_LENGTH);
    if (wqe->insert_vlan) insert_vlan(&frame, wqe->ethernet->vlan_tci);
    enum outcome outcome = emit(emission, frame.data, frame.bytes);
    if (outcome != DONE) return outcome;
  }
  return DONE;
}

/** The Ethernet segment and its inline header. False: the WQE is too short for what it says. */
static bool read_ethernet(struct wqe *wqe) {
  if (wqe->cursor.left == 0) return false;
  const struct ethernet_segment *ethernet = (const void *)wqe->cursor.at;
  uint16_t inline_field = be16toh(ethernet->inline_header_bytes);
  wqe->ethernet = ethernet;
  wqe->insert_vlan = inline_field & INSERT_VLAN;
  wqe->inline_bytes = wqe->insert_vlan ? 0 : inline_field & INLINE_HEADER_MASK;
  uint32_t more = wqe->inline_bytes > 2 ? wqe->inline_bytes - 2 : 0;  // two bytes are within the segment
  uint32_t segments = 1 + (more + SEGMENT_BYTES - 1) / SEGMENT_BYTES;
  if (segments > wqe->cursor.left) return false;
  wqe->cursor.at += segments * SEGMENT_BYTES;
  wqe->cursor.left -= segments;
  return true;
}

static void lint_reserved(const struct wqe *wqe) {
  const struct control_segment *control = wqe->control;
  const struct ethernet_segment *ethernet = wqe->ethernet;
  bool dirty = control->signature || control->reserved[0] || control->reserved[1] || ethernet->swp_flags ||
               memcmp(ethernet->swp_offsets, "\0\0\0", 4) != 0;
  if (dirty)
    complain("reserved-nonzero", "SQ 0x%x WQE %u: reserved fields of its control or Ethernet segment are not 0",
             wqe->qp->qpn, wqe->qp->send_consumer);
}

static enum outcome execute_frames(struct wqe *wqe, uint8_t opcode, struct emission *emission) {
  if (!read_ethernet(wqe)) {
    complain("bad-ds", "SQ 0x%x WQE %u: %u segments hold no Ethernet segment with its inline header", wqe->qp->qpn,
             wqe->qp->send_consumer, segments_of(wqe->control));
    return refuse(wqe, SYNDROME_QP_OPERATION);
  }
  lint_reserved(wqe);
  emission->cs_flags = wqe->ethernet->cs_flags & (ETH_L3_CHECKSUM | ETH_L4_CHECKSUM);
  bool has_data = wqe->inline_bytes > 0 || wqe->cursor.left > 0;
  if (has_data && wqe->inline_bytes < settings.min_inline_bytes) {
    complain("inline-too-short", "SQ 0x%x WQE %u: %u bytes of header inlined, this chip needs %u", wqe->qp->qpn,
             wqe->qp->send_consumer, wqe->inline_bytes, settings.min_inline_bytes);
    return refuse(wqe, SYNDROME_QP_OPERATION);
  }
  if (opcode == OPCODE_TSO) return execute_tso(wqe, emission);
  if (opcode == OPCODE_ENHANCED_MPSW) return execute_mpsw(wqe, emission);
  return execute_send(wqe, emission);
}

static enum outcome execute(struct wqe *wqe, struct emission *emission) {
  uint32_t first = be32toh(wqe->control->opmod_index_opcode);
  uint8_t opcode = (uint8_t)first;
  struct port *port = wqe->qp->port;
  if (port->next_send_error && opcode != OPCODE_NOP) {
    uint8_t syndrome = port->next_send_error;
    port->next_send_error = 0;
    return refuse(wqe, syndrome);
  }
  switch (first & 0xff0000ff) {     // opcode modifiers are for RDMA and for the older multi-packet WQE
    case OPCODE_NOP:
      return DONE;
    case OPCODE_SEND:
    case OPCODE_TSO:
    case OPCODE_ENHANCED_MPSW:
      return execute_frames(wqe, opcode, emission);
    default:
      complain("bad-opcode", "SQ 0x%x WQE %u: opcode 0x%x, modifier %u on a raw packet queue", wqe->qp->qpn,
               wqe->qp->send_consumer, opcode, first >> 24);
      return refuse(wqe, SYNDROME_QP_OPERATION);
  }
}

enum outcome wqe_execute(struct emission *emission, const struct control_segment *control, uint8_t *syndrome) {
  struct wqe wqe = {
    .qp = emission->qp,
    .control = control,
    .cursor = {.at = (const uint8_t *)control + sizeof *control, .left = segments_of(control) - 1},
  };
  enum outcome outcome = execute(&wqe, emission);
  *syndrome = wqe.syndrome;
  return outcome;
}
