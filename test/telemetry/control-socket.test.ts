// The control socket: answers, and clients that die, flood, hang and talk nonsense.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { PollmodeError } from "../../src/errors.ts";
import { Poller } from "../../src/libc/poller.ts";
import { CONTROL_CLIENTS_MAX, CONTROL_LINE_BYTES_MAX } from "../../src/limits.ts";
import { type ControlClient, ControlSocket } from "../../src/telemetry/control-socket.ts";

t.setTimeout(30_000);

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function serve(t: { teardown(work: () => void): void }) {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-control-"));
  const poller = new Poller(() => {});
  const gone: string[] = [];
  const clients: ControlClient[] = [];
  const path = join(folder, "control.sock");
  const socket = new ControlSocket(path, poller, {
    echo: (params) => ({ result: params }),
    big: () => ({ result: "x".repeat(100_000) }),
    later: async () => {
      await pause(20);
      return { result: "later" };
    },
    fail: () => {
      throw new PollmodeError("SOME_CODE", "it failed", "mend it");
    },
    crash: () => {
      throw new TypeError("a bug");
    },
    watch: (_params, client) => {
      clients.push(client);
      client.onGone(() => gone.push("gone"));
      return { result: {} };
    },
  });
  t.teardown(() => {
    socket.close();
    poller.close();
    rmSync(folder, { recursive: true });
  });
  return { path, gone, clients };
}

/** A client that writes raw text and collects lines. */
class Raw {
  readonly socket: Socket;
  readonly lines: Record<string, unknown>[] = [];
  closed = false;
  private rest = "";

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on("error", () => {});
    this.socket.on("close", () => (this.closed = true));
    this.socket.on("data", (chunk) => {
      const parts = (this.rest + chunk.toString()).split("\n");
      this.rest = parts.pop()!;
      for (const part of parts) this.lines.push(JSON.parse(part));
    });
  }

  async until(what: () => boolean, ms = 3000): Promise<boolean> {
    for (const end = Date.now() + ms; Date.now() < end && !what(); ) await pause(2);
    return what();
  }
}

t.test("requests are answered in order, errors by code, message and fix", async (t) => {
  const { path } = serve(t);
  t.equal(statSync(path).mode & 0o777, 0o600);
  const raw = new Raw(path);
  t.teardown(() => raw.socket.destroy());
  const requests = [
    { id: 1, method: "later" },
    { id: 2, method: "echo", params: { a: [1, "ü"] } },
    { id: 3, method: "fail" },
    { id: 4, method: "crash" },
    { id: 5, method: "nothing" },
    { id: 6, method: "toString" },
    { method: "echo" },
    [],
    { id: 7, method: "echo", params: [] },
    null,
  ];
  const text = requests.map((request) => `${JSON.stringify(request)}\n`).join("");
  for (let at = 0; at < text.length; at += 7) raw.socket.write(text.slice(at, at + 7));
  await raw.until(() => raw.lines.length === requests.length);
  t.match(raw.lines, [
    { id: 1, result: "later" },
    { id: 2, result: { a: [1, "ü"] } },
    { id: 3, error: { code: "SOME_CODE", message: "it failed", fix: "mend it" } },
    { id: 4, error: { code: "CONTROL_FAILED", message: "TypeError: a bug" } },
    { id: 5, error: { code: "CONTROL_REQUEST", fix: /methods: echo, big/ } },
    { id: 6, error: { code: "CONTROL_REQUEST" } },
    { id: null, error: { code: "CONTROL_REQUEST" } },
    { id: null, error: { code: "CONTROL_REQUEST" } },
    { id: 7, error: { code: "CONTROL_REQUEST" } },
    { id: null, error: { code: "CONTROL_REQUEST" } },
  ]);
});

t.test("clients that break the rules lose their connection, others go on", async (t) => {
  const { path, gone } = serve(t);
  const good = new Raw(path);
  t.teardown(() => good.socket.destroy());
  let id = 0;
  const alive = async (what: string) => {
    good.socket.write(`{"id":${++id},"method":"echo"}\n`);
    t.ok(await good.until(() => good.lines.at(-1)?.id === id), what);
  };
  await alive("at first");

  for (const nonsense of ["hello\n", "\x00\xff\xfe\n", "{\n", '{"id":1\n']) {
    const bad = new Raw(path);
    bad.socket.write(Buffer.from(nonsense, "latin1"));
    t.ok(await bad.until(() => bad.closed), JSON.stringify(nonsense));
  }
  const long = new Raw(path);
  for (let k = 0; k < CONTROL_LINE_BYTES_MAX / 65536 + 2; k++) long.socket.write("x".repeat(65536));
  t.ok(await long.until(() => long.closed), "a line without end");
  await alive("after nonsense");

  // it asks for more than it reads: 20,000 answers of 100 kB
  const greedy = new Raw(path);
  greedy.socket.pause();
  for (let k = 0; k < 20_000; k++) greedy.socket.write('{"id":1,"method":"big"}\n');
  await pause(200);
  await alive("while one does not read its answers");
  greedy.socket.destroy();

  const watcher = new Raw(path);
  watcher.socket.write('{"id":1,"method":"watch"}\n{"id":2,"meth');
  await watcher.until(() => watcher.lines.length === 1);
  watcher.socket.destroy();
  t.ok(await good.until(() => gone.length === 1), "one that goes in the midst of a line is noticed");
  await alive("at last");
});

t.test("a flood does not stall the event loop", async (t) => {
  const { path } = serve(t);
  const raw = new Raw(path);
  t.teardown(() => raw.socket.destroy());
  raw.socket.write('{"id":1,"method":"echo"}\n'.repeat(20_000));
  let worst = 0;
  let last = performance.now();
  while (raw.lines.length < 20_000) {
    await pause(1);
    worst = Math.max(worst, performance.now() - last);
    last = performance.now();
    if (last > 25_000) break;
  }
  t.equal(raw.lines.length, 20_000);
  t.ok(worst < 200, `${worst} ms`);
});

t.test("more clients than there is room for are turned away, and let in again", async (t) => {
  const { path } = serve(t);
  const many: Raw[] = [];
  t.teardown(() => many.forEach(({ socket }) => void socket.destroy()));
  for (let k = 0; k < CONTROL_CLIENTS_MAX + 5; k++) {
    const raw = new Raw(path);
    many.push(raw);
    raw.socket.write(`{"id":${k},"method":"echo"}\n`);
    await raw.until(() => raw.closed || raw.lines.length === 1);
  }
  const [one] = many;
  await one!.until(() => many.filter(({ closed }) => closed).length === 5);
  t.equal(many.filter(({ closed }) => closed).length, 5);
  for (const { socket } of many) socket.destroy();
  await pause(50);
  const next = new Raw(path);
  t.teardown(() => next.socket.destroy());
  next.socket.write('{"id":1,"method":"echo"}\n');
  t.ok(await next.until(() => next.lines.length === 1));
});

t.test("events are told without being asked for", async (t) => {
  const { path, clients } = serve(t);
  const raw = new Raw(path);
  t.teardown(() => raw.socket.destroy());
  raw.socket.write('{"id":1,"method":"watch"}\n');
  await raw.until(() => raw.lines.length === 1);
  clients[0]!.tell({ event: "news", n: 1 });
  await raw.until(() => raw.lines.length === 2);
  t.same(raw.lines[1], { event: "news", n: 1 });
});
