// Frames: what the parser of a ConnectX finds in them, and the checksums.
#include "device.h"

#include <string.h>

enum {
  ETHERTYPE_IPV4 = 0x0800,
  ETHERTYPE_CVLAN = 0x8100,
  ETHERTYPE_IPV6 = 0x86dd,
  ETHERTYPE_SVLAN = 0x88a8,
  PROTOCOL_HOP_BY_HOP = 0,
  PROTOCOL_TCP = 6,
  PROTOCOL_UDP = 17,
  PROTOCOL_ROUTING = 43,
  PROTOCOL_FRAGMENT = 44,
  PROTOCOL_DESTINATION_OPTIONS = 60,
};

static uint16_t read16(const uint8_t *data) { return (uint16_t)(data[0] << 8 | data[1]); }

/** Ethernet header and up to two VLAN tags. Returns the offset behind them; `fields` describes the outer tag. */
static uint32_t parse_ethernet(struct packet *packet) {
  struct packet_fields *fields = &packet->fields;
  memcpy(fields->destination_mac, packet->data, 12);
  uint32_t offset = 12;
  uint16_t type = read16(packet->data + offset);
  fields->has_cvlan = type == ETHERTYPE_CVLAN;
  fields->has_svlan = type == ETHERTYPE_SVLAN;
  for (int tags = 0; tags < 2; tags++) {
    bool tag = type == ETHERTYPE_CVLAN || type == ETHERTYPE_SVLAN;
    if (!tag || offset + 6 > packet->bytes) break;
    if (tags == 0) memcpy(&fields->vlan_tci, packet->data + offset + 2, 2);
    offset += 4;
    type = read16(packet->data + offset);
  }
  memcpy(&fields->ethertype, packet->data + offset, 2);
  return offset + 2;
}

static void parse_l4(struct packet *packet, uint32_t offset, uint32_t end) {
  struct packet_fields *fields = &packet->fields;
  uint32_t header = fields->ip_protocol == PROTOCOL_TCP ? 20 : 8;
  if (fields->ip_protocol != PROTOCOL_TCP && fields->ip_protocol != PROTOCOL_UDP) return;
  if (fields->is_fragment || offset + header > end) return;
  const uint8_t *l4 = packet->data + offset;
  packet->l4 = offset;
  packet->l4_bytes = end - offset;
  fields->l4_protocol = fields->ip_protocol;
  memcpy(&fields->source_port, l4, 2);
  memcpy(&fields->destination_port, l4 + 2, 2);
  if (fields->ip_protocol == PROTOCOL_TCP) {
    uint16_t flags = htobe16(read16(l4 + 12) & 0x1ff);
    memcpy(&fields->tcp_flags, &flags, 2);
  }
}

/** Steering takes a frame that ends before its IP packet all the same; it is only not found right. */
static uint32_t clamp(struct packet *packet, uint32_t end) {
  packet->truncated = end > packet->bytes;
  return packet->truncated ? packet->bytes : end;
}

static void parse_ipv4(struct packet *packet, uint32_t offset) {
  struct packet_fields *fields = &packet->fields;
  const uint8_t *ip = packet->data + offset;
  if (offset + 20 > packet->bytes || ip[0] >> 4 != 4) return;
  uint32_t header = (ip[0] & 15) * 4u;
  uint32_t end = offset + read16(ip + 2);
  if (header < 20 || end < offset + header || offset + header > packet->bytes) return;
  end = clamp(packet, end);
  packet->l3 = offset;
  packet->l3_bytes = header;
  fields->ip_version = 4;
  fields->ip_tos = ip[1];
  fields->ip_ttl = ip[8];
  fields->ip_protocol = ip[9];
  fields->is_fragment = (read16(ip + 6) & 0x3fff) != 0;
  memcpy(fields->source_ip + 12, ip + 12, 4);
  memcpy(fields->destination_ip + 12, ip + 16, 4);
  parse_l4(packet, offset + header, end);
}

static void parse_ipv6(struct packet *packet, uint32_t offset) {
  struct packet_fields *fields = &packet->fields;
  const uint8_t *ip = packet->data + offset;
  if (offset + 40 > packet->bytes || ip[0] >> 4 != 6) return;
  uint32_t end = clamp(packet, offset + 40 + read16(ip + 4));
  uint32_t next = offset + 40;
  uint8_t protocol = ip[6];
  for (int headers = 0; headers < 8; headers++) {
    bool extension = protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING ||
                     protocol == PROTOCOL_DESTINATION_OPTIONS || protocol == PROTOCOL_FRAGMENT;
    if (!extension || next + 8 > end) break;
    const uint8_t *header = packet->data + next;
    fields->is_fragment |= protocol == PROTOCOL_FRAGMENT;
    next += protocol == PROTOCOL_FRAGMENT ? 8 : 8u + header[1] * 8u;
    protocol = header[0];
  }
  if (next > end) return;
  packet->l3 = offset;
  packet->l3_bytes = next - offset;
  fields->ip_version = 6;
  fields->ip_tos = (uint8_t)(read16(ip) >> 4);
  fields->ip_ttl = ip[7];
  fields->ip_protocol = protocol;
  memcpy(fields->source_ip, ip + 8, 16);
  memcpy(fields->destination_ip, ip + 24, 16);
  parse_l4(packet, next, end);
}

void packet_parse(struct packet *packet, const uint8_t *data, uint32_t bytes) {
  memset(packet, 0, sizeof *packet);
  packet->data = data;
  packet->bytes = bytes;
  if (bytes < 14) return;
  uint32_t offset = parse_ethernet(packet);
  uint16_t type = be16toh(packet->fields.ethertype);
  if (type == ETHERTYPE_IPV4) parse_ipv4(packet, offset);
  else if (type == ETHERTYPE_IPV6) parse_ipv6(packet, offset);
}

// ---- checksums ----

uint64_t sum_words(const uint8_t *data, uint32_t bytes) {
  uint64_t sum = 0;
  const uint8_t *end = data + (bytes & ~7u);
  for (; data < end; data += 8) {
    uint64_t word;
    memcpy(&word, data, 8);
    sum += (uint32_t)word;
    sum += word >> 32;
  }
  if (bytes & 4) {
    uint32_t word;
    memcpy(&word, data, 4);
    sum += word;
    data += 4;
  }
  if (bytes & 2) {
    uint16_t word;
    memcpy(&word, data, 2);
    sum += word;
    data += 2;
  }
  if (bytes & 1) sum += htole16(*data);  // the missing second byte is 0
  return sum;
}

uint16_t sum_fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

uint64_t sum_pseudo_header(const struct packet *packet) {
  const uint8_t *ip = packet->data + packet->l3;
  bool v4 = packet->fields.ip_version == 4;
  uint64_t addresses = v4 ? sum_words(ip + 12, 8) : sum_words(ip + 8, 32);
  return addresses + htobe32(packet->l4_bytes) + htobe16(packet->fields.ip_protocol);
}

static void write_l4_checksum(const struct packet *packet, uint8_t *data) {
  bool udp = packet->fields.l4_protocol == PROTOCOL_UDP;
  uint8_t *field = data + packet->l4 + (udp ? 6 : 16);
  memset(field, 0, 2);
  uint64_t sum = sum_pseudo_header(packet) + sum_words(data + packet->l4, packet->l4_bytes);
  uint16_t checksum = (uint16_t)~sum_fold(sum);
  if (udp && checksum == 0) checksum = 0xffff;  // RFC 768: 0 would mean that there is none
  memcpy(field, &checksum, 2);
}

void packet_write_checksums(uint8_t *data, uint32_t bytes, uint8_t cs_flags) {
  struct packet packet;
  packet_parse(&packet, data, bytes);
  if (cs_flags & ETH_L3_CHECKSUM && packet.fields.ip_version == 4) {
    uint8_t *field = data + packet.l3 + 10;
    memset(field, 0, 2);
    uint16_t checksum = (uint16_t)~sum_fold(sum_words(data + packet.l3, packet.l3_bytes));
    memcpy(field, &checksum, 2);
  }
  if (cs_flags & ETH_L4_CHECKSUM && packet.l4) write_l4_checksum(&packet, data);
}

/** IEEE 802.3 3.2.9, for queues that ask to keep the FCS. Bit by bit: they are rare. */
uint32_t frame_check_sequence(const uint8_t *data, uint32_t bytes) {
  uint32_t crc = 0xffffffff;
  for (uint32_t at = 0; at < bytes; at++) {
    crc ^= data[at];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}
