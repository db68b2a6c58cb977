// Flow rules of verbs: a list of specifications becomes a value and a mask of struct packet_fields, and a rank (kernel
// hw/mlx5/fs.c; core/uverbs_cmd.c, ib_uverbs_ex_create_flow(); mlx5_core/fs_core.c, mlx5_add_flow_rules()). Those of
// mlx5dv are in uverbs-matcher.c.
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <string.h>
#include "uverbs.h"

#define SPECS_MAX 10               // IB_FLOW_SPEC_SUPPORT_LAYERS

// enum ib_flow_attr_type, enum ib_flow_flags, enum ib_flow_spec_type: rdma/ib_verbs.h, not in user-space headers.
enum { TYPE_NORMAL, TYPE_ALL_DEFAULT, TYPE_MC_DEFAULT, TYPE_SNIFFER };
enum { FLAG_DONT_TRAP = 1 << 1 };
enum { SPEC_ETH = 0x20, SPEC_IPV4 = 0x30, SPEC_IPV6 = 0x31, SPEC_TCP = 0x40, SPEC_UDP = 0x41 };
enum { SPEC_TAG = 0x1000, SPEC_DROP = 0x1001 };

struct owned_flow {
  struct flow flow;
  struct owned_flow *next;
  struct object *matcher;
};

static struct owned_flow *all_flows;

// ---- verbs specifications ----

static int parse_eth(const struct ib_uverbs_flow_spec_eth *spec, struct flow *flow) {
  struct packet_fields *value = &flow->value;
  struct packet_fields *mask = &flow->mask;
  memcpy(value->destination_mac, spec->val.dst_mac, 6);
  memcpy(mask->destination_mac, spec->mask.dst_mac, 6);
  memcpy(value->source_mac, spec->val.src_mac, 6);
  memcpy(mask->source_mac, spec->mask.src_mac, 6);
  value->ethertype = spec->val.ether_type;
  mask->ethertype = spec->mask.ether_type;
  if (!spec->mask.vlan_tag) return 0;
  value->vlan_tci = spec->val.vlan_tag;
  mask->vlan_tci = spec->mask.vlan_tag;
  value->has_cvlan = 1;
  mask->has_cvlan = 0xff;
  return 0;
}

/** set_proto(): two specifications must not contradict each other. */
static int set_protocol(struct flow *flow, uint8_t value, uint8_t mask) {
  if (!mask) return 0;
  bool same = flow->mask.ip_protocol == mask && flow->value.ip_protocol == value;
  if (flow->mask.ip_protocol && !same) return EINVAL;
  flow->value.ip_protocol = value;
  flow->mask.ip_protocol = mask;
  return 0;
}

static int parse_ipv4(const struct ib_uverbs_flow_spec_ipv4 *spec, struct flow *flow) {
  if (spec->mask.ttl || spec->mask.flags) return EOPNOTSUPP;  // LAST_IPV4_FIELD is tos
  flow->value.ip_version = 4;
  flow->mask.ip_version = 0xff;
  memcpy(flow->value.source_ip + 12, &spec->val.src_ip, 4);
  memcpy(flow->mask.source_ip + 12, &spec->mask.src_ip, 4);
  memcpy(flow->value.destination_ip + 12, &spec->val.dst_ip, 4);
  memcpy(flow->mask.destination_ip + 12, &spec->mask.dst_ip, 4);
  flow->value.ip_tos = spec->val.tos;
  flow->mask.ip_tos = spec->mask.tos;
  return set_protocol(flow, spec->val.proto, spec->mask.proto);
}

static int parse_ipv6(const struct ib_uverbs_flow_spec_ipv6 *spec, struct flow *flow) {
  if (spec->mask.hop_limit) return EOPNOTSUPP;   // LAST_IPV6_FIELD is traffic_class
  if (spec->mask.flow_label) return EOPNOTSUPP;  // silicon can; this device does not
  flow->value.ip_version = 6;
  flow->mask.ip_version = 0xff;
  memcpy(flow->value.source_ip, spec->val.src_ip, 16);
  memcpy(flow->mask.source_ip, spec->mask.src_ip, 16);
  memcpy(flow->value.destination_ip, spec->val.dst_ip, 16);
  memcpy(flow->mask.destination_ip, spec->mask.dst_ip, 16);
  flow->value.ip_tos = spec->val.traffic_class;
  flow->mask.ip_tos = spec->mask.traffic_class;
  return set_protocol(flow, spec->val.next_hdr, spec->mask.next_hdr);
}

static int parse_ports(const struct ib_uverbs_flow_spec_tcp_udp *spec, uint8_t protocol, struct flow *flow) {
  flow->value.source_port = spec->val.src_port;
  flow->mask.source_port = spec->mask.src_port;
  flow->value.destination_port = spec->val.dst_port;
  flow->mask.destination_port = spec->mask.dst_port;
  if (spec->mask.src_port || spec->mask.dst_port) {
    flow->value.l4_protocol = protocol;
    flow->mask.l4_protocol = 0xff;
  }
  return set_protocol(flow, protocol, 0xff);
}

static int parse_tag(const struct ib_uverbs_flow_spec_action_tag *spec, struct flow *flow) {
  if (spec->tag_id > FLOW_TAG_MAX) return EINVAL;
  flow->has_tag = true;
  flow->tag = spec->tag_id;
  return 0;
}

/** 0: tunnels, inner headers, ESP, MPLS, counters, which are not emulated. */
static size_t spec_bytes(uint32_t type) {
  switch (type) {
    case SPEC_ETH: return sizeof(struct ib_uverbs_flow_spec_eth);
    case SPEC_IPV4: return sizeof(struct ib_uverbs_flow_spec_ipv4);
    case SPEC_IPV6: return sizeof(struct ib_uverbs_flow_spec_ipv6);
    case SPEC_TCP:
    case SPEC_UDP: return sizeof(struct ib_uverbs_flow_spec_tcp_udp);
    case SPEC_TAG: return sizeof(struct ib_uverbs_flow_spec_action_tag);
    case SPEC_DROP: return sizeof(struct ib_uverbs_flow_spec_action_drop);
    default: return 0;
  }
}

static int parse_spec(const struct ib_uverbs_flow_spec_hdr *header, struct flow *flow) {
  const void *spec = header;
  size_t bytes = spec_bytes(header->type);
  if (bytes == 0) return EOPNOTSUPP;
  if (header->size != bytes) return EINVAL;
  switch (header->type) {
    case SPEC_ETH: return parse_eth(spec, flow);
    case SPEC_IPV4: return parse_ipv4(spec, flow);
    case SPEC_IPV6: return parse_ipv6(spec, flow);
    case SPEC_TCP: return parse_ports(spec, IP_PROTOCOL_TCP, flow);
    case SPEC_UDP: return parse_ports(spec, IP_PROTOCOL_UDP, flow);
    case SPEC_TAG: return parse_tag(spec, flow);
    default: break;
  }
  flow->drop = true;
  return 0;
}

/** is_valid_ethertype(): an Ethernet type beside an IP specification must say the same in full. */
static bool ethertype_fits(const struct flow *flow) {
  if (!flow->mask.ethertype || !flow->mask.ip_version) return true;
  uint16_t type = flow->value.ip_version == 4 ? 0x0800 : 0x86dd;
  return flow->mask.ethertype == 0xffff && flow->value.ethertype == htobe16(type);
}

static int parse_specs(const struct ib_uverbs_flow_attr *attributes, struct flow *flow) {
  const uint8_t *at = (const uint8_t *)(attributes + 1);
  uint32_t left = attributes->size;
  for (unsigned i = 0; i < attributes->num_of_specs; i++) {
    const struct ib_uverbs_flow_spec_hdr *header = (const void *)at;
    if (left < sizeof *header || header->size < sizeof *header || header->size > left) return EINVAL;
    int error = parse_spec(header, flow);
    if (error) return error;
    at += header->size;
    left -= header->size;
  }
  return left == 0 && ethertype_fits(flow) ? 0 : EINVAL;
}

// ---- ranks ----

bool is_multicast_mac(const struct flow *flow) {
  return flow->mask.destination_mac[0] & flow->value.destination_mac[0] & MULTICAST_BIT;
}

bool is_multicast_ipv4(uint8_t first) {
  return (first & 0xf0) == 0xe0;
}

/** flow_is_multicast_only(): by the first specification. */
static bool is_multicast_only(const struct ib_uverbs_flow_attr *attributes, const struct flow *flow) {
  const struct ib_uverbs_flow_spec_hdr *first = (const void *)(attributes + 1);
  if (attributes->num_of_specs < 1) return false;
  if (first->type == SPEC_IPV4) return is_multicast_ipv4(flow->value.destination_ip[12]);
  return first->type == SPEC_ETH && is_multicast_mac(flow);
}

/** get_flow_table() and ib_prio_to_core_prio(). */
static void rank_verbs_flow(const struct ib_uverbs_flow_attr *attributes, struct flow *flow) {
  flow->sniffer = attributes->type == TYPE_SNIFFER;
  flow->dont_trap = attributes->flags & FLAG_DONT_TRAP;
  switch (attributes->type) {
    case TYPE_ALL_DEFAULT:
      flow->rank = RANK_ALL_DEFAULT;
      return;
    case TYPE_MC_DEFAULT:
      flow->rank = RANK_MC_DEFAULT;
      flow->value.destination_mac[0] = MULTICAST_BIT;
      flow->mask.destination_mac[0] = MULTICAST_BIT;
      return;
    default: break;
  }
  bool multicast = !flow->dont_trap && is_multicast_only(attributes, flow);
  unsigned bypass = RANK_BYPASS + 2 * attributes->priority + (flow->dont_trap ? 0 : 1);
  flow->rank = multicast ? RANK_MULTICAST : bypass;
}

// ---- adding and taking away ----

/** mlx5_add_flow_rules(): an entry that exists already gets one more target, if it agrees on the rest. */
static bool conflicts(const struct flow *flow) {
  for (struct owned_flow *other = all_flows; other; other = other->next) {
    const struct flow *known = &other->flow;
    if (known->port != flow->port || known->rank != flow->rank || known->sniffer != flow->sniffer) continue;
    if (memcmp(&known->mask, &flow->mask, sizeof flow->mask)) continue;
    if (memcmp(&known->value, &flow->value, sizeof flow->value)) continue;
    if (known->drop != flow->drop || (flow->has_tag && known->tag != flow->tag)) return true;
  }
  return false;
}

void apply_mask(struct flow *flow) {
  uint8_t *value = (uint8_t *)&flow->value;
  const uint8_t *mask = (const uint8_t *)&flow->mask;
  for (size_t i = 0; i < sizeof flow->value; i++) value[i] &= mask[i];
}

int add_flow(struct command *command, const struct flow *flow, struct object *matcher, uint32_t *handle) {
  static uint32_t sequence;
  if (conflicts(flow)) return EEXIST;
  struct owned_flow *owned = object_create(command->context, OBJECT_FLOW, sizeof *owned);
  if (!owned) return ENOMEM;
  struct object object = owned->flow.object;
  owned->flow = *flow;
  owned->flow.object = object;
  owned->flow.sequence = sequence++;
  owned->matcher = matcher;
  owned->next = all_flows;
  all_flows = owned;
  if (matcher) matcher->users++;
  if (flow->queue_pair) flow->queue_pair->object.users++;
  device_add_flow(&owned->flow);
  *handle = object.handle;
  trace(1, "flow of rank %u%s%s%s to QP 0x%x", flow->rank, flow->dont_trap ? ", don't trap" : "",
        flow->drop ? ", drop" : "", flow->default_miss ? ", default miss" : "",
        flow->queue_pair ? flow->queue_pair->qpn : 0);
  return 0;
}

void flow_release(struct object *object) {
  struct owned_flow *owned = (struct owned_flow *)object;
  struct owned_flow **link = &all_flows;
  device_remove_flow(&owned->flow);
  while (*link != owned) link = &(*link)->next;
  *link = owned->next;
  if (owned->flow.queue_pair) owned->flow.queue_pair->object.users--;
  if (owned->matcher) owned->matcher->users--;
  object_free(object);
}

int flow_destroy(struct command *command) {
  struct object *object = object_find(command->context, number(command, UVERBS_ATTR_DESTROY_FLOW_HANDLE), OBJECT_FLOW);
  if (!object) return ENOENT;
  flow_release(object);
  return 0;
}

bool can_receive(const struct queue_pair *qp) {
  return qp && (qp->receive || qp->indirection);
}

static int check_attributes(const struct ib_uverbs_flow_attr *attributes) {
  bool leftovers = attributes->type == TYPE_ALL_DEFAULT || attributes->type == TYPE_MC_DEFAULT;
  if (attributes->type > TYPE_SNIFFER || attributes->reserved[0] || attributes->reserved[1]) return EINVAL;
  if (attributes->num_of_specs > SPECS_MAX || attributes->port > 1) return EINVAL;
  if (attributes->flags & ~FLAG_DONT_TRAP) return EINVAL;  // EGRESS: for IPsec alone
  if (attributes->flags & FLAG_DONT_TRAP && leftovers) return EINVAL;
  return attributes->priority > FLOW_PRIORITY_MAX ? ENOMEM : 0;
}

int create_flow(struct command *command) {
  uint32_t bytes;
  const struct ib_uverbs_create_flow *request = input(command, UVERBS_ATTR_CORE_IN, &bytes);
  if (!request || bytes < sizeof *request || request->comp_mask) return EINVAL;
  if (!may_use_raw_packets()) return EPERM;
  const struct ib_uverbs_flow_attr *attributes = &request->flow_attr;
  if (attributes->size > bytes - sizeof *request) return EINVAL;
  struct queue_pair *qp = object_find(command->context, request->qp_handle, OBJECT_QP);
  if (!can_receive(qp)) return EINVAL;
  struct flow flow = {.port = command->context->port, .queue_pair = qp};
  int error = check_attributes(attributes);
  // Those of leftovers and sniffers are not looked at: they are fixed (create_leftovers_rule(), create_sniffer_rule()).
  if (!error && attributes->type == TYPE_NORMAL) error = parse_specs(attributes, &flow);
  if (error) return error;
  rank_verbs_flow(attributes, &flow);
  apply_mask(&flow);
  struct ib_uverbs_create_flow_resp response = {0};
  error = add_flow(command, &flow, NULL, &response.flow_handle);
  if (!error) output(command, UVERBS_ATTR_CORE_OUT, &response, sizeof response);
  return error;
}
