// Starting and stopping again and again, or in vain, leaves nothing behind; what a killed process left is no obstacle.
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Pollmode, type PollmodeOptions } from "../../src/index.ts";
import { startScript } from "./children.ts";
import { type Holdings, holdings } from "./leaks.ts";
import { pause, temporaryFolder } from "./support.ts";

t.setTimeout(280_000);
const folder = temporaryFolder(t);

for (const [what, engine] of [
  ["engines", "wasm"],
  ["ports", "wasm"],
  ["ports", "ts"],
] as const) {
  t.test(`100 starts and stops of ${what}, engine ${engine}`, async (t) => {
    await using child = startScript("restart-child", [what, engine], ["--expose-gc"]);
    const { code } = await child.endWithin(120_000);
    t.equal(code, 0, "it ends in order");
    const last = child.stdout.trim().split("\n").at(-1) || "{}";
    const { samples, faults } = JSON.parse(last) as { samples: Holdings[]; faults: string[] };
    t.same(faults, []);
    const [, , early] = samples;
    const late = samples.at(-1);
    if (!early || !late) throw new Error(child.output);
    t.comment(`after 30: ${JSON.stringify(early)}, after 100: ${JSON.stringify(late)}`);
    t.ok(late.fds <= early.fds, "no more descriptors");
    t.equal(late.memfds, early.memfds, "no more memory files are mapped");
    t.ok(late.threads <= early.threads, "no more threads");
    // V8 maps and unmaps its own heap as it likes; and koffi keeps 3 mappings (its call stack, a guard page, its
    // heap: address space alone) of each worker thread that has called through it, when that has ended
    const koffi = what === "engines" ? 70 * 2 * 3 : 0;
    t.ok(late.maps <= early.maps + koffi + 40, "no more mappings");
    t.ok(late.rssMib <= early.rssMib + 24, "no more memory");
  });
}

const runtime =
  process.getuid?.() === 0 ? "/var/run/pollmode" : join(process.env.XDG_RUNTIME_DIR ?? "/tmp", "pollmode");
const prefix = `acceptance-${process.pid}`;
t.teardown(() => {
  for (const name of ["", "-stale"]) rmSync(join(runtime, prefix + name), { recursive: true, force: true });
});

const socket = join(folder, "good.sock");
const common: PollmodeOptions = { lcores: "0-1", noHuge: true, filePrefix: prefix };
const failing: {
  title: string;
  options: PollmodeOptions;
  error: { code: string | RegExp; message: RegExp };
}[] = [
  {
    title: "a driver that there is not",
    options: { vdev: ["net_null0", `net_vhost0,iface=${socket}`, "net_nothing0"] },
    error: { code: "DRIVER_UNKNOWN", message: /net_nothing0/ },
  },
  {
    title: "an argument that the driver has not",
    options: { vdev: ["net_null0", `net_vhost0,iface=${socket},colour=red`] },
    error: { code: /./, message: /colour/ },
  },
  {
    title: "no backend at the socket",
    options: { vdev: ["net_null0", `net_virtio_user0,path=${join(folder, "nobody.sock")}`] },
    error: { code: /ENOENT|ECONNREFUSED/, message: /nobody\.sock/ },
  },
  {
    title: "too little memory for the mbufs",
    options: { memoryMib: 4 },
    error: { code: /./, message: /mbufs|buffers/ },
  },
  {
    title: "more memory than there is",
    options: { memoryMib: 1_000_000, arenaMib: 4096 },
    error: { code: /./, message: /MiB|arena|bytes/ },
  },
  {
    title: "an arena beyond 4 GiB",
    options: { arenaMib: 8192 },
    error: { code: "ARENA_SIZE", message: /arena/ },
  },
  { title: "too many mbufs", options: { mbufs: 1 << 30 }, error: { code: "POOL_OPTION", message: /count/ } },
  {
    title: "a CPU that there is not",
    options: { lcores: "0@0,1@1000" },
    error: { code: /./, message: /1000/ },
  },
];

t.test("a start that fails leaves nothing behind", async (t) => {
  /** Once without a fault: what is loaded once stays. */
  await (await Pollmode.start(common)).close();
  for (const { title, options, error } of failing) {
    await t.test(title, async (t) => {
      await t.rejects(Pollmode.start({ ...common, ...options }), error);
      await pause(50);
      const before = holdings();
      for (let k = 0; k < 5; k++) await t.rejects(Pollmode.start({ ...common, ...options }), error);
      await pause(50);
      const after = holdings();
      t.ok(after.fds <= before.fds, `descriptors: ${before.fds}, then ${after.fds}`);
      t.equal(after.memfds, before.memfds, "no memory file is mapped");
      t.ok(after.threads <= before.threads, `threads: ${before.threads}, then ${after.threads}`);
      t.notOk(existsSync(join(runtime, prefix)), "the file prefix is free");
      t.notOk(existsSync(socket), "no socket is there");
    });
  }
  await t.test("a file prefix that another engine has", async (t) => {
    await using _first = await Pollmode.start(common);
    const before = holdings();
    for (let k = 0; k < 5; k++) {
      const second = Pollmode.start(common);
      await t.rejects(second, { code: "FILE_PREFIX_TAKEN", message: new RegExp(String(process.pid)) });
    }
    t.same({ ...holdings(), rssMib: 0, maps: 0 }, { ...before, rssMib: 0, maps: 0 });
    t.ok(existsSync(join(runtime, prefix)), "the first one's directory stays");
  });
  await (await Pollmode.start(common)).close();
  t.notOk(existsSync(join(runtime, prefix)));
});

t.test("what a killed process left is no obstacle", async (t) => {
  const path = join(folder, "stale.sock");
  const args = [path, `${prefix}-stale`, "stay"];
  for (let round = 0; round < 3; round++) {
    await using child = startScript("stale-child", args);
    await child.waitFor(/at work/, 10_000);
    await using second = startScript("stale-child", args);
    await second.exited;
    t.match(second.output, /FILE_PREFIX_TAKEN|another engine/, "while it runs, its prefix is taken");
    await child.kill();
    t.ok(statSync(path).isSocket(), "its socket is still there");
    t.ok(readdirSync(runtime).includes(`${prefix}-stale`), "its directory too");
  }
  await using last = startScript("stale-child", [path, `${prefix}-stale`, "close"]);
  await last.waitFor(/at work/, 10_000);
  t.match(await last.endWithin(5_000), { code: 0 }, "a later one ends in order");
  t.notOk(existsSync(path), "and takes the socket away");
  t.notOk(existsSync(join(runtime, `${prefix}-stale`)), "and the directory");
});
