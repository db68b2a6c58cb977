// Applications are replaced while numbered frames pass through them: not one is lost, and what fails changes nothing.
import t from "tap";
import { AppHost } from "../../src/engine/app-host.ts";
import type { PollmodeError } from "../../src/errors.ts";
import type { EngineName } from "../../src/hot/engine.ts";
import type { LcoreControl } from "../../src/lcore/lcores.ts";
import { pause, until } from "../acceptance/support.ts";
import { AppFolder, forwarder, Wire } from "./app-files.ts";

t.setTimeout(60_000);
const RELOADS = 20;

for (const engine of ["wasm", "ts"] satisfies EngineName[]) {
  t.test(`engine ${engine}: ${RELOADS} reloads under load`, async (t) => {
    const folder = new AppFolder(t);
    folder.write("limit.ts", "export const limit: number = 64;\n");
    const wire = await Wire.start(engine);
    t.teardown(() => wire.close());
    await wire.run(folder.write("app.ts", forwarder(0)));
    for (let version = 1; version <= RELOADS; version++) {
      await until(`frames through version ${version - 1}`, () => wire.seen[version - 1]! > 1000);
      const file = folder.write("app.ts", forwarder(version));
      await wire.pm.reload(1, version % 2 ? file : undefined);
      const before = wire.seen[version - 1];
      await until(`frames through version ${version}`, () => wire.seen[version]! > 0);
      t.equal(wire.seen[version - 1], before, "the old one is polled no more");
    }
    await wire.drain();
    const { sent, received, lost, late, changed } = wire.flow.result();
    t.comment(`${sent} frames`);
    t.same({ received, lost, late, changed }, { received: sent, lost: 0, late: 0, changed: 0 });
    t.ok(sent > RELOADS * 1000);
    for (const port of wire.pm.ports) await port.close();
    t.same(wire.pm.pool.audit([]), [], "every mbuf is back");
  });
}

t.test("a reload that fails leaves the old application running", async (t) => {
  const folder = new AppFolder(t);
  folder.write("limit.ts", "export const limit = 64;\n");
  const wire = await Wire.start("wasm");
  t.teardown(() => wire.close());
  const { pm } = wire;
  const file = folder.write("app.ts", forwarder(0));
  await t.rejects(pm.reload(1), { code: "APP_RELOAD", message: /runs no application/ });
  await wire.run(file);
  const goesOn = async (t: { ok(value: boolean, what: string): void }) => {
    const before = wire.seen[0]!;
    await until("frames through the old application", () => wire.seen[0]! > before);
    t.ok(true, "the old one runs on");
  };
  const cases: [string, string, RegExp][] = [
    ["a syntax error", "export default () => {\n  const a = ;\n};", /app\.ts:2:13: Unexpected ";"/],
    [
      "an import of nothing",
      'import { x } from "./gone.ts";\nexport default () => () => x;',
      /app\.ts:1:.*gone/,
    ],
    ["no default export", "export const a = 1;", /no function as its default export/],
    ["no poll", "export default () => ({ pole: 1 });", /returned no poll/],
    ["a throwing factory", 'export default () => {\n  throw new Error("no");\n};', /app\.ts:2:9: no$/],
    ["a throwing module", '\n\nthrow new Error("never");\n', /app\.ts:3:7: never/],
    [
      "a rejecting factory",
      'export default async () => {\n  throw new Error("later");\n};',
      /app\.ts:2:9: later/,
    ],
  ];
  for (const [what, text, message] of cases) {
    await t.test(what, async (t) => {
      folder.write("app.ts", text);
      await t.rejects(pm.reload(1), { code: "APP_RELOAD", message });
      await goesOn(t);
    });
  }
  await t.test("a file that is gone, and one of no known kind", async (t) => {
    await t.rejects(pm.reload(1, `${folder.path}/gone.ts`), { code: "APP_RELOAD", message: /gone\.ts/ });
    await t.rejects(pm.reload(1, folder.write("app.txt", "")), {
      code: "APP_RELOAD",
      message: /ends in none of/,
    });
    await goesOn(t);
  });
  await t.test("the mended file takes over, and all frames have come", async (t) => {
    folder.write("app.ts", forwarder(1));
    await pm.reload(1);
    await until("frames through the new one", () => wire.seen[1]! > 0);
    await wire.drain();
    const { sent, received, lost, late, changed } = wire.flow.result();
    t.same({ received, lost, late, changed }, { received: sent, lost: 0, late: 0, changed: 0 });
  });
});

t.test("watched files", async (t) => {
  const folder = new AppFolder(t);
  folder.write("limit.ts", "export const limit = 64;\n");
  const wire = await Wire.start("wasm");
  t.teardown(() => wire.close());
  const events: string[] = [];
  wire.pm.on("appReloaded", (lcore, file) => events.push(`${lcore} ${file.replace(/.*\//, "")}`));
  wire.pm.on("appReloadFailed", (lcore, { code }) => events.push(`${lcore} ${code}`));
  await wire.run(folder.write("app.ts", forwarder(0)), true);
  folder.write("other.txt", "of no interest");
  folder.write("limit.ts", "export const limit = ;\n");
  await until("the failure of a broken import", () => events.length === 1);
  folder.write("limit.ts", "export const limit = 32;\n");
  await until("the reload", () => events.length === 2);
  folder.write("app.ts", forwarder(1));
  await until("frames through the new one", () => wire.seen[1]! > 0);
  await until("the word of it", () => events.length === 3);
  t.same(events, ["1 APP_RELOAD", "1 app.ts", "1 app.ts"]);
  await wire.drain();
  t.equal(wire.flow.result().lost, 0);
  folder.write("app.ts", forwarder(2));
  await pause(200);
  t.equal(events.length, 3, "a stopped lcore's files are watched no more");
});

t.test("files that cannot be watched are told, and what runs, runs on", (t) => {
  const told: string[] = [];
  const listener = {
    reloaded: () => {},
    failed: (lcore: number, { code, message, fix }: PollmodeError) => {
      told.push(`${lcore} ${code} ${message} ${fix}`);
    },
  };
  const host = new AppHost(undefined as never, undefined as never, listener);
  const lcore = { id: 3 } as LcoreControl;
  const built = { module: { kind: "module", url: "" }, files: ["/nonexistent/app.ts"] } as const;
  host.started(lcore, "/nonexistent/app.ts", built, true);
  t.equal(told.length, 1);
  t.match(
    told[0],
    /^3 APP_RELOAD lcore 3: changes of files in \/nonexistent will not be seen: .*ENOENT.*inotify/,
  );
  host.close();
  t.end();
});

t.test("memory stays flat over reloads", async (t) => {
  const folder = new AppFolder(t);
  const wire = await Wire.start("wasm");
  t.teardown(() => wire.close());
  const heap = new Float64Array(new SharedArrayBuffer(8));
  const megabytes = 8;
  const text = (version: number) => `
import { setFlagsFromString, getHeapStatistics } from "node:v8";
import { runInNewContext } from "node:vm";
import type { AppContext } from "pollmode";

export default function hungry({ options }: AppContext) {
  const ballast = new Array(${megabytes << 17}).fill(${version} + 0.5);
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  (options as Float64Array)[0] = getHeapStatistics().used_heap_size / 2 ** 20;
  return () => (ballast[0] > 0 ? 0 : 1);
}
`;
  const { pm } = wire;
  await pm.run({ lcore: 1, app: folder.write("app.ts", text(0)), queues: [pm.port(1)], options: heap });
  const first = heap[0]!;
  for (let version = 1; version <= RELOADS; version++) {
    folder.write("app.ts", text(version));
    await pm.reload(1);
  }
  const grown = heap[0]! - first;
  t.ok(first > megabytes, "it is measured");
  t.ok(
    grown < 2.5 * megabytes,
    `${RELOADS} applications of ${megabytes} MiB, and ${grown.toFixed(1)} MiB more`,
  );
});
