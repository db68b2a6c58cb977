// Tests of sending: eMPW, TSO, VLAN tags, checksums, inlined headers.
#include "client.h"

#include <endian.h>

static struct device device;
static struct sender sender;
static struct receiver receiver;

static void start(struct receiver_options options) {
  device_open(&device, 0);
  sender_create(&device, &sender, 256);
  receiver_create(&device, &receiver, options);
  rule_create(hash_qp(&device, &receiver, 1, NULL, 0), (struct rule){.any_mac = true});
}

static void send_wqe(struct wqe *wqe, uint8_t opcode) {
  sender_put(&sender, wqe, opcode, CQ_UPDATE);
  sender_ring(&sender);
  sender_wait(&sender);
}

static struct received receive(void) {
  struct received frame = receiver_wait(&receiver);
  receiver_post(&receiver, 1);
  return frame;
}

/** One WQE of up to 63 segments: pointers and inlined frames, also across the ring's end. */
void test_mpsw(void) {
  start((struct receiver_options){.wqes = 256, .buffer_bytes = 2048});
  uint8_t *frames = device_memory(&device, 64 * 2048);
  for (uint32_t number = 0, lap = 0; lap < 300; lap++) {
    struct wqe wqe;
    uint32_t count = 0;
    wqe_begin(&wqe);
    wqe_ethernet(&wqe, 0, NULL, 0);
    while (wqe.used + 16 <= WQE_BYTES_MAX && count < 1 + lap % 61) {
      uint8_t *frame = frames + (size_t)count * 2048;
      uint32_t bytes = 60 + (number + count) * 11 % 1455;
      frame_plain(frame, bytes, number + count);
      bool inlined = (number + count) % 3 == 0 && bytes < 200 && wqe.used + 4 + bytes <= WQE_BYTES_MAX;
      if (inlined) wqe_inline(&wqe, frame, bytes);
      else wqe_pointer(&wqe, frame, bytes, device.mr->lkey);
      count++;
    }
    send_wqe(&wqe, ENHANCED_MPSW);
    for (uint32_t i = 0; i < count; i++) {
      struct received frame = receive();
      uint32_t bytes = 60 + (number + i) * 11 % 1455;
      CHECK(frame.bytes == bytes, "%u bytes, not %u", frame.bytes, bytes);
      CHECK(memcmp(frame.data, frames + (size_t)i * 2048, bytes) == 0, "frame %u of WQE %u differs", i, lap);
    }
    number += count;
  }
}

// ---- TSO ----

static void put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void tso(bool v6, bool vlan, uint32_t payload, uint32_t mss, uint8_t flags) {
  static uint8_t whole[65536], wanted[16384];
  struct ip_frame options = {.v6 = v6, .vlan = vlan, .tci = 0x2064, .payload_bytes = payload, .source = {10, 0, 0, 1},
                             .destination = {10, 0, 0, 2}, .source_port = 80, .destination_port = 81, .seed = 65534};
  frame_ip(whole, &options);
  uint32_t ip = vlan ? 18 : 14;
  uint32_t tcp = ip + (v6 ? 40 : 20);
  uint32_t header = tcp + 20;
  whole[tcp + 13] = flags;
  uint8_t *data = device_memory(&device, payload);
  memcpy(data, whole + header, payload);
  struct wqe wqe;
  wqe_begin(&wqe);
  uint8_t checksums = MLX5_ETH_WQE_L3_CSUM | MLX5_ETH_WQE_L4_CSUM;
  wqe_ethernet(&wqe, checksums, whole, header)->mss = htobe16((uint16_t)mss);
  wqe_pointer(&wqe, data, payload / 3, device.mr->lkey);  // the cuts do not follow the pieces
  wqe_pointer(&wqe, data + payload / 3, payload - payload / 3, device.mr->lkey);
  send_wqe(&wqe, MLX5_OPCODE_TSO);
  for (uint32_t offset = 0, index = 0; offset < payload; offset += mss, index++) {
    struct received frame = receive();
    uint32_t part = payload - offset < mss ? payload - offset : mss;
    bool last = offset + part == payload;
    uint8_t flags_wanted = flags & (index > 0 ? ~0x80 : ~0) & (last ? ~0 : ~0x09);  // CWR first; FIN, PSH last
    uint32_t bytes = header + part < 60 ? 60 : header + part;
    memset(wanted, 0, 60);
    memcpy(wanted, whole, header);
    memcpy(wanted + header, whole + header + offset, part);
    if (v6) put16(wanted + ip + 4, 20 + part);
    else put16(wanted + ip + 2, 40 + part);
    if (!v6) put16(wanted + ip + 4, 65534 + index);
    uint32_t sequence = 0x1234fff0 + offset;
    put16(wanted + tcp + 4, sequence >> 16);
    put16(wanted + tcp + 6, sequence);
    wanted[tcp + 13] = flags_wanted;
    CHECK(frame.bytes == bytes, "segment %u: %u bytes, not %u", index, frame.bytes, bytes);
    CHECK(ip_checksums_right(frame.data, bytes), "segment %u: checksums", index);
    if (!v6) memcpy(wanted + ip + 10, frame.data + ip + 10, 2);  // just verified
    memcpy(wanted + tcp + 16, frame.data + tcp + 16, 2);
    CHECK(memcmp(frame.data, wanted, bytes) == 0, "segment %u differs", index);
  }
}

void test_tso(void) {
  start((struct receiver_options){.wqes = 256, .buffer_bytes = 16384});
  for (uint32_t v6 = 0; v6 < 2; v6++) {
    tso(v6, false, 60000, 1460, 0x10);
    tso(v6, true, 30000, 1000, 0x10 | 0x08 | 0x80);
    tso(v6, false, 4380, 1460, 0x10 | 0x01);  // exactly three frames
    tso(v6, false, 9001, 9000, 0x18);         // the last carries one byte
    tso(v6, false, 100, 1460, 0x18);
  }
}

// ---- VLAN ----

void test_vlan(void) {
  start((struct receiver_options){.wqes = 64, .buffer_bytes = 2048, .strip_vlan = true});
  uint8_t *frame = device_memory(&device, 4096);
  for (uint32_t i = 0; i < 200; i++) {
    uint32_t bytes = 60 + i * 5;
    frame_plain(frame, bytes, i);
    struct wqe wqe;
    wqe_begin(&wqe);
    struct mlx5_wqe_eth_seg *ethernet = wqe_ethernet(&wqe, 0, NULL, 0);
    if (i % 2) {                  // the device inserts the tag and takes it off again
      ethernet->inline_hdr_sz = htobe16(1 << 15);
      put16(ethernet->inline_hdr_start, 0x6000 | i);
    }
    wqe_pointer(&wqe, frame, bytes, device.mr->lkey);
    send_wqe(&wqe, MLX5_OPCODE_SEND);
    struct received got = receive();
    bool stripped = got.cqe.l4_hdr_type_etc & 1;
    CHECK(got.bytes == bytes && memcmp(got.data, frame, bytes) == 0, "frame %u differs", i);
    CHECK(stripped == (i % 2 == 1), "frame %u: stripped %d", i, stripped);
    CHECK(be16toh(got.cqe.vlan_info) == (i % 2 ? 0x6000 | i : 0), "tag 0x%x", be16toh(got.cqe.vlan_info));
  }
  // without stripping the tag is where it was put
  struct ibv_wq_attr off = {.attr_mask = IBV_WQ_ATTR_FLAGS, .flags_mask = IBV_WQ_FLAGS_CVLAN_STRIPPING};
  CHECK(ibv_modify_wq(receiver.wq, &off) == 0, "%m");
  struct wqe wqe;
  wqe_begin(&wqe);
  struct mlx5_wqe_eth_seg *ethernet = wqe_ethernet(&wqe, 0, NULL, 0);
  ethernet->inline_hdr_sz = htobe16(1 << 15);
  put16(ethernet->inline_hdr_start, 0x0123);
  wqe_pointer(&wqe, frame, 100, device.mr->lkey);
  send_wqe(&wqe, MLX5_OPCODE_SEND);
  struct received got = receive();
  CHECK(got.bytes == 104 && !(got.cqe.l4_hdr_type_etc & 1), "%u bytes", got.bytes);
  CHECK(memcmp(got.data + 12, "\x81\x00\x01\x23", 4) == 0, "no tag");
  CHECK(memcmp(got.data, frame, 12) == 0 && memcmp(got.data + 16, frame + 12, 88) == 0, "differs");
}

// ---- checksums ----

struct kind {
  bool v6, udp, vlan;
  uint8_t types;                  // l4_hdr_type_etc
};

static void checksum_case(uint8_t *frame, const struct kind *kind, uint32_t payload) {
  struct ip_frame options = {.v6 = kind->v6, .udp = kind->udp, .vlan = kind->vlan, .tci = 7, .payload_bytes = payload,
                             .source = {10, 1, 2, 3}, .destination = {10, 1, 2, 4}, .source_port = 1,
                             .destination_port = 2, .seed = payload};
  uint32_t bytes = frame_ip(frame, &options);
  uint32_t ip = kind->vlan ? 18 : 14;
  uint32_t l4 = ip + (kind->v6 ? 40 : 20);
  uint32_t l4_field = l4 + (kind->udp ? 6 : 16);
  uint8_t right[16384];
  memcpy(right, frame, bytes);
  for (int broken = 0; broken < 4; broken++) {  // bit 0: IP's checksum; bit 1: TCP's or UDP's
    bool l3_broken = broken & 1 && !kind->v6;
    memcpy(frame, right, bytes);
    if (l3_broken) frame[ip + 10] ^= 0x55;
    if (broken & 2) frame[l4_field] ^= 0xaa;
    for (int offload = 0; offload < 2; offload++) {
      struct wqe wqe;
      wqe_begin(&wqe);
      wqe_ethernet(&wqe, offload ? MLX5_ETH_WQE_L3_CSUM | MLX5_ETH_WQE_L4_CSUM : 0, NULL, 0);
      wqe_pointer(&wqe, frame, bytes, device.mr->lkey);
      send_wqe(&wqe, MLX5_OPCODE_SEND);
      struct received got = receive();
      uint8_t flags = MLX5_CQE_L2_OK;
      if (offload || !l3_broken) flags |= MLX5_CQE_L3_OK;
      if (offload || !(broken & 2)) flags |= MLX5_CQE_L4_OK;
      CHECK(memcmp(got.data, offload ? right : frame, bytes) == 0, "broken %d offload %d differs", broken, offload);
      CHECK(got.cqe.hds_ip_ext == flags, "flags 0x%x, not 0x%x", got.cqe.hds_ip_ext, flags);
      CHECK(got.cqe.l4_hdr_type_etc == kind->types, "types 0x%x, not 0x%x", got.cqe.l4_hdr_type_etc, kind->types);
      uint16_t sum = (uint16_t)~slow_checksum(got.data + ip, bytes - ip, 0);
      CHECK(be16toh(got.checksum) == sum, "checksum 0x%x, not 0x%x", be16toh(got.checksum), sum);
    }
  }
}

void test_checksums(void) {
  static const struct kind kinds[] = {
    {.types = 2 << 2 | 4 << 4},                       // IPv4, TCP with ACK and data
    {.udp = true, .types = 2 << 2 | 2 << 4},
    {.v6 = true, .types = 1 << 2 | 4 << 4},
    {.v6 = true, .udp = true, .types = 1 << 2 | 2 << 4},
    {.vlan = true, .udp = true, .types = 2 << 2 | 2 << 4},
  };
  start((struct receiver_options){.wqes = 64, .buffer_bytes = 16384});
  uint8_t *frame = device_memory(&device, 16384);
  for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    for (uint32_t payload = 1; payload < 9000; payload = payload * 3 + 1) checksum_case(frame, &kinds[i], payload);
  }
}

/** Run with SOFTMLX5_CHIP=connectx4lx: 18 bytes inlined are enough. And NOPs, and a ring lap of both. */
void test_chip(void) {
  start((struct receiver_options){.wqes = 64, .buffer_bytes = 2048});
  uint8_t *frame = device_memory(&device, 4096);
  for (uint32_t i = 0; i < 1000; i++) {
    struct wqe wqe;
    wqe_begin(&wqe);
    sender_put(&sender, &wqe, MLX5_OPCODE_NOP, i % 2 ? CQ_UPDATE : 0);
    frame_plain(frame, 60 + i, i);
    uint32_t inlined = i % 3 == 0 ? 60 : 18;
    wqe_begin(&wqe);
    wqe_ethernet(&wqe, 0, frame, inlined);
    wqe_pointer(&wqe, frame + inlined, 60 + i - inlined, device.mr->lkey);
    if (inlined == 60 + i) wqe.used -= 16;
    send_wqe(&wqe, MLX5_OPCODE_SEND);
    struct received got = receive();
    CHECK(got.bytes == 60 + i && memcmp(got.data, frame, got.bytes) == 0, "frame %u differs", i);
  }
}
