// Packets: post_send, post_recv and poll_cq, a burst at a time.
#include "port.h"

bool port_take(struct port *port, struct frame *frames, uint32_t n) {
  struct pool *pool = &port->pool;
  if (pool->count < n) return false;
  pool->count -= n;
  for (uint32_t k = 0; k < n; k++) frames[k].data = pool->free[pool->count + k];
  return true;
}

void port_give(struct port *port, const struct frame *frames, uint32_t n) {
  struct pool *pool = &port->pool;
  for (uint32_t k = 0; k < n; k++) pool->free[pool->count++] = frames[k].data;
}

static void refill(struct port *port) {
  struct pool *pool = &port->pool;
  struct ibv_recv_wr *bad;
  while (RING - port->posted >= RECEIVE_LOT && pool->count >= RECEIVE_LOT) {
    for (uint32_t k = 0; k < RECEIVE_LOT; k++) {
      uint64_t address = (uint64_t)pool->free[--pool->count];
      port->receive_sges[k].addr = address;
      port->receive_wrs[k].wr_id = address;
    }
    need(ibv_post_wq_recv(port->wq, port->receive_wrs, &bad) == 0, "ibv_post_wq_recv");
    port->posted += RECEIVE_LOT;
  }
}

uint32_t port_receive(struct port *port, struct frame *frames) {
  struct ibv_wc wcs[BURST];
  int count = ibv_poll_cq(port->receive_cq, BURST, wcs);
  need(count >= 0, "ibv_poll_cq");
  for (int k = 0; k < count; k++) {
    need(wcs[k].status == IBV_WC_SUCCESS, "a frame received");
    frames[k] = (struct frame){(uint8_t *)wcs[k].wr_id, wcs[k].byte_len};
  }
  port->posted -= (uint32_t)count;
  refill(port);
  return (uint32_t)count;
}

/** Completions: each is of a whole burst, and its wr_id says up to where. */
static void clean(struct port *port) {
  struct ibv_wc wcs[BURST];
  struct pool *pool = &port->pool;
  int count = ibv_poll_cq(port->send_cq, BURST, wcs);
  need(count >= 0, "ibv_poll_cq");
  for (int k = 0; k < count; k++) {
    need(wcs[k].status == IBV_WC_SUCCESS, "a frame sent");
    for (; port->head != (uint32_t)wcs[k].wr_id; port->head++)
      pool->free[pool->count++] = port->sent[port->head % RING];
  }
}

uint32_t port_send(struct port *port, const struct frame *frames, uint32_t n) {
  struct ibv_send_wr *bad;
  uint32_t room = RING - (port->tail - port->head);
  if (room < n || room <= RING / 2) clean(port);
  room = RING - (port->tail - port->head);
  if (n > room) n = room;
  if (n == 0) return 0;
  for (uint32_t k = 0; k < n; k++) {
    port->send_sges[k].addr = (uint64_t)frames[k].data;
    port->send_sges[k].length = frames[k].bytes;
    port->sent[port->tail++ % RING] = frames[k].data;
  }
  struct ibv_send_wr *last = &port->send_wrs[n - 1];
  struct ibv_send_wr *next = last->next;
  last->next = NULL;
  last->wr_id = port->tail;
  last->send_flags = IBV_SEND_SIGNALED;
  need(ibv_post_send(port->send_qp, port->send_wrs, &bad) == 0, "ibv_post_send");
  last->next = next;
  last->send_flags = 0;
  return n;
}
