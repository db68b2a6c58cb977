// Queues of ibv mode, control side: work requests chained in private memory, where the library reads them, and what hot
// code needs to call it. The queue pairs themselves are the device's (device.ts):
//
//   objects created → attach() → run()
//   halt() → quiesce → objects destroyed → drain()
//
// The thread rule: from run() to quiesce the lcore alone posts and polls; libibverbs' locks are never contended.
import type { Cq, Qp, Wq } from "../../src/bus/rdma/objects.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { DriverContext } from "../../src/ethdev/driver.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind, VerbsCall } from "../../src/hot/layout.ts";
import { RING_SIZE_MAX } from "../../src/limits.ts";
import { type EventAttachment, putEvents } from "./events.ts";
import { RecvWr, SendWr, Sge, VerbsFlag, VerbsLimit, VerbsQueue, Wc, WrOpcode } from "./verbs-layout.ts";

type Context = Pick<DriverContext, "arena" | "private" | "pool">;

interface VerbsQueueOptions {
  readonly context: Context;
  /** `rx queue 0 of net_rdma0`, for messages. */
  readonly name: string;
  readonly index: number;
  /** Work requests that may be outstanding: a power of two from 8 on. */
  readonly size: number;
}

interface VerbsAttachment {
  readonly lkey: number;
  /** Entries of a work request's sg_list, as the queue was created with: mbufs of a packet. */
  readonly segments: number;
}

/** Where the library has its functions: struct ibv_context_ops. */
interface VerbsPointers {
  readonly pollCq: bigint;
  readonly postSend: bigint;
}

interface ReceiveAttachment extends VerbsAttachment {
  /** At least as many entries as the queue has work requests. */
  readonly cq: Pick<Cq, "handle">;
  readonly wq: Pick<Wq, "handle" | "postRecv">;
  readonly calls: Pick<VerbsPointers, "pollCq">;
  /** Longest frame, bytes; `segments` mbufs hold it. */
  readonly room: number;
  /** The queue wakes an lcore; the CQ was created with the channel. */
  readonly events?: EventAttachment;
}

interface TransmitAttachment extends VerbsAttachment {
  /** At least as many entries as the queue has work requests: each completes by itself after an error. */
  readonly cq: Pick<Cq, "handle">;
  readonly qp: Pick<Qp, "handle">;
  readonly calls: VerbsPointers;
  /** The queue pair fills checksums in. */
  readonly checksum: boolean;
  /** Longest frame, bytes. */
  readonly bytesMax: number;
}

/** A call as it goes into the block: the function's address, and its first argument. */
type Call = readonly [fn: bigint, object: bigint];

/** What both directions have in common. */
class VerbsRing {
  readonly block: QueueBlock;
  readonly size: number;
  protected readonly context: Context;
  private readonly name: string;
  /** Bytes of a work request, as a power of two; mbufs that are noted of each. */
  private readonly wrShift: number;
  /** Arena offset of the arrays, and words of MBUFS; 0 while nothing is attached. */
  private arrays = 0;
  private mbufWords = 0;

  /** Error: RING_SIZE. */
  constructor({ context, name, index, size }: VerbsQueueOptions, wrShift: number) {
    if (!Number.isInteger(Math.log2(size)) || size < 8 || size > RING_SIZE_MAX) {
      const message = `${name}: ${size} descriptors are not a power of two from 8 to ${RING_SIZE_MAX}`;
      throw new PollmodeError("RING_SIZE", message, "choose 1024");
    }
    this.context = context;
    this.name = name;
    this.size = size;
    this.wrShift = wrShift;
    this.block = new QueueBlock(context.private, `block of ${name}`, 0, index);
  }

  /** Lets the owning lcore work on it. */
  run(): void {
    this.block.run(QueueKind.VERBS);
  }

  halt(): void {
    this.block.halt();
  }

  /** The packets that the NIC may have, by their first mbuf. The queue is halted and no lcore is in it. */
  held(): number[] {
    if (this.arrays === 0) return [];
    const { u32 } = this.context.arena;
    const each = this.mbufWords / this.size;
    const mbufs: number[] = [];
    const tail = this.block.get(VerbsQueue.TAIL);
    for (let k = this.block.get(VerbsQueue.HEAD); k !== tail; k = (k + 1) >>> 0) {
      const at = (this.arrays >>> 2) + (k & (this.size - 1)) * each;
      mbufs.push(...u32.subarray(at, at + each));
    }
    return mbufs;
  }

  /** Gives the mbufs back to the pool. The NIC no longer works on them: its objects are destroyed. */
  drain(): void {
    if (this.arrays === 0) return;
    this.context.pool.give(this.held());
    this.context.private.free(this.arrays);
    this.arrays = 0;
    this.block.set(VerbsQueue.HEAD, 0);
    this.block.set(VerbsQueue.TAIL, 0);
  }

  free(): void {
    this.drain();
    this.block.free();
  }

  /**
   * Makes the arrays and fills in what never changes while the queue runs. `mbufsEach`: of a work request; `lot`: work
   * requests a post.
   */
  protected lay(attachment: VerbsAttachment, mbufsEach: number, lot: number, poll: Call, post: Call): void {
    this.drain();
    const { lkey, segments } = attachment;
    const { block, size, wrShift } = this;
    const { arena, private: zone } = this.context;
    const mbufBytes = 4 * size * mbufsEach;
    const wrBytes = VerbsLimit.LOT << wrShift;
    const sgeBytes = (VerbsLimit.LOT * segments) << Sge.SHIFT;
    const bytes = mbufBytes + wrBytes + sgeBytes + VerbsLimit.LOT * Wc.BYTES;
    this.arrays = zone.allocate(`work requests of ${this.name}`, bytes);
    this.mbufWords = size * mbufsEach;
    const wrs = this.arrays + mbufBytes;
    const sges = wrs + wrBytes;
    block.set(VerbsQueue.MASK, size - 1);
    block.set(VerbsQueue.MBUFS, this.arrays);
    block.set(VerbsQueue.WRS, wrs);
    block.set(VerbsQueue.LOT, Math.min(lot, VerbsLimit.LOT));
    block.set(VerbsQueue.SGES, sges);
    block.set(VerbsQueue.SEGMENTS, segments);
    block.set(VerbsQueue.WCS, sges + sgeBytes);
    this.putAddress(block.offset + VerbsQueue.BASE, arena.address);
    block.set(VerbsQueue.ROOM, this.context.pool.dataRoom);
    this.putCall(VerbsQueue.POLL, poll);
    this.putCall(VerbsQueue.POST, post);
    this.chain(wrs, sges, segments, lkey);
  }

  /** Each work request leads to the next one and to its own part of the list. */
  private chain(wrs: number, sges: number, segments: number, lkey: number): void {
    const { arena, pool } = this.context;
    const address = (p: number) => arena.address + BigInt(p);
    for (let k = 0; k < VerbsLimit.LOT; k++) {
      const wr = wrs + (k << this.wrShift);
      const list = sges + ((k * segments) << Sge.SHIFT);
      this.putAddress(wr + RecvWr.NEXT, address(wr + (1 << this.wrShift)));
      this.putAddress(wr + RecvWr.SG_LIST, address(list));
      arena.u32[(wr + RecvWr.NUM_SGE) >>> 2] = segments;
      for (let j = 0; j < segments; j++) {
        const sge = list + (j << Sge.SHIFT);
        arena.u32[(sge + Sge.LENGTH) >>> 2] = pool.dataRoom;
        arena.u32[(sge + Sge.LKEY) >>> 2] = lkey;
      }
    }
  }

  protected putCall(word: number, [fn, object]: Call): void {
    this.putAddress(this.block.offset + word + VerbsCall.FUNCTION, fn);
    this.putAddress(this.block.offset + word + VerbsCall.OBJECT, object);
  }

  private putAddress(at: number, address: bigint): void {
    this.context.arena.u32[at >>> 2] = Number(address & 0xffff_ffffn);
    this.context.arena.u32[(at >>> 2) + 1] = Number(address >> 32n);
  }
}

export class VerbsReceiveQueue extends VerbsRing {
  /** Error: RING_SIZE. */
  constructor(options: VerbsQueueOptions) {
    super(options, RecvWr.SHIFT);
  }

  attach(attachment: ReceiveAttachment): void {
    const { segments, cq, wq, calls, room, events } = attachment;
    this.lay(attachment, segments, this.size >>> 3, [calls.pollCq, cq.handle], [wq.postRecv, wq.handle]);
    this.setRoom(room);
    this.block.set(VerbsQueue.PEEKED, 0);
    this.putCall(VerbsQueue.NOTIFY, [events?.calls.notifyCq ?? 0n, cq.handle]);
    if (events) putEvents(this.block, VerbsQueue.EVENTS, events);
  }

  /** Longest frame, bytes; what is longer is dropped. Also while the queue runs. */
  setRoom(bytes: number): void {
    this.block.set(VerbsQueue.BYTES_MAX, bytes);
  }
}

export class VerbsTransmitQueue extends VerbsRing {
  /** Error: RING_SIZE. */
  constructor(options: VerbsQueueOptions) {
    super(options, SendWr.SHIFT);
  }

  attach(attachment: TransmitAttachment): void {
    const { cq, qp, calls, checksum, bytesMax } = attachment;
    this.lay(attachment, 1, this.size, [calls.pollCq, cq.handle], [calls.postSend, qp.handle]);
    const { u32 } = this.context.arena;
    const wrs = this.block.get(VerbsQueue.WRS);
    for (let k = 0; k < VerbsLimit.LOT; k++) {
      u32[(wrs + (k << SendWr.SHIFT) + SendWr.NUM_SGE) >>> 2] = 1;
      u32[(wrs + (k << SendWr.SHIFT) + SendWr.OPCODE) >>> 2] = WrOpcode.SEND;
      u32[(wrs + (k << SendWr.SHIFT) + SendWr.SEND_FLAGS) >>> 2] = 0;
    }
    this.block.set(VerbsQueue.FLAGS, checksum ? VerbsFlag.CHECKSUM : 0);
    this.setBytesMax(bytesMax);
  }

  /** Longest frame, bytes. Also while the queue runs. */
  setBytesMax(bytes: number): void {
    this.block.set(VerbsQueue.BYTES_MAX, bytes);
  }
}
