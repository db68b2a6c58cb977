// Waiting for interrupts, taking them back and letting them fire again, with eventfds and pipes in their place.
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import t from "tap";
import { drainInterrupt, rearmInterrupt, waitInterrupts } from "../../src/bus/interrupt.ts";
import type { InterruptLine } from "../../src/bus/pci-function.ts";
import { close, eventfd, eventfdWrite } from "../../src/libc/libc.ts";

const wakeFd = eventfd();
const folder = mkdtempSync(join(tmpdir(), "pollmode-interrupt-"));
t.teardown(() => {
  close(wakeFd);
  rmSync(folder, { recursive: true });
});

function timed<T>(work: () => T): { result: T; ms: number } {
  const start = performance.now();
  return { result: work(), ms: performance.now() - start };
}

/** Stands for /dev/uioN: non-blocking, 4 bytes an interrupt. */
function uioLine(t: { teardown(done: () => void): unknown }): InterruptLine {
  const path = join(folder, `uio${Math.random()}`);
  execFileSync("mkfifo", [path]);
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  t.teardown(() => closeSync(fd));
  return { fd, readBytes: 4, rearm: { by: "uio-write", fd } };
}

function vfioLine(t: { teardown(done: () => void): unknown }): InterruptLine {
  const fd = eventfd();
  t.teardown(() => close(fd));
  return { fd, readBytes: 8, rearm: undefined };
}

t.test("the lines that have fired, and no others", async (t) => {
  const lines = [vfioLine(t), uioLine(t), vfioLine(t)];
  t.same(waitInterrupts(lines, wakeFd, 0), []);
  t.same(lines.map(drainInterrupt), [false, false, false]);
  eventfdWrite(lines[2]!.fd);
  writeSync(lines[1]!.fd, Buffer.from(Int32Array.of(7).buffer));
  t.same(waitInterrupts(lines, wakeFd, 1000), [lines[1], lines[2]]);
  t.same(waitInterrupts(lines, wakeFd, 1000), [lines[1], lines[2]], "until they are drained");
  t.same(lines.map(drainInterrupt), [false, true, true]);
  t.same(waitInterrupts(lines, wakeFd, 0), []);
});

t.test("a wait ends at its time, or by the wake, which is taken back", async (t) => {
  const lines = [vfioLine(t)];
  t.ok(timed(() => waitInterrupts(lines, wakeFd, 50)).ms >= 45);
  eventfdWrite(wakeFd);
  const woken = timed(() => waitInterrupts(lines, wakeFd, 10_000));
  t.same(woken.result, []);
  t.ok(woken.ms < 5000);
  t.ok(timed(() => waitInterrupts(lines, wakeFd, 50)).ms >= 45, "once");
});

t.test("another thread's interrupt", async (t) => {
  const line = vfioLine(t);
  const url = new URL("../../src/libc/libc.js", import.meta.url).href;
  const code = `import(${JSON.stringify(url)}).then(({ eventfdWrite }) => eventfdWrite(${line.fd}))`;
  const worker = new Worker(code, { eval: true });
  t.same(waitInterrupts([line], wakeFd, 10_000), [line]);
  await worker.terminate();
});

t.test("rearmed by a write to /dev/uioN, or by the command register alone", async (t) => {
  const uio = uioLine(t);
  rearmInterrupt(uio);
  t.ok(drainInterrupt(uio), "4 bytes were written");
  const path = join(folder, "config");
  writeFileSync(path, Buffer.from([0x86, 0x80, 0xd3, 0x10, 0x06, 0x05, 0x10, 0x00]));
  const fd = openSync(path, "r+");
  t.teardown(() => closeSync(fd));
  rearmInterrupt({ fd: uio.fd, readBytes: 4, rearm: { by: "config-command", fd } });
  t.equal(
    readFileSync(path).toString("hex"),
    "8680d31006011000",
    "PCI_COMMAND_INTX_DISABLE is cleared, nothing else",
  );
  rearmInterrupt({ ...uio, rearm: undefined });
  t.notOk(drainInterrupt(uio));
});

t.test("a device that is gone is an error", async (t) => {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY); // reads of it fail
  t.teardown(() => closeSync(fd));
  t.throws(() => drainInterrupt({ fd, readBytes: 4, rearm: undefined }), { code: "EISDIR" });
});
