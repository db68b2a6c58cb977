// A client of the software ConnectX's kernel half, over the machine's own libibverbs and libmlx5: `client TEST` prints
// `name: value` lines, which softmlx5.bed.test.ts compares, and ends with 1 if a CHECK failed.
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <infiniband/mlx5dv.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void print_device(struct ibv_device *device) {
  struct ibv_context *context = ibv_open_device(device);
  struct ibv_device_attr_ex attributes;
  struct ibv_port_attr port, other;
  union ibv_gid gid;
  struct mlx5dv_context dv = {.comp_mask = MLX5DV_CONTEXT_MASK_STRIDING_RQ | MLX5DV_CONTEXT_MASK_CQE_COMPRESION};
  const struct mlx5dv_striding_rq_caps *striding = &dv.striding_rq_caps;
  CHECK(context && ibv_query_device_ex(context, NULL, &attributes) == 0);
  CHECK(ibv_query_port(context, 1, &port) == 0 && ibv_query_port(context, 2, &other) == EINVAL);
  CHECK(mlx5dv_query_device(context, &dv) == 0 && ibv_query_gid(context, 1, 0, &gid) == 0);
  printf("device: %s %s part 0x%x firmware %s\n", ibv_get_device_name(device), device->dev_name,
         attributes.orig_attr.vendor_part_id, attributes.orig_attr.fw_ver);
  printf("port: state %d phys %d layer %d width %d speed %d\n", port.state, port.phys_state, port.link_layer,
         port.active_width, port.active_speed);
  printf("gid: %02x%02x %02x%02x\n", gid.raw[0], gid.raw[1], gid.raw[14], gid.raw[15]);
  printf("raw packet caps: 0x%x tso %u rss 0x%lx of %u\n", attributes.raw_packet_caps, attributes.tso_caps.max_tso,
         (unsigned long)attributes.rss_caps.rx_hash_fields_mask, attributes.rss_caps.max_rwq_indirection_table_size);
  printf("mlx5: cqe v1 %d mpw %d empw %d\n", !!(dv.flags & MLX5DV_CONTEXT_FLAGS_CQE_V1),
         !!(dv.flags & MLX5DV_CONTEXT_FLAGS_MPW_ALLOWED), !!(dv.flags & MLX5DV_CONTEXT_FLAGS_ENHANCED_MPW));
  printf("striding: stride 2^%u to 2^%u, strides 2^%u to 2^%u\n", striding->min_single_stride_log_num_of_bytes,
         striding->max_single_stride_log_num_of_bytes, striding->min_single_wqe_log_num_of_strides,
         striding->max_single_wqe_log_num_of_strides);
  printf("compression: %u, formats 0x%x\n", dv.cqe_comp_caps.max_num, dv.cqe_comp_caps.supported_format);
  CHECK(ibv_close_device(context) == 0);
}

static void test_describe(void) {
  int count;
  struct ibv_device **list = ibv_get_device_list(&count);
  printf("devices: %d\n", count);
  for (int i = 0; i < count; i++) print_device(list[i]);
  ibv_free_device_list(list);
}

static void refuse_queues(struct ibv_context *context, struct ibv_pd *pd, struct ibv_cq *cq) {
  struct ibv_qp *qp = new_qp(pd, cq);
  struct ibv_qp_attr attributes;
  struct ibv_qp_init_attr initial;
  CHECK(qp);
  CHECK(change_state(qp, IBV_QPS_RTR, 0) == EINVAL);                    // RESET to RTR
  CHECK(change_state(qp, IBV_QPS_INIT, 0) == EINVAL);                   // without the port
  CHECK(change_state(qp, IBV_QPS_INIT, IBV_QP_PORT | IBV_QP_PKEY_INDEX) == EINVAL);
  ready(qp);
  CHECK(ibv_query_qp(qp, &attributes, IBV_QP_STATE, &initial) == 0 && attributes.qp_state == IBV_QPS_RTS);
  CHECK(change_state(qp, IBV_QPS_ERR, 0) == 0);
  CHECK(ibv_query_qp(qp, &attributes, IBV_QP_STATE, &initial) == 0 && attributes.qp_state == IBV_QPS_ERR);
  CHECK(change_state(qp, IBV_QPS_RTS, 0) == EINVAL && change_state(qp, IBV_QPS_RESET, 0) == 0);
  CHECK(ibv_destroy_qp(qp) == 0);
  CHECK(!ibv_create_cq(context, 1 << 23, NULL, NULL, 0));
  CHECK(!ibv_create_cq(context, WQES, NULL, NULL, 4));                  // there are 4 completion vectors
  struct ibv_modify_cq_attr moderation = {.attr_mask = IBV_CQ_ATTR_MODERATE, .moderate = {16, 8}};
  CHECK(ibv_modify_cq(cq, &moderation) == 0);
}

static void refuse_memory(struct ibv_pd *pd, uint8_t *memory) {
  CHECK(!ibv_reg_mr(pd, memory, 4096, IBV_ACCESS_REMOTE_WRITE) && errno == EINVAL);
  CHECK(!ibv_reg_mr(pd, (void *)4096, 4096, IBV_ACCESS_LOCAL_WRITE) && errno == EFAULT);
}

static void refuse_rss(struct ibv_pd *pd, struct ibv_cq *cq) {
  struct ibv_wq *wq = new_wq(pd, cq);
  struct ibv_rwq_ind_table *table = new_table(wq);
  struct ibv_wq_attr to_error = {.attr_mask = IBV_WQ_ATTR_STATE, .wq_state = IBV_WQS_ERR};
  struct ibv_wq_attr strip = {.attr_mask = IBV_WQ_ATTR_FLAGS,
                              .flags = IBV_WQ_FLAGS_CVLAN_STRIPPING,
                              .flags_mask = IBV_WQ_FLAGS_CVLAN_STRIPPING};
  const uint64_t both = IBV_RX_HASH_SRC_IPV4 | IBV_RX_HASH_SRC_IPV6;
  CHECK(wq && table);
  CHECK(ibv_modify_wq(wq, &to_error) == EINVAL && ibv_modify_wq(wq, &strip) == 0);
  CHECK(!new_hash_qp(pd, table, IBV_RX_HASH_SRC_IPV4, 32) && errno == EINVAL);  // 40 bytes of key
  CHECK(!new_hash_qp(pd, table, both, RSS_KEY_BYTES) && errno == EINVAL);
  CHECK(!new_hash_qp(pd, table, 0, RSS_KEY_BYTES) && errno == EINVAL);             // no hash: a table of one
  CHECK(ibv_destroy_rwq_ind_table(table) == 0 && ibv_destroy_wq(wq) == 0);
}

static void test_refused(void) {
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  struct ibv_cq *cq = new_cq(context, NULL);
  uint8_t *memory = aligned_alloc(4096, 4096);
  refuse_queues(context, pd, cq);
  refuse_memory(pd, memory);
  refuse_rss(pd, cq);
  CHECK(ibv_destroy_cq(cq) == 0 && ibv_dealloc_pd(pd) == 0 && ibv_close_device(context) == 0);
}

static void test_busy(void) {
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  struct ibv_cq *cq = new_cq(context, NULL);
  struct ibv_wq *wq = new_wq(pd, cq);
  struct ibv_rwq_ind_table *table = new_table(wq);
  struct ibv_qp *qp = new_hash_qp(pd, table, IBV_RX_HASH_SRC_IPV4 | IBV_RX_HASH_DST_IPV4, RSS_KEY_BYTES);
  CHECK(qp);
  struct ibv_flow *flow = new_flow(qp, 0, 0, 0);
  CHECK(flow);
  CHECK(ibv_destroy_qp(qp) == EBUSY && ibv_destroy_flow(flow) == 0);
  CHECK(ibv_destroy_rwq_ind_table(table) == EBUSY && ibv_destroy_qp(qp) == 0);
  CHECK(ibv_destroy_wq(wq) == EBUSY && ibv_destroy_rwq_ind_table(table) == 0);
  CHECK(ibv_destroy_cq(cq) == EBUSY && ibv_dealloc_pd(pd) == EBUSY && ibv_destroy_wq(wq) == 0);
  CHECK(ibv_destroy_cq(cq) == 0 && ibv_dealloc_pd(pd) == 0 && ibv_close_device(context) == 0);
}

static void test_leak(void) {
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  CHECK(pd && new_qp(pd, new_cq(context, NULL)));
  ibv_close_device(context);
}

/** A rule of mlx5dv: UDP port 4789 back to the kernel. */
static struct ibv_flow *new_miss(struct mlx5dv_flow_matcher **matcher, struct ibv_context *context) {
  struct { size_t bytes; uint8_t match[64]; } mask = {64, {0}}, value = {64, {0}};
  struct mlx5dv_flow_action_attr miss = {.type = MLX5DV_FLOW_ACTION_DEFAULT_MISS};
  memset(mask.match + 16, 0xff, 1);  // ip_protocol
  memset(mask.match + 30, 0xff, 2);  // udp_dport
  value.match[16] = 17;
  value.match[30] = 4789 >> 8;
  value.match[31] = 4789 & 0xff;
  struct mlx5dv_flow_matcher_attr attributes = {
      .type = IBV_FLOW_ATTR_NORMAL, .match_criteria_enable = 1, .match_mask = (void *)&mask};
  *matcher = mlx5dv_create_flow_matcher(context, &attributes);
  return *matcher ? mlx5dv_create_flow(*matcher, (void *)&value, 1, &miss) : NULL;
}

static void test_flows(void) {
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  struct ibv_cq *cq = new_cq(context, NULL);
  struct ibv_qp *qp = new_qp(pd, cq);
  struct mlx5dv_flow_matcher *matcher;
  CHECK(qp);
  struct ibv_flow *tagged = new_flow(qp, 7, 0, 0);
  struct ibv_flow *copy = new_flow(qp, 0, 1, IBV_FLOW_ATTR_FLAGS_DONT_TRAP);
  struct ibv_flow *miss = new_miss(&matcher, context);
  CHECK(tagged && copy && miss);
  CHECK(!new_flow(qp, 8, 0, 0) && errno == EEXIST);      // the same match, another tag
  CHECK(!new_flow(qp, 1 << 24, 1, 0) && errno == EINVAL);
  CHECK(!new_flow(qp, 0, 16, 0) && errno == ENOMEM);     // priorities end at 15
  CHECK(mlx5dv_destroy_flow_matcher(matcher) == EBUSY);
  CHECK(ibv_destroy_flow(miss) == 0 && mlx5dv_destroy_flow_matcher(matcher) == 0);
  CHECK(ibv_destroy_flow(tagged) == 0 && ibv_destroy_flow(copy) == 0);
  CHECK(ibv_destroy_qp(qp) == 0 && ibv_destroy_cq(cq) == 0 && ibv_dealloc_pd(pd) == 0);
  CHECK(ibv_close_device(context) == 0);
}

static void test_channel(void) {
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  struct ibv_mr *mr = new_mr(pd);
  struct ibv_comp_channel *channel = ibv_create_comp_channel(context);
  struct ibv_cq *cq = new_cq(context, channel);
  struct ibv_qp *qp = new_qp(pd, cq);
  struct ibv_cq *told;
  void *ignored;
  CHECK(qp);
  ready(qp);
  send_armed(cq, qp, mr);
  CHECK(ibv_get_cq_event(channel, &told, &ignored) == 0 && told == cq);
  ibv_ack_cq_events(cq, 1);
  send_armed(cq, qp, mr);  // this event is never read: the CQ must go all the same
  CHECK(ibv_destroy_qp(qp) == 0 && ibv_destroy_cq(cq) == 0);
  struct pollfd file = {.fd = channel->fd, .events = POLLIN};
  CHECK(poll(&file, 1, 0) == 0);
  CHECK(ibv_destroy_comp_channel(channel) == 0 && ibv_dereg_mr(mr) == 0 && ibv_dealloc_pd(pd) == 0);
  CHECK(ibv_close_device(context) == 0);
}

/** A CQ that is resized while it holds completions: they are all there, and the next go into the new ring. */
static void test_resize(void) {
  enum { BEFORE = 5, AFTER = 300 };
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  struct ibv_mr *mr = new_mr(pd);
  struct ibv_cq *cq = new_cq(context, NULL);
  struct ibv_qp *qp = new_qp(pd, cq);
  CHECK(qp);
  ready(qp);
  for (int i = 0; i <= BEFORE; i++) post(qp, mr);
  wait_completion(cq);  // the first; the others follow at once
  usleep(20000);
  CHECK(ibv_resize_cq(cq, 4 * WQES) == 0 && cq->cqe >= 4 * WQES);
  for (int i = 0; i < BEFORE; i++) wait_completion(cq);
  for (int i = 0; i < AFTER; i++) {
    post(qp, mr);
    wait_completion(cq);
  }
  CHECK(ibv_resize_cq(cq, WQES / 2) == 0 && cq->cqe < WQES);
  post(qp, mr);
  wait_completion(cq);
  CHECK(ibv_destroy_qp(qp) == 0 && ibv_destroy_cq(cq) == 0 && ibv_dereg_mr(mr) == 0);
  CHECK(ibv_dealloc_pd(pd) == 0 && ibv_close_device(context) == 0);
}

/** Sends until the CQ breaks down, which the test asks for: the event names this CQ, and it can be destroyed. */
static void test_cq_error(void) {
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  struct ibv_mr *mr = new_mr(pd);
  struct ibv_cq *cq = new_cq(context, NULL);
  struct ibv_qp *qp = new_qp(pd, cq);
  struct ibv_async_event event;
  struct pollfd file = {.fd = context->async_fd, .events = POLLIN};
  CHECK(qp && fcntl(file.fd, F_SETFL, O_NONBLOCK) == 0);
  ready(qp);
  post(qp, mr);
  wait_completion(cq);
  CHECK(ibv_get_async_event(context, &event) == -1 && errno == EAGAIN);
  printf("ready\n");
  for (int tries = 0; tries < 500 && poll(&file, 1, 10) == 0; tries++) {
    struct ibv_wc wc;
    post(qp, mr);
    ibv_poll_cq(cq, 1, &wc);
  }
  CHECK(ibv_get_async_event(context, &event) == 0);
  CHECK(event.event_type == IBV_EVENT_CQ_ERR && event.element.cq == cq);
  ibv_ack_async_event(&event);
  CHECK(ibv_destroy_qp(qp) == 0 && ibv_destroy_cq(cq) == 0 && ibv_dereg_mr(mr) == 0);
  CHECK(ibv_dealloc_pd(pd) == 0 && ibv_close_device(context) == 0);
}

/** A child that closes what it inherited takes nothing away from its parent; it cannot open the device itself. */
static void test_fork(void) {
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = ibv_alloc_pd(context);
  int status;
  CHECK(pd);
  pid_t child = fork();
  bool refused = child == 0 && open("/dev/infiniband/uverbs0", O_RDWR) == -1 && errno == ENODEV;
  if (child == 0) _exit(close(context->cmd_fd) || close(context->async_fd) || !refused);
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(ibv_dealloc_pd(pd) == 0 && ibv_close_device(context) == 0);
}

/** Prints the asynchronous events of device `index` until it is gone, then what that means. */
static void test_events(int index) {
  struct ibv_context *context = open_device(index);
  struct ibv_async_event event;
  struct ibv_port_attr port;
  uint8_t byte;
  printf("ready\n");
  do {
    CHECK(ibv_get_async_event(context, &event) == 0);
    int state = ibv_query_port(context, 1, &port) == 0 ? (int)port.state : -1;
    printf("event: %s port %d state %d\n", ibv_event_type_str(event.event_type), event.element.port_num, state);
    ibv_ack_async_event(&event);
  } while (event.event_type != IBV_EVENT_DEVICE_FATAL);
  CHECK(!ibv_alloc_pd(context) && errno == EIO);
  CHECK(read(context->async_fd, &byte, 0) == -1 && errno == EINVAL);
  CHECK(ibv_get_async_event(context, &event) == -1 && errno == EIO);
  printf("gone\n");
  CHECK(ibv_close_device(context) == 0);
  CHECK(!open_device(index));
}

/** How far opening a device and creating a QP gets: what failed, and its errno. */
static void test_try(void) {
  struct ibv_context *context = open_device(0);
  struct ibv_pd *pd = context ? ibv_alloc_pd(context) : NULL;
  struct ibv_cq *cq = pd ? ibv_create_cq(context, WQES, NULL, NULL, 0) : NULL;
  struct ibv_qp *qp = cq ? new_qp(pd, cq) : NULL;
  if (!context) open("/dev/infiniband/uverbs0", O_RDWR);  // libibverbs tries another name last: its errno
  const char *failed = !context ? "open" : !pd ? "pd" : !cq ? "cq" : !qp ? "qp" : "nothing";
  printf("failed: %s, %s\n", failed, strcmp(failed, "nothing") ? strerrorname_np(errno) : "no error");
}

int main(int count, char **arguments) {
  static const struct { const char *name; void (*run)(void); } tests[] = {
      {"describe", test_describe}, {"refused", test_refused}, {"busy", test_busy}, {"leak", test_leak},
      {"flows", test_flows},       {"channel", test_channel}, {"try", test_try},
      {"resize", test_resize},     {"fork", test_fork},       {"cq-error", test_cq_error},
  };
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (count < 2) return 2;
  if (!strcmp(arguments[1], "events")) {
    test_events(count > 2 ? atoi(arguments[2]) : 0);
    return 0;
  }
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    if (strcmp(tests[i].name, arguments[1])) continue;
    tests[i].run();
    printf("done\n");
    return 0;
  }
  return 2;
}
