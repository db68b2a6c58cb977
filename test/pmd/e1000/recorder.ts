// Between a driver and a modelled chip: writes every access down, and may stand for what else a chip does.
import type { Registers } from "../../../pmd/e1000/registers-io.ts";
import type { ChipModel } from "./chip-model.ts";

interface Access {
  readonly kind: "read" | "write";
  readonly offset: number;
  readonly value: number;
  readonly ms: number;
}

/** Writes all accesses down; `answer` may change what is read, `swallow` may keep a write from the chip. */
export class Recorder implements Registers {
  readonly list: Access[] = [];
  answer: (offset: number, value: number) => number = (_, value) => value;
  swallow: (offset: number, value: number) => boolean = () => false;
  private readonly model: ChipModel;

  constructor(model: ChipModel) {
    this.model = model;
  }

  read(offset: number): number {
    const value = this.answer(offset, this.model.read(offset)) >>> 0;
    this.list.push({ kind: "read", offset, value, ms: performance.now() });
    return value;
  }

  write(offset: number, value: number): void {
    this.list.push({ kind: "write", offset, value, ms: performance.now() });
    if (!this.swallow(offset, value)) this.model.write(offset, value);
  }

  reads(offset: number): number {
    return this.list.filter((one) => one.kind === "read" && one.offset === offset).length;
  }
  written(offset: number): number[] {
    return this.list.filter((one) => one.kind === "write" && one.offset === offset).map(({ value }) => value);
  }
  /** Place of the first access that fits, from `from` on; -1. */
  place(kind: Access["kind"], offset: number, bits = 0, from = 0): number {
    const fits = (one: Access, k: number) =>
      k >= from && one.kind === kind && one.offset === offset && (one.value & bits) >>> 0 === bits;
    return this.list.findIndex(fits);
  }
}
