// What `npm pack` makes is what users get: it holds what they need and nothing else, and it runs and type-checks in a
// folder of its own, with nothing of the repository but its installed dependencies.
import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { constants, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";

const runFile = promisify(execFile);
/** The folder of package.json and dist, also of a build elsewhere. */
const root = dirname(fileURLToPath(new URL("../../package.json", import.meta.url)));
const modules = realpathSync(join(root, "node_modules"));
const folder = mkdtempSync(join(tmpdir(), "pollmode-package-"));
const consumer = join(folder, "consumer");
const installed = join(consumer, "node_modules", "pollmode");
t.teardown(() => rmSync(folder, { recursive: true }));

interface Manifest {
  readonly name: string;
  readonly bin: Record<string, string>;
  readonly dependencies: Record<string, string>;
}
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;

/** As npm does it, but from the tarball alone: a registry may be out of reach. */
async function install(tarball: string): Promise<void> {
  mkdirSync(join(consumer, "node_modules", ".bin"), { recursive: true });
  await runFile("tar", ["-xzf", tarball, "-C", folder]);
  renameSync(join(folder, "package"), installed);
  // @types/node and typescript are the consumer's own; the rest is what package.json says that pollmode needs
  for (const name of [...Object.keys(manifest.dependencies), "@types"]) {
    symlinkSync(join(modules, name), join(consumer, "node_modules", name));
  }
  for (const [name, file] of Object.entries(manifest.bin)) {
    symlinkSync(join(installed, file), join(consumer, "node_modules", ".bin", name));
  }
  writeFileSync(join(consumer, "package.json"), '{ "name": "consumer", "private": true, "type": "module" }');
}

// The build that npm test made is packed as it is: other tests run from it at the same time.
const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
const { stdout } = await runFile("npm", pack, { cwd: root });
const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
const paths = packed.files.map(({ path }) => path);
await install(join(folder, packed.filename));

t.test("it holds what users need", async (t) => {
  const needed = ["README.md", "LICENSE", "CHANGELOG.md", "docs/architecture.md", "dist/src/index.d.ts"];
  const code = ["dist/src/index.js", "dist/src/hot/hot.wasm", "dist/src/lcore/worker.js"];
  const page = ["index.html", "page.js"].map((file) => `dist/src/telemetry/page/${file}`);
  for (const path of [...needed, ...code, ...page]) {
    t.ok(paths.includes(path), path);
  }
  for (const path of Object.values(manifest.bin)) t.ok(paths.includes(path), path);
  t.ok(
    paths.some((path) => path.startsWith("dist/bench/rx-pps/")),
    "rx-pps",
  );
});

t.test("and nothing else", async (t) => {
  const allowed = /^(dist\/(src|pmd|bench)\/|docs\/|(README|CHANGELOG)\.md$|LICENSE$|package\.json$)/;
  t.same(
    paths.filter(
      (path) => !allowed.test(path) || /prototype|\.test\.|^dist\/bench\/(peers|tmpdev)/.test(path),
    ),
    [],
  );
});

t.test("every module finds the modules that it imports", async (t) => {
  const missing = paths
    .filter((path) => path.endsWith(".js"))
    .flatMap((path) => {
      const text = readFileSync(join(installed, path), "utf8");
      const imports = [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g)];
      const targets = imports.map(([, specifier]) => join(dirname(path), specifier!));
      return targets
        .filter((target) => !existsSync(join(installed, target)))
        .map((target) => `${path}: ${target}`);
    });
  t.same(missing, []);
});

t.test("docs/errors.md names every error code", async (t) => {
  const text = readFileSync(join(installed, "docs/errors.md"), "utf8");
  const codes = paths
    .filter((path) => path.endsWith(".js"))
    .flatMap((path) => {
      const code = readFileSync(join(installed, path), "utf8");
      const named = [
        ...code.matchAll(/(?:new PollmodeError|\.refuse|\.violation|#fail)\(\s*"([A-Z][A-Z_]+)"/g),
      ];
      const faults = path.endsWith("/queue-errors.js")
        ? [...code.matchAll(/^\s*"?([A-Z_]{8,})"?,\s*$|\["([A-Z_]+)"/gm)]
        : [];
      return [...named.map(([, name]) => name!), ...faults.map(([, a, b]) => `QUEUE_${a ?? b}`)];
    });
  t.ok(codes.includes("QUEUE_BAD_ADDRESS") && codes.includes("ARENA_SIZE"), "they are found");
  const unknown = codes.filter(
    (code) => !(code in constants.errno) && !new RegExp(`\\b${code}\\b`).test(text),
  );
  t.same([...new Set(unknown)], []);
});

t.test("it runs", async (t) => {
  const program = `
    import { Mbuf, Pollmode } from "pollmode";
    const engine = await Pollmode.start({ noHuge: true, vdev: ["net_null0"] });
    await engine.port(0).configure({ rxQueues: 1, txQueues: 1 });
    await engine.port(0).start();
    await engine.forward(0, [{ mode: "count", rx: { port: engine.port(0), queue: 0 } }]);
    await new Promise((done) => setTimeout(done, 100));
    await engine.stop(0);
    console.log(JSON.stringify({ packets: engine.port(0).stats().rxPackets, offset: Mbuf.DATA_LEN }));
    await engine.close();`;
  writeFileSync(join(consumer, "use.js"), program);
  const { stdout } = await runFile(process.execPath, ["use.js"], { cwd: consumer, timeout: 30_000 });
  const { packets, offset } = JSON.parse(stdout) as { packets: number; offset: number };
  t.ok(packets > 0, `${packets} packets`);
  t.equal(offset, 4, "constants are there at run time");
});

t.test("npx pollmode rx-pps", async (t) => {
  const options = ["--seconds", "0.5", "--json", "--no-huge", "--vdev", "net_null0"];
  const args = ["--no-install", "pollmode", "rx-pps", ...options];
  const { stdout } = await runFile("npx", args, { cwd: consumer, timeout: 60_000 });
  t.ok(JSON.parse(stdout).packets > 0);
});

t.test("the commands that errors name, for who embeds it", async (t) => {
  const source = `
    import { Pollmode } from "pollmode";
    const options = { lcores: "0", inMemory: true, noHuge: true, iovaMode: "pa", vdev: ["net_null0"] };
    await Pollmode.start(options).catch(({ code, fix }) => console.log(JSON.stringify({ code, fix })));`;
  writeFileSync(join(consumer, "fails.js"), source);
  const failed = await runFile(process.execPath, ["fails.js"], { cwd: consumer, timeout: 30_000 });
  const { code, fix } = JSON.parse(failed.stdout) as { code: string; fix: string };
  t.equal(code, "IOVA_NEEDS_HUGEPAGES");
  const [, command] = / as root: (pollmode hugepages .*)$/.exec(fix) ?? [];
  const words = ["--no-install", ...command!.split(" "), "--dry-run"];
  const { stdout } = await runFile("npx", words, { cwd: consumer, timeout: 60_000 });
  t.match(stdout, /^echo \d+ > \S+nr_hugepages$/m);
});

const program = `
import { type AppFactory, describeError, Mbuf, Pollmode, type PollmodeOptions, type PortStats } from "pollmode";
const app: AppFactory = ({ u32, pkts }) => () => u32[(pkts[0]! + Mbuf.PKT_LEN) >>> 2]!;
export default app;
export async function use(options: PollmodeOptions): Promise<PortStats | string> {
  await using engine = await Pollmode.start(options);
  engine.port(0).on("link", ({ up }) => console.log(up));
  return engine.port(0).stats() ?? describeError(undefined);
}
`;

const settings = {
  "without the browser's library": { lib: ["es2023", "esnext.disposable"] },
  "with it": { lib: ["es2023", "esnext.disposable", "dom"] },
  "file by file": { lib: ["es2023", "esnext.disposable"], isolatedModules: true, verbatimModuleSyntax: true },
};
for (const [name, own] of Object.entries(settings)) {
  t.test(`its types check in a strict project, ${name}`, async (t) => {
    const project = join(consumer, name.replace(/\W/g, "-"));
    const shared = { target: "es2022", module: "nodenext", strict: true, skipLibCheck: false, noEmit: true };
    const compilerOptions = { ...shared, types: ["node"], ...own };
    mkdirSync(project);
    writeFileSync(join(project, "use.ts"), program);
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
    const tsc = join(modules, "typescript", "bin", "tsc");
    const run = await runFile(process.execPath, [tsc, "-p", project]).catch(
      (error: { stdout: string }) => error,
    );
    t.equal(run.stdout, "");
  });
}
