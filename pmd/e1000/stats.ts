// The chip's statistics, which reading clears and which stay at their highest value: read often and added up here.
import type { DeviceStats } from "../../src/ethdev/driver.ts";
import type { Chip } from "./chips.ts";
import {
  Reg,
  RingReg,
  STATISTICS,
  STATISTICS_64,
  STATISTICS_82574,
  STATISTICS_IGB,
  STATISTICS_IGB_64,
} from "./registers.ts";
import { ALL_ONES, type Registers } from "./registers-io.ts";

const WORD = 2 ** 32;
/** Bits of RQDPC that count. */
const RQDPC_MASK = 0xfff;

export class Statistics {
  private readonly registers: Registers;
  private readonly chip: Chip;
  private readonly totals = new Map<string, number>();
  /** Registers by name: of 32 bits, and the low ones of those of 64. */
  private readonly words: readonly (readonly [string, number])[];
  private readonly pairs: readonly (readonly [string, number])[];

  constructor(registers: Registers, chip: Chip) {
    this.registers = registers;
    this.chip = chip;
    const igb = chip.family === "igb";
    this.words = Object.entries({ ...STATISTICS, ...(igb ? STATISTICS_IGB : STATISTICS_82574) });
    this.pairs = Object.entries({ ...STATISTICS_64, ...(igb ? STATISTICS_IGB_64 : {}) });
  }

  /** Adds what was counted since the last call. `rxQueues`: how many are in use. */
  update(rxQueues: number): void {
    const { chip } = this;
    if (this.registers.read(Reg.STATUS) === ALL_ONES) return; // a chip that is gone counts nothing
    for (const [name, offset] of this.words) this.add(name, this.registers.read(offset));
    for (const [name, offset] of this.pairs) {
      const low = this.registers.read(offset);
      this.add(name, this.registers.read(offset + 4) * WORD + low);
    }
    if (chip.family !== "igb") return;
    for (let k = 0; k < rxQueues; k++) {
      const dropped = this.registers.read(chip.rings.rx + k * chip.rings.stride + RingReg.RQDPC);
      this.add("RQDPC", dropped & RQDPC_MASK);
    }
  }

  /** Forgets all that was counted until now. */
  clear(rxQueues: number): void {
    this.update(rxQueues);
    this.totals.clear();
  }

  /** Registers hold anything after a reset (82574 datasheet, 10.2.7): reads them and keeps the totals as they are. */
  discard(rxQueues: number): void {
    const kept = [...this.totals];
    this.clear(rxQueues);
    for (const [name, total] of kept) this.totals.set(name, total);
  }

  /** By the registers' names. */
  get values(): Record<string, number> {
    const names = [...this.words, ...this.pairs].map(([name]) => name);
    if (this.chip.family === "igb") names.push("RQDPC");
    return Object.fromEntries(names.map((name) => [name, this.total(name)]));
  }

  get summary(): DeviceStats {
    const sum = (...names: string[]) => names.reduce((total, name) => total + this.total(name), 0);
    return {
      rxMissed: sum("MPC", "RQDPC"),
      // RLEC counts runts and giants (RUC, ROC) once more
      rxErrors: sum("CRCERRS", "ALGNERRC", "RXERRC", "RUC", "ROC", "CEXTERR"),
      txErrors: sum("ECOL", "LATECOL"),
    };
  }

  total(name: string): number {
    return this.totals.get(name) ?? 0;
  }

  private add(name: string, growth: number): void {
    this.totals.set(name, this.total(name) + growth);
  }
}
