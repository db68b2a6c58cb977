// Capability chains of VFIO's answers. They come from the kernel, but for a VFIO device that a program emulates
// (mdev, vfio-user) from that program too: nothing is believed before it has been checked.
import { PollmodeError } from "../../errors.ts";
import * as abi from "./abi.ts";

export interface Capability {
  readonly id: number;
  /** From its header to the answer's end. */
  readonly bytes: Buffer;
}

/** Usable IOVAs, both ends included. */
export interface IovaRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** Part of a region that can be mapped. */
export interface Area {
  readonly offset: number;
  readonly bytes: number;
}

function broken(what: string, why: string): PollmodeError {
  return new PollmodeError(
    "VFIO_ANSWER",
    `${what}: ${why}`,
    "report it to whoever wrote the kernel's driver",
  );
}

/** The chain of an answer, whose first header is at `first` (0: there is none). `what` names the thing asked. */
export function capabilitiesOf(answer: Buffer, first: number, what: string): Capability[] {
  const found: Capability[] = [];
  const seen = new Set<number>();
  for (let at = first; at !== 0; at = answer.readUInt32LE(at + abi.CAP_NEXT)) {
    if (at + abi.CAP_HEADER_BYTES > answer.length) {
      throw broken(what, `a capability at ${at}, the answer has ${answer.length} bytes`);
    }
    if (seen.has(at)) throw broken(what, `its capabilities form a loop at ${at}`);
    seen.add(at);
    found.push({ id: answer.readUInt16LE(at + abi.CAP_ID), bytes: answer.subarray(at) });
  }
  return found;
}

/** The elements of the array that a capability ends in, as two 64-bit numbers each. */
function pairs(bytes: Buffer, countAt: number, arrayAt: number, what: string): [bigint, bigint][] {
  if (bytes.length < arrayAt) throw broken(what, `a capability of ${bytes.length} bytes, it has ${arrayAt}`);
  const count = bytes.readUInt32LE(countAt);
  const room = Math.floor((bytes.length - arrayAt) / 16);
  if (count > room) throw broken(what, `a capability of ${count} elements, ${room} fit in the answer`);
  return Array.from({ length: count }, (_, at) => {
    const from = arrayAt + at * 16;
    return [bytes.readBigUInt64LE(from), bytes.readBigUInt64LE(from + 8)];
  });
}

/** The IOVAs that may be mapped; undefined from a kernel before 5.4, which does not tell. */
export function iovaRangesOf(chain: readonly Capability[], what: string): IovaRange[] | undefined {
  const found = chain.find(({ id }) => id === abi.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
  if (!found) return undefined;
  return pairs(found.bytes, abi.CAP_IOVA_COUNT, abi.CAP_IOVA_RANGES, what).map(([start, end]) => {
    if (end < start) throw broken(what, `an IOVA range that ends at ${end}, before its start ${start}`);
    return { start, end };
  });
}

/** How many more mappings the container may have; undefined from a kernel before 5.10. */
export function dmaAvailOf(chain: readonly Capability[], what: string): number | undefined {
  const found = chain.find(({ id }) => id === abi.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
  if (!found) return undefined;
  if (found.bytes.length < abi.CAP_DMA_AVAIL + 4) throw broken(what, "a capability without its number");
  return found.bytes.readUInt32LE(abi.CAP_DMA_AVAIL);
}

/** The parts of a region of `regionBytes` that can be mapped: all of it where the chain does not say. */
export function mappableAreasOf(chain: readonly Capability[], regionBytes: number, what: string): Area[] {
  const found = chain.find(({ id }) => id === abi.VFIO_REGION_INFO_CAP_SPARSE_MMAP);
  if (!found) return [{ offset: 0, bytes: regionBytes }];
  const areas = pairs(found.bytes, abi.CAP_SPARSE_COUNT, abi.CAP_SPARSE_AREAS, what);
  const sorted = areas
    .filter(([, bytes]) => bytes > 0n) // the kernel's way to say that nothing can be mapped
    .map(([offset, bytes]) => {
      if (offset + bytes > BigInt(regionBytes)) {
        throw broken(what, `${bytes} bytes at ${offset} to be mapped, the region has ${regionBytes}`);
      }
      return { offset: Number(offset), bytes: Number(bytes) };
    })
    .sort((a, b) => a.offset - b.offset);
  sorted.forEach((area, at) => {
    const before = sorted[at - 1];
    if (before && before.offset + before.bytes > area.offset) {
      throw broken(what, `two areas to be mapped overlap at ${area.offset}`);
    }
  });
  return sorted;
}
