// A virtual function's statistics: 32-bit registers that wrap around and are never cleared, but by a reset of the PF
// (82576 datasheet, chapter 8, "Virtual Function Device Registers"). So their growth is added up here: they have to be
// looked at before a counter of octets wraps, which takes 34 s at 1 Gbit/s.
import { RingReg } from "./registers.ts";
import type { Registers } from "./registers-io.ts";
import { VF_RINGS, VF_STATS } from "./vf-registers.ts";

/** Packets dropped for want of a descriptor: 12 bits, cleared by reading. */
const RQDPC_MASK = 0xfff;

export class VfStats {
  private readonly registers: Registers;
  private readonly rxQueues: number;
  private readonly last = new Map<number, number>();
  private readonly totals = new Map<string, number>();

  constructor(registers: Registers, rxQueues: number) {
    this.registers = registers;
    this.rxQueues = rxQueues;
    this.restart();
  }

  /** Adds what was counted since the last call. Not to be called between a reset of the PF and `restart`. */
  update(): void {
    for (const [name, offset] of Object.entries(VF_STATS)) {
      const now = this.registers.read(offset);
      this.add(name, (now - this.last.get(offset)!) >>> 0);
      this.last.set(offset, now);
    }
    for (let k = 0; k < this.rxQueues; k++) {
      const queue = VF_RINGS.rx + k * VF_RINGS.stride;
      this.add("RQDPC", this.registers.read(queue + RingReg.RQDPC) & RQDPC_MASK);
    }
  }

  /** Takes the registers as they are for the start of what is counted from now on; totals stay. */
  restart(): void {
    for (const offset of Object.values(VF_STATS)) this.last.set(offset, this.registers.read(offset));
  }

  clear(): void {
    this.update();
    this.totals.clear();
  }

  /** Totals by the registers' names; RQDPC over all receive queues. */
  get values(): Record<string, number> {
    const names = [...Object.keys(VF_STATS), "RQDPC"];
    return Object.fromEntries(names.map((name) => [name, this.totals.get(name) ?? 0]));
  }

  private add(name: string, growth: number): void {
    this.totals.set(name, (this.totals.get(name) ?? 0) + growth);
  }
}
