// A socket of AF_NETLINK to rtnetlink, as datagrams out and in.
import { PollmodeError } from "../../errors.ts";
import { MSG_PEEK, MSG_TRUNC, POLLIN } from "../../libc/abi.ts";
import { close, poll } from "../../libc/libc.ts";
import { receive, send, setSocketOption, socket } from "../../libc/packet-socket.ts";
import { KIB } from "../../limits.ts";
import { AF_NETLINK, NETLINK_ROUTE, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW } from "../netdev/abi.ts";
import { NETLINK_CAP_ACK, NETLINK_EXT_ACK, SOL_NETLINK } from "./abi.ts";

/** What a client speaks through; tests put a kernel of their own behind it. `what` names the request in errors. */
export interface Wire {
  send(datagram: Buffer, what: string): void;
  /** The next one, whole. */
  receive(what: string): Buffer;
  close(): void;
}

const options = [
  { level: SOL_NETLINK, number: NETLINK_EXT_ACK, name: "NETLINK_EXT_ACK" },
  { level: SOL_NETLINK, number: NETLINK_CAP_ACK, name: "NETLINK_CAP_ACK" },
];

/** The kernel fills datagrams of up to 32 KiB where there is room for them; a single message may be longer. */
const DATAGRAM_BYTES = 32 * KIB;
/** It answers while it is asked: only one that is stuck takes so long. */
const ANSWER_TIMEOUT_MS = 10_000;
const POLL_TIMEOUT_MS = 1000;

export class NetlinkSocket implements Wire {
  readonly #fd: number;
  #room = Buffer.alloc(DATAGRAM_BYTES);

  constructor() {
    const what = "AF_NETLINK, NETLINK_ROUTE";
    this.#fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE, what);
    for (const option of options) {
      try {
        setSocketOption(this.#fd, option, 1, what);
      } catch {
        // a kernel before 4.12, or 4.3: it says less of failures
      }
    }
  }

  send(datagram: Buffer, what: string): void {
    send(this.#fd, datagram, what);
  }

  /** Errors: NETLINK_SILENT, errno's name. */
  receive(what: string): Buffer {
    const bytes = this.#await(what);
    if (bytes > this.#room.length) this.#room = Buffer.alloc(bytes);
    const got = receive(this.#fd, this.#room, what) ?? 0;
    return Buffer.from(this.#room.subarray(0, got));
  }

  /** The length of the datagram that is next. */
  #await(what: string): number {
    const deadline = performance.now() + ANSWER_TIMEOUT_MS;
    for (;;) {
      poll([{ fd: this.#fd, events: POLLIN }], POLL_TIMEOUT_MS);
      const bytes = receive(this.#fd, this.#room, what, MSG_PEEK | MSG_TRUNC);
      if (bytes !== undefined) return bytes;
      if (performance.now() < deadline) continue;
      const message = `${what}: the kernel has not answered within ${ANSWER_TIMEOUT_MS} ms`;
      throw new PollmodeError("NETLINK_SILENT", message, "the kernel's log says why: dmesg | tail");
    }
  }

  close(): void {
    close(this.#fd);
  }
}
