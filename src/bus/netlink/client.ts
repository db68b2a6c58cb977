// A client of rtnetlink, the kernel's interface to its interfaces, addresses and routes. The kernel answers while a
// request is sent, so that a call returns at once. What it tells is of this process's own network namespace.
// Documentation/userspace-api/netlink/intro.rst of the kernel.
import { PollmodeError } from "../../errors.ts";
import * as abi from "./abi.ts";
import { encodeMessage, failureOf, type Message, messagesOf } from "./message.ts";
import { NetlinkSocket, type Wire } from "./socket.ts";

/** So often a listing is begun anew, when each time something changed meanwhile. */
const LISTINGS_MAX = 10;

export class Rtnetlink implements Disposable {
  readonly #wire: Wire;
  #sequence = 0;

  constructor(wire: Wire = new NetlinkSocket()) {
    this.#wire = wire;
  }

  /**
   * Asks for one thing, or changes one; what was answered before the acknowledgement. Errors: errno's name, with the
   * kernel's words; NETLINK_MALFORMED, NETLINK_SILENT.
   */
  request(type: number, body: Buffer, what: string): Message[] {
    const sequence = this.#send(type, abi.NLM_F_REQUEST | abi.NLM_F_ACK, body, what);
    return this.#answers(sequence, what).messages;
  }

  /** Lists everything of a kind, as it was at one time. Errors: as of request; NETLINK_RESTLESS. */
  dump(type: number, body: Buffer, what: string): Message[] {
    for (let k = 0; k < LISTINGS_MAX; k++) {
      const sequence = this.#send(type, abi.NLM_F_REQUEST | abi.NLM_F_DUMP, body, what);
      const { messages, changed } = this.#answers(sequence, what);
      if (!changed) return messages; // else parts of it may be missing, or there twice
    }
    const message = `${what}: something changed in each of ${LISTINGS_MAX} attempts to list them`;
    throw new PollmodeError(
      "NETLINK_RESTLESS",
      message,
      "wait until the network's setup is done, and try again",
    );
  }

  #send(type: number, flags: number, body: Buffer, what: string): number {
    const sequence = ++this.#sequence;
    this.#wire.send(encodeMessage({ type, flags, sequence, body }), what);
    return sequence;
  }

  /** Up to the message that ends them. `changed`: the kernel's lists have changed while it went through them. */
  #answers(sequence: number, what: string): { messages: Message[]; changed: boolean } {
    const messages: Message[] = [];
    let changed = false;
    for (;;) {
      for (const message of messagesOf(this.#wire.receive(what), what)) {
        const { type, flags } = message;
        if (type === abi.NLMSG_OVERRUN) throw lost(what);
        if (message.sequence !== sequence) continue; // of a request that failed halfway
        changed ||= (flags & abi.NLM_F_DUMP_INTR) !== 0;
        const isEnd = type === abi.NLMSG_DONE || type === abi.NLMSG_ERROR;
        if (!isEnd) {
          messages.push(message);
          continue;
        }
        const failure = failureOf(message, type === abi.NLMSG_DONE, what);
        if (failure) throw failure;
        return { messages, changed };
      }
    }
  }

  [Symbol.dispose](): void {
    this.#wire.close();
  }
}

function lost(what: string): PollmodeError {
  return new PollmodeError("NETLINK_SILENT", `${what}: the kernel has lost its answer`, "try again");
}
