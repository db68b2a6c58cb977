// Pseudo-random numbers that a seed repeats: what a failing run prints is enough to run it again.
export class Random {
  readonly seed: number;
  private state: number;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.state = this.seed;
  }

  /** A 32-bit word (mulberry32). */
  word(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let x = this.state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return (x ^ (x >>> 14)) >>> 0;
  }

  /** 0 … `end` - 1. */
  below(end: number): number {
    return this.word() % end;
  }

  between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  shuffle<T>(list: T[]): T[] {
    for (let k = list.length - 1; k > 0; k--) {
      const other = this.below(k + 1);
      [list[k], list[other]] = [list[other]!, list[k]!];
    }
    return list;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let k = 0; k < length; k++) bytes[k] = this.word() & 255;
    return bytes;
  }
}
