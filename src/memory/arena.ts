// The arena: one shared WebAssembly memory that holds all the data path touches. Other memory (hugepages, a guest's,
// device registers) is laid over parts of it by mmap MAP_FIXED. A wrong MAP_FIXED would overwrite the process, so only
// ranges that were reserved here, whole pages, not yet laid over, are accepted.

import { PollmodeError } from "../errors.ts";
import {
  MADV_DONTNEED,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from "../libc/abi.ts";
import { addressOf, madvise, mmapFixed } from "../libc/libc.ts";
import { ARENA_BYTES_MAX, ARENA_GUARD_BYTES, PAGE_BYTES, WASM_PAGE_BYTES } from "../limits.ts";
import { alignUp, type Range, Ranges } from "./ranges.ts";

/** Memories of closed arenas. V8 gives address space back at its leisure; used again, it does not grow. */
const idle: WebAssembly.Memory[] = [];

export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly bytes: number;
  /** Where the arena lies in the process. */
  readonly address: bigint;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  private readonly ranges: Ranges;
  private readonly overlays = new Map<number, Range>();
  private closed = false;

  constructor(bytes: number) {
    if (!Number.isSafeInteger(bytes) || bytes < 16 * WASM_PAGE_BYTES || bytes > ARENA_BYTES_MAX) {
      const message = `arena of ${bytes} bytes: it must have 1 MiB to 4 GiB`;
      throw new PollmodeError("ARENA_SIZE", message, "choose arenaMib between 1 and 4096");
    }
    const pages = Math.ceil(bytes / WASM_PAGE_BYTES);
    this.memory = takeMemory(pages);
    const { buffer } = this.memory;
    this.bytes = buffer.byteLength;
    this.u8 = new Uint8Array(buffer, 0, this.bytes);
    this.u16 = new Uint16Array(buffer, 0, this.bytes / 2);
    this.u32 = new Uint32Array(buffer, 0, this.bytes / 4);
    this.i32 = new Int32Array(buffer, 0, this.bytes / 4);
    this.f64 = new Float64Array(buffer, 0, this.bytes / 8);
    this.address = addressOf(this.u8);
    this.ranges = new Ranges(
      "arena",
      ARENA_GUARD_BYTES,
      this.bytes,
      "make the arena larger (arenaMib, 4096 at most)",
    );
  }

  /** Sets a range aside whose address in the process is a multiple of `align`. */
  reserve(name: string, bytes: number, align: number): Range {
    const skew = Number(this.address % BigInt(align));
    return this.ranges.allocate(name, alignUp(bytes, PAGE_BYTES), align, skew);
  }

  /** Gives a reserved range back; what was laid over it is unmapped, its pages are given back to the system. */
  release(range: Range): void {
    // a second release must not hit whoever was given the place since
    if (this.ranges.holding(range.start, range.bytes) !== range) {
      const message = `${range.name}: ${range.bytes} bytes at ${range.start} are not a reserved range of the arena`;
      throw new PollmodeError("ARENA_RANGE", message, "release a range once");
    }
    this.restore(range);
    this.ranges.free(range.start);
  }

  /**
   * Lays `bytes` of the file `fd`, from `offset` on, over a reserved range or a part of one that has its name.
   * `flags`: MAP_SHARED, MAP_POPULATE, …
   */
  overlay(range: Range, fd: number, offset: number, flags: number): void {
    const held = this.ranges.holding(range.start, range.bytes);
    if (this.closed || !held || held.name !== range.name) {
      const message = `${range.name}: ${range.bytes} bytes at ${range.start} are not a reserved range of the arena`;
      throw new PollmodeError("ARENA_RANGE", message, "reserve the range first");
    }
    for (const other of this.overlays.values()) {
      if (range.start < other.start + other.bytes && other.start < range.start + range.bytes) {
        const where = `${other.start} … ${other.start + other.bytes}`;
        const message = `${range.name}: ${other.name} is already laid over ${where}`;
        throw new PollmodeError("ARENA_OVERLAP", message, "release the other range first");
      }
    }
    const address = this.address + BigInt(range.start);
    try {
      mmapFixed(address, range.bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, offset);
    } catch (error) {
      this.blank(range); // a driver that refuses has left a hole, which somebody else's mmap could fill
      throw error;
    }
    this.overlays.set(range.start, range);
  }

  /** Zeroes `bytes` at `offset` without touching pages that were never used. */
  clear(offset: number, bytes: number): void {
    this.u8.fill(0, offset, offset + bytes);
  }

  private restore(range: Range): void {
    const end = range.start + range.bytes;
    const laid = [...this.overlays.keys()].filter((start) => start >= range.start && start < end);
    for (const start of laid) this.overlays.delete(start);
    if (laid.length === 0) {
      madvise(this.address + BigInt(range.start), range.bytes, MADV_DONTNEED);
      return;
    }
    this.blank(range);
  }

  /** Ordinary memory, empty and unused. */
  private blank(range: Range): void {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    mmapFixed(this.address + BigInt(range.start), range.bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  }

  /** Gives everything back. No thread may use the arena any more. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const range of [...this.ranges.used]) this.release(range);
    idle.push(this.memory);
  }
}

function takeMemory(pages: number): WebAssembly.Memory {
  const at = idle.findIndex((memory) => memory.buffer.byteLength === pages * WASM_PAGE_BYTES);
  const [used] = at < 0 ? [] : idle.splice(at, 1);
  if (used) return used;
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    const message = `arena of ${pages / 16} MiB: the system gives no address space for it`;
    const fix =
      "choose a smaller arenaMib, or raise the limit (ulimit -v unlimited, vm.overcommit_memory=0 or 1)";
    throw new PollmodeError("ARENA_ADDRESS_SPACE", message, fix, { cause });
  }
}
