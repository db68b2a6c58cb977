// The back-end's list of the front-end's memory regions, and what makes a region acceptable.
import { PollmodeError } from "../errors.ts";
import { fileSize } from "../libc/libc.ts";
import type { RegionPayload } from "./protocol.ts";

/** A region as the back-end's owner gets it. */
export interface BackendRegion extends RegionPayload {
  fd: number;
}

const addressEnd = 1n << 64n;
/** off_t is signed. */
const fileEnd = 1n << 63n;
const fix = "check the peer's memory options (shared memory in a file: memory-backend-memfd,share=on)";

/** Throws unless `regions` can be mapped as they are, the regions in use (`others`) among them. */
export function checkRegions(
  name: string,
  regions: readonly RegionPayload[],
  fds: readonly number[],
  others: readonly RegionPayload[],
): void {
  const all = [...others];
  regions.forEach((region, at) => {
    const extent = `0x${region.guestAddress.toString(16)} + 0x${region.size.toString(16)}`;
    const where = `vhost-user ${name}: memory region ${extent}`;
    const problem = rangeProblem(region) ?? overlapProblem(region, all) ?? fileProblem(region, fds[at]!);
    if (problem) throw new PollmodeError("VHOST_REGION", `${where}: ${problem}`, fix);
    all.push(region);
  });
}

function rangeProblem({ guestAddress, userAddress, mmapOffset, size }: RegionPayload): string | undefined {
  if (size === 0n) return "it is empty";
  if (guestAddress + size > addressEnd) return "its guest addresses overflow";
  if (userAddress + size > addressEnd) return "its user addresses overflow";
  if (mmapOffset + size > fileEnd) return "its offsets in the file overflow";
  return undefined;
}

function overlapProblem(region: RegionPayload, others: readonly RegionPayload[]): string | undefined {
  for (const other of others) {
    if (overlap(region.guestAddress, region.size, other.guestAddress, other.size)) {
      return `its guest addresses overlap those of the region at 0x${other.guestAddress.toString(16)}`;
    }
    if (overlap(region.userAddress, region.size, other.userAddress, other.size)) {
      return `its user addresses overlap those of the region at 0x${other.guestAddress.toString(16)}`;
    }
  }
  return undefined;
}

function overlap(a: bigint, aSize: bigint, b: bigint, bSize: bigint): boolean {
  return a < b + bSize && b < a + aSize;
}

/** Beyond a file's end a mapping is a SIGBUS. (A peer can still shrink a file that is not sealed.) */
function fileProblem({ mmapOffset, size }: RegionPayload, fd: number): string | undefined {
  const bytes = fileSize(fd);
  if (bytes === undefined) return "its fd is no regular file (memfd, hugetlbfs, tmpfs)";
  if (BigInt(bytes) < mmapOffset + size)
    return `it ends at ${mmapOffset + size}, behind its file's ${bytes} bytes`;
  return undefined;
}

/** REM_MEM_REG names a region by guest address, user address and size. */
export function sameRegion(a: RegionPayload, b: RegionPayload): boolean {
  return a.guestAddress === b.guestAddress && a.userAddress === b.userAddress && a.size === b.size;
}
