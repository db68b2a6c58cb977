// A queue's interrupt stays the same fd while what raises it comes and goes, and no event is lost on the way.

import { writeSync } from "node:fs";
import t from "tap";
import { drainInterrupt, waitInterrupts } from "../../src/bus/interrupt.ts";
import { RxInterrupts } from "../../src/ethdev/rx-interrupts.ts";
import { close, eventfd, eventfdDrain, eventfdWrite, socketpair } from "../../src/libc/libc.ts";
import { openFds } from "../vhostuser/peers.ts";

const wakeFd = eventfd();
t.teardown(() => close(wakeFd));

/** Queues whose interrupts have fired; that is taken back. */
function fired(interrupts: RxInterrupts, queues: number): number[] {
  const lines = Array.from({ length: queues }, (_, queue) => interrupts.line(queue));
  const found = waitInterrupts(lines, wakeFd, 0);
  for (const line of found) drainInterrupt(line);
  return found.map((line) => lines.indexOf(line));
}

t.test("one queue's fd fires that queue, each time", async (t) => {
  const interrupts = new RxInterrupts("net_test0");
  interrupts.configure(2);
  const fds = [eventfd(), eventfd()];
  fds.forEach((fd, queue) => {
    interrupts.watch(queue, fd);
  });
  t.same(fired(interrupts, 2), []);
  for (let k = 0; k < 3; k++) {
    eventfdWrite(fds[1]!); // nobody reads it: its counter grows
    t.same(fired(interrupts, 2), [1]);
    t.same(fired(interrupts, 2), []);
  }
  eventfdWrite(fds[0]!);
  eventfdWrite(fds[1]!);
  t.same(fired(interrupts, 2), [0, 1]);
  interrupts.ring(0);
  t.same(fired(interrupts, 2), [0]);
  t.equal(eventfdDrain(fds[1]!), 4n);
  interrupts.close();
  fds.forEach(close);
});

t.test("fds come and go under the same line", async (t) => {
  const interrupts = new RxInterrupts("net_test0");
  interrupts.configure(1);
  const { fd } = interrupts.line(0);
  const first = eventfd();
  interrupts.watch(0, first);
  interrupts.unwatch();
  eventfdWrite(first);
  t.same(fired(interrupts, 1), [], "no longer watched, though it is open");
  interrupts.unwatch(0);
  const second = eventfd(1);
  interrupts.watch(0, second);
  t.same(fired(interrupts, 1), [0], "it was readable before");
  interrupts.unwatch(0);
  close(second);
  const [near, far] = socketpair();
  interrupts.watch(0, near);
  writeSync(far, "x");
  t.same(fired(interrupts, 1), [0]);
  close(far);
  t.same(fired(interrupts, 1), [0]);
  t.same(fired(interrupts, 1), [], "an end that nobody takes notice of fires once");
  t.equal(interrupts.line(0).fd, fd);
  interrupts.unwatch();
  close(near);
  t.throws(() => interrupts.watch(0, near), { code: "EBADF" });
  interrupts.close();
  close(first);
});

t.test("without rxInterrupts nothing is open, and whoever asks is told", async (t) => {
  const before = openFds();
  const interrupts = new RxInterrupts("net_test0");
  interrupts.watch(0, wakeFd);
  interrupts.ring(0);
  interrupts.unwatch(0);
  const expected = { code: "NOT_SUPPORTED", message: /net_test0: receive queue 0/, fix: /rxInterrupts/ };
  t.throws(() => interrupts.line(0), expected);
  interrupts.configure(4);
  interrupts.configure(1);
  t.throws(() => interrupts.line(1), { code: "NOT_SUPPORTED" });
  interrupts.close();
  interrupts.close();
  t.equal(openFds(), before);
});
