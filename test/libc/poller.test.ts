import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import t from "tap";
import { POLLHUP, POLLIN, POLLNVAL, POLLOUT } from "../../src/libc/abi.ts";
import { close, eventfd, eventfdDrain, eventfdWrite, socketpair } from "../../src/libc/libc.ts";
import { Poller } from "../../src/libc/poller.ts";

const openFds = () => readdirSync("/proc/self/fd").length;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function quietPoller(errors: string[] = []): Poller {
  return new Poller((error) => errors.push(error.message));
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1000) throw new Error("it does not come");
    await pause(2);
  }
}

t.test("readiness reaches its callback, again and again", async (t) => {
  const before = openFds();
  const poller = quietPoller();
  const fds = [eventfd(), eventfd()];
  const found: string[] = [];
  fds.forEach((fd, k) => {
    poller.add(fd, POLLIN, (revents) => found.push(`${k}:${revents}:${eventfdDrain(fd)}`));
  });
  eventfdWrite(fds[1]!, 5n);
  await until(() => found.length === 1);
  eventfdWrite(fds[0]!, 6n);
  await until(() => found.length === 2);
  eventfdWrite(fds[1]!, 7n);
  await until(() => found.length === 3);
  t.same(found, ["1:1:5", "0:1:6", "1:1:7"]);
  poller.close();
  fds.forEach(close);
  await until(() => openFds() <= before);
  t.pass("nothing is left open");
});

t.test("events change while a poll is under way", async (t) => {
  const poller = quietPoller();
  const [a, b] = socketpair();
  const found: number[] = [];
  poller.add(a, POLLIN, (revents) => {
    found.push(revents);
    poller.modify(a, POLLIN);
  });
  await pause(20);
  t.same(found, []);
  poller.modify(a, POLLOUT);
  await until(() => found.length === 1);
  t.same(found, [POLLOUT]);
  close(b);
  await until(() => found.length >= 2);
  t.ok(found[1]! & POLLHUP);
  poller.close();
  close(a);
});

t.test("a callback that was removed is not called, not even in the same round", async (t) => {
  const poller = quietPoller();
  const fds = [eventfd(1), eventfd(1)];
  let calls = 0;
  for (const fd of fds) {
    poller.add(fd, POLLIN, () => {
      calls++;
      for (const one of fds) poller.remove(one);
    });
  }
  await until(() => calls > 0);
  await pause(20);
  t.equal(calls, 1);
  poller.close();
  fds.forEach(close);
});

t.test("an fd's number may be another file's before the old poll returns", async (t) => {
  const poller = quietPoller();
  const first = eventfd();
  poller.add(first, POLLIN, () => t.fail("the old callback"));
  await pause(10);
  eventfdWrite(first);
  poller.remove(first);
  close(first);
  const second = eventfd();
  t.equal(second, first, "the kernel gave the same number");
  let calls = 0;
  poller.add(second, POLLIN, () => {
    calls++;
    eventfdDrain(second);
  });
  await pause(30);
  t.equal(calls, 0, "the old file's readiness is not the new one's");
  eventfdWrite(second);
  await until(() => calls === 1);
  poller.close();
  close(second);
});

t.test("faults", async (t) => {
  const errors: string[] = [];
  const poller = quietPoller(errors);
  const fd = eventfd(1);
  let calls = 0;
  poller.add(fd, POLLIN, () => {
    calls++;
    if (calls === 3) poller.remove(fd);
    throw new Error(`call ${calls}`);
  });
  t.throws(() => poller.add(fd, POLLIN, () => {}), { code: "POLLER_BUSY" });
  t.throws(() => poller.modify(12345, POLLIN), { code: "POLLER_UNKNOWN" });
  poller.remove(12345);
  await until(() => errors.length === 3);
  t.same(errors, ["call 1", "call 2", "call 3"]);
  let bad = 0;
  poller.add(999, POLLIN, (revents) => {
    bad = revents;
  });
  await until(() => bad !== 0);
  t.equal(bad, POLLNVAL);
  poller.add(999, POLLIN, () => {});
  t.pass("a closed fd is dropped");
  poller.close();
  poller.close();
  t.throws(() => poller.add(fd, POLLIN, () => {}), { code: "POLLER_CLOSED" });
  close(fd);
});

t.test("a callback may close the poller", async (t) => {
  const poller = quietPoller();
  const fd = eventfd(1);
  await new Promise<void>((resolve) => {
    poller.add(fd, POLLIN, () => {
      poller.close();
      resolve();
    });
  });
  t.throws(() => poller.add(fd, POLLIN, () => {}), { code: "POLLER_CLOSED" });
  close(fd);
});

t.test("the process ends by itself without fds, and at once on exit and on an exception", async (t) => {
  const libc = JSON.stringify(new URL("../../src/libc/libc.js", import.meta.url).href);
  const module = JSON.stringify(new URL("../../src/libc/poller.js", import.meta.url).href);
  const start = `import { Poller } from ${module}; import { eventfd } from ${libc};
    const poller = new Poller(() => {}); const fd = eventfd(); poller.add(fd, 1, () => {});`;
  for (const [end, status] of [
    ["setTimeout(() => poller.remove(fd), 30)", 0],
    ["setTimeout(() => poller.close(), 30)", 0],
    ["setTimeout(() => process.exit(3), 30)", 3],
    ["setTimeout(() => { throw new Error('x'); }, 30)", 1],
  ] as const) {
    const child = spawnSync(process.execPath, ["--input-type=module", "-e", `${start} ${end};`], {
      timeout: 20_000,
    });
    t.equal(child.status, status, end);
  }
});
