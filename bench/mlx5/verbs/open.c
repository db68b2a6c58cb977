// The port's objects: as src/bus/rdma makes them for ibv mode.
#include "port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void need(bool ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "verbs: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct ibv_context *open_device(const char *ibdev) {
  struct ibv_device **list = ibv_get_device_list(NULL);
  struct ibv_context *context = NULL;
  need(list != NULL, "ibv_get_device_list");
  for (struct ibv_device **one = list; *one; one++) {
    if (strcmp(ibv_get_device_name(*one), ibdev) == 0) context = ibv_open_device(*one);
  }
  ibv_free_device_list(list);
  need(context != NULL, ibdev);
  return context;
}

static void open_memory(struct port *port) {
  size_t bytes = (size_t)BUFFERS * BUFFER_STRIDE;
  uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  need(memory != MAP_FAILED, "mmap");
  port->mr = ibv_reg_mr(port->pd, memory, bytes, IBV_ACCESS_LOCAL_WRITE);
  need(port->mr != NULL, "ibv_reg_mr");
  for (port->pool.count = 0; port->pool.count < BUFFERS; port->pool.count++)
    port->pool.free[port->pool.count] = memory + (size_t)port->pool.count * BUFFER_STRIDE;
}

static void open_send(struct port *port) {
  port->send_cq = ibv_create_cq(port->context, RING - 1, NULL, NULL, 0);
  need(port->send_cq != NULL, "ibv_create_cq");
  struct ibv_qp_init_attr attributes = {
    .send_cq = port->send_cq,
    .recv_cq = port->send_cq,
    .cap = {.max_send_wr = RING, .max_send_sge = 1},
    .qp_type = IBV_QPT_RAW_PACKET,
  };
  port->send_qp = ibv_create_qp(port->pd, &attributes);
  need(port->send_qp != NULL, "ibv_create_qp");
  static const struct ibv_qp_attr steps[] = {
    {.qp_state = IBV_QPS_INIT, .port_num = 1},
    {.qp_state = IBV_QPS_RTR},
    {.qp_state = IBV_QPS_RTS},
  };
  for (uint32_t k = 0; k < 3; k++) {
    struct ibv_qp_attr step = steps[k];
    int mask = IBV_QP_STATE | (k == 0 ? IBV_QP_PORT : 0);
    need(ibv_modify_qp(port->send_qp, &step, mask) == 0, "ibv_modify_qp");
  }
  for (uint32_t k = 0; k < BURST; k++) {
    port->send_sges[k].lkey = port->mr->lkey;
    port->send_wrs[k] = (struct ibv_send_wr){
      .next = &port->send_wrs[k + 1],  // each post ends the chain where its burst ends
      .sg_list = &port->send_sges[k],
      .num_sge = 1,
      .opcode = IBV_WR_SEND,
    };
  }
}

static void open_receive(struct port *port) {
  port->receive_cq = ibv_create_cq(port->context, RING - 1, NULL, NULL, 0);
  need(port->receive_cq != NULL, "ibv_create_cq");
  struct ibv_wq_init_attr attributes = {
    .wq_type = IBV_WQT_RQ,
    .max_wr = RING,
    .max_sge = 1,
    .pd = port->pd,
    .cq = port->receive_cq,
  };
  port->wq = ibv_create_wq(port->context, &attributes);
  need(port->wq != NULL, "ibv_create_wq");
  struct ibv_wq_attr ready = {.attr_mask = IBV_WQ_ATTR_STATE, .wq_state = IBV_WQS_RDY};
  need(ibv_modify_wq(port->wq, &ready) == 0, "ibv_modify_wq");
  for (uint32_t k = 0; k < RECEIVE_LOT; k++) {
    port->receive_sges[k] = (struct ibv_sge){.length = BUFFER_BYTES, .lkey = port->mr->lkey};
    port->receive_wrs[k].next = k + 1 < RECEIVE_LOT ? &port->receive_wrs[k + 1] : NULL;
    port->receive_wrs[k].sg_list = &port->receive_sges[k];
    port->receive_wrs[k].num_sge = 1;
  }
}

/** All frames to the one queue. */
static void open_flow(struct port *port) {
  static uint8_t key[40];
  struct ibv_rwq_ind_table_init_attr table = {.ind_tbl = &port->wq};
  port->table = ibv_create_rwq_ind_table(port->context, &table);
  need(port->table != NULL, "ibv_create_rwq_ind_table");
  struct ibv_qp_init_attr_ex attributes = {
    .qp_type = IBV_QPT_RAW_PACKET,
    .comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_IND_TABLE | IBV_QP_INIT_ATTR_RX_HASH,
    .pd = port->pd,
    .rwq_ind_tbl = port->table,
    .rx_hash_conf = {IBV_RX_HASH_FUNC_TOEPLITZ, sizeof key, key, 0},
  };
  port->hash_qp = ibv_create_qp_ex(port->context, &attributes);
  need(port->hash_qp != NULL, "ibv_create_qp_ex");
  struct ibv_flow_attr flow = {.type = IBV_FLOW_ATTR_ALL_DEFAULT, .size = sizeof flow, .port = 1};
  port->flow = ibv_create_flow(port->hash_qp, &flow);
  need(port->flow != NULL, "ibv_create_flow");
}

void port_open(struct port *port, const char *ibdev) {
  port->context = open_device(ibdev);
  port->pd = ibv_alloc_pd(port->context);
  need(port->pd != NULL, "ibv_alloc_pd");
  open_memory(port);
  open_send(port);
  open_receive(port);
  open_flow(port);
}

void port_close(struct port *port) {
  void *memory = port->mr->addr;
  size_t bytes = port->mr->length;
  need(ibv_destroy_flow(port->flow) == 0, "ibv_destroy_flow");
  need(ibv_destroy_qp(port->hash_qp) == 0, "ibv_destroy_qp");
  need(ibv_destroy_rwq_ind_table(port->table) == 0, "ibv_destroy_rwq_ind_table");
  need(ibv_destroy_wq(port->wq) == 0, "ibv_destroy_wq");
  need(ibv_destroy_cq(port->receive_cq) == 0, "ibv_destroy_cq");
  need(ibv_destroy_qp(port->send_qp) == 0, "ibv_destroy_qp");
  need(ibv_destroy_cq(port->send_cq) == 0, "ibv_destroy_cq");
  need(ibv_dereg_mr(port->mr) == 0, "ibv_dereg_mr");
  need(ibv_dealloc_pd(port->pd) == 0, "ibv_dealloc_pd");
  need(ibv_close_device(port->context) == 0, "ibv_close_device");
  munmap(memory, bytes);
}
