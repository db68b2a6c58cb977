// A receive queue of direct verbs: WQEs laid out where the NIC reads them. With attach() all of a WQE stands but the
// buffers' addresses, which the lcore fills in from its first burst on; it also writes the doorbell record.
import type { CqeCompression, DvCq, DvWq } from "../../src/bus/rdma/types.ts";
import { type EventAttachment, putEvents } from "./events.ts";
import { Mlx5Flag, Mlx5Interrupt, Mlx5Limit, Mlx5Queue } from "./layout.ts";
import { Mlx5QueueBase, swapped } from "./queue-base.ts";
import { DataSegment, MprqWqe, WqeSize } from "./wqe.ts";

interface Striding {
  /** Arena offset of the WQEs' buffers, in the memory region. Default: allocated here, in the dma zone. */
  readonly buffers?: number;
  readonly logStrideBytes: number;
  readonly logStrides: number;
}

interface ReceiveAttachment {
  /** 64-byte entries: as many as WQEs, or as strides of all WQEs; with compression twice as many. */
  readonly cq: DvCq;
  readonly rq: DvWq;
  /** The memory region's: it spans the dma zone. */
  readonly lkey: number;
  /** Mbufs a WQE: as many as the longest frame needs. */
  readonly segments: number;
  /** Longest frame that is delivered, without CRC. */
  readonly room: number;
  readonly flags: { readonly checksum?: boolean; readonly rss?: boolean; readonly vlanStrip?: boolean };
  /** The RQ is a multi-packet RQ. */
  readonly striding?: Striding;
  /** The CQ was created with compression into mini CQEs of this format. */
  readonly compression?: CqeCompression;
  /** The queue wakes an lcore. `register`: arena offset of what arms the CQ, which was created with the channel. */
  readonly events?: EventAttachment & { readonly register: number };
}

export class Mlx5ReceiveQueue extends Mlx5QueueBase {
  /** Arena offset of striding buffers that are the queue's own; 0: none. */
  private buffers = 0;

  /** Takes over objects that were just created: their rings are empty. Errors: RING_SIZE, RING_PLACE. */
  attach(attachment: ReceiveAttachment): void {
    const { cq, rq, lkey, segments, flags, striding, compression } = attachment;
    const strides = striding ? 1 << striding.logStrides : 1;
    const entries = rq.wqes * strides * (compression ? 2 : 1);
    this.demand(cq.cqeBytes === 64, `CQEs of ${cq.cqeBytes} bytes`, "create the CQ with cqeBytes 64");
    this.demand(cq.entries >= entries, `${cq.entries} CQEs`, `create the CQ with ${entries} entries`);
    this.demand(rq.wqes <= 1 << 15, `${rq.wqes} WQEs`, "ask for 32768 at most: indices have 16 bits");
    const places = 2 ** Math.ceil(Math.log2(segments));
    const wqeBytes = striding ? 1 << MprqWqe.SHIFT : segments * WqeSize.SEGMENT_BYTES;
    const fits = rq.strideBytes >= wqeBytes && Number.isInteger(Math.log2(rq.strideBytes));
    this.demand(fits, `WQEs of ${rq.strideBytes} bytes`, `create the WQ with ${segments} SGEs`);
    this.lay(4 * rq.wqes * places);
    this.describe(cq, { buffer: rq.buffer, entries: rq.wqes, record: rq.doorbell }, lkey);
    const { block, context } = this;
    block.set(
      Mlx5Queue.FLAGS,
      (flags.checksum ? Mlx5Flag.CHECKSUM : 0) |
        (flags.rss ? Mlx5Flag.RSS : 0) |
        (flags.vlanStrip ? Mlx5Flag.VLAN_STRIP : 0) |
        (striding ? Mlx5Flag.STRIDING : 0) |
        (compression ? Mlx5Flag.COMPRESSED : 0) |
        (compression === "hash" ? Mlx5Flag.MINI_HASH : 0),
    );
    block.set(Mlx5Queue.MBUFS, this.arrays);
    block.set(Mlx5Queue.BUFFER_BYTES, context.pool.dataRoom);
    block.set(Mlx5Queue.SEGMENTS, segments);
    block.set(Mlx5Queue.SEGMENT_SHIFT, Math.log2(places));
    block.set(Mlx5Queue.WQE_SHIFT, Math.log2(rq.strideBytes));
    block.set(Mlx5Queue.LOT, Math.max(1, Math.min(Mlx5Limit.LOT, rq.wqes >>> 3)));
    this.setRoom(attachment.room);
    if (attachment.events) {
      putEvents(block, Mlx5Interrupt.EVENTS, attachment.events);
      block.set(Mlx5Interrupt.ARM, attachment.events.register);
      block.set(Mlx5Interrupt.CQN, swapped(cq.cqn));
    }
    if (striding) this.layStrides(rq, striding);
    else this.laySegments(rq, segments);
  }

  /** The longest frame that is delivered from now on, also while packets come; no longer than a WQE's buffers hold. */
  setRoom(bytes: number): void {
    const striding = (this.block.get(Mlx5Queue.FLAGS) & Mlx5Flag.STRIDING) !== 0;
    const held = this.block.get(Mlx5Queue.SEGMENTS) * this.block.get(Mlx5Queue.BUFFER_BYTES);
    this.block.set(Mlx5Queue.ROOM, Math.max(striding ? bytes : Math.min(bytes, held), Mlx5Limit.FRAME_MIN));
  }

  /** Whether each packet's tag is looked for from now on, also while packets come. */
  setVlanStrip(on: boolean): void {
    const flags = this.block.get(Mlx5Queue.FLAGS);
    this.block.set(Mlx5Queue.FLAGS, on ? flags | Mlx5Flag.VLAN_STRIP : flags & ~Mlx5Flag.VLAN_STRIP);
  }

  override held(): number[] {
    if (this.arrays === 0 || (this.block.get(Mlx5Queue.FLAGS) & Mlx5Flag.STRIDING) !== 0) return [];
    const { u32 } = this.context.arena;
    const all = u32.subarray(this.arrays >>> 2, (this.arrays + this.arraysBytes) >>> 2);
    if (this.block.get(Mlx5Queue.SEGMENTS) > 1) return [...all].filter((mbuf) => mbuf !== 0);
    // a place keeps its mbuf's name when the mbuf is gone: it may come back there
    const mbufs: number[] = [];
    const tail = this.block.get(Mlx5Queue.TAIL);
    for (let k = this.block.get(Mlx5Queue.HEAD); k !== tail; k = (k + 1) >>> 0) {
      mbufs.push(all[k & this.block.get(Mlx5Queue.MASK)]!);
    }
    return mbufs;
  }

  override drain(): void {
    super.drain();
    for (const word of [Mlx5Queue.HEAD, Mlx5Queue.TAIL, Mlx5Queue.MINIS]) this.block.set(word, 0);
    if (this.buffers === 0) return;
    this.context.dma.free(this.buffers);
    this.buffers = 0;
  }

  /** Byte counts and lkeys of all WQEs, and what ends a list that is shorter than its WQE. */
  private laySegments(rq: DvWq, segments: number): void {
    const { u32 } = this.context.arena;
    const lkey = this.block.get(Mlx5Queue.LKEY);
    const bytes = swapped(this.context.pool.dataRoom);
    const ring = this.block.get(Mlx5Queue.RING);
    u32.fill(0, ring >>> 2, (ring + rq.wqes * rq.strideBytes) >>> 2);
    for (let wqe = ring; wqe < ring + rq.wqes * rq.strideBytes; wqe += rq.strideBytes) {
      for (let k = 0; k < rq.strideBytes / DataSegment.BYTES; k++) {
        const segment = (wqe + k * DataSegment.BYTES) >>> 2;
        u32[segment] = k < segments ? bytes : 0;
        u32[segment + 1] = k < segments ? lkey : DataSegment.INVALID_LKEY;
      }
    }
  }

  /** WQEs of a multi-packet RQ: each points at its own buffer for good. */
  private layStrides(rq: DvWq, { buffers, logStrideBytes, logStrides }: Striding): void {
    const { arena, dma } = this.context;
    const bytes = 2 ** (logStrideBytes + logStrides);
    if (buffers === undefined) this.buffers = dma.allocate(`strides of ${this.name}`, rq.wqes * bytes, 4096);
    const start = buffers ?? this.buffers;
    const ring = this.block.get(Mlx5Queue.RING);
    arena.u32.fill(0, ring >>> 2, (ring + rq.wqes * rq.strideBytes) >>> 2);
    for (let k = 0; k < rq.wqes; k++) {
      const segment = (ring + k * rq.strideBytes + MprqWqe.DATA) >>> 2;
      const address = arena.address + BigInt(start + k * bytes);
      arena.u32[segment] = swapped(bytes);
      arena.u32[segment + 1] = this.block.get(Mlx5Queue.LKEY);
      arena.u32[segment + 2] = swapped(Number(address >> 32n));
      arena.u32[segment + 3] = swapped(Number(address & 0xffff_ffffn));
    }
    this.block.set(Mlx5Queue.STRIDES, start);
    this.block.set(Mlx5Queue.STRIDE_SHIFT, logStrideBytes);
    this.block.set(Mlx5Queue.STRIDES_SHIFT, logStrides);
  }
}
