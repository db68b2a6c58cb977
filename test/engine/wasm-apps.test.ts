// Applications in AssemblyScript and WebAssembly: compiled, run, reloaded with their scratch memory, refused by name.
import { execFile } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, readFileSync, realpathSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import type { EngineName } from "../../src/hot/engine.ts";
import { foldChecksum, sumBytes } from "../../src/packet/packet.ts";
import { until } from "../acceptance/support.ts";
import { repositoryRoot } from "../beds/paths.ts";
import { AppFolder, Wire } from "./app-files.ts";

t.setTimeout(60_000);
process.env.CI = "true"; // asc colours its messages then

/** Sends back what comes; counts packets in scratch memory, in steps of `step`, and says where that lies. */
const counter = (step: number) => `
import { Mbuf, burst, cache, free, r32, rxBurst, rxQueue, scratch, txBurst, txQueue, w32 } from "pollmode";
import { STEP } from "./step";

let rx: u32 = 0;
let tx: u32 = 0;
let pkts: u32 = 0;
let counts: u32 = 0;

export function init(): void {
  rx = rxQueue(0);
  tx = txQueue(0);
  pkts = burst();
  counts = scratch();
  w32(counts + 4, 0xc0ffee);
}

export function poll(): u32 {
  const n: u32 = rxBurst(rx, pkts, 32);
  if (n == 0) return 0;
  for (let k: u32 = 0; k < n; k++) {
    const mbuf: u32 = r32(pkts + (k << 2));
    if (r32(mbuf + Mbuf.PKT_LEN) >= 60) w32(counts, r32(counts) + ${step} * STEP);
  }
  const sent: u32 = txBurst(tx, pkts, n);
  free(cache(), pkts + (sent << 2), n - sent);
  return n;
}

export function close(reload: u32): void {
  w32(counts + 8, reload + 1);
}
`;

const marker = 0xc0ffee;

for (const engine of ["wasm", "ts"] satisfies EngineName[]) {
  t.test(`AssemblyScript, engine ${engine}`, async (t) => {
    const folder = new AppFolder(t);
    folder.write("step.ts", "export const STEP: u32 = 1;\n");
    const wire = await Wire.start(engine);
    t.teardown(() => wire.close());
    const { pm } = wire;
    const file = folder.write("count.as.ts", counter(1));
    await wire.run(file);
    const { start, bytes } = pm.private.range;
    const at = pm.arena.u32.indexOf(marker, start >>> 2) - 1;
    t.ok(at < (start + bytes) >>> 2, "scratch memory lies in the private zone");
    const count = (k = 0) => pm.arena.u32[at + k]!;
    await until("packets", () => count() > 1000);
    await t.rejects(pm.reload(1, folder.write("bad.as.ts", "export function poll(): u32 { return x; }\n")), {
      code: "APP_RELOAD",
      message: /bad\.as\.ts:1:38: .*Cannot find name 'x'/,
    });
    const before = count();
    await until("packets after a failure", () => count() > before);
    folder.write("count.as.ts", counter(3));
    await pm.reload(1);
    t.equal(count(2), 2, "close(1) was called");
    const then = count();
    t.ok(then >= before, "the count was handed over");
    await until("packets through the new one", () => count() > then);
    await wire.drain();
    t.equal(count(2), 1, "close(0) was called");
    const { sent, received, lost, late, changed } = wire.flow.result();
    t.same({ received, lost, late, changed }, { received: sent, lost: 0, late: 0, changed: 0 });
    await pm.run({ lcore: 1, app: file, queues: [pm.port(1)] });
    t.equal(count(), 0, "a new run begins with zeroes");
    await pm.stop(1);
  });
}

/** What is compiled into applications: run once, the results in scratch memory. */
const inlined = `
import { copyFrame, r8, scratch, sumBytes, swapMacs, w8, w32 } from "pollmode";

export function init(): void {
  const p = scratch();
  for (let k: u32 = 0; k < 40; k++) w8(p + k, k + 1);
  swapMacs(p);
  copyFrame(p + 64, p, 40);
  w32(p + 128, sumBytes(p + 64, 40));
  w32(p + 132, ${marker});
}

export function poll(): u32 {
  return r8(scratch()) == 0 ? 1 : 0;
}
`;

t.test("AssemblyScript: functions that are compiled in", async (t) => {
  const folder = new AppFolder(t);
  const wire = await Wire.start("wasm");
  t.teardown(() => wire.close());
  const { pm } = wire;
  await pm.run({ lcore: 1, app: folder.write("inlined.as.ts", inlined), queues: [pm.port(1)] });
  const at = 4 * pm.arena.u32.indexOf(marker, pm.private.range.start >>> 2) - 132;
  const frame = Array.from({ length: 40 }, (_, k) => k + 1);
  const swapped = [...frame.slice(6, 12), ...frame.slice(0, 6), ...frame.slice(12)];
  t.same([...pm.arena.u8.slice(at, at + 40)], swapped);
  t.same([...pm.arena.u8.slice(at + 64, at + 104)], swapped, "copied");
  const sum = foldChecksum(sumBytes(Uint8Array.from(swapped), 0, 40));
  const folded = foldChecksum(pm.arena.u32[(at + 128) >>> 2]!); // of little-endian words: RFC 1071, 2 (B)
  t.equal(((folded & 255) << 8) | (folded >>> 8), sum, "summed up");
});

t.test("AssemblyScript without its compiler", async (t) => {
  // a copy of this package whose dependencies are those of users: no assemblyscript
  const folder = new AppFolder(t);
  const copy = join(folder.path, "node_modules", "pollmode");
  mkdirSync(copy, { recursive: true });
  cpSync(join(repositoryRoot, "package.json"), join(copy, "package.json"), { dereference: true });
  for (const part of ["src", "pmd"]) {
    const built = fileURLToPath(new URL(`../../${part}`, import.meta.url));
    cpSync(built, join(copy, "dist", part), { recursive: true });
  }
  const { dependencies } = JSON.parse(readFileSync(join(copy, "package.json"), "utf8"));
  for (const name of Object.keys(dependencies)) {
    symlinkSync(
      realpathSync(join(repositoryRoot, "node_modules", name)),
      join(folder.path, "node_modules", name),
    );
  }
  folder.write("package.json", '{ "type": "module" }');
  folder.write("count.as.ts", "export function poll(): u32 { return 0; }\n");
  const program = folder.write(
    "run.js",
    `import { Pollmode } from "pollmode";
    const engine = await Pollmode.start({ noHuge: true, vdev: ["net_null0"] });
    await engine.port(0).configure();
    await engine.port(0).start();
    await engine.run({ lcore: 0, app: "./count.as.ts", queues: engine.ports }).catch(({ code, message, fix }) => {
      console.log(JSON.stringify({ code, message, fix }));
    });
    await engine.forward(0, [{ mode: "rxonly", rx: { port: engine.port(0), queue: 0 } }]); // the lcore is as it was
    await engine.close();`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, [program], {
    cwd: folder.path,
    timeout: 30_000,
  });
  t.match(JSON.parse(stdout), {
    code: "APP_COMPILER",
    message: /count\.as\.ts: it is AssemblyScript/,
    fix: "npm install assemblyscript",
  });
});

t.test("what an application in WebAssembly may not do", async (t) => {
  const folder = new AppFolder(t);
  const wire = await Wire.start("wasm");
  t.teardown(() => wire.close());
  const run = (file: string) => wire.run(file);
  const hot = join(folder.path, "hot.wasm");
  copyFileSync(join(repositoryRoot, "dist/src/hot/hot.wasm"), hot);
  await t.rejects(run(hot), { code: "APP_WASM", message: /exports no function poll/ });
  await t.rejects(run(folder.write("text.wasm", "no module")), { code: "APP_WASM", message: /text\.wasm/ });
  const imports =
    '@external("env", "launchMissiles") declare function f(): u32;\nexport function poll(): u32 { return f(); }\n';
  await t.rejects(run(folder.write("imports.as.ts", imports)), {
    code: "APP_WASM",
    message: /env\.launchMissiles/,
  });
  const data = 'const words = "some text";\nexport function poll(): u32 { return words.charCodeAt(0); }\n';
  await t.rejects(run(folder.write("data.as.ts", data)), { code: "APP_WASM", message: /static data/ });
  const heap =
    "class A { x: u32 = 7; }\nlet a: A | null = null;\nexport function poll(): u32 { a = new A(); return a!.x; }\n";
  await wire.run(folder.write("heap.as.ts", heap)).catch(() => undefined);
  await until("the trap of an allocation", () => wire.pm.lcores.all[1]!.status().state === "failed");
  t.pass("an allocation traps: there is no memory behind the arena");
});
