// Large send offload: one header, one payload, many frames. What changes from frame to frame is what a TCP stack would
// have changed: lengths, IPv4 identification, sequence number, flags.
#include "device.h"

#include <string.h>

enum {
  IPV4_IDENTIFICATION = 4,
  IPV4_TOTAL_BYTES = 2,
  IPV6_PAYLOAD_BYTES = 4,
  TCP_SEQUENCE = 4,
  TCP_DATA_OFFSET = 12,
  TCP_FLAGS = 13,
  FLAG_FIN = 0x01,
  FLAG_PSH = 0x08,
  FLAG_CWR = 0x80,
};

struct headers {                  // offsets in the template
  uint32_t ip, tcp, bytes;
  bool v4;
};

static void put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value);
}

static uint32_t get16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }
static uint32_t get32(const uint8_t *at) { return get16(at) << 16 | get16(at + 2); }

/** The template's IP lengths are the whole payload's, or nothing sensible: the headers are found without them. */
static bool find_headers(const uint8_t *header, uint32_t bytes, struct headers *found) {
  uint32_t ip = 14;
  uint32_t type = get16(header + 12);
  for (int tags = 0; tags < 2 && (type == 0x8100 || type == 0x88a8) && ip + 4 < bytes; tags++) {
    type = get16(header + ip + 2);
    ip += 4;
  }
  found->v4 = type == 0x0800;
  if (!found->v4 && type != 0x86dd) return false;
  if (ip + 40 > bytes) return false;
  uint32_t protocol = found->v4 ? header[ip + 9] : header[ip + 6];
  found->ip = ip;
  found->tcp = ip + (found->v4 ? (header[ip] & 15) * 4u : 40);
  found->bytes = bytes;
  if (protocol != 6 || found->tcp + 20 > bytes) return false;
  return found->tcp + (header[found->tcp + TCP_DATA_OFFSET] >> 4) * 4u == bytes;
}

static void adjust(uint8_t *frame, const struct headers *at, uint32_t index, uint32_t offset, uint32_t part,
                   bool last) {
  uint8_t *ip = frame + at->ip;
  uint8_t *tcp = frame + at->tcp;
  uint32_t tcp_bytes = at->bytes - at->tcp + part;
  if (at->v4) {
    put16(ip + IPV4_TOTAL_BYTES, at->tcp - at->ip + tcp_bytes);
    put16(ip + IPV4_IDENTIFICATION, get16(ip + IPV4_IDENTIFICATION) + index);
  } else {
    put16(ip + IPV6_PAYLOAD_BYTES, tcp_bytes);
  }
  put32(tcp + TCP_SEQUENCE, get32(tcp + TCP_SEQUENCE) + offset);
  if (!last) tcp[TCP_FLAGS] &= (uint8_t)~(FLAG_FIN | FLAG_PSH);
  if (index > 0) tcp[TCP_FLAGS] &= (uint8_t)~FLAG_CWR;
}

enum outcome tso_emit(struct emission *emission, const uint8_t *header, uint32_t header_bytes,
                      const uint8_t *payload, uint32_t payload_bytes, uint32_t mss) {
  static uint8_t frame[FRAME_BYTES_MAX];
  struct headers at;
  if (header_bytes + mss > sizeof frame || !find_headers(header, header_bytes, &at)) return FAILED;
  uint32_t index = 0;
  for (uint32_t offset = 0; offset < payload_bytes || index == 0; offset += mss, index++) {
    uint32_t left = payload_bytes - offset;
    uint32_t part = left < mss ? left : mss;
    memcpy(frame, header, header_bytes);
    memcpy(frame + header_bytes, payload + offset, part);
    adjust(frame, &at, index, offset, part, part == left);
    enum outcome outcome = emit(emission, frame, header_bytes + part);
    if (outcome != DONE) return outcome;
  }
  return DONE;
}
