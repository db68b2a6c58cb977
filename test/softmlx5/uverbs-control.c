// The control socket: what happens to a NIC from outside, as a test wants it. A Unix stream socket; a connection has
// one line, is answered with a line, `ok …` or `error …`, and closed:
//   link K up|down            the cable of port K
//   fatal K                   the device goes away, as by hot unplug: DEVICE_FATAL, then every command is EIO
//   rx-error K SYNDROME       the next frame received ends in error; tx-error: the next one sent
//   cq-error K rx|tx          the CQ of the next frame received or sent breaks down, as by an overrun
//   counters K                as JSON
//   reset-counters K
//   fail N ERRNO              the N-th command from now (1 = the next) fails once
//   fail COMMAND ERRNO        every such command fails (open, reg_mr, create_cq …: the names in uverbs.c)
//   fail none                 answers how many commands the failure was still away; 0: it came, or there was none
// SOFTMLX5_FAIL=N:ERRNO or COMMAND:ERRNO does the same from the start.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "uverbs.h"

#define LINE_BYTES 256
#define FOLDER_BYTES 2048
#define ANSWER_BYTES 2048

// As in the kernel's enum ib_event_type.
enum { EVENT_DEVICE_FATAL = 8, EVENT_PORT_ACTIVE = 9, EVENT_PORT_ERR = 10 };

// ---- injected failures ----

static struct {
  char command[40];                // every command of this name; empty: none
  long countdown;                  // commands until one fails; 0: none
  int error;
} failure;

static int error_number(const char *name) {
  static const struct { const char *name; int number; } known[] = {
      {"EPERM", EPERM},   {"EACCES", EACCES}, {"ENOMEM", ENOMEM}, {"EIO", EIO},       {"EINVAL", EINVAL},
      {"EBUSY", EBUSY},   {"EFAULT", EFAULT}, {"ENOSPC", ENOSPC}, {"ENODEV", ENODEV}, {"EOPNOTSUPP", EOPNOTSUPP},
      {"EAGAIN", EAGAIN}, {"EEXIST", EEXIST}, {"ENOENT", ENOENT},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (!strcmp(known[i].name, name)) return known[i].number;
  }
  return atoi(name);
}

/** False: not understood. */
static bool set_failure(const char *what, const char *error) {
  char *end;
  long countdown = strtol(what, &end, 10);
  int number = error_number(error);
  memset(&failure, 0, sizeof failure);
  if (!strcmp(what, "none") || !strcmp(what, "0")) return true;
  if (number <= 0) return false;
  failure.error = number;
  if (*end == 0) failure.countdown = countdown;
  else snprintf(failure.command, sizeof failure.command, "%s", what);
  return *end != 0 || countdown > 0;
}

int injected_failure(const char *command_name) {
  if (!strcmp(failure.command, command_name)) return failure.error;
  bool counts = strcmp(command_name, "open");  // which is no command
  if (!counts || failure.countdown == 0 || --failure.countdown > 0) return 0;
  return failure.error;
}

static void read_initial_failure(void) {
  const char *setting = getenv("SOFTMLX5_FAIL");
  char what[40], error[40];
  if (setting && sscanf(setting, "%39[^:]:%39s", what, error) == 2) set_failure(what, error);
}

// ---- link ----

/** Overwrites a file of the tree, if the tree has it. */
static void write_file(const char *folder, const char *name, const char *text) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = access(path, F_OK) == 0 ? fopen(path, "we") : NULL;
  if (!file) return;
  fprintf(file, "%s\n", text);
  fclose(file);
}

void show_link(const struct port *port) {
  char folder[FOLDER_BYTES];
  if (!settings.sysfs) return;
  snprintf(folder, sizeof folder, "%s/class/infiniband/mlx5_%u/ports/1", settings.sysfs, port->index);
  write_file(folder, "state", port->up ? "4: ACTIVE" : "1: DOWN");
  write_file(folder, "phys_state", port->up ? "5: LinkUp" : "3: Disabled");
  if (!netdev_folder(port, folder, sizeof folder)) return;
  write_file(folder, "operstate", port->up ? "up" : "down");
  write_file(folder, "carrier", port->up ? "1" : "0");
}

static void change_link(struct port *port, bool up) {
  if (port->up == up) return;
  port_link(port, up);
  port->up = up;
  show_link(port);
  async_port_event(port, up ? EVENT_PORT_ACTIVE : EVENT_PORT_ERR, false);
}

/** The client hears of it when the command has been answered: it may end at once. */
static struct port *removed;

static void remove_device(struct port *port) {
  if (port->fatal) return;
  port_fatal(port);
  port->fatal = true;
  removed = port;
}

static void tell_removal(void) {
  if (removed) async_port_event(removed, EVENT_DEVICE_FATAL, true);
  removed = NULL;
}

// ---- commands ----

static void print_counters(const struct port *port, char *answer) {
  const struct counters *c = &port->counters;
  const struct { const char *name; uint64_t value; } fields[] = {
      {"tx_packets", c->tx_packets},   {"tx_bytes", c->tx_bytes},           {"rx_packets", c->rx_packets},
      {"rx_bytes", c->rx_bytes},       {"out_of_buffer", c->out_of_buffer}, {"unmatched", c->unmatched},
      {"dropped", c->dropped},         {"kernel_rx", c->kernel_rx},         {"kernel_tx", c->kernel_tx},
      {"sq_errors", c->sq_errors},     {"rq_errors", c->rq_errors},         {"cqe_compressed", c->cqe_compressed},
      {"sq_flushed", c->sq_flushed},   {"rq_flushed", c->rq_flushed},
      {"rq_length_errors", c->rq_length_errors},
  };
  int used = snprintf(answer, ANSWER_BYTES, "ok {");
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    used += snprintf(answer + used, ANSWER_BYTES - used, "%s\"%s\":%lu", i ? "," : "", fields[i].name,
                     (unsigned long)fields[i].value);
  }
  snprintf(answer + used, ANSWER_BYTES - used, "}");
}

/** A command about a port. False: not understood. */
static bool port_command(const char *verb, struct port *port, const char *argument, char *answer) {
  bool link = !strcmp(verb, "link") && (!strcmp(argument, "up") || !strcmp(argument, "down"));
  long syndrome = strtol(argument, NULL, 0);
  bool valid_syndrome = syndrome > 0 && syndrome < 256;
  if (link) change_link(port, !strcmp(argument, "up"));
  else if (!strcmp(verb, "fatal")) remove_device(port);
  else if (!strcmp(verb, "rx-error") && valid_syndrome) port->next_receive_error = syndrome;
  else if (!strcmp(verb, "tx-error") && valid_syndrome) port->next_send_error = syndrome;
  else if (!strcmp(verb, "cq-error") && !strcmp(argument, "rx")) port->next_receive_cq_error = true;
  else if (!strcmp(verb, "cq-error") && !strcmp(argument, "tx")) port->next_send_cq_error = true;
  else if (!strcmp(verb, "counters")) print_counters(port, answer);
  else if (!strcmp(verb, "reset-counters")) memset(&port->counters, 0, sizeof port->counters);
  else return false;
  return true;
}

static void obey(const char *line, char *answer) {
  char verb[40] = "", first[40] = "", second[40] = "";
  sscanf(line, "%39s %39s %39s", verb, first, second);
  snprintf(answer, ANSWER_BYTES, "ok");
  bool understood = false;
  if (!strcmp(verb, "fail")) {
    snprintf(answer, ANSWER_BYTES, "ok %ld", failure.countdown);
    understood = set_failure(first, second);
  } else if (first[0] >= '0' && first[0] < (char)('0' + settings.ports) && !first[1]) {
    understood = port_command(verb, &ports[first[0] - '0'], second, answer);
  }
  if (!understood) snprintf(answer, ANSWER_BYTES - 1, "error not understood: %s", line);
}

// ---- socket ----

/** The connection's line, without its end; false: none came. */
static bool read_line(int fd, char *line) {
  size_t used = 0;
  while (used < LINE_BYTES - 1 && !memchr(line, '\n', used)) {
    ssize_t got = recv(fd, line + used, LINE_BYTES - 1 - used, 0);
    if (got <= 0) break;
    used += got;
  }
  line[used] = 0;
  line[strcspn(line, "\n")] = 0;
  return used > 0;
}

static void serve(int fd) {
  char line[LINE_BYTES], answer[ANSWER_BYTES];
  const struct timeval patience = {.tv_sec = 2};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (!read_line(fd, line)) return;
  pthread_mutex_lock(&control_lock);
  obey(line, answer);
  pthread_mutex_unlock(&control_lock);
  trace(1, "control: %s: %s", line, answer);
  strcat(answer, "\n");
  if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0) trace(1, "control: %m");
  tell_removal();
}

static void *listen_for_commands(void *argument) {
  int listener = (int)(intptr_t)argument;
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 && errno != EINTR && errno != ECONNABORTED) return NULL;
    if (fd < 0) continue;
    serve(fd);
    real_close(fd);
  }
}

void control_start(void) {
  const char *path = getenv("SOFTMLX5_CONTROL");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  read_initial_failure();
  if (!path || !*path) return;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  unlink(path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 8)) {
    trace(0, "control socket %s: %m", path);
    if (fd >= 0) real_close(fd);
    return;
  }
  pthread_t thread;
  if (pthread_create(&thread, NULL, listen_for_commands, (void *)(intptr_t)fd) == 0) pthread_detach(thread);
}
