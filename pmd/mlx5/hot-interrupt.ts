// A receive queue's interrupt: its completion queue has a channel of its own, and writes an event into it, once, when
// it has been armed and a completion comes. The lcore arms it before it sleeps, and takes the events up to then.
import { QueueError, VerbsCall } from "../../src/hot/layout.ts";
import {
  fence,
  publish32,
  r32,
  swap32,
  verbsEvents,
  verbsNotify,
  verbsPoll,
  w32,
  w64,
} from "../../src/hot/mem.ts";
import { queueFail } from "../../src/hot/queue.ts";
import { CqRecord, Owner } from "./cqe.ts";
import { completedWord } from "./hot-completion.ts";
import { Mlx5Interrupt, Mlx5Queue } from "./layout.ts";
import { VerbsQueue } from "./verbs-layout.ts";

/**
 * Asks the NIC for an event with the next completion, or at once if there is one behind CQ_INDEX: so none that comes
 * meanwhile is missed. As rdma-core has it (mlx5_arm_cq): record, then register. The number of the events taken lets
 * the NIC pass over an arming that its own event has overtaken; with a stale one it would never fire again.
 */
export function mlx5RxArm(q: u32): void {
  const register: u32 = r32(q + Mlx5Interrupt.ARM);
  if (register == 0) return;
  const taken: u32 = (r32(q + Mlx5Interrupt.EVENTS_TAKEN) + verbsEvents(q + Mlx5Interrupt.EVENTS)) >>> 0;
  const sequence: u32 = (taken & CqRecord.SEQUENCE) << CqRecord.SEQUENCE_BIT;
  const command: u32 = swap32(sequence | (r32(q + Mlx5Queue.CQ_INDEX) & CqRecord.INDEX));
  w32(q + Mlx5Interrupt.EVENTS_TAKEN, taken);
  publish32(r32(q + Mlx5Queue.CQ_RECORD) + CqRecord.ARM, command);
  fence(q + Mlx5Queue.FENCE);
  w64(register, command, r32(q + Mlx5Interrupt.CQN));
  fence(q + Mlx5Queue.FENCE);
}

/** 1 if a burst now has something to do: a packet to take, or an empty ring to fill. */
export function mlx5RxPending(q: u32): u32 {
  if (r32(q + Mlx5Queue.MINIS) != 0 || r32(q + Mlx5Queue.HEAD) == r32(q + Mlx5Queue.TAIL)) return 1;
  const word: u32 = completedWord(q, r32(q + Mlx5Queue.CQ_INDEX));
  return word >>> Owner.OPCODE_BIT == <u32>Owner.INVALID ? 0 : 1;
}

/** The same by libibverbs, which counts the events itself. */
export function verbsRxArm(q: u32): void {
  const notify: u32 = q + VerbsQueue.NOTIFY;
  if ((r32(notify + VerbsCall.FUNCTION) | r32(notify + VerbsCall.FUNCTION + 4)) == 0) return;
  verbsEvents(q + VerbsQueue.EVENTS);
  const error: u32 = verbsNotify(notify);
  if (error != 0) queueFail(q, QueueError.VERBS_FAILED, error);
}

/** There is no looking without taking: what is found waits in WCS for the next burst. */
export function verbsRxPending(q: u32): u32 {
  if (r32(q + VerbsQueue.PEEKED) != 0 || r32(q + VerbsQueue.HEAD) == r32(q + VerbsQueue.TAIL)) return 1;
  const count: u32 = verbsPoll(q + VerbsQueue.POLL, 1, r32(q + VerbsQueue.WCS));
  if (count > 1) {
    queueFail(q, QueueError.VERBS_FAILED, count);
    return 0;
  }
  w32(q + VerbsQueue.PEEKED, count);
  return count;
}
