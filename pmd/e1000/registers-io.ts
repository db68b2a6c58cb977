// The only place that touches a chip's registers. Tests put a model of the chip in its place.
import { setTimeout as sleep } from "node:timers/promises";
import type { Bar } from "../../src/bus/pci-function.ts";
import { PollmodeError } from "../../src/errors.ts";
import type { Arena } from "../../src/memory/arena.ts";
import { Reg, Status } from "./registers.ts";

/** 32-bit registers by their offset in BAR 0. */
export interface Registers {
  read(offset: number): number;
  write(offset: number, value: number): void;
}

/** What a chip that is gone, or without power, answers. */
export const ALL_ONES = 0xffff_ffff;

export class BarRegisters implements Registers {
  private readonly words: Uint32Array;
  private readonly base: number;

  constructor(arena: Arena, bar: Bar) {
    this.words = arena.u32;
    this.base = bar.offset >>> 2;
  }

  // Atomic loads: none is left out or taken from before.
  read(offset: number): number {
    return Atomics.load(this.words, this.base + (offset >>> 2));
  }

  write(offset: number, value: number): void {
    this.words[this.base + (offset >>> 2)] = value;
  }
}

export function setBits(registers: Registers, offset: number, bits: number): void {
  registers.write(offset, (registers.read(offset) | bits) >>> 0);
}

export function clearBits(registers: Registers, offset: number, bits: number): void {
  registers.write(offset, (registers.read(offset) & ~bits) >>> 0);
}

/** Polls until `reached`; false when the time is up first. */
export async function waitFor(reached: () => boolean, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!reached()) {
    if (performance.now() > deadline) return false;
    await sleep(1);
  }
  return true;
}

/** Which of the chip's ports this function is, whatever its PCI address here: STATUS.LAN_ID, 0 with one port. */
export function portNumber(registers: Registers): number {
  return (registers.read(Reg.STATUS) >>> Status.LAN_ID_SHIFT) & 3;
}

/** The chip did not do what it was told in time. */
export function chipTimeout(address: string, what: string, timeoutMs: number): PollmodeError {
  const message = `${address}: ${what} within ${timeoutMs} ms`;
  const fix = `as root: echo 1 > /sys/bus/pci/devices/${address}/reset; if that does not help, cut its power`;
  return new PollmodeError("CHIP_TIMEOUT", message, fix);
}
