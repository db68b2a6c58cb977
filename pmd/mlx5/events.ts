// How a receive queue that wakes its lcore takes the events of its completion queue: what hot code finds in the block.
import type { CompChannel, Cq } from "../../src/bus/rdma/objects.ts";
import type { HotCalls } from "../../src/bus/rdma/types.ts";
import type { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { VerbsEvents } from "../../src/hot/layout.ts";

/** What a receive queue takes its completion queue's events by. */
export interface EventAttachment {
  readonly channel: Pick<CompChannel, "handle">;
  readonly cq: Pick<Cq, "handle">;
  readonly calls: Pick<HotCalls, "getCqEvent" | "ackCqEvents" | "notifyCq">;
}

/** Writes an address, the low word first. */
function putAddress(block: QueueBlock, word: number, address: bigint): void {
  block.set(word, Number(address & 0xffff_ffffn));
  block.set(word + 4, Number(address >> 32n));
}

/** Writes the VerbsEvents at a block's `word`. */
export function putEvents(block: QueueBlock, word: number, { channel, cq, calls }: EventAttachment): void {
  putAddress(block, word + VerbsEvents.GET, calls.getCqEvent);
  putAddress(block, word + VerbsEvents.CHANNEL, channel.handle);
  putAddress(block, word + VerbsEvents.ACK, calls.ackCqEvents);
  putAddress(block, word + VerbsEvents.CQ, cq.handle);
}
