// The system calls of the client, caught by LD_PRELOAD: those on /dev/infiniband/uverbsN and on its event files go to
// the kernel half (uverbs.c), paths below /sys go to the tree of the bed, all others to the kernel as they are.
// The real calls are made with syscall(2), since these functions are called before any constructor has run.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uverbs.h"

#define PATH_BYTES 4096
#define COMPLAINT_STATUS 86

struct settings settings;

// ---- settings ----

static const char *text_setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value && *value ? value : otherwise;
}

static int number_setting(const char *name, int otherwise) {
  const char *value = getenv(name);
  return value && *value ? atoi(value) : otherwise;
}

static enum chip chip_setting(void) {
  const char *name = text_setting("SOFTMLX5_CHIP", "connectx5");
  if (!strcmp(name, "connectx4lx")) return CHIP_CONNECTX4LX;
  if (!strcmp(name, "connectx6dx")) return CHIP_CONNECTX6DX;
  return CHIP_CONNECTX5;
}

__attribute__((constructor)) static void read_settings(void) {
  static const char *const wires[PORTS_MAX] = {"SOFTMLX5_WIRE0", "SOFTMLX5_WIRE1"};
  static const char *const kernels[PORTS_MAX] = {"SOFTMLX5_KERNEL0", "SOFTMLX5_KERNEL1"};
  settings.ports = number_setting("SOFTMLX5_PORTS", 1) == 2 ? 2 : 1;
  settings.chip = chip_setting();
  settings.lossless = number_setting("SOFTMLX5_LOSSLESS", 0);
  settings.strict = number_setting("SOFTMLX5_STRICT", 1);
  settings.trace = number_setting("SOFTMLX5_TRACE", 0);
  settings.privileged = number_setting("SOFTMLX5_PRIVILEGED", 0);
  settings.min_inline_bytes = settings.chip == CHIP_CONNECTX4LX ? INLINE_L2_BYTES : 0;
  settings.sysfs = text_setting("SOFTMLX5_SYSFS", NULL);
  for (unsigned i = 0; i < PORTS_MAX; i++) {
    settings.wire[i] = text_setting(wires[i], "loop");
    settings.kernel[i] = text_setting(kernels[i], NULL);
  }
}

// ---- words to the person who reads stderr ----

static void print_line(const char *prefix, const char *format, va_list arguments) {
  char line[1024];
  int used = snprintf(line, sizeof line, "softmlx5: %s", prefix);
  vsnprintf(line + used, sizeof line - used - 1, format, arguments);
  dprintf(STDERR_FILENO, "%s\n", line);  // one write: other threads print too
}

/** Whether `name` is among the names, separated by commas, of SOFTMLX5_ALLOW. */
static bool allowed(const char *name) {
  const char *list = text_setting("SOFTMLX5_ALLOW", "");
  size_t length = strlen(name);
  for (const char *at = list; (at = strstr(at, name)); at += length) {
    bool begins = at == list || at[-1] == ',';
    bool ends = at[length] == 0 || at[length] == ',';
    if (begins && ends) return true;
  }
  return false;
}

void complain(const char *name, const char *format, ...) {
  bool expected = allowed(name);
  char prefix[100];
  va_list arguments;
  snprintf(prefix, sizeof prefix, "%s %s: ", expected ? "allowed complaint" : "complaint", name);
  va_start(arguments, format);
  print_line(prefix, format, arguments);
  va_end(arguments);
  if (settings.strict && !expected) _exit(COMPLAINT_STATUS);
}

void trace(int level, const char *format, ...) {
  va_list arguments;
  if (settings.trace < level) return;
  va_start(arguments, format);
  print_line("", format, arguments);
  va_end(arguments);
}

// ---- the real calls ----

int real_open(const char *path, int flags, unsigned mode) {
  return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int real_ioctl(int fd, unsigned long request, void *argument) {
  return syscall(SYS_ioctl, fd, request, argument);
}

int real_close(int fd) {
  return syscall(SYS_close, fd);
}

long real_read(int fd, void *buffer, size_t bytes) {
  return syscall(SYS_read, fd, buffer, bytes);
}

void *real_mmap(void *address, size_t bytes, int protection, int flags, int fd, long offset) {
  return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}

// ---- paths ----

static bool starts_with(const char *text, const char *prefix) {
  return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_real(const char *path) {
  struct stat status;
  return syscall(SYS_newfstatat, AT_FDCWD, path, &status, 0) == 0;
}

/**
 * /sys/… as the tree has it, for clients that do not honour SYSFS_PATH. PCI devices: the tree's alone, so that no
 * client finds the host's. Of network interfaces the tree's stand beside the host's.
 */
static const char *redirected(const char *path, char *buffer) {
  const char *tree = settings.sysfs;
  if (!path || !tree || !starts_with(path, "/sys/")) return path;
  snprintf(buffer, PATH_BYTES, "%s%s", tree, path + strlen("/sys"));
  bool always = starts_with(path, "/sys/class/infiniband") || starts_with(path, "/sys/bus/pci");
  bool beside = starts_with(path, "/sys/class/net/") || starts_with(path, "/sys/devices/pci");
  return always || (beside && is_real(buffer)) ? buffer : path;
}

/** The same for calls that ask about the device node: it is a character device, as /dev/null is. */
static const char *asked_about(const char *path, char *buffer) {
  int port = uverbs_port_of_path(path);
  if (port < 0) return redirected(path, buffer);
  return is_real(uverbs_node(port, buffer, PATH_BYTES)) ? "/dev/null" : buffer;
}

// From here on: what the client calls instead of the C library's.
#pragma GCC visibility push(default)

// ---- open ----

static int open_any(int folder, const char *path, int flags, mode_t mode) {
  char buffer[PATH_BYTES];
  int port = uverbs_port_of_path(path);
  if (port >= 0) return uverbs_open(port);
  return syscall(SYS_openat, folder, redirected(path, buffer), flags, mode);
}

#define MODE_ARGUMENT(last)                                          \
  mode_t mode = 0;                                                   \
  if (last & (O_CREAT | __O_TMPFILE)) {                              \
    va_list arguments;                                               \
    va_start(arguments, last);                                       \
    mode = va_arg(arguments, mode_t);                                \
    va_end(arguments);                                               \
  }

int open(const char *path, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_any(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int folder, const char *path, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_any(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_any(folder, path, flags | O_LARGEFILE, mode);
}

// What programs built with _FORTIFY_SOURCE call.
int __open_2(const char *path, int flags) {
  return open_any(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags) {
  return open_any(AT_FDCWD, path, flags | O_LARGEFILE, 0);
}

DIR *opendir(const char *path) {
  int fd = open_any(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  return fd < 0 ? NULL : fdopendir(fd);
}

static FILE *fopen_any(const char *path, const char *mode) {
  int flags = O_RDONLY;
  if (mode[0] == 'w') flags = O_WRONLY | O_CREAT | O_TRUNC;
  if (mode[0] == 'a') flags = O_WRONLY | O_CREAT | O_APPEND;
  if (strchr(mode, '+')) flags = (flags & ~O_ACCMODE) | O_RDWR;
  if (strchr(mode, 'e')) flags |= O_CLOEXEC;
  if (strchr(mode, 'x')) flags |= O_EXCL;
  int fd = open_any(AT_FDCWD, path, flags, 0666);
  return fd < 0 ? NULL : fdopen(fd, mode);
}

FILE *fopen(const char *path, const char *mode) {
  return fopen_any(path, mode);
}

FILE *fopen64(const char *path, const char *mode) {
  return fopen_any(path, mode);
}

// ---- questions about paths ----

int stat(const char *path, struct stat *status) {
  char buffer[PATH_BYTES];
  return syscall(SYS_newfstatat, AT_FDCWD, asked_about(path, buffer), status, 0);
}

int stat64(const char *path, struct stat64 *status) {
  char buffer[PATH_BYTES];
  return syscall(SYS_newfstatat, AT_FDCWD, asked_about(path, buffer), status, 0);
}

int lstat(const char *path, struct stat *status) {
  char buffer[PATH_BYTES];
  return syscall(SYS_newfstatat, AT_FDCWD, asked_about(path, buffer), status, AT_SYMLINK_NOFOLLOW);
}

int lstat64(const char *path, struct stat64 *status) {
  char buffer[PATH_BYTES];
  return syscall(SYS_newfstatat, AT_FDCWD, asked_about(path, buffer), status, AT_SYMLINK_NOFOLLOW);
}

int statx(int folder, const char *path, int flags, unsigned mask, struct statx *status) {
  char buffer[PATH_BYTES];
  return syscall(SYS_statx, folder, asked_about(path, buffer), flags, mask, status);
}

int access(const char *path, int mode) {
  char buffer[PATH_BYTES];
  int port = uverbs_port_of_path(path);
  const char *real = port < 0 ? redirected(path, buffer) : uverbs_node(port, buffer, PATH_BYTES);
  return syscall(SYS_faccessat, AT_FDCWD, real, mode);
}

ssize_t readlink(const char *path, char *target, size_t bytes) {
  char buffer[PATH_BYTES];
  return syscall(SYS_readlinkat, AT_FDCWD, redirected(path, buffer), target, bytes);
}

// ---- sockets and descriptors ----

/** libibverbs asks the kernel's RDMA netlink first: a host with ib_core would name its own devices. */
int socket(int domain, int type, int protocol) {
  if (domain == AF_NETLINK && protocol == NETLINK_RDMA) {
    errno = EPROTONOSUPPORT;
    return -1;
  }
  return syscall(SYS_socket, domain, type, protocol);
}

int ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  struct context *context = uverbs_context_of(fd);
  if (!context) return real_ioctl(fd, request, argument);
  int error = request == RDMA_VERBS_IOCTL ? uverbs_ioctl(context, argument) : ENOTTY;
  if (error == 0) return 0;
  errno = error;
  return -1;
}

static void *mmap_any(void *address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  struct context *context = fd < 0 ? NULL : uverbs_context_of(fd);
  if (!context) return real_mmap(address, bytes, protection, flags, fd, offset);
  return uverbs_mmap(context, address, bytes, protection, flags, (uint64_t)offset);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return mmap_any(address, bytes, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return mmap_any(address, bytes, protection, flags, fd, offset);
}

ssize_t read(int fd, void *buffer, size_t bytes) {
  struct event_queue *queue = event_queue_of(fd);
  return queue ? event_queue_read(queue, buffer, bytes) : real_read(fd, buffer, bytes);
}

int close(int fd) {
  struct context *context = uverbs_context_of(fd);
  struct event_queue *queue = event_queue_of(fd);
  if (context) uverbs_close(context);
  if (queue) event_queue_close(queue);
  return real_close(fd);
}

#pragma GCC visibility pop
