// Steering: which queues a frame that came in goes to. Rules stand in ranks (softmlx5.h); RSS spreads over the queues
// of an indirection table by the Toeplitz hash.
#include "device.h"

#include <stdlib.h>
#include <string.h>

enum { TOEPLITZ_BYTES_MAX = 36 };  // two IPv6 addresses and two ports

// The hash is linear: what each value of each input byte contributes is worked out once a queue pair.
struct toeplitz {
  uint32_t part[TOEPLITZ_BYTES_MAX][256];
};

struct rules {                    // of a port, by rank and then by age
  struct flow **list;
  uint32_t count;
};
static struct rules rules[PORTS_MAX];
static struct rules sniffers[PORTS_MAX];

struct destinations {
  const struct flow *flows[DESTINATIONS_MAX];
  uint32_t count;
};

// ---- rules ----

static struct rules *list_of(const struct flow *flow) {
  return flow->sniffer ? &sniffers[flow->port->index] : &rules[flow->port->index];
}

void steer_add(struct flow *flow) {
  struct rules *rules_of_port = list_of(flow);
  uint32_t at = rules_of_port->count++;
  rules_of_port->list = realloc(rules_of_port->list, rules_of_port->count * sizeof *rules_of_port->list);
  struct flow **list = rules_of_port->list;
  for (; at > 0 && list[at - 1]->rank > flow->rank; at--) list[at] = list[at - 1];
  list[at] = flow;
}

void steer_remove(struct flow *flow) {
  struct rules *rules_of_port = list_of(flow);
  struct flow **list = rules_of_port->list;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < rules_of_port->count; i++) {
    if (list[i] != flow) list[kept++] = list[i];
  }
  rules_of_port->count = kept;
}

typedef uint64_t __attribute__((may_alias)) word;

static bool matches(const struct flow *flow, const struct packet_fields *fields) {
  const word *value = (const word *)&flow->value;
  const word *mask = (const word *)&flow->mask;
  const word *frame = (const word *)fields;
  for (uint32_t i = 0; i < sizeof *fields / sizeof(word); i++) {
    if (mask[i] == 0) continue;   // the field was just written in pieces: reading it whole would stall the CPU
    if ((frame[i] ^ value[i]) & mask[i]) return false;
  }
  return true;
}

static bool same_match(const struct flow *a, const struct flow *b) {
  return a->rank == b->rank && a->dont_trap == b->dont_trap && a->drop == b->drop &&
         a->default_miss == b->default_miss && memcmp(&a->value, &b->value, sizeof a->value) == 0 &&
         memcmp(&a->mask, &b->mask, sizeof a->mask) == 0;
}

/**
 * Rank by rank; the first match of a rank decides, and equal rules share it (the kernel puts them into one entry).
 * True: a rule took the frame for good, be it to drop it.
 */
static bool look_up(const struct rules *of_port, const struct packet *packet, uint32_t from_rank, uint32_t to_rank,
                    struct destinations *found) {
  for (uint32_t i = 0; i < of_port->count; i++) {
    const struct flow *flow = of_port->list[i];
    if (flow->rank < from_rank || flow->rank >= to_rank || !matches(flow, &packet->fields)) continue;
    if (flow->default_miss) return false;
    uint32_t rank = flow->rank;
    for (; i < of_port->count && of_port->list[i]->rank == rank; i++) {
      const struct flow *same = of_port->list[i];
      bool room = found->count < DESTINATIONS_MAX;
      if (same_match(flow, same) && same->queue_pair && !same->drop && room) found->flows[found->count++] = same;
    }
    i--;
    if (!flow->dont_trap) return true;
  }
  return false;
}

// ---- RSS ----

void steer_queue_pair(struct queue_pair *qp) {
  if (!qp->indirection) return;
  struct toeplitz *table = calloc(1, sizeof *table);
  for (uint32_t byte = 0; byte < TOEPLITZ_BYTES_MAX; byte++) {
    for (uint32_t bit = 0; bit < 8; bit++) {
      // A set input bit adds the 32 bits of the key that begin at the same place.
      const uint8_t *key = qp->rss_key + byte;
      uint64_t bits = (uint64_t)key[0] << 32 | (uint64_t)key[1] << 24 | (uint64_t)key[2] << 16 |
                      (uint64_t)key[3] << 8 | key[4];
      uint32_t window = (uint32_t)(bits >> (8 - bit));
      for (uint32_t value = 0; value < 256; value++) {
        if (value & 0x80u >> bit) table->part[byte][value] ^= window;
      }
    }
  }
  qp->hardware = table;
}

void steer_release(struct queue_pair *qp) {
  if (!qp->indirection) return;
  free(qp->hardware);
  qp->hardware = NULL;
}

struct hash_input {
  uint8_t bytes[TOEPLITZ_BYTES_MAX];
  uint32_t count;
  uint8_t type;                   // CQE.rx_hash_type
};

static void take(struct hash_input *input, bool selected, const void *field, uint32_t bytes, uint32_t kind,
                 uint32_t shift) {
  if (!selected) return;
  memcpy(input->bytes + input->count, field, bytes);
  input->count += bytes;
  input->type |= (uint8_t)(kind << shift);
}

static void hash_input(struct hash_input *input, const struct packet_fields *fields, uint64_t selected) {
  bool v4 = fields->ip_version == 4;
  uint32_t skip = v4 ? 12 : 0;
  uint32_t address = 16 - skip;
  uint32_t ip = v4 ? 1 : 2;
  uint64_t sources = v4 ? HASH_SOURCE_IPV4 : HASH_SOURCE_IPV6;
  uint64_t destinations = v4 ? HASH_DESTINATION_IPV4 : HASH_DESTINATION_IPV6;
  input->count = 0;
  input->type = 0;
  if (fields->ip_version == 0) return;
  take(input, selected & sources, fields->source_ip + skip, address, ip, HASH_SOURCE_IP_SHIFT);
  take(input, selected & destinations, fields->destination_ip + skip, address, ip, HASH_DESTINATION_IP_SHIFT);
  if (fields->l4_protocol == 0 || input->count == 0) return;
  bool tcp = fields->l4_protocol == 6;
  uint32_t l4 = tcp ? 1 : 2;
  uint64_t from = tcp ? HASH_SOURCE_PORT_TCP : HASH_SOURCE_PORT_UDP;
  uint64_t to = tcp ? HASH_DESTINATION_PORT_TCP : HASH_DESTINATION_PORT_UDP;
  take(input, selected & from, &fields->source_port, 2, l4, HASH_SOURCE_PORT_SHIFT);
  take(input, selected & to, &fields->destination_port, 2, l4, HASH_DESTINATION_PORT_SHIFT);
}

struct landing {                  // where in a queue pair a frame goes
  struct receive_queue *rq;
  uint32_t hash;
  uint8_t hash_type;
};

static struct landing land(const struct queue_pair *qp, const struct packet *packet) {
  if (!qp->indirection) return (struct landing){.rq = qp->receive};
  const struct toeplitz *table = qp->hardware;
  struct hash_input input;
  uint32_t hash = 0;
  hash_input(&input, &packet->fields, qp->hash_fields);
  for (uint32_t i = 0; i < input.count; i++) hash ^= table->part[i][input.bytes[i]];
  struct indirection_table *indirection = qp->indirection;
  struct receive_queue *rq = indirection->queues[hash & (indirection->entries - 1)];
  return (struct landing){.rq = rq, .hash = hash, .hash_type = input.type};
}

// ---- delivery ----

/** All destinations or none: a frame that had to wait comes again as a whole. */
static bool deliver(const struct destinations *found, const struct packet *packet, bool lossless) {
  struct landing landings[DESTINATIONS_MAX];
  for (uint32_t i = 0; i < found->count; i++) {
    landings[i] = land(found->flows[i]->queue_pair, packet);
    struct receive_queue *rq = landings[i].rq;
    if (lossless && rq && !rq_has_room(rq, packet->bytes)) return false;
  }
  for (uint32_t i = 0; i < found->count; i++) {
    struct landing *landing = &landings[i];
    if (landing->rq) rq_receive(landing->rq, packet, landing->hash, landing->hash_type, found->flows[i]);
  }
  return true;
}

static void add_sniffers(const struct port *port, struct destinations *found) {
  const struct rules *of_port = &sniffers[port->index];
  for (uint32_t i = 0; i < of_port->count && found->count < DESTINATIONS_MAX; i++) {
    if (of_port->list[i]->queue_pair) found->flows[found->count++] = of_port->list[i];
  }
}

bool port_receive(struct port *port, const uint8_t *data, uint32_t bytes, bool lossless) {
  struct packet packet;
  struct destinations found;
  found.count = 0;
  const struct rules *of_port = &rules[port->index];
  if (!port->up || port->fatal || bytes < 14) {
    port->counters.dropped++;
    return true;
  }
  packet_parse(&packet, data, bytes);
  bool taken = look_up(of_port, &packet, 0, RANK_KERNEL, &found);
  bool to_kernel = !taken && kernel_wants(port, &packet);
  if (!taken && !to_kernel) taken = look_up(of_port, &packet, RANK_KERNEL, UINT32_MAX, &found);
  bool matched = taken || found.count > 0;
  bool dropped = taken && found.count == 0;
  add_sniffers(port, &found);
  if (!deliver(&found, &packet, lossless)) return false;
  if (dropped) port->counters.dropped++;
  if (to_kernel) kernel_receive(port, data, bytes);
  if (!matched) port->counters.unmatched++;
  return true;
}

/**
 * Local loopback (kernel mlx5_ib_enable_lb): the port's own frames meet its rules, for the queues that were made with
 * MLX5_QP_FLAG_TIR_ALLOW_SELF_LB. A unicast frame that finds one stays inside.
 */
bool port_receive_own(struct port *port, const uint8_t *data, uint32_t bytes) {
  if (sniffers[port->index].count == 0 && !port->loopback) return false;
  struct destinations found;
  found.count = 0;
  bool group = data[0] & 1;
  struct packet packet;
  packet_parse(&packet, data, bytes);
  if (port->loopback) look_up(&rules[port->index], &packet, 0, RANK_KERNEL, &found);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < found.count; i++) {
    const struct queue_pair *qp = found.flows[i]->queue_pair;
    if (group ? qp->loopback_multicast : qp->loopback_unicast) found.flows[kept++] = found.flows[i];
  }
  found.count = kept;
  add_sniffers(port, &found);
  deliver(&found, &packet, false);
  return kept > 0 && !group;
}
