// A program that leaves with an engine at work, however it leaves, ends at once, and its leftovers are no obstacle.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startScript } from "./children.ts";
import { temporaryFolder } from "./support.ts";

t.setTimeout(120_000);
const folder = temporaryFolder(t);
const socket = join(folder, "exit.sock");
const runtime =
  process.getuid?.() === 0 ? "/var/run/pollmode" : join(process.env.XDG_RUNTIME_DIR ?? "/tmp", "pollmode");
const prefix = `acceptance-exit-${process.pid}`;
t.teardown(() => rmSync(join(runtime, prefix), { recursive: true, force: true }));

const ways: { way: string; title: string; status: object; output?: RegExp; signal?: NodeJS.Signals }[] = [
  { way: "exit", title: "process.exit", status: { code: 7 } },
  {
    way: "throw",
    title: "an uncaught exception",
    status: { code: 1 },
    output: /an embedding program's own mistake/,
  },
  { way: "reject", title: "an unhandled rejection", status: { code: 1 }, output: /a forgotten rejection/ },
  { way: "stay", title: "SIGTERM", status: { signal: "SIGTERM" }, signal: "SIGTERM" },
  { way: "stay", title: "SIGINT", status: { signal: "SIGINT" }, signal: "SIGINT" },
  { way: "stay", title: "SIGHUP", status: { signal: "SIGHUP" }, signal: "SIGHUP" },
  { way: "stay", title: "SIGKILL", status: { signal: "SIGKILL" }, signal: "SIGKILL" },
  { way: "close", title: "close(), and nothing more to do", status: { code: 0, signal: null } },
];

for (const { way, title, status, output, signal } of ways) {
  t.test(title, async (t) => {
    await using child = startScript("stale-child", [socket, prefix, way]);
    await child.waitFor(/at work/, 20_000);
    const start = performance.now();
    if (signal) child.signal(signal);
    const ended = await child.endWithin(10_000);
    const ms = performance.now() - start;
    t.match(ended, status);
    t.ok(ms < 2_000, `it ended after ${Math.round(ms)} ms`);
    if (output) t.match(child.output, output);
    const left = [existsSync(socket) && "its socket", existsSync(join(runtime, prefix)) && "its directory"];
    t.comment(`it left ${left.filter(Boolean).join(" and ") || "nothing"}`);
    if (way === "close") t.same(left, [false, false]);
  });
}

t.test("after all that, the next start does not notice", async (t) => {
  await using child = startScript("stale-child", [socket, prefix, "close"]);
  await child.waitFor(/at work/, 20_000);
  t.match(await child.endWithin(5_000), { code: 0 });
  t.notOk(existsSync(socket));
  t.notOk(existsSync(join(runtime, prefix)));
});
