// Rings of pmd/intel under test, with the model NIC at their other end.
import { IntelQueue } from "../../../pmd/intel/layout.ts";
import { IntelRing } from "../../../pmd/intel/queue.ts";
import { Queue } from "../../../src/hot/layout.ts";
import type { Rig } from "../../support/engines.ts";
import { type Format, ReceiveModel, type RingPlace, TransmitModel } from "./nic-model.ts";

export const formats: Format[] = ["extended", "advanced"];
export const PORT = 3;

export interface PairOptions {
  size?: number;
  room?: number;
  keepsContext?: boolean;
}

export class IntelPair {
  readonly rig: Rig;
  readonly rx: IntelRing;
  readonly tx: IntelRing;
  /** Arena offsets of what stands for RDT, TDT and EIMS. */
  readonly registers: number;
  nic!: { rx: ReceiveModel; tx: TransmitModel };
  private readonly format: Format;
  private readonly room: number;

  constructor(rig: Rig, format: Format, options: PairOptions = {}) {
    const { size = 64, room = rig.pool.dataRoom, keepsContext } = options;
    this.rig = rig;
    this.format = format;
    this.room = room;
    this.registers = rig.private.allocate("registers", 64);
    const common = { port: PORT, index: 0, size };
    this.rx = IntelRing.receive(rig, {
      ...common,
      tailRegister: this.registers,
      room,
      checksum: true,
      vlanStrip: true,
      rss: true,
      loopbackVlanSwapped: true,
    });
    const told = keepsContext === undefined ? {} : { keepsContext };
    this.tx = IntelRing.transmit(rig, {
      ...common,
      tailRegister: this.registers + 4,
      format,
      bytesMax: 9728,
      ...told,
    });
    for (const { block } of [this.rx, this.tx]) block.set(Queue.CACHE, rig.cache);
    this.start();
  }

  get rxq(): number {
    return this.rx.block.offset;
  }
  get txq(): number {
    return this.tx.block.offset;
  }

  /** Runs both rings with a fresh NIC. `index`: where the running indices begin, a multiple of the size. */
  start(index = 0): void {
    const { arena, dma } = this.rig;
    const place = (ring: IntelRing, tail: number): RingPlace => {
      arena.u32[tail >>> 2] = 0;
      return { arena, dma: dma.range, base: ring.base, size: ring.size, tail };
    };
    for (const ring of [this.rx, this.tx]) {
      ring.reset();
      ring.block.set(IntelQueue.HEAD, index);
      ring.block.set(IntelQueue.TAIL, index);
      ring.run();
    }
    this.nic = {
      rx: new ReceiveModel(place(this.rx, this.registers), this.room),
      tx: new TransmitModel(place(this.tx, this.registers + 4), this.format),
    };
  }

  held(): number[] {
    return [...this.rx.held(), ...this.tx.held()];
  }

  stop(): void {
    for (const ring of [this.rx, this.tx]) {
      ring.halt();
      ring.drain();
    }
  }

  free(): void {
    this.rx.free();
    this.tx.free();
    this.rig.private.free(this.registers);
  }
}
