// What keeps memory safe from a device without an IOMMU when its program dies, by kill -9 too. Nobody resets the device
// then: it is the kernel's release of the device's fd (/dev/uioN, or VFIO's) that clears the bus master bit. That is a
// configuration write, and it completes after all memory writes that the device sent before it (PCI Express Base 5.0,
// 2.4.1): from then on memory is safe, and until then it must not be given to others.
//
// do_exit() takes the address space down first (exit_mm) and files afterwards (exit_files): the zone's hugepages are
// kept by the fds that stand for them. close_files() goes through the fds upwards, but puts off each release as task
// work, and task work runs last in, first out (task_work_run, since Linux 4.3): the highest fd is released first. So
// the device's fd has to be above those of the memory. It often is by itself; not where a lower one was free.
// test/bus/uio/uio.bed.test.ts watches the kernel do it.
import { closeSync } from "node:fs";
import { dup } from "../libc/libc.ts";
import type { IovaMap } from "../memory/iova.ts";

/** The open file of a device by an fd above those that keep its memory. Takes `fd` over. */
export function aboveMemory(fd: number, { fds }: IovaMap): number {
  const highest = Math.max(...fds);
  if (fd > highest) return fd;
  try {
    return dup(fd, highest + 1);
  } finally {
    closeSync(fd); // the same open file: nothing is released by this
  }
}
