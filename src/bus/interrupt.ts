// Interrupts as whoever waits for them sees them: fds that become readable. Any thread may call these; an lcore's
// worker does, with lines that were sent to it.
import { readSync, writeSync } from "node:fs";
import { POLLIN } from "../libc/abi.ts";
import { epollCollect } from "../libc/epoll.ts";
import { eventfdDrain, poll } from "../libc/libc.ts";
import type { InterruptLine } from "./pci-function.ts";
import { allowIntx } from "./uio/intx.ts";
import { unmaskIntx } from "./vfio/calls.ts";

/** irqcontrol's argument, an s32: the interrupt is on. */
const UIO_ON = Buffer.from(Int32Array.of(1).buffer);

/**
 * Lets a line fire again, where the kernel masks it each time. While the device still asserts INTx it fires at once, so
 * read its cause register first, which takes the assertion back.
 */
export function rearmInterrupt({ rearm }: InterruptLine): void {
  if (rearm?.by === "vfio-intx") unmaskIntx(rearm.fd);
  else if (rearm?.by === "config-command") allowIntx(rearm.fd);
  else if (rearm?.by === "uio-write") writeSync(rearm.fd, UIO_ON);
}

/** Takes back that a line has fired. False: it had not. */
export function drainInterrupt({ fd, readBytes }: InterruptLine): boolean {
  if (readBytes === 0) return epollCollect(fd) > 0;
  if (readBytes === 8) return eventfdDrain(fd) !== 0n;
  try {
    return readSync(fd, Buffer.alloc(readBytes)) === readBytes; // how often it has fired, ever
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
    throw error;
  }
}

/**
 * Blocks the calling thread until a line fires, `wakeFd` (an eventfd, which is drained) is written to, or the time is
 * up. Returns the lines that have fired, to be drained.
 */
export function waitInterrupts(
  lines: readonly InterruptLine[],
  wakeFd: number,
  timeoutMs: number,
): InterruptLine[] {
  const fds = [wakeFd, ...lines.map(({ fd }) => fd)];
  const [woken, ...fired] = poll(
    fds.map((fd) => ({ fd, events: POLLIN })),
    timeoutMs,
  );
  if (woken) eventfdDrain(wakeFd);
  return lines.filter((_, at) => fired[at]);
}
