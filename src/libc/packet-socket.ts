// Sockets of AF_PACKET and AF_NETLINK, and those that interface ioctls are made on. All close on exec.
import { EAGAIN, EINTR } from "./abi.ts";
import { check, lastErrno, libc, systemError } from "./native.ts";

const c = {
  socket: libc.func("int socket(int, int, int)"),
  bind: libc.func("int bind(int, void *, unsigned int)"),
  setsockopt: libc.func("int setsockopt(int, int, int, void *, unsigned int)"),
  getsockopt: libc.func("int getsockopt(int, int, int, void *, void *)"),
  recv: libc.func("int64_t recv(int, void *, size_t, int)"),
  send: libc.func("int64_t send(int, void *, size_t, int)"),
};

export function socket(domain: number, type: number, protocol: number, what: string, fix?: string): number {
  return check(c.socket(domain, type, protocol), "socket", what, fix);
}

/** `address`: the struct sockaddr of the socket's family. */
export function bind(fd: number, address: Uint8Array, what: string): void {
  check(c.bind(fd, address, address.length), "bind", what);
}

/** An option as the kernel numbers it, with its name for messages. */
export interface SocketOption {
  readonly level: number;
  readonly number: number;
  readonly name: string;
}

/** `value`: an int, or a structure. */
export function setSocketOption(
  fd: number,
  option: SocketOption,
  value: number | Uint8Array,
  what: string,
  fix?: string,
): void {
  const bytes = typeof value === "number" ? new Int32Array([value]) : value;
  const result = c.setsockopt(fd, option.level, option.number, bytes, bytes.byteLength);
  check(result, `setsockopt ${option.name}`, what, fix);
}

/** The option's first `words` 32-bit words. */
export function getSocketOption(fd: number, option: SocketOption, words: number, what: string): Uint32Array {
  const value = new Uint32Array(words);
  const length = new Uint32Array([value.byteLength]);
  const result = c.getsockopt(fd, option.level, option.number, value, length);
  check(result, `getsockopt ${option.name}`, what);
  return value;
}

/** To whom the socket's kind sends by itself: with AF_NETLINK, the kernel. */
export function send(fd: number, message: Uint8Array, what: string): void {
  check(Number(c.send(fd, message, message.length, 0)), "send", what);
}

/**
 * Bytes received, as far as they fit; undefined if nothing waits. The socket does not block. `flags`: with MSG_TRUNC,
 * how long the message is, even where less of it fits.
 */
export function receive(fd: number, into: Uint8Array, what: string, flags = 0): number | undefined {
  const bytes = Number(c.recv(fd, into, into.length, flags));
  if (bytes >= 0) return bytes;
  const errno = lastErrno();
  if (errno === EAGAIN || errno === EINTR) return undefined;
  throw systemError("recv", what, errno);
}
