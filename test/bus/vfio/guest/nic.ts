// The few registers by which a test makes a NIC raise an interrupt: 82574 datasheet 10.2.4, 82576 datasheet 8.8 (where
// ICR, ICS, IMS and IMC stand at the 82574's addresses too, the only ones that QEMU's igb knows).
import type { Arena } from "../../../../src/memory/arena.ts";

const ICR = 0x00c0;
const ICS = 0x00c8;
const IMS = 0x00d0;
const IMC = 0x00d8;
/** Link status change: bit 2 of those four. */
const LSC = 1 << 2;

type Writes = readonly (readonly [register: number, value: number])[];

interface MsixVectors {
  /** Gives two causes the vectors 0 and 1, and lets them through. */
  readonly setup: Writes;
  /** What raises vector 0, and vector 1. */
  readonly raise: Writes;
  readonly off: Writes;
}

/** 82574L: IVAR gives receive queue 0 vector 0, and other causes vector 1. */
const e1000e: MsixVectors = {
  setup: [
    [0x00e4, 0x8 | ((0x8 | 1) << 16)],
    [IMS, (1 << 20) | (1 << 24)],
  ],
  raise: [
    [ICS, 1 << 20],
    [ICS, 1 << 24],
  ],
  off: [],
};

/** 82576: GPIE 0x1514 bit 4 is Multiple_MSIX; EICS 0x1520, EIMS, EIMC and EICR 0x1580 have a bit for each vector. */
const igb: MsixVectors = {
  setup: [
    [0x1514, 0x10],
    [0x1524, 0x3],
  ],
  raise: [
    [0x1520, 1 << 0],
    [0x1520, 1 << 1],
  ],
  off: [
    [0x1528, 0xffff_ffff],
    [0x1580, 0xffff_ffff],
    [0x1514, 0],
  ],
};

export class Nic {
  readonly msix: MsixVectors;
  private readonly arena: Arena;
  private readonly bar: number;

  constructor(arena: Arena, bar: number, device: number) {
    this.arena = arena;
    this.bar = bar;
    this.msix = device === 0x10d3 ? e1000e : igb;
  }

  read(register: number): number {
    return Atomics.load(this.arena.u32, (this.bar + register) >>> 2);
  }

  write(register: number, value: number): void {
    Atomics.store(this.arena.u32, (this.bar + register) >>> 2, value >>> 0);
  }

  writeAll(writes: Writes): void {
    for (const [register, value] of writes) this.write(register, value);
  }

  allowLinkChange(): void {
    this.write(IMS, LSC);
  }

  raiseLinkChange(): void {
    this.write(ICS, LSC);
  }

  /** Reading ICR clears it. */
  clearCauses(): void {
    this.read(ICR);
  }

  /** Masks all, and forgets what has happened. */
  quiet(): void {
    this.write(IMC, 0xffff_ffff);
    this.writeAll(this.msix.off);
    this.clearCauses();
  }
}
