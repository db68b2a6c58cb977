// A guest's memory, laid over the arena: each region's file is mapped, and the table that hot-chain.ts translates by is
// written. Regions are what a peer says, so each is checked against its file before it is mapped.
import { closeSync, fstatSync } from "node:fs";
import { PollmodeError } from "../../src/errors.ts";
import { F_SEAL_SHRINK, MAP_SHARED } from "../../src/libc/abi.ts";
import { getSeals } from "../../src/libc/libc.ts";
import { HUGEPAGE_BYTES } from "../../src/limits.ts";
import type { Arena } from "../../src/memory/arena.ts";
import type { Range } from "../../src/memory/ranges.ts";
import { alignUp } from "../../src/memory/ranges.ts";
import type { Zone } from "../../src/memory/zone.ts";
import type { BackendRegion } from "../../src/vhostuser/memory-table.ts";
import { Region } from "./layout.ts";

interface Mapped {
  readonly region: BackendRegion;
  readonly range: Range;
  /** Arena offset of the region's first byte. */
  readonly offset: number;
}

export class GuestMemory {
  /** Arena offset of the region table. */
  readonly table: number;
  private readonly zone: Zone;
  private readonly arena: Arena;
  private mapped: Mapped[] = [];

  constructor(zone: Zone) {
    this.zone = zone;
    this.arena = zone.arena;
    this.table = zone.allocate("regions of a guest", (1 + Region.MAX) * Region.BYTES);
  }

  /**
   * Changes to the given regions: those that were there before stay mapped, the fds of new ones are closed in any case.
   * No lcore uses the memory now. If a region cannot be mapped, all is as before.
   */
  replace(regions: readonly BackendRegion[], warn: (text: string) => void): void {
    const kept = this.mapped.filter(({ region }) => regions.includes(region));
    const fresh = regions.filter((region) => !kept.some((one) => one.region === region));
    const added: Mapped[] = [];
    try {
      if (regions.length > Region.MAX) {
        const message = `the guest has ${regions.length} memory regions, at most ${Region.MAX} are possible`;
        throw new PollmodeError("GUEST_REGIONS", message, "give the guest its memory in fewer pieces");
      }
      for (const region of fresh) added.push(this.map(region, warn));
    } catch (error) {
      for (const { range } of added) this.arena.release(range);
      throw error;
    } finally {
      for (const { fd } of fresh) closeSync(fd);
    }
    for (const { region, range } of this.mapped) if (!regions.includes(region)) this.arena.release(range);
    this.mapped = [...kept, ...added];
    this.writeTable();
  }

  private map(region: BackendRegion, warn: (text: string) => void): Mapped {
    const { fd, size, mmapOffset } = region;
    const file = fstatSync(fd);
    const page = Math.max(4096, file.blksize);
    const end = mmapOffset + size;
    if (!file.isFile() || size === 0n || end > BigInt(file.size)) {
      const what = `${size} bytes at ${mmapOffset} of a file of ${file.size} bytes`;
      const fix = "the peer must share a memory file (memfd, hugetlbfs) that holds the whole region";
      throw new PollmodeError("GUEST_REGION", `a guest's memory region is not in its file: ${what}`, fix);
    }
    if (!sealedAgainstShrinking(fd)) {
      warn(
        "the guest's memory file is not sealed against shrinking: a peer that truncates it can end this process",
      );
    }
    const start = Number(mmapOffset) - (Number(mmapOffset) % page);
    const bytes = Math.min(alignUp(Number(end) - start, page), alignUp(file.size - start, 4096));
    const range = this.arena.reserve(`guest memory ${region.guestAddress}`, bytes, HUGEPAGE_BYTES);
    try {
      this.arena.overlay(range, fd, start, MAP_SHARED);
    } catch (error) {
      this.arena.release(range);
      throw error;
    }
    return { region, range, offset: range.start + Number(mmapOffset) - start };
  }

  private writeTable(): void {
    const words = this.arena.u32;
    this.mapped.forEach(({ region, offset }, k) => {
      const at = (this.table + (1 + k) * Region.BYTES) >>> 2;
      words[at] = Number(region.guestAddress & 0xffffffffn);
      words[at + 1] = Number(region.guestAddress >> 32n);
      words[at + 2] = Number(region.size);
      words[at + 3] = offset;
    });
    Atomics.store(words, this.table >>> 2, this.mapped.length);
  }

  /** Arena offset of `bytes` at a front-end's user address: where SET_VRING_ADDR says that a ring lies. */
  ringOffset(what: string, address: bigint, bytes: number, align: number): number {
    for (const { region, offset } of this.mapped) {
      const into = address - region.userAddress;
      if (into < 0n || into + BigInt(bytes) > region.size) continue;
      const at = offset + Number(into);
      if (at % align === 0) return at;
      const message = `the guest's ${what} at 0x${address.toString(16)} is not aligned to ${align} bytes`;
      throw new PollmodeError("RING_ALIGNMENT", message, "align the rings as virtio 1.2, 2.7 asks");
    }
    const message = `the guest's ${what} at 0x${address.toString(16)} lies outside its shared memory`;
    throw new PollmodeError(
      "RING_ADDRESS",
      message,
      "the peer must put its rings into memory that it shares",
    );
  }

  clear(): void {
    Atomics.store(this.arena.u32, this.table >>> 2, 0);
    for (const { range } of this.mapped) this.arena.release(range);
    this.mapped = [];
  }

  free(): void {
    this.clear();
    this.zone.free(this.table);
  }
}

/** Whether the file is a memfd that nobody can truncate. Other files (hugetlbfs) know no seals. */
function sealedAgainstShrinking(fd: number): boolean {
  try {
    return (getSeals(fd) & F_SEAL_SHRINK) !== 0;
  } catch {
    return false;
  }
}
