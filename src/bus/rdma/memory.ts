// Structures of the libraries: those that they own are read field by field, those that are handed to them are Buffers.
import koffi from "koffi";
import { addressOf } from "../../libc/libc.ts";

export function readU32(address: bigint, offset: number): number {
  return koffi.decode(address, offset, "uint32_t");
}

export function readU64(address: bigint, offset: number): bigint {
  return BigInt(koffi.decode(address, offset, "uint64_t"));
}

/** undefined: the null pointer. */
export function readPointer(address: bigint, offset: number): bigint | undefined {
  return koffi.decode(address, offset, "void *") ?? undefined;
}

/**
 * Several structures in one Buffer, one behind another, each at a multiple of 8: what points from one to another stays
 * valid as long as the Buffer is held, which the call that takes it does.
 */
export class Structs {
  readonly bytes: Buffer;
  /** Where each of the structures begins. */
  readonly starts: readonly number[];

  constructor(...sizes: readonly number[]) {
    const starts: number[] = [];
    let end = 0;
    for (const size of sizes) {
      starts.push(end);
      end += (size + 7) & ~7;
    }
    this.bytes = Buffer.alloc(end);
    this.starts = starts;
  }

  /** Writes the address of structure number `to`. */
  point(offset: number, to: number): void {
    this.bytes.writeBigUInt64LE(addressOf(this.bytes) + BigInt(this.starts[to]!), offset);
  }

  /** Structure number `at`, from there to the end. */
  at(at: number): Buffer {
    return this.bytes.subarray(this.starts[at]!);
  }
}
