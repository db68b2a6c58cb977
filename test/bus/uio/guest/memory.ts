// What the kernel does to hugepages that a device knows by their physical addresses, pinned and not: each is made to
// leave its place, as when memory fails (soft offlining). Prints where they were and where they are.
import { writeFileSync } from "node:fs";
import { unpin } from "../../../../src/libc/pin.ts";
import { MIB } from "../../../../src/limits.ts";
import { Arena } from "../../../../src/memory/arena.ts";
import { IovaMap } from "../../../../src/memory/iova.ts";
import { freeHugepages } from "../../../../src/memory/system.ts";
import { dmaZone } from "../../../../src/memory/zone.ts";
import { print } from "../../vfio/guest/environment.ts";

/** What the kernel answers when it is to move the page at this address. */
function moveAway(address: bigint): string {
  try {
    writeFileSync("/sys/devices/system/memory/soft_offline_page", `0x${address.toString(16)}`);
    return "moved";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

function trial(pinned: boolean): unknown {
  const arena = new Arena(64 * MIB);
  const warnings: string[] = [];
  const dma = dmaZone(arena, { bytes: 4 * MIB, noHuge: false, warn: (text) => void warnings.push(text) });
  arena.u8.set(Buffer.from("here"), dma.range.start);
  const { pages, unpinned, fds } = new IovaMap("pa", dma);
  if (!pinned) unpin(fds[1]!);
  const answer = moveAway(pages![0]!);
  const after = new IovaMap("pa", dma).pages!; // pins where they are now
  const hex = (page: bigint) => `0x${page.toString(16)}`;
  const content = Buffer.from(arena.u8.slice(dma.range.start, dma.range.start + 4)).toString();
  if (!pinned) unclosed(dma);
  dma.close();
  arena.close();
  return {
    isPinned: unpinned === undefined,
    answer,
    before: pages!.map(hex),
    after: after.map(hex),
    content,
    warnings,
  };
}

/** The first map's pin is gone already: its zone must not give it back again. */
function unclosed(dma: object): void {
  const { closing } = dma as { closing: unknown[] };
  closing.shift();
}

const free = freeHugepages();
const moved = trial(false);
const stayed = trial(true);
print({ moved, stayed, lost: free - freeHugepages() });
