// First-fit allocation of ranges of numbers: of the arena among zones, of a zone among what lies in it.
import { PollmodeError } from "../errors.ts";

export interface Range {
  readonly name: string;
  readonly start: number;
  readonly bytes: number;
}

export class Ranges {
  readonly start: number;
  readonly end: number;
  private readonly what: string;
  private readonly fix: string;
  /** In use, by start. */
  private taken: Range[] = [];

  constructor(what: string, start: number, end: number, fix: string) {
    this.what = what;
    this.start = start;
    this.end = end;
    this.fix = fix;
  }

  get used(): readonly Range[] {
    return this.taken;
  }

  /** A free range of `bytes` whose start plus `skew` is a multiple of `align`. */
  allocate(name: string, bytes: number, align: number, skew = 0): Range {
    let start = this.start;
    let at = 0;
    for (; ; at++) {
      start = alignUp(start + skew, align) - skew;
      const next = this.taken[at];
      if (start + bytes <= (next?.start ?? this.end)) break;
      if (!next) {
        const free = this.end - this.start - this.taken.reduce((sum, range) => sum + range.bytes, 0);
        const message = `${this.what}: no room for ${bytes} bytes of ${name} (${free} bytes are free in all)`;
        throw new PollmodeError("OUT_OF_MEMORY", message, this.fix);
      }
      start = next.start + next.bytes;
    }
    const range = { name, start, bytes };
    this.taken.splice(at, 0, range);
    return range;
  }

  /** Gives a range back; one that is not in use is an error of the caller. */
  free(start: number): void {
    const at = this.taken.findIndex((range) => range.start === start);
    if (at < 0) {
      throw new PollmodeError(
        "NOT_ALLOCATED",
        `${this.what}: nothing is allocated at ${start}`,
        "free a range once",
      );
    }
    this.taken.splice(at, 1);
  }

  /** The range in use that `start` … `start + bytes` lies within. */
  holding(start: number, bytes: number): Range | undefined {
    return this.taken.find((range) => start >= range.start && start + bytes <= range.start + range.bytes);
  }
}

export function alignUp(value: number, align: number): number {
  return Math.ceil(value / align) * align;
}
