// A raw Ethernet port by libibverbs alone, in C: what pollmode's ibv mode is, written as one writes it by hand. Same
// rings, bursts, lots and completions as pmd/mlx5/hot-verbs.ts; without its checks of what the library says.
#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stdint.h>

enum {
  BURST = 32,
  RING = 1024,                    // work requests that may be outstanding, of receive and of transmit
  RECEIVE_LOT = 64,               // work requests a post of receive
  BUFFERS = 8192,
  BUFFER_BYTES = 2048,
  BUFFER_STRIDE = BUFFER_BYTES + 64 * 3,  // an odd number of cache lines: frames spread over the cache's sets
};

struct frame {
  uint8_t *data;
  uint32_t bytes;
};

struct pool {                     // a stack: what was freed last is in the caches
  uint32_t count;
  uint8_t *free[BUFFERS];
};

struct port {
  struct ibv_context *context;
  struct ibv_pd *pd;
  struct ibv_mr *mr;
  struct ibv_cq *send_cq, *receive_cq;
  struct ibv_qp *send_qp, *hash_qp;
  struct ibv_wq *wq;
  struct ibv_rwq_ind_table *table;
  struct ibv_flow *flow;
  struct pool pool;
  // transmit: free-running counts of what was completed and posted, the buffers in between
  uint32_t head, tail;
  uint8_t *sent[RING];
  struct ibv_send_wr send_wrs[BURST];
  struct ibv_sge send_sges[BURST];
  // receive
  uint32_t posted;
  struct ibv_recv_wr receive_wrs[RECEIVE_LOT];
  struct ibv_sge receive_sges[RECEIVE_LOT];
};

/** Ends the program with a message if `ok` is not. */
void need(bool ok, const char *what);

/** A send queue, then a receive queue that gets all frames. */
void port_open(struct port *port, const char *ibdev);
/** Everything in reverse. */
void port_close(struct port *port);

/** `n` empty buffers, or none. */
bool port_take(struct port *port, struct frame *frames, uint32_t n);
void port_give(struct port *port, const struct frame *frames, uint32_t n);
/** At most BURST. */
uint32_t port_receive(struct port *port, struct frame *frames);
/** At most BURST. Returns how many there was room for; the others are still the caller's. */
uint32_t port_send(struct port *port, const struct frame *frames, uint32_t n);
