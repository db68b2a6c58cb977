// Tests of steering: RSS, rules, counters.
#include "client.h"

#include <arpa/inet.h>
#include <endian.h>
#include <unistd.h>

static struct device device;
static struct sender sender;
static struct receiver receivers[4];

static void start(void) {
  device_open(&device, 0);
  sender_create(&device, &sender, 256);
  for (int i = 0; i < 4; i++)
    receiver_create(&device, &receivers[i], (struct receiver_options){.wqes = 64, .buffer_bytes = 2048});
}

// ---- RSS ----

// "Verifying the RSS Hash Calculation", learn.microsoft.com: source, destination, hash of the addresses alone, with
// the TCP ports.
struct vector {
  const char *source, *destination;
  uint16_t source_port, destination_port;
  uint32_t addresses, with_ports;
};
static const uint8_t microsoft_key[40] = {
  0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
  0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
  0xbe, 0xac, 0x01, 0xfa,
};
static const struct vector vectors4[] = {
  {"66.9.149.187", "161.142.100.80", 2794, 1766, 0x323e8fc2, 0x51ccc178},
  {"199.92.111.2", "65.69.140.83", 14230, 4739, 0xd718262a, 0xc626b0ea},
  {"24.19.198.95", "12.22.207.184", 12898, 38024, 0xd2d0a5de, 0x5c2b394a},
  {"38.27.205.30", "209.142.163.6", 48228, 2217, 0x82989176, 0xafc7327f},
  {"153.39.163.191", "202.188.127.2", 44251, 1303, 0x5d1809c5, 0x10e828a2},
};
static const struct vector vectors6[] = {
  {"3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x2cc18cd5, 0x40207d3d},
  {"3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0x0f0c461c, 0xdde51bbf},
  {"3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x4b61e985, 0x02d1feef},
};

static void rss_case(const struct vector *vector, bool v6, bool udp, uint32_t hash, uint8_t type) {
  uint8_t *frame = device.memory;
  struct ip_frame options = {.v6 = v6, .udp = udp, .payload_bytes = 10, .source_port = vector->source_port,
                             .destination_port = vector->destination_port};
  int family = v6 ? AF_INET6 : AF_INET;
  CHECK(inet_pton(family, vector->source, options.source) == 1, "%s", vector->source);
  CHECK(inet_pton(family, vector->destination, options.destination) == 1, "%s", vector->destination);
  send_frame(&sender, frame, frame_ip(frame, &options));
  struct receiver *wanted = &receivers[hash & 3];
  struct received got = receiver_wait(wanted);
  receiver_post(wanted, 1);
  CHECK(got.hash == hash, "hash 0x%x, not 0x%x", got.hash, hash);
  CHECK(((const uint8_t *)&got.cqe)[16] == type, "type 0x%x, not 0x%x", ((const uint8_t *)&got.cqe)[16], type);
}

static void rss(const struct vector *vectors, uint32_t count, bool v6) {
  uint64_t fields = v6 ? IBV_RX_HASH_SRC_IPV6 | IBV_RX_HASH_DST_IPV6 : IBV_RX_HASH_SRC_IPV4 | IBV_RX_HASH_DST_IPV4;
  uint64_t ports = IBV_RX_HASH_SRC_PORT_TCP | IBV_RX_HASH_DST_PORT_TCP;
  struct ibv_qp *qp = hash_qp(&device, receivers, 4, microsoft_key, fields | ports);
  struct ibv_flow *flow = rule_create(qp, (struct rule){.any_mac = true, .ethertype = v6 ? 0x86dd : 0x0800});
  uint8_t ip = v6 ? 2 << 2 | 2 : 1 << 2 | 1;
  for (uint32_t i = 0; i < count; i++) {
    rss_case(&vectors[i], v6, false, vectors[i].with_ports, (uint8_t)(ip | 1 << 6 | 1 << 4));
    rss_case(&vectors[i], v6, true, vectors[i].addresses, ip);  // UDP's ports were not selected
  }
  CHECK(ibv_destroy_flow(flow) == 0, "%m");
}

/** Only the first fragment has TCP's ports: none is hashed by them, or its packet would be torn apart. */
static void fragment(const struct vector *vector) {
  uint8_t *frame = device.memory;
  struct ip_frame options = {
    .payload_bytes = 64, .source_port = vector->source_port, .destination_port = vector->destination_port};
  uint64_t fields = IBV_RX_HASH_SRC_IPV4 | IBV_RX_HASH_DST_IPV4 | IBV_RX_HASH_SRC_PORT_TCP | IBV_RX_HASH_DST_PORT_TCP;
  inet_pton(AF_INET, vector->source, options.source);
  inet_pton(AF_INET, vector->destination, options.destination);
  rule_create(hash_qp(&device, receivers, 4, microsoft_key, fields), (struct rule){.any_mac = true});
  uint32_t bytes = frame_ip(frame, &options);
  frame[14 + 6] |= 0x20;          // more fragments
  memset(frame + 14 + 10, 0, 2);
  uint16_t checksum = htobe16(slow_checksum(frame + 14, 20, 0));
  memcpy(frame + 14 + 10, &checksum, 2);
  send_frame(&sender, frame, bytes);
  struct received got = receiver_wait(&receivers[vector->addresses & 3]);
  CHECK(got.hash == vector->addresses, "hash 0x%x", got.hash);
  CHECK(got.cqe.hds_ip_ext == (MLX5_CQE_L2_OK | MLX5_CQE_L3_OK), "flags 0x%x", got.cqe.hds_ip_ext);
  CHECK(got.cqe.l4_hdr_type_etc == (2 << 2 | 1 << 7), "types 0x%x", got.cqe.l4_hdr_type_etc);
}

void test_rss(void) {
  start();
  device_memory(&device, 4096);
  rss(vectors4, 5, false);
  rss(vectors6, 3, true);
  fragment(&vectors4[0]);
}

// ---- rules ----

/** Which of the receivers got the frame, as bits; each must have it whole. */
static uint32_t who_gets(const uint8_t *mac, uint16_t ethertype) {
  uint8_t *frame = device.memory;
  uint32_t got = 0;
  frame_plain(frame, 100, ethertype);
  memcpy(frame, mac, MAC_BYTES);
  frame[12] = (uint8_t)(ethertype >> 8);
  frame[13] = (uint8_t)ethertype;
  send_frame(&sender, frame, 100);  // its completion comes after the loop has delivered it
  for (uint32_t i = 0; i < 4; i++) {
    struct received received;
    if (!receiver_poll(&receivers[i], &received)) continue;
    CHECK(received.bytes == 100 && memcmp(received.data, frame, 100) == 0, "receiver %u", i);
    CHECK(!receiver_poll(&receivers[i], &received), "receiver %u got it twice", i);
    receiver_post(&receivers[i], 1);
    got |= 1u << i;
  }
  return got;
}

static void expect_at(const uint8_t *mac, uint16_t ethertype, uint32_t wanted) {
  uint32_t got = who_gets(mac, ethertype);
  CHECK(got == wanted, "type 0x%x: receivers 0x%x, not 0x%x", ethertype, got, wanted);
}

static struct ibv_flow *default_rule(struct ibv_qp *qp, enum ibv_flow_attr_type type) {
  struct ibv_flow_attr attributes = {.type = type, .size = sizeof attributes, .port = 1};
  struct ibv_flow *flow = ibv_create_flow(qp, &attributes);
  CHECK(flow, "%m");
  return flow;
}

/** mlx5dv_create_flow: all frames of an Ethertype go to the kernel, past the rules behind. */
static void default_miss_rule(uint16_t ethertype) {
  struct {
    size_t bytes;
    uint8_t parameters[64];       // fte_match_set_lyr_2_4: ethertype at byte 6
  } mask = {.bytes = 64}, value = {.bytes = 64};
  memset(mask.parameters + 6, 0xff, 2);
  value.parameters[6] = (uint8_t)(ethertype >> 8);
  value.parameters[7] = (uint8_t)ethertype;
  struct mlx5dv_flow_matcher_attr attributes = {
    .type = IBV_FLOW_ATTR_NORMAL,
    .match_criteria_enable = 1,   // outer headers
    .match_mask = (void *)&mask,
  };
  struct mlx5dv_flow_matcher *matcher = mlx5dv_create_flow_matcher(device.context, &attributes);
  CHECK(matcher, "%m");
  struct mlx5dv_flow_action_attr action = {.type = MLX5DV_FLOW_ACTION_DEFAULT_MISS};
  CHECK(mlx5dv_create_flow(matcher, (void *)&value, 1, &action), "%m");
}

void test_rules(void) {
  static const uint8_t group[MAC_BYTES] = {0x01, 0, 0x5e, 0, 0, 1};
  struct ibv_qp *qp[4];
  start();
  device_memory(&device, 4096);
  for (int i = 0; i < 4; i++) qp[i] = hash_qp(&device, &receivers[i], 1, NULL, 0);
  const uint8_t *mac = own_mac;
  expect_at(mac, 0x88b5, 0);
  default_rule(qp[0], IBV_FLOW_ATTR_ALL_DEFAULT);
  expect_at(mac, 0x88b5, 1);
  expect_at(group, 0x88b5, 1);
  default_rule(qp[1], IBV_FLOW_ATTR_MC_DEFAULT);
  expect_at(mac, 0x88b5, 1);
  expect_at(group, 0x88b5, 2);
  rule_create(qp[2], (struct rule){.mac = {2, 0, 0, 0, 0, 1}, .priority = 2});
  expect_at(mac, 0x88b5, 4);
  expect_at(other_mac, 0x88b5, 1);
  // a higher priority wins; DONT_TRAP lets the frame go on as well
  struct ibv_flow *first = rule_create(qp[3], (struct rule){.any_mac = true, .ethertype = 0x88b5, .priority = 1});
  expect_at(mac, 0x88b5, 8);
  expect_at(mac, 0x88b6, 4);
  CHECK(ibv_destroy_flow(first) == 0, "%m");
  uint32_t flag = IBV_FLOW_ATTR_FLAGS_DONT_TRAP;
  rule_create(qp[3], (struct rule){.any_mac = true, .ethertype = 0x88b5, .priority = 1, .flags = flag});
  expect_at(mac, 0x88b5, 8 | 4);
  expect_at(other_mac, 0x88b5, 8 | 1);
  // equal rules of two owners: both get it
  struct ibv_flow *same = rule_create(qp[1], (struct rule){.mac = {2, 0, 0, 0, 0, 1}, .priority = 2});
  expect_at(mac, 0x88b6, 4 | 2);
  CHECK(ibv_destroy_flow(same) == 0, "%m");
  rule_create(qp[0], (struct rule){.any_mac = true, .ethertype = 0x88b7, .drop = true});
  expect_at(mac, 0x88b7, 0);
  default_miss_rule(0x88b8);
  expect_at(mac, 0x88b8, 1);      // past the rule for the MAC; the netdev does not exist, so the leftovers get it
}

/** out_of_buffer in the tree, as ethtool and rdma statistic read it. */
void test_counters(void) {
  char path[4096], text[32] = "";
  start();
  uint8_t *frame = device_memory(&device, 4096);
  struct receiver small;
  receiver_create(&device, &small, (struct receiver_options){.wqes = 64, .buffer_bytes = 2048, .post = 10});
  rule_create(hash_qp(&device, &small, 1, NULL, 0), (struct rule){.any_mac = true});
  frame_plain(frame, 100, 1);
  for (int i = 0; i < 25; i++) send_frame(&sender, frame, 100);
  snprintf(path, sizeof path, "%s/class/infiniband/mlx5_0/ports/1/hw_counters/out_of_buffer", getenv("SYSFS_PATH"));
  uint64_t deadline = now_us() + 1000000;
  while (atoi(text) != 15) {
    CHECK(now_us() < deadline, "out_of_buffer is %s", text);
    FILE *file = fopen(path, "r");
    CHECK(file && fgets(text, sizeof text, file), "%s: %m", path);
    fclose(file);
    usleep(1000);
  }
}

/** On a wire that nothing comes back from: what a port sends meets its own rules only where a QP asks for that. */
void test_loopback(void) {
  static const uint8_t group[MAC_BYTES] = {0x01, 0, 0x5e, 0, 0, 1};
  static const uint32_t flags[] = {
    0,
    MLX5DV_QP_CREATE_TIR_ALLOW_SELF_LOOPBACK_UC,
    MLX5DV_QP_CREATE_TIR_ALLOW_SELF_LOOPBACK_MC,
  };
  start();
  device_memory(&device, 4096);
  for (int i = 0; i < 3; i++) {
    struct ibv_qp *qp = hash_qp_flags(&device, &receivers[i], 1, NULL, 0, flags[i]);
    struct ibv_flow *flow = rule_create(qp, (struct rule){.any_mac = true});
    expect_at(own_mac, 0x88b5, i == 1 ? 2 : 0);
    expect_at(group, 0x88b5, i == 2 ? 4 : 0);
    CHECK(ibv_destroy_flow(flow) == 0 && ibv_destroy_qp(qp) == 0, "%m");
  }
}
