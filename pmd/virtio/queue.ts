// A virtqueue's control side: lays the rings out in memory that the device can reach, keeps the driver's own words
// apart from it, resets and empties it. Where the device is (vhost-user, later PCI) does not matter here.

import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { QueueKind } from "../../src/hot/layout.ts";
import { iovaOf } from "../../src/memory/iova.ts";
import type { MbufPool } from "../../src/memory/pool.ts";
import { alignUp } from "../../src/memory/ranges.ts";
import type { Zone } from "../../src/memory/zone.ts";
import { Desc, Header, Virtq, VirtqFlag } from "./layout.ts";

export interface VirtQueueOptions {
  port: number;
  /** Number of the virtqueue: 2 a pair, receive first (virtio 1.2, 5.1.2). */
  index: number;
  /** Descriptors, a power of two. */
  size: number;
}

/** What was negotiated that the rings depend on. */
export interface RingFeatures {
  packed: boolean;
  inOrder: boolean;
  mergeable: boolean;
}

/** VIRTQ_AVAIL_F_NO_INTERRUPT, and RING_EVENT_FLAGS_DISABLE of a packed ring: we poll. */
const NO_INTERRUPT = 1;

export class VirtQueue {
  readonly block: QueueBlock;
  readonly index: number;
  readonly size: number;
  private readonly zone: Zone;
  private readonly dma: Zone;
  private readonly pool: MbufPool;
  /** Arena offsets of what was allocated: the private arrays, and the shared rings. */
  private readonly arrays: number;
  private readonly rings: number;

  constructor(zone: Zone, dma: Zone, pool: MbufPool, options: VirtQueueOptions) {
    const { port, index, size } = options;
    this.zone = zone;
    this.dma = dma;
    this.pool = pool;
    this.index = index;
    this.size = size;
    this.block = new QueueBlock(zone, `queue block of virtqueue ${index}`, port, index >>> 1);
    this.arrays = zone.allocate(`shadow of virtqueue ${index}`, 20 * size);
    this.rings = dma.allocate(`virtqueue ${index}`, ringLayout(0, size).bytes, 4096);
    [Virtq.MBUFS, Virtq.DATA, Virtq.LENGTHS, Virtq.CHAIN].forEach((word, k) => {
      this.block.set(word, this.arrays + 4 * size * k);
    });
    this.block.set(Virtq.HEADS, this.arrays + 16 * size);
    this.block.set(Virtq.DONE, this.arrays + 18 * size);
    this.block.set(Virtq.SIZE, size);
    const { desc, avail, used, zeroHeader } = ringLayout(this.rings, this.size);
    this.block.set(Virtq.DESC, desc);
    this.block.set(Virtq.AVAIL, avail);
    this.block.set(Virtq.USED, used);
    this.block.set(Virtq.ZERO_HEADER, zeroHeader);
    this.block.set(Virtq.ROOM, pool.dataRoom);
  }

  get receives(): boolean {
    return this.index % 2 === 0;
  }

  /** Addresses as the device is told them. */
  get addresses(): { desc: bigint; avail: bigint; used: bigint } {
    const { desc, avail, used } = ringLayout(this.rings, this.size);
    return { desc: iovaOf(desc), avail: iovaOf(avail), used: iovaOf(used) };
  }

  /** Index that the device starts with; packed: bit 15 is the wrap counter, which starts at 1. */
  static startIndex(packed: boolean): number {
    return packed ? 0x8000 : 0;
  }

  /** Empties rings and shadows and prepares what never changes. The queue is halted and holds no mbufs. */
  reset(features: RingFeatures, kickFd: number): void {
    const { arena } = this.zone;
    const { size, block } = this;
    arena.clear(this.rings, ringLayout(0, size).bytes);
    arena.clear(this.arrays, 20 * size);
    for (const word of [
      Virtq.USED_INDEX,
      Virtq.AVAIL_INDEX,
      Virtq.FREE_INDEX,
      Virtq.RING_INDEX,
      Virtq.KICKED_INDEX,
    ]) {
      block.set(word, 0);
    }
    block.set(Virtq.KICK_FD, kickFd);
    const mergeable = features.mergeable && this.receives;
    block.set(
      Virtq.FLAGS,
      (features.inOrder ? VirtqFlag.IN_ORDER : 0) | (mergeable ? VirtqFlag.MERGEABLE : 0),
    );
    const { desc, avail, zeroHeader } = ringLayout(this.rings, this.size);
    arena.u16[(avail >>> 1) + (features.packed ? 1 : 0)] = NO_INTERRUPT;
    const high = Number(iovaOf(0) >> 32n);
    for (let slot = 0; slot < size; slot++) {
      const words = (desc + Desc.BYTES * slot) >>> 2;
      arena.u32[words] = zeroHeader; // an address that may be read, and what DATA remembers of it
      arena.u32[words + 1] = high;
      arena.u32[((this.arrays + 4 * size) >>> 2) + slot] = zeroHeader;
      arena.u32[((this.arrays + 12 * size) >>> 2) + slot] = 1; // CHAIN
      arena.u16[((this.arrays + 16 * size) >>> 1) + slot] = slot; // HEADS
      if (!features.packed) arena.u16[((avail + 4) >>> 1) + slot] = slot;
      if (this.receives) {
        arena.u32[words + 2] = this.pool.dataRoom + Header.BYTES;
        if (!features.packed) arena.u32[words + 3] = Desc.WRITE;
      }
    }
  }

  start(packed: boolean): void {
    this.block.run(packed ? QueueKind.VIRTIO_PACKED : QueueKind.VIRTIO_SPLIT);
  }

  /** The packets that the device holds, by their first mbuf. The queue is halted and no lcore is in it. */
  held(): number[] {
    const { u8, u32 } = this.zone.arena;
    const mask = this.size - 1;
    const mbufs: number[] = [];
    const done = this.block.get(Virtq.DONE);
    for (
      let k = this.block.get(Virtq.FREE_INDEX);
      k !== this.block.get(Virtq.AVAIL_INDEX);
      k = (k + 1) >>> 0
    ) {
      const slot = k & mask;
      const mbuf = u32[(this.arrays >>> 2) + slot]!;
      if (mbuf === 0) continue; // a chain's later descriptor
      // received out of order, and the application's since; a sent packet stays until the older ones are back
      if (this.receives && u8[done + slot] === 1) continue;
      mbufs.push(mbuf);
    }
    return mbufs;
  }

  /** Gives the mbufs that the device holds back to their pools. */
  drain(): void {
    this.pool.give(this.held());
    this.block.set(Virtq.FREE_INDEX, 0);
    this.block.set(Virtq.AVAIL_INDEX, 0);
  }

  free(): void {
    this.block.free();
    this.zone.free(this.arrays);
    this.dma.free(this.rings);
  }
}

/**
 * Where the parts of a ring of `size` lie from `base`, a page's start, on. Flags and index stand in the last 4 bytes
 * of a cache line of their own and the entries begin the next one: the two sides then do not take each other's lines
 * away while one writes entries and the other looks at the index.
 */
function ringLayout(base: number, size: number) {
  const avail = base + Desc.BYTES * size + 60;
  const used = alignUp(avail + 4 + 2 * size + 8, 64) + 60;
  const zeroHeader = alignUp(used + 4 + 8 * size + 8, 64);
  return { desc: base, avail, used, zeroHeader, bytes: zeroHeader + 64 - base };
}
