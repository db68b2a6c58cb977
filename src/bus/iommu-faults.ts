// What the IOMMU stopped, as the kernel logs it. A NIC whose read or write was stopped often says nothing itself, so
// this is the surest sign that a descriptor points where it must not. Needs a readable /dev/kmsg (root, or
// kernel.dmesg_restrict=0); without it there is nothing to tell.
import { closeSync, constants, openSync, readSync } from "node:fs";

export interface IommuFault {
  /** PCI address with its domain. */
  readonly device: string;
  /** The IOVA that was not mapped. */
  readonly address: bigint;
  readonly access: "read" | "write";
}

/** One record of /dev/kmsg has at most CONSOLE_EXT_LOG_MAX bytes (Linux, include/linux/printk.h). */
const RECORD_BYTES = 8192;
/** Of one call: a flood of faults must not hold the main thread. */
const RECORDS_MAX = 4096;

/** drivers/iommu/intel/dmar.c, dmar_fault_do_one(). */
const intel = /DMAR: \[DMA (Read|Write)[^\]]*\] Request device \[([\da-f:.]+)\].*fault addr 0x([\da-f]+)/i;
/** drivers/iommu/amd/iommu.c, amd_iommu_report_page_fault(): bit 5 of the flags is RW. */
const amd =
  /AMD-Vi: Event logged \[IO_PAGE_FAULT .*?device=([\da-f:.]+) .*?address=0x([\da-f]+) flags=0x([\da-f]+)/i;

/** The fault that a line of the kernel's log tells of, if it does. */
export function parseIommuFault(line: string): IommuFault | undefined {
  const found = intel.exec(line);
  if (found) {
    const access = found[1]!.toLowerCase() === "write" ? "write" : "read";
    return { device: withDomain(found[2]!), address: BigInt(`0x${found[3]}`), access };
  }
  const other = amd.exec(line);
  if (!other) return undefined;
  const access = Number.parseInt(other[3]!, 16) & 0x20 ? "write" : "read";
  return { device: withDomain(other[1]!), address: BigInt(`0x${other[2]}`), access };
}

function withDomain(address: string): string {
  return /^[\da-f]{4,}:[\da-f]{2}:/i.test(address) ? address : `0000:${address}`;
}

/** The faults since it was made. */
export class IommuFaults {
  private fd: number | undefined;

  constructor(path = "/dev/kmsg") {
    try {
      this.fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      this.take(); // what was logged before is not ours
    } catch {
      // not readable for this user: see above
    }
  }

  /** Takes the faults that were logged since the last call. */
  take(): IommuFault[] {
    const faults: IommuFault[] = [];
    const record = Buffer.alloc(RECORD_BYTES);
    for (let k = 0; k < RECORDS_MAX && this.fd !== undefined; k++) {
      let bytes: number;
      try {
        bytes = readSync(this.fd, record);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EPIPE") continue; // records were overwritten unread
        break; // EAGAIN: that was all
      }
      if (bytes === 0) break;
      for (const line of record.toString("latin1", 0, bytes).split("\n")) {
        const fault = parseIommuFault(line);
        if (fault) faults.push(fault);
      }
    }
    return faults;
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
  }
}
