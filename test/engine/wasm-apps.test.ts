// Applications in AssemblyScript and WebAssembly: compiled, run, reloaded with their scratch memory, refused by name.
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { EngineName } from "../../src/hot/engine.ts";
import { until } from "../acceptance/support.ts";
import { repositoryRoot } from "../beds/paths.ts";
import { AppFolder, Wire } from "./app-files.ts";

t.setTimeout(60_000);

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
