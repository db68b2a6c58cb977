// Wires, and the kernel half of the port.
//
//   loop          what is sent comes back, as with a loopback plug
//   null          what is sent is gone
//   tap:NAME      the other end of the cable is the kernel's interface NAME
//   link:FILE,S   the other end is another process (or port) with the same file and the other side, 0 or 1: two rings
//                 in shared memory. Nothing is lost: a full ring makes the sender wait, a receive queue without buffers
//                 leaves the frame in the ring, as with priority flow control.
//
// SOFTMLX5_KERNELk=tap:NAME is the netdev that shares the port. What it sends goes onto the wire; frames that no rule
// of ours takes go to it, if they are for it.
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LINK_BYTES = 1 << 22, CACHE_LINE = 64, MAC_BYTES = 6 };
#define LINK_WRAP 0xffffffffu     // instead of a length: the next frame is at the ring's start

enum kind { WIRE_LOOP, WIRE_NULL, WIRE_TAP, WIRE_LINK };

struct link_ring {                // one direction; the indexes count bytes and never wrap
  uint64_t written __attribute__((aligned(CACHE_LINE)));
  uint64_t read __attribute__((aligned(CACHE_LINE)));
  uint8_t data[LINK_BYTES] __attribute__((aligned(CACHE_LINE)));
};

struct inbox {                    // of a TAP: a frame that was read and has to wait stays here
  int fd;
  uint32_t bytes;                 // 0: empty
  uint8_t frame[FRAME_BYTES_MAX];
};

struct wire {
  enum kind kind;
  struct inbox cable;             // WIRE_TAP
  struct inbox kernel;            // fd -1: no kernel half
  uint8_t kernel_mac[MAC_BYTES];
  struct link_ring *out, *in;     // WIRE_LINK
};
static struct wire wires[PORTS_MAX];

// ---- opening ----

static int tap_open(const char *name, uint8_t mac[MAC_BYTES]) {
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  int fd = real_open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) return -1;
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (real_ioctl(fd, TUNSETIFF, &request) != 0 || real_ioctl(fd, SIOCGIFHWADDR, &request) != 0) {
    int error = errno;
    fprintf(stderr, "softmlx5: TAP %s: %s\n", name, strerror(error));
    real_close(fd);
    errno = error;
    return -1;
  }
  memcpy(mac, request.ifr_hwaddr.sa_data, MAC_BYTES);
  return fd;
}

/** FILE,SIDE. Whoever comes first makes the file; a new one is all zeros, which is two empty rings. */
static int link_open(struct wire *wire, const char *text) {
  char path[4096];
  const char *comma = strrchr(text, ',');
  if (!comma || (comma[1] != '0' && comma[1] != '1')) return EINVAL;
  snprintf(path, sizeof path, "%.*s", (int)(comma - text), text);
  int side = comma[1] - '0';
  int fd = real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  size_t bytes = 2 * sizeof(struct link_ring);
  if (ftruncate(fd, (off_t)bytes) != 0) return errno;
  struct link_ring *rings = real_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  real_close(fd);
  if (rings == MAP_FAILED) return errno;
  wire->out = &rings[side];
  wire->in = &rings[1 - side];
  return 0;
}

static int cable_open(struct wire *wire, const char *text) {
  uint8_t unused[MAC_BYTES];
  if (strcmp(text, "loop") == 0) {
    wire->kind = WIRE_LOOP;
    return 0;
  }
  if (strcmp(text, "null") == 0) {
    wire->kind = WIRE_NULL;
    return 0;
  }
  if (strncmp(text, "link:", 5) == 0) {
    wire->kind = WIRE_LINK;
    return link_open(wire, text + 5);
  }
  if (strncmp(text, "tap:", 4) != 0) return EINVAL;
  wire->kind = WIRE_TAP;
  wire->cable.fd = tap_open(text + 4, unused);
  return wire->cable.fd < 0 ? errno : 0;
}

int wire_open(struct port *port) {
  struct wire *wire = &wires[port->index];
  const char *cable = settings.wire[port->index] ? settings.wire[port->index] : "loop";
  const char *kernel = settings.kernel[port->index];
  wire->cable.fd = -1;
  wire->kernel.fd = -1;
  int error = cable_open(wire, cable);
  if (error) {
    fprintf(stderr, "softmlx5: wire %s of port %u: %s\n", cable, port->index, strerror(error));
    return error;
  }
  if (!kernel || !*kernel) return 0;
  if (strncmp(kernel, "tap:", 4) != 0) return EINVAL;
  wire->kernel.fd = tap_open(kernel + 4, wire->kernel_mac);
  return wire->kernel.fd < 0 ? errno : 0;
}

// ---- the link's rings ----

static uint32_t link_record_bytes(uint32_t bytes) { return (4 + bytes + 7) & ~7u; }

/** The offset to write at, with the bytes that are skipped to get there; -1: the ring is full. */
static int64_t link_place(struct link_ring *ring, uint32_t bytes, uint32_t *skipped) {
  uint64_t read = __atomic_load_n(&ring->read, __ATOMIC_ACQUIRE);
  uint32_t need = link_record_bytes(bytes);
  uint32_t offset = ring->written & (LINK_BYTES - 1);
  *skipped = offset + need > LINK_BYTES ? LINK_BYTES - offset : 0;
  if (ring->written + *skipped + need - read > LINK_BYTES) return -1;
  return *skipped ? 0 : offset;
}

static bool link_write(struct link_ring *ring, const uint8_t *data, uint32_t bytes) {
  uint32_t skipped;
  int64_t place = link_place(ring, bytes, &skipped);
  if (place < 0) return false;
  uint32_t wrap = LINK_WRAP;
  if (skipped) memcpy(ring->data + (ring->written & (LINK_BYTES - 1)), &wrap, sizeof wrap);
  memcpy(ring->data + place, &bytes, sizeof bytes);
  memcpy(ring->data + place + sizeof bytes, data, bytes);
  __atomic_store_n(&ring->written, ring->written + skipped + link_record_bytes(bytes), __ATOMIC_RELEASE);
  return true;
}

static bool link_poll(struct port *port, struct link_ring *ring) {
  bool any = false;
  for (int budget = ROUND_FRAMES; budget > 0; budget--) {
    if (__atomic_load_n(&ring->written, __ATOMIC_ACQUIRE) == ring->read) break;
    uint32_t offset = ring->read & (LINK_BYTES - 1);
    uint32_t bytes;
    memcpy(&bytes, ring->data + offset, sizeof bytes);
    uint64_t next = ring->read + (bytes == LINK_WRAP ? LINK_BYTES - offset : link_record_bytes(bytes));
    if (bytes != LINK_WRAP && !port_receive(port, ring->data + offset + sizeof bytes, bytes, true)) break;
    __atomic_store_n(&ring->read, next, __ATOMIC_RELEASE);
    any = true;
  }
  return any;
}

// ---- sending ----

bool wire_send(struct port *port, const uint8_t *data, uint32_t bytes) {
  struct wire *wire = &wires[port->index];
  uint32_t skipped;
  if (!port->up) {
    port->counters.dropped++;
    return true;
  }
  if (wire->kind == WIRE_LOOP) return port_receive(port, data, bytes, settings.lossless);
  if (wire->kind == WIRE_LINK && link_place(wire->out, bytes, &skipped) < 0) return false;
  if (port_receive_own(port, data, bytes)) return true;
  if (wire->kind == WIRE_LINK) return link_write(wire->out, data, bytes);
  // A TAP whose queue is full loses the frame, as a switch would.
  if (wire->kind == WIRE_TAP && write(wire->cable.fd, data, bytes) < 0) port->counters.dropped++;
  return true;
}

bool kernel_wants(const struct port *port, const struct packet *packet) {
  const struct wire *wire = &wires[port->index];
  const uint8_t *destination = packet->fields.destination_mac;
  if (wire->kernel.fd < 0) return false;
  return destination[0] & 1 || memcmp(destination, port->mac, MAC_BYTES) == 0 ||
         memcmp(destination, wire->kernel_mac, MAC_BYTES) == 0;
}

void kernel_receive(struct port *port, const uint8_t *data, uint32_t bytes) {
  if (write(wires[port->index].kernel.fd, data, bytes) < 0) port->counters.dropped++;
  else port->counters.kernel_rx++;
}

// ---- receiving ----

/** The next frame of a TAP, padded as the cable would have it. False: none. */
static bool inbox_fill(struct inbox *inbox) {
  if (inbox->bytes > 0) return true;
  ssize_t bytes = read(inbox->fd, inbox->frame, sizeof inbox->frame);
  if (bytes <= 0) return false;
  if (bytes < FRAME_BYTES_MIN) {
    memset(inbox->frame + bytes, 0, (size_t)(FRAME_BYTES_MIN - bytes));
    bytes = FRAME_BYTES_MIN;
  }
  inbox->bytes = (uint32_t)bytes;
  return true;
}

static bool cable_poll(struct port *port, struct inbox *inbox) {
  bool any = false;
  for (int budget = ROUND_FRAMES; budget > 0 && inbox_fill(inbox); budget--) {
    if (!port_receive(port, inbox->frame, inbox->bytes, settings.lossless)) break;
    inbox->bytes = 0;
    any = true;
  }
  return any;
}

static bool kernel_poll(struct port *port, struct inbox *inbox) {
  bool any = false;
  for (int budget = ROUND_FRAMES; budget > 0 && inbox_fill(inbox); budget--) {
    if (!wire_send(port, inbox->frame, inbox->bytes)) break;
    port->counters.kernel_tx++;
    inbox->bytes = 0;
    any = true;
  }
  return any;
}

bool wire_poll(struct port *port, bool taps) {
  struct wire *wire = &wires[port->index];
  bool any = false;
  if (port->fatal) return false;
  if (wire->kind == WIRE_LINK) any |= link_poll(port, wire->in);
  if (taps && wire->cable.fd >= 0) any |= cable_poll(port, &wire->cable);
  if (taps && wire->kernel.fd >= 0) any |= kernel_poll(port, &wire->kernel);
  return any;
}
