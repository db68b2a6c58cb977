// Tells of changes to the kernel's interfaces: the kernel multicasts RTM_NEWLINK and RTM_DELLINK to this socket. What
// they say is not read: they are a bell, and whoever listens asks for the present state, so that a message lost in a
// full socket costs nothing.
import { POLLIN } from "../../libc/abi.ts";
import { close } from "../../libc/libc.ts";
import { bind, receive, socket } from "../../libc/packet-socket.ts";
import type { Poller } from "../../libc/poller.ts";
import {
  AF_NETLINK,
  NETLINK_ROUTE,
  NL_GROUPS,
  RTMGRP_LINK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOCKADDR_NL_BYTES,
} from "./abi.ts";

const WHAT = "NETLINK_ROUTE, for interface changes";

/** Calls `changed` after each change of any interface, until the returned function is called. */
export function watchInterfaces(poller: Poller, changed: () => void): () => void {
  const fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE, WHAT);
  const address = Buffer.alloc(SOCKADDR_NL_BYTES);
  address.writeUInt16LE(AF_NETLINK);
  address.writeUInt32LE(RTMGRP_LINK, NL_GROUPS);
  const message = Buffer.alloc(256);
  try {
    bind(fd, address, WHAT);
    poller.add(fd, POLLIN, () => {
      drain(fd, message);
      changed();
    });
  } catch (error) {
    close(fd);
    throw error;
  }
  return () => {
    poller.remove(fd);
    close(fd);
  };
}

function drain(fd: number, message: Uint8Array): void {
  try {
    while (receive(fd, message, WHAT) !== undefined);
  } catch {
    // ENOBUFS: messages were lost. The next call reads on.
  }
}
