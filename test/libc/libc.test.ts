import { closeSync, openSync, readdirSync, readSync, writeSync } from "node:fs";
import { Worker } from "node:worker_threads";
import t from "tap";
import { PollmodeError } from "../../src/errors.ts";
import * as abi from "../../src/libc/abi.ts";
import { errnoName, errnoText, foreignBytes, foreignString } from "../../src/libc/foreign.ts";
import * as libc from "../../src/libc/libc.ts";

function failure(action: () => unknown): PollmodeError {
  try {
    action();
  } catch (error) {
    if (error instanceof PollmodeError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

t.test("a failure carries call, thing, errno's name and a fix", async (t) => {
  const seals = failure(() => libc.addSeals(-1, abi.F_SEAL_GROW));
  t.equal(seals.code, "EBADF");
  t.match(seals.message, /fcntl F_ADD_SEALS\(fd -1, .*\): EBADF, Bad file descriptor/);
  t.ok(seals.fix);
  t.match(
    failure(() => libc.mmap(0, abi.PROT_READ, abi.MAP_PRIVATE | abi.MAP_ANONYMOUS, -1)),
    { code: "EINVAL" },
  );
  t.match(
    failure(() => libc.munmap(1n, 4096)),
    { code: "EINVAL" },
  );
  t.match(
    failure(() => libc.close(-1)),
    { code: "EBADF" },
  );
  t.match(
    failure(() => libc.dup(-1)),
    { code: "EBADF" },
  );
  t.match(
    failure(() => libc.fileSize(99_999)),
    { code: "EBADF" },
  );
  t.match(
    failure(() => libc.flock(-1, abi.LOCK_EX)),
    { code: "EBADF" },
  );
  t.match(
    failure(() => libc.memfdCreate("x", 0x40)),
    { code: "EINVAL", message: /memfd_create\(x/ },
  );
  t.match(
    failure(() => libc.pinThread([1023])),
    { code: "EINVAL", fix: /online/ },
  );
  t.match(
    failure(() => libc.pinThread([1024])),
    { code: "EINVAL", fix: /CPUs 0 to 1023/ },
  );
});

t.test("errno's names and texts are libc's own", async (t) => {
  t.equal(errnoName(13), "EACCES");
  t.equal(errnoName(11), "EAGAIN");
  t.equal(errnoText(2), "No such file or directory");
  t.equal(errnoName(99999), "ERRNO_99999");
  t.equal(foreignString(0n), undefined);
  const bytes = Buffer.from("foreign\0rest");
  t.equal(foreignString(libc.addressOf(bytes)), "foreign");
  t.equal(foreignBytes(libc.addressOf(bytes), 4).toString(), "fore");
});

t.test("a memfd over a SharedArrayBuffer's pages", async (t) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const view = new Uint8Array(memory.buffer);
  const address = libc.addressOf(view);
  t.equal(address % 4096n, 0n);
  t.equal(libc.addressOf(view.subarray(5)), address + 5n);
  const fd = libc.memfdCreate("test", abi.MFD_CLOEXEC | abi.MFD_ALLOW_SEALING);
  t.teardown(() => closeSync(fd));
  libc.ftruncate(fd, 8192);
  t.equal(libc.fileSize(fd), 8192);
  libc.mmapFixed(address, 4096, abi.PROT_READ | abi.PROT_WRITE, abi.MAP_SHARED, fd, 4096);
  view[3] = 42;
  const read = Buffer.alloc(1);
  readSync(fd, read, 0, 1, 4099);
  t.equal(read[0], 42);
  libc.addSeals(fd, abi.F_SEAL_SHRINK | abi.F_SEAL_GROW);
  t.equal(libc.getSeals(fd), abi.F_SEAL_SHRINK | abi.F_SEAL_GROW);
  t.match(
    failure(() => libc.ftruncate(fd, 0)),
    { code: "EPERM" },
  );
  const flags = abi.MAP_PRIVATE | abi.MAP_ANONYMOUS;
  libc.mmapFixed(address, 4096, abi.PROT_READ | abi.PROT_WRITE, flags, -1);
  t.equal(view[3], 0);
  libc.madvise(address, 4096, abi.MADV_DONTNEED);
});

t.test("mmap where the kernel likes, and munmap", async (t) => {
  const address = libc.mmap(4096, abi.PROT_READ | abi.PROT_WRITE, abi.MAP_PRIVATE | abi.MAP_ANONYMOUS, -1);
  foreignBytes(address, 4096)[0] = 1;
  libc.munmap(address, 4096);
  t.throws(() => libc.munmap(1n, 4096), { code: "EINVAL" }, "not a page's start");
});

t.test("eventfds, dup and poll", async (t) => {
  const fd = libc.eventfd();
  const copy = libc.dup(fd);
  t.equal(libc.eventfdDrain(fd), 0n);
  t.same(libc.poll([{ fd, events: abi.POLLIN }], 0), [0]);
  t.ok(libc.eventfdWrite(fd, 3n));
  t.ok(libc.eventfdWrite(copy));
  t.same(libc.poll([{ fd, events: abi.POLLIN }], 1000), [abi.POLLIN]);
  t.equal(libc.eventfdDrain(copy), 4n);
  t.ok(libc.eventfdWrite(fd, 0xffff_ffff_ffff_fffen));
  t.notOk(libc.eventfdWrite(fd), "a full counter does not block");
  t.equal(libc.fileSize(fd), undefined);
  libc.close(fd);
  libc.close(copy);
  t.match(
    failure(() => libc.eventfdWrite(fd)),
    { code: "EBADF" },
  );
  t.match(
    failure(() => libc.eventfdDrain(fd)),
    { code: "EBADF" },
  );
});

t.test("a file's lock is one open file's at a time", async (t) => {
  const path = t.testdir({ lock: "" });
  const [one, other] = [openSync(`${path}/lock`, "r"), openSync(`${path}/lock`, "r")];
  t.ok(libc.flock(one, abi.LOCK_EX | abi.LOCK_NB));
  t.notOk(libc.flock(other, abi.LOCK_EX | abi.LOCK_NB));
  closeSync(one);
  t.ok(libc.flock(other, abi.LOCK_EX | abi.LOCK_NB));
  closeSync(other);
});

t.test("non-blocking by force", async (t) => {
  const fd = libc.eventfd(0, abi.EFD_CLOEXEC);
  libc.setNonblocking(fd);
  t.equal(libc.eventfdDrain(fd), 0n, "a blocking read would never return");
  libc.close(fd);
});

t.test("threads", async (t) => {
  t.equal(libc.gettid(), process.pid);
  t.ok(readdirSync("/proc/self/task").includes(String(libc.gettid())));
  const cpus = libc.threadCpus();
  libc.pinThread([cpus[0]!]);
  t.same(libc.threadCpus(), [cpus[0]]);
  libc.pinThread(cpus);
  t.same(libc.threadCpus(), cpus);
});

t.test("every wrapper works in workers, errors and foreign strings too", async (t) => {
  const module = JSON.stringify(new URL("../../src/libc/libc.js", import.meta.url).href);
  const code = `import { parentPort } from "node:worker_threads";
    import * as libc from ${module};
    const fd = libc.eventfd();
    libc.eventfdWrite(fd, 7n);
    const [a, b] = libc.socketpair();
    libc.sendmsg(a, Buffer.from("x"), [fd]);
    const received = libc.recvmsg(b, Buffer.alloc(9), 8);
    const codes = [];
    for (let k = 0; k < 200; k++) try { libc.close(-1); } catch (error) { codes.push(error.code); }
    const counts = Number(libc.eventfdDrain(received.fds[0]));
    for (const one of [fd, a, b, ...received.fds]) libc.close(one);
    parentPort.postMessage({ counts, codes: [...new Set(codes)], tid: libc.gettid() });`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const answers = await Promise.all(
    Array.from({ length: 6 }, () => {
      const worker = new Worker(url);
      return new Promise<{ counts: number; codes: string[]; tid: number }>((resolve, reject) => {
        worker.once("message", resolve);
        worker.once("error", reject);
      });
    }),
  );
  for (const { counts, codes, tid } of answers) {
    t.equal(counts, 7);
    t.same(codes, ["EBADF"]);
    t.not(tid, process.pid);
  }
});

t.test("file descriptors and bytes cross a socket", async (t) => {
  const [a, b] = libc.socketpair();
  const memfds = [0, 1, 2].map((k) => libc.memfdCreate(`passed ${k}`, abi.MFD_CLOEXEC));
  memfds.forEach((fd, k) => {
    writeSync(fd, `content ${k}`);
  });
  t.equal(libc.recvmsg(b, Buffer.alloc(4), 8), undefined, "nothing has come");
  t.equal(libc.sendmsg(a, Buffer.from("hello"), memfds), 5);
  memfds.forEach(libc.close);
  const into = Buffer.alloc(16);
  const received = libc.recvmsg(b, into, 8)!;
  t.match(received, { bytes: 5, truncated: false, fds: { length: 3 } });
  t.equal(into.toString("latin1", 0, 5), "hello");
  received.fds.forEach((fd, k) => {
    const content = Buffer.alloc(9);
    readSync(fd, content, 0, 9, 0);
    t.equal(content.toString(), `content ${k}`);
    libc.close(fd);
  });
  libc.shutdown(a, abi.SHUT_RDWR);
  t.match(libc.recvmsg(b, into, 8), { bytes: 0, fds: [] });
  t.match(
    failure(() => libc.sendmsg(b, into)),
    { code: "EPIPE", fix: /start the peer again/ },
  );
  libc.close(a);
  libc.close(b);
});

t.test("more fds than room for them: the rest is dropped, and told", async (t) => {
  const [a, b] = libc.socketpair();
  const fd = libc.eventfd();
  const before = readdirSync("/proc/self/fd").length;
  for (const [sent, room] of [
    [2, 1],
    [9, 8],
    [253, 8],
    [1, 0],
  ] as const) {
    t.equal(libc.sendmsg(a, Buffer.of(1), new Array(sent).fill(fd)), 1);
    const received = libc.recvmsg(b, Buffer.alloc(1), room)!;
    t.match(received, { bytes: 1, truncated: true, fds: { length: room } });
    received.fds.forEach(libc.close);
  }
  t.match(
    failure(() => libc.sendmsg(a, Buffer.of(1), new Array(254).fill(fd))),
    { code: "EINVAL" },
  );
  t.equal(readdirSync("/proc/self/fd").length, before);
  for (const one of [a, b, fd]) libc.close(one);
});

t.test("socket paths", async (t) => {
  const fd = libc.unixSocket();
  t.match(
    failure(() => libc.connectUnixSocket(fd, "/nowhere/at/all")),
    {
      code: "ENOENT",
      message: /connect\(\/nowhere\/at\/all\): ENOENT/,
      fix: /path exists/,
    },
  );
  t.match(
    failure(() => libc.bindUnix(fd, "x".repeat(108))),
    { code: "ENAMETOOLONG", message: /108 bytes/ },
  );
  t.match(
    failure(() => libc.bindUnix(fd, "")),
    { code: "EINVAL" },
  );
  t.match(
    failure(() => libc.bindUnix(fd, "a\0b")),
    { code: "EINVAL" },
  );
  t.match(
    failure(() => libc.listen(-1, 1, "a path")),
    { code: "EBADF", message: /listen\(a path\)/ },
  );
  t.match(
    failure(() => libc.accept(fd, "a path")),
    { code: "EINVAL" },
  );
  libc.close(fd);
});
