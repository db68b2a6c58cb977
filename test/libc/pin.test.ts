// Pinned memory: the kernel counts it as locked, until it is given back. Where io_uring is forbidden, an error.
import { readFileSync } from "node:fs";
import t from "tap";
import { PollmodeError } from "../../src/errors.ts";
import { MAP_ANONYMOUS, MAP_POPULATE, MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../../src/libc/abi.ts";
import { getSeals, mmap, munmap } from "../../src/libc/libc.ts";
import { pin, unpin } from "../../src/libc/pin.ts";

const bytes = 1 << 20;
const address = mmap(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
t.teardown(() => munmap(address, bytes));

/** KiB that are pinned (VmPin). */
const pinnedKib = () => Number(/^VmPin:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);

function refusal(): string | undefined {
  try {
    unpin(pin(address, bytes));
    return undefined;
  } catch (error) {
    return (error as PollmodeError).code;
  }
}

const refused = refusal();

t.test(
  "pinned until it is given back",
  { skip: refused && `io_uring is not to be had: ${refused}` },
  async (t) => {
    const before = pinnedKib();
    const fd = pin(address, bytes);
    t.ok(pinnedKib() >= before + bytes / 1024, `${pinnedKib()} KiB, ${before} before`);
    unpin(fd);
    t.equal(pinnedKib(), before);
    t.throws(() => getSeals(fd), { code: "EBADF" });
    t.throws(() => unpin(fd), { code: "EBADF" });
  },
);

t.test("what cannot be pinned is an error, and leaves no fd", async (t) => {
  try {
    pin(0x1000n, bytes);
    t.fail("pinned what is not there");
  } catch (error) {
    t.ok(error instanceof PollmodeError);
    t.match((error as PollmodeError).code, /^(EFAULT|ENOMEM|EPERM|ENOSYS|EACCES)$/);
    t.match((error as Error).message, /^io_uring_(setup|register)/);
  }
});
