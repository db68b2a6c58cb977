// Flow rules of mlx5dv: a matcher has the mask, in the PRM's layout, and its rules have values and a target (kernel
// hw/mlx5/fs.c: MLX5_IB_METHOD_FLOW_MATCHER_CREATE, MLX5_IB_METHOD_CREATE_FLOW, raw_fs_rule_add()).
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <string.h>
#include "uverbs.h"

#define PRM_MATCH_BYTES sizeof(struct mlx5_ib_match_params)

struct matcher {
  struct object object;
  struct packet_fields mask;
  uint16_t priority;
  bool udp;                        // the ports that it matches, if any, are UDP's
};

// Byte offsets in struct mlx5_ifc_fte_match_set_lyr_2_4_bits (linux/mlx5/mlx5_ifc.h), the first part of a match.
enum {
  MATCH_SMAC = 0,
  MATCH_ETHERTYPE = 6,
  MATCH_DMAC = 8,
  MATCH_FIRST_TCI = 14,            // first_prio, first_cfi, first_vid
  MATCH_IP_PROTOCOL = 16,
  MATCH_TOS = 17,                  // ip_dscp, ip_ecn
  MATCH_BITS = 18,                 // cvlan_tag, svlan_tag, frag, ip_version (4), tcp_flags (9)
  MATCH_TCP_PORTS = 20,
  MATCH_IHL = 24,
  MATCH_TTL = 27,
  MATCH_UDP_PORTS = 28,
  MATCH_SOURCE_IP = 32,
  MATCH_DESTINATION_IP = 48,
  MATCH_BYTES = 64,
};

static bool any(const uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (bytes[i]) return true;
  }
  return false;
}

/**
 * A match in the PRM's layout as packet fields. `flag` is what a one-bit field becomes: 1 in a value, all ones in a
 * mask.
 */
static void fields_of_match(const uint8_t *match, bool udp, uint8_t flag, struct packet_fields *fields) {
  uint8_t bits = match[MATCH_BITS];
  const uint8_t *transport = match + (udp ? MATCH_UDP_PORTS : MATCH_TCP_PORTS);
  memcpy(fields->source_mac, match + MATCH_SMAC, 6);
  memcpy(fields->destination_mac, match + MATCH_DMAC, 6);
  memcpy(&fields->ethertype, match + MATCH_ETHERTYPE, 2);
  memcpy(&fields->vlan_tci, match + MATCH_FIRST_TCI, 2);
  memcpy(fields->source_ip, match + MATCH_SOURCE_IP, 16);
  memcpy(fields->destination_ip, match + MATCH_DESTINATION_IP, 16);
  memcpy(&fields->source_port, transport, 2);
  memcpy(&fields->destination_port, transport + 2, 2);
  fields->ip_protocol = match[MATCH_IP_PROTOCOL];
  fields->ip_tos = match[MATCH_TOS];
  fields->ip_ttl = match[MATCH_TTL];
  fields->has_cvlan = bits & 0x80 ? flag : 0;
  fields->has_svlan = bits & 0x40 ? flag : 0;
  fields->is_fragment = bits & 0x20 ? flag : 0;
  fields->ip_version = bits >> 1 & 0xf;
  fields->tcp_flags = htobe16((uint16_t)((bits & 1) << 8 | match[MATCH_BITS + 1]));
}

/** A mask or a value of any length, with zeros behind it. */
static bool copy_match(struct command *command, uint16_t id, uint8_t match[PRM_MATCH_BYTES]) {
  struct ib_uverbs_attr *given = attribute(command, id);
  return given && given->len > 0 && given->len <= PRM_MATCH_BYTES && copy_in(command, id, match, PRM_MATCH_BYTES);
}

int matcher_create(struct command *command) {
  enum { OUTER_HEADERS = 1 };      // MATCH_CRITERIA_ENABLE_OUTER_BIT
  uint8_t mask[PRM_MATCH_BYTES];
  bool masked = copy_match(command, MLX5_IB_ATTR_FLOW_MATCHER_MATCH_MASK, mask);
  struct ib_uverbs_attr *type = attribute(command, MLX5_IB_ATTR_FLOW_MATCHER_FLOW_TYPE);
  uint64_t priority = number(command, MLX5_IB_ATTR_FLOW_MATCHER_FLOW_TYPE);
  uint64_t criteria = number(command, MLX5_IB_ATTR_FLOW_MATCHER_MATCH_CRITERIA);
  if (!masked || !type || criteria & ~OUTER_HEADERS) return EINVAL;
  if (type->attr_data.enum_data.elem_id != MLX5_IB_FLOW_TYPE_NORMAL) return EOPNOTSUPP;
  if (number(command, MLX5_IB_ATTR_FLOW_MATCHER_FT_TYPE) != MLX5_IB_UAPI_FLOW_TABLE_TYPE_NIC_RX) return EOPNOTSUPP;
  if (number(command, MLX5_IB_ATTR_FLOW_MATCHER_FLOW_FLAGS)) return EOPNOTSUPP;
  if (!(criteria & OUTER_HEADERS) && any(mask, MATCH_BYTES)) return EINVAL;
  bool tcp = any(mask + MATCH_TCP_PORTS, 4);
  bool udp = any(mask + MATCH_UDP_PORTS, 4);
  // Other parts of a match (misc, inner headers), the IHL, and ports of both protocols: not emulated.
  bool others = any(mask + MATCH_IHL, 3) || any(mask + MATCH_BYTES, PRM_MATCH_BYTES - MATCH_BYTES);
  if (others || (tcp && udp)) return EOPNOTSUPP;
  struct matcher *matcher = object_create(command->context, OBJECT_MATCHER, sizeof *matcher);
  if (!matcher) return ENOMEM;
  matcher->priority = priority;
  matcher->udp = udp;
  fields_of_match(mask, udp, 0xff, &matcher->mask);
  if (matcher->mask.ip_version) matcher->mask.ip_version = 0xff;
  if (tcp || udp) matcher->mask.l4_protocol = 0xff;
  output_handle(command, MLX5_IB_ATTR_FLOW_MATCHER_CREATE_HANDLE, matcher->object.handle);
  return 0;
}

void matcher_release(struct object *object) {
  object_free(object);
}

int matcher_destroy(struct command *command) {
  uint32_t handle = number(command, MLX5_IB_ATTR_FLOW_MATCHER_DESTROY_HANDLE);
  struct object *object = object_find(command->context, handle, OBJECT_MATCHER);
  if (!object) return ENOENT;
  if (object->users > 0) return EBUSY;
  object_free(object);
  return 0;
}

/** get_dests(): a QP, or to drop, or to go on to the kernel; one of the three. */
static int matched_target(struct command *command, struct flow *flow) {
  const uint32_t miss = MLX5_IB_ATTR_CREATE_FLOW_FLAGS_DEFAULT_MISS;
  const uint32_t drop = MLX5_IB_ATTR_CREATE_FLOW_FLAGS_DROP;
  uint32_t flags = number(command, MLX5_IB_ATTR_CREATE_FLOW_FLAGS);
  bool to_qp = attribute(command, MLX5_IB_ATTR_CREATE_FLOW_DEST_QP);
  if (flags & ~(miss | drop) || flags == (miss | drop) || to_qp == (flags != 0)) return EINVAL;
  flow->drop = flags & drop;
  flow->default_miss = flags & miss;
  if (!to_qp) return 0;
  uint32_t handle = number(command, MLX5_IB_ATTR_CREATE_FLOW_DEST_QP);
  flow->queue_pair = object_find(command->context, handle, OBJECT_QP);
  return can_receive(flow->queue_pair) ? 0 : EINVAL;
}

static bool has_unsupported_parts(struct command *command) {
  return attribute(command, MLX5_IB_ATTR_CREATE_FLOW_DEST_DEVX) ||
         attribute(command, MLX5_IB_ATTR_CREATE_FLOW_ARR_FLOW_ACTIONS) ||
         attribute(command, MLX5_IB_ATTR_CREATE_FLOW_ARR_COUNTERS_DEVX);
}

int create_matched_flow(struct command *command) {
  uint8_t value[PRM_MATCH_BYTES];
  uint32_t matcher_handle = number(command, MLX5_IB_ATTR_CREATE_FLOW_MATCHER);
  struct matcher *matcher = object_find(command->context, matcher_handle, OBJECT_MATCHER);
  struct flow flow = {.port = command->context->port};
  if (!matcher) return ENOENT;
  if (!may_use_raw_packets()) return EPERM;
  if (!copy_match(command, MLX5_IB_ATTR_CREATE_FLOW_MATCH_VALUE, value)) return EINVAL;
  if (has_unsupported_parts(command)) return EOPNOTSUPP;
  int error = matched_target(command, &flow);
  if (error) return error;
  if (matcher->priority > FLOW_PRIORITY_MAX) return ENOMEM;
  flow.mask = matcher->mask;
  fields_of_match(value, matcher->udp, 1, &flow.value);
  flow.value.l4_protocol = matcher->udp ? IP_PROTOCOL_UDP : IP_PROTOCOL_TCP;
  flow.has_tag = attribute(command, MLX5_IB_ATTR_CREATE_FLOW_TAG);
  flow.tag = number(command, MLX5_IB_ATTR_CREATE_FLOW_TAG);
  if (flow.tag > FLOW_TAG_MAX) return EINVAL;
  apply_mask(&flow);
  bool multicast_ip = is_multicast_ipv4(flow.value.destination_ip[12] & flow.mask.destination_ip[12]);
  bool multicast = is_multicast_mac(&flow) || (flow.value.ip_version == 4 && multicast_ip);
  flow.rank = multicast ? RANK_MULTICAST : RANK_BYPASS + 2 * matcher->priority + 1;  // raw_fs_is_multicast()
  uint32_t handle;
  error = add_flow(command, &flow, &matcher->object, &handle);
  if (!error) output_handle(command, MLX5_IB_ATTR_CREATE_FLOW_HANDLE, handle);
  return error;
}
