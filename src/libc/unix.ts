// AF_UNIX stream sockets that carry file descriptors. All are non-blocking and close-on-exec.
import { PollmodeError } from "../errors.ts";
import {
  AF_UNIX,
  CMSG_LEN,
  CMSG_LEVEL,
  CMSG_TYPE,
  CMSGHDR_BYTES,
  EAGAIN,
  ECONNABORTED,
  EINTR,
  IOV_BASE,
  IOV_LEN,
  IOVEC_BYTES,
  MSG_CMSG_CLOEXEC,
  MSG_CONTROL,
  MSG_CONTROLLEN,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_FLAGS,
  MSG_IOV,
  MSG_IOVLEN,
  MSG_NOSIGNAL,
  MSGHDR_BYTES,
  SCM_RIGHTS,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOCKADDR_UN_BYTES,
  SOL_SOCKET,
  SUN_PATH,
  SUN_PATH_MAX,
} from "./abi.ts";
import { addressOf, check, lastErrno, libc, systemError } from "./native.ts";

const c = {
  socket: libc.func("int socket(int, int, int)"),
  bind: libc.func("int bind(int, void *, unsigned int)"),
  listen: libc.func("int listen(int, int)"),
  accept4: libc.func("int accept4(int, void *, void *, int)"),
  connect: libc.func("int connect(int, void *, unsigned int)"),
  socketpair: libc.func("int socketpair(int, int, int, void *)"),
  sendmsg: libc.func("int64_t sendmsg(int, void *, int)"),
  recvmsg: libc.func("int64_t recvmsg(int, void *, int)"),
  shutdown: libc.func("int shutdown(int, int)"),
};

const socketType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

/** The kernel takes no more in one message: SCM_MAX_FD, include/net/scm.h. */
const fdsMax = 253;

// One message header, for each thread its own, because each loads this module. Their addresses never change, and
// garbage collection cannot take them away during a call, which knows them as numbers.
const iovec = Buffer.alloc(IOVEC_BYTES);
const header = Buffer.alloc(MSGHDR_BYTES);
const control = Buffer.alloc(CMSGHDR_BYTES + 4 * (fdsMax + 1));
header.writeBigUInt64LE(addressOf(iovec), MSG_IOV);
header.writeBigUInt64LE(1n, MSG_IOVLEN);

export function unixSocket(): number {
  return check(c.socket(AF_UNIX, socketType, 0), "socket", "AF_UNIX");
}

function socketAddress(path: string): Buffer {
  const bytes = Buffer.byteLength(path);
  if (bytes === 0 || path.includes("\0")) {
    throw new PollmodeError(
      "EINVAL",
      `socket path ${JSON.stringify(path)}: empty or with a NUL`,
      "give a file's path",
    );
  }
  if (bytes > SUN_PATH_MAX) {
    const message = `socket path ${path}: ${bytes} bytes, a socket's path has ${SUN_PATH_MAX} at most`;
    throw new PollmodeError("ENAMETOOLONG", message, "choose a shorter path, for example in /run");
  }
  const address = Buffer.alloc(SOCKADDR_UN_BYTES);
  address.writeUInt16LE(AF_UNIX);
  address.write(path, SUN_PATH);
  return address;
}

export function bindUnix(fd: number, path: string): void {
  check(c.bind(fd, socketAddress(path), SOCKADDR_UN_BYTES), "bind", path);
}

export function listen(fd: number, backlog: number, what: string): void {
  check(c.listen(fd, backlog), "listen", what);
}

/** A connection; undefined if none waits. */
export function accept(fd: number, what: string): number | undefined {
  const connection = c.accept4(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (connection >= 0) return connection;
  const errno = lastErrno();
  if (errno === EAGAIN || errno === ECONNABORTED || errno === EINTR) return undefined;
  throw systemError("accept4", what, errno);
}

/** Connects at once or fails: EAGAIN when the listener's backlog is full. */
export function connectUnixSocket(fd: number, path: string): void {
  const failed = c.connect(fd, socketAddress(path), SOCKADDR_UN_BYTES) === -1;
  if (!failed) return;
  const errno = lastErrno();
  const fix =
    errno === EAGAIN ? "try again: the program that listens there has not accepted others yet" : undefined;
  throw systemError("connect", path, errno, fix);
}

export function socketpair(): [number, number] {
  const pair = new Int32Array(2);
  check(c.socketpair(AF_UNIX, socketType, 0, pair), "socketpair", "AF_UNIX");
  return [pair[0]!, pair[1]!];
}

export function shutdown(fd: number, how: number): void {
  check(c.shutdown(fd, how), "shutdown", `fd ${fd}`);
}

function pointTo(data: Uint8Array, controlBytes: number): void {
  iovec.writeBigUInt64LE(data.length ? addressOf(data) : 0n, IOV_BASE);
  iovec.writeBigUInt64LE(BigInt(data.length), IOV_LEN);
  header.writeBigUInt64LE(controlBytes ? addressOf(control) : 0n, MSG_CONTROL);
  header.writeBigUInt64LE(BigInt(controlBytes), MSG_CONTROLLEN);
  header.writeInt32LE(0, MSG_FLAGS);
}

/** Sends what fits, `fds` with the first byte; how many bytes that were, undefined if none fits now. */
export function sendmsg(fd: number, data: Uint8Array, fds: readonly number[] = []): number | undefined {
  if (fds.length > fdsMax) {
    const message = `sendmsg(fd ${fd}): ${fds.length} fds, a message carries ${fdsMax} at most`;
    throw new PollmodeError("EINVAL", message, "send them in several messages");
  }
  const controlBytes = fds.length ? CMSGHDR_BYTES + 4 * fds.length : 0;
  control.writeBigUInt64LE(BigInt(controlBytes), CMSG_LEN);
  control.writeInt32LE(SOL_SOCKET, CMSG_LEVEL);
  control.writeInt32LE(SCM_RIGHTS, CMSG_TYPE);
  fds.forEach((passed, at) => {
    control.writeInt32LE(passed, CMSGHDR_BYTES + 4 * at);
  });
  pointTo(data, controlBytes);
  const sent = Number(c.sendmsg(fd, header, MSG_DONTWAIT | MSG_NOSIGNAL));
  if (sent >= 0) return sent;
  const errno = lastErrno();
  if (errno === EAGAIN || errno === EINTR) return undefined;
  throw systemError("sendmsg", `fd ${fd}, ${data.length} bytes, ${fds.length} fds`, errno);
}

export interface Received {
  /** 0: the peer has closed its side. */
  bytes: number;
  /** The caller's to close. */
  fds: number[];
  /** The peer sent more fds than `fdsMax`, or this process could not take them; the kernel has dropped some. */
  truncated: boolean;
}

/** Receives up to `into.length` bytes and `count` fds; undefined if nothing has come. */
export function recvmsg(fd: number, into: Uint8Array, count: number): Received | undefined {
  const room = Math.min(count, fdsMax);
  pointTo(into, CMSGHDR_BYTES + 4 * room);
  const bytes = Number(c.recvmsg(fd, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
  if (bytes < 0) {
    const errno = lastErrno();
    if (errno === EAGAIN || errno === EINTR) return undefined;
    throw systemError("recvmsg", `fd ${fd}`, errno);
  }
  return { bytes, fds: receivedFds(), truncated: (header.readInt32LE(MSG_FLAGS) & MSG_CTRUNC) !== 0 };
}

function receivedFds(): number[] {
  const end = Number(header.readBigUInt64LE(MSG_CONTROLLEN));
  const fds: number[] = [];
  for (let at = 0; at + CMSGHDR_BYTES <= end; ) {
    const length = Number(control.readBigUInt64LE(at + CMSG_LEN));
    if (length < CMSGHDR_BYTES) break;
    const rights =
      control.readInt32LE(at + CMSG_LEVEL) === SOL_SOCKET &&
      control.readInt32LE(at + CMSG_TYPE) === SCM_RIGHTS;
    for (let fd = at + CMSGHDR_BYTES; rights && fd + 4 <= at + length; fd += 4)
      fds.push(control.readInt32LE(fd));
    at += (length + 7) & ~7;
  }
  return fds;
}
