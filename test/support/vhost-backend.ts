// A vhost backend's queue blocks, set up from their layout alone: the hot code is under test here, without a socket.

import { Segment, Vring, VringFlag } from "../../pmd/vhost/layout.ts";
import { QueueBlock } from "../../src/ethdev/queue-block.ts";
import { Queue, QueueKind } from "../../src/hot/layout.ts";
import type { Rig } from "./engines.ts";
import { Random } from "./random.ts";
import { type DriverRing, type GuestMemory, GuestNet } from "./virtio-guest.ts";

export const CALL_FD = 88;

/** A guest and the backend that serves it. `rx` takes what the guest transmits. */
export class VhostPair {
  readonly rig: Rig;
  readonly memory: GuestMemory;
  readonly guest: GuestNet;
  readonly rx: QueueBlock;
  readonly tx: QueueBlock;
  private readonly scratch: number[] = [];

  constructor(
    rig: Rig,
    memory: GuestMemory,
    options: { size: number; packed: boolean; mergeable: boolean; random?: Random },
  ) {
    const { size, packed, mergeable, random = new Random(4) } = options;
    this.rig = rig;
    this.memory = memory;
    this.guest = new GuestNet(rig, memory, size, packed, random);
    const make = (name: string, ring: DriverRing) => {
      const block = new QueueBlock(rig.private, name, 5, 0);
      const segments = Segment.MAX * Segment.BYTES;
      const scratch = rig.private.allocate(`scratch of ${name}`, segments + Segment.MAX * 12 + 64);
      this.scratch.push(scratch);
      const words: [number, number][] = [
        [Queue.CACHE, rig.cache],
        [Vring.DESC, ring.desc],
        [Vring.AVAIL, ring.avail],
        [Vring.USED, ring.used],
        [Vring.SIZE, size],
        [Vring.REGIONS, memory.table],
        [Vring.FLAGS, mergeable ? VringFlag.MERGEABLE : 0],
        [Vring.CALL_FD, CALL_FD],
        [Vring.SEGMENTS, scratch],
        [Vring.HEADS, scratch + segments],
        [Vring.SCRATCH, scratch + segments + Segment.MAX * 12],
        [Queue.ORIGIN, 0x10005],
        [Vring.ROOM, rig.pool.dataRoom],
      ];
      for (const [word, value] of words) block.set(word, value);
      block.run(packed ? QueueKind.VHOST_PACKED : QueueKind.VHOST_SPLIT);
      ring.wantCalls(false);
      return block;
    };
    this.rx = make("vhost rx", this.guest.tx);
    this.tx = make("vhost tx", this.guest.rx);
  }

  /** Both sides begin anew with empty rings. */
  restart(): void {
    this.guest.reset();
    const { rx, tx } = this;
    for (const [block, ring] of [
      [rx, this.guest.tx],
      [tx, this.guest.rx],
    ] as const) {
      for (const word of [Vring.AVAIL_INDEX, Vring.USED_INDEX, Vring.CALLED_INDEX]) block.set(word, 0);
      ring.wantCalls(false);
      block.run(block.get(Queue.KIND));
    }
  }

  free(): void {
    this.rx.free();
    this.tx.free();
    for (const scratch of this.scratch) this.rig.private.free(scratch);
  }
}
