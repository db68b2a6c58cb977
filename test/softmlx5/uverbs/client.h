// A client of the software ConnectX's kernel half: what its two files share.
#ifndef SOFTMLX5_UVERBS_CLIENT_H
#define SOFTMLX5_UVERBS_CLIENT_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                          \
  do {                                                                                            \
    if (!(condition)) {                                                                           \
      printf("%s, line %d: %s, errno %d\n", __FILE__, __LINE__, #condition, errno);               \
      exit(1);                                                                                    \
    }                                                                                             \
  } while (0)

enum { WQES = 64, RSS_KEY_BYTES = 40 };

struct ibv_context *open_device(int index);
struct ibv_cq *new_cq(struct ibv_context *context, struct ibv_comp_channel *channel);
/** A raw packet QP in RESET. NULL: errno. */
struct ibv_qp *new_qp(struct ibv_pd *pd, struct ibv_cq *cq);
int change_state(struct ibv_qp *qp, enum ibv_qp_state state, int mask);
/** To RTS. */
void ready(struct ibv_qp *qp);
struct ibv_wq *new_wq(struct ibv_pd *pd, struct ibv_cq *cq);
/** Of two entries. */
struct ibv_rwq_ind_table *new_table(struct ibv_wq *wq);
/** With a key of so many bytes. NULL: errno. */
struct ibv_qp *new_hash_qp(struct ibv_pd *pd, struct ibv_rwq_ind_table *table, uint64_t fields, uint8_t bytes);
/** A rule for the port's MAC; with a tag if it is not 0. NULL: errno. */
struct ibv_flow *new_flow(struct ibv_qp *qp, uint32_t tag, uint16_t priority, uint32_t flags);
struct ibv_mr *new_mr(struct ibv_pd *pd);
/** Sends a frame, signalled. */
void post(struct ibv_qp *qp, struct ibv_mr *mr);
void wait_completion(struct ibv_cq *cq);
/** Sends a frame, of whose completion the CQ's channel tells. */
void send_armed(struct ibv_cq *cq, struct ibv_qp *qp, struct ibv_mr *mr);

#endif
