// A virtqueue under test with its model device, in one of the modes that can be negotiated.

import { Virtq } from "../../pmd/virtio/layout.ts";
import { VirtQueue } from "../../pmd/virtio/queue.ts";
import { Queue } from "../../src/hot/layout.ts";
import type { Rig } from "./engines.ts";
import { makeDeviceRing, ReceiveSide, TransmitSide } from "./virtio-device.ts";

export interface Mode {
  packed: boolean;
  inOrder: boolean;
  mergeable: boolean;
}

export const virtioModes: Mode[] = [false, true].flatMap((packed) =>
  [false, true].flatMap((inOrder) => [false, true].map((mergeable) => ({ packed, inOrder, mergeable }))),
);

export function modeName({ packed, inOrder, mergeable }: Mode): string {
  return `${packed ? "packed" : "split"}${inOrder ? " in-order" : ""}${mergeable ? " mergeable" : ""}`;
}

export const KICK_FD = 77;

export class VirtioPair {
  readonly rig: Rig;
  readonly mode: Mode;
  readonly size: number;
  readonly rx: VirtQueue;
  readonly tx: VirtQueue;
  device!: { rx: ReceiveSide; tx: TransmitSide };

  constructor(rig: Rig, mode: Mode, size: number, pair = 0) {
    this.rig = rig;
    this.mode = mode;
    this.size = size;
    const make = (index: number) => {
      const queue = new VirtQueue(rig.private, rig.dma, rig.pool, { port: 3, index, size });
      queue.block.set(Queue.CACHE, rig.cache);
      return queue;
    };
    this.rx = make(2 * pair);
    this.tx = make(2 * pair + 1);
    this.start();
  }

  get rxq(): number {
    return this.rx.block.offset;
  }
  get txq(): number {
    return this.tx.block.offset;
  }

  /** Empties rings and runs both queues with a fresh device. `index`: where a split ring's running indices begin. */
  start(index = 0): void {
    const { arena } = this.rig;
    const { packed, mergeable } = this.mode;
    for (const queue of [this.rx, this.tx]) {
      queue.reset(this.mode, KICK_FD);
      const words = [
        Virtq.USED_INDEX,
        Virtq.AVAIL_INDEX,
        Virtq.FREE_INDEX,
        Virtq.RING_INDEX,
        Virtq.KICKED_INDEX,
      ];
      for (const word of words) queue.block.set(word, index);
      queue.start(packed);
    }
    const { rx, tx, size } = this;
    this.device = {
      rx: new ReceiveSide(arena, makeDeviceRing(arena, rx.addresses, size, packed), mergeable),
      tx: new TransmitSide(arena, makeDeviceRing(arena, tx.addresses, size, packed)),
    };
    for (const side of [this.device.rx, this.device.tx]) side.ring.wantKicks(false);
  }

  /** Packets that the device holds, of both queues. */
  held(): number[] {
    return [...this.rx.held(), ...this.tx.held()];
  }

  stop(): void {
    for (const queue of [this.rx, this.tx]) {
      queue.block.halt();
      queue.drain();
    }
  }

  free(): void {
    this.rx.free();
    this.tx.free();
  }
}
