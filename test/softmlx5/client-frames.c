// Frames for the client's tests, and what must be true of them, worked out the slow way.
#include "client.h"

#include <time.h>

const uint8_t own_mac[MAC_BYTES] = {0x02, 0, 0, 0, 0, 1};
const uint8_t other_mac[MAC_BYTES] = {0x02, 0, 0, 0, 0, 2};

uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }

static void fill(uint8_t *data, uint32_t bytes, uint32_t seed) {
  for (uint32_t i = 0; i < bytes; i++) {
    seed = seed * 1103515245 + 12345;
    data[i] = (uint8_t)(seed >> 16);
  }
}

void frame_plain(uint8_t *frame, uint32_t bytes, uint32_t seed) {
  memcpy(frame, own_mac, MAC_BYTES);
  memcpy(frame + 6, other_mac, MAC_BYTES);
  put16(frame + 12, 0x88b5);
  fill(frame + 14, bytes - 14, seed);
}

uint16_t slow_checksum(const uint8_t *data, uint32_t bytes, uint32_t start) {
  uint32_t sum = start;
  for (uint32_t i = 0; i < bytes; i++) sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

struct layout {                   // offsets in a frame
  uint32_t ip, l4, end;
  bool v6, udp;
};

static struct layout layout_of(const uint8_t *frame) {
  struct layout at = {.ip = 14};
  if (get16(frame + 12) == 0x8100) at.ip = 18;
  at.v6 = frame[at.ip] >> 4 == 6;
  at.l4 = at.ip + (at.v6 ? 40 : (frame[at.ip] & 15) * 4u);
  at.udp = frame[at.ip + (at.v6 ? 6 : 9)] == 17;
  at.end = at.v6 ? at.l4 + get16(frame + at.ip + 4) : at.ip + get16(frame + at.ip + 2);
  return at;
}

/** Of TCP or UDP with the pseudo header: 0 if the checksum in the frame is right. */
static uint16_t l4_checksum(const uint8_t *frame, const struct layout *at) {
  uint32_t bytes = at->end - at->l4;
  uint32_t start = bytes + (at->udp ? 17 : 6);
  const uint8_t *addresses = frame + at->ip + (at->v6 ? 8 : 12);
  for (uint32_t i = 0; i < (at->v6 ? 32u : 8u); i += 2) start += get16(addresses + i);
  return slow_checksum(frame + at->l4, bytes, start);
}

bool ip_checksums_right(const uint8_t *frame, uint32_t bytes) {
  struct layout at = layout_of(frame);
  if (at.end > bytes) return false;
  if (!at.v6 && slow_checksum(frame + at.ip, at.l4 - at.ip, 0) != 0) return false;
  return l4_checksum(frame, &at) == 0;
}

static uint32_t put_ip(uint8_t *ip, const struct ip_frame *options, uint32_t l4_bytes) {
  uint8_t protocol = options->udp ? 17 : 6;
  if (options->v6) {
    ip[0] = 0x60;
    put16(ip + 4, l4_bytes);
    ip[6] = protocol;
    ip[7] = 64;
    memcpy(ip + 8, options->source, 16);
    memcpy(ip + 24, options->destination, 16);
    return 40;
  }
  ip[0] = 0x45;
  put16(ip + 2, 20 + l4_bytes);
  put16(ip + 4, options->seed);
  ip[8] = 64;
  ip[9] = protocol;
  memcpy(ip + 12, options->source, 4);
  memcpy(ip + 16, options->destination, 4);
  put16(ip + 10, slow_checksum(ip, 20, 0));
  return 20;
}

uint32_t frame_ip(uint8_t *frame, const struct ip_frame *options) {
  uint32_t header = options->udp ? 8 : 20;
  uint32_t offset = 12;
  memset(frame, 0, 100);
  memcpy(frame, own_mac, MAC_BYTES);
  memcpy(frame + 6, other_mac, MAC_BYTES);
  if (options->vlan) {
    put16(frame + 12, 0x8100);
    put16(frame + 14, options->tci);
    offset = 16;
  }
  put16(frame + offset, options->v6 ? 0x86dd : 0x0800);
  uint32_t l4 = offset + 2 + put_ip(frame + offset + 2, options, header + options->payload_bytes);
  uint8_t *tcp = frame + l4;
  put16(tcp, options->source_port);
  put16(tcp + 2, options->destination_port);
  if (options->udp) {
    put16(tcp + 4, 8 + options->payload_bytes);
  } else {
    put16(tcp + 4, 0x1234);
    put16(tcp + 6, 0xfff0);       // the sequence number's lower half is about to wrap
    tcp[12] = 5 << 4;
    tcp[13] = 0x10;               // ACK
  }
  fill(tcp + header, options->payload_bytes, options->seed);
  struct layout at = layout_of(frame);
  put16(tcp + (options->udp ? 6 : 16), l4_checksum(frame, &at));
  uint32_t bytes = l4 + header + options->payload_bytes;
  return bytes < 60 ? 60 : bytes;
}
