// The functions of libibverbs that hot code calls itself (mem.ts, verbs…). Most have no symbols in the library: each
// provider puts its own into struct ibv_context or ibv_wq. So control gives all of them by their addresses.
import koffi from "koffi";
import type { VerbsCalls } from "../hot/engine.ts";
import { VerbsCall, VerbsEvents } from "../hot/layout.ts";
import { COMPLETION_EVENTS_MAX } from "../limits.ts";
import { addressOf } from "./native.ts";

type Verb = (object: number, a: number, b?: number) => number;

/** Addresses as numbers, as in hot-files.ts: `int poll_cq(cq, num_entries, wc)`, `int post_…(queue, wr, bad_wr)`. */
const pollCq = ["int64_t", "int", "int64_t"];
const post = ["int64_t", "int64_t", "int64_t"];
/** `int req_notify_cq(cq, solicited_only)`, `void ibv_ack_cq_events(cq, n)`, whose answer is none. */
const notifyCq = ["int64_t", "int"];
/** `int ibv_get_cq_event(channel, cq, context)`, the latter two by reference. */
const getEvent = ["int64_t", "int64_t", "int64_t"];

/**
 * The function at an address, as JavaScript calls it. Decoded once, for koffi.call() takes three times as long; and the
 * last one is known without a look-up, for most calls are polls, and those are one provider's.
 */
function verbs(parameters: string[]): (at: number) => Verb {
  const known = new Map<number, Verb>();
  let last = 0;
  let verb: Verb;
  return (at) => {
    if (at === last) return verb;
    // declared here: an lcore without such a queue need not pay for it
    verb = known.get(at) ?? koffi.decode(BigInt(at), koffi.proto("int", parameters));
    known.set(at, verb);
    last = at;
    return verb;
  };
}

/** The calls over an arena's memory. Offsets come from WebAssembly as signed numbers. */
export function hotVerbs(memory: { readonly buffer: SharedArrayBuffer }): VerbsCalls {
  const { buffer } = memory;
  const base = Number(addressOf(new Uint8Array(buffer)));
  const words = new Uint32Array(buffer, 0, buffer.byteLength >>> 2);
  const address = (p: number) => words[p >>> 2]! + words[(p + 4) >>> 2]! * 2 ** 32;
  const polls = verbs(pollCq);
  const posts = verbs(post);
  const notifies = verbs(notifyCq);
  const gets = verbs(getEvent);
  const acks = verbs(notifyCq);
  return {
    verbsPoll: (call, n, wcs) =>
      polls(address(call))(address(call + VerbsCall.OBJECT), n >>> 0, base + (wcs >>> 0)),
    verbsPost: (call, wrs) => {
      const badWr = base + (call >>> 0) + VerbsCall.BAD_WR;
      return posts(address(call))(address(call + VerbsCall.OBJECT), base + (wrs >>> 0), badWr);
    },
    verbsNotify: (call) => notifies(address(call))(address(call + VerbsCall.OBJECT), 0),
    verbsEvents: (events) => {
      const get = gets(address(events + VerbsEvents.GET));
      const channel = address(events + VerbsEvents.CHANNEL);
      const out = base + (events >>> 0) + VerbsEvents.OUT;
      let count = 0;
      // the channel's fd does not block: -1 is that there are no more
      while (count < COMPLETION_EVENTS_MAX && get(channel, out, out + 8) === 0) count++;
      // the CQ's destruction waits until as many were acknowledged as were read
      if (count > 0) acks(address(events + VerbsEvents.ACK))(address(events + VerbsEvents.CQ), count);
      return count;
    },
  };
}
