// An lcore whose application fails or blocks is reported by name and reason, and the others do not notice.
import t from "tap";
import type { Port } from "../../src/ethdev/port.ts";
import type { EngineName } from "../../src/hot/engine.ts";
import { type LcoreStatus, Pollmode } from "../../src/index.ts";
import type { MisbehaviourOptions } from "./misbehaving-app.ts";
import { pause, until } from "./support.ts";

t.setTimeout(120_000);
const app = new URL("./misbehaving-app.js", import.meta.url);

interface Bench extends AsyncDisposable {
  pm: Pollmode;
  port: Port;
  failures: { status: LcoreStatus; error: Error }[];
  stalls: LcoreStatus[];
  recoveries: LcoreStatus[];
  launch(options: MisbehaviourOptions): Promise<void>;
  /** Whether lcore 1 still does its work. */
  otherGoesOn(): Promise<boolean>;
}

/** Lcore 1 receives from a port of its own; lcore 0 is for the application, on another port. */
async function startBench(engine: EngineName = "wasm"): Promise<Bench> {
  const warnings: string[] = [];
  const options = { lcores: "0-1", noHuge: true, vdev: ["net_null0", "net_null1"], engine };
  const pm = await Pollmode.start({ ...options, warn: (text) => warnings.push(text) });
  for (const port of pm.ports) {
    await port.configure({ rxQueues: 1, txQueues: 1 });
    await port.start();
  }
  const [port, other] = [pm.port(0), pm.port(1)];
  await pm.forward(1, [{ mode: "count", rx: { port: other, queue: 0 } }]);
  const bench: Bench = {
    pm,
    port,
    failures: [],
    stalls: [],
    recoveries: [],
    launch: (options) => pm.run({ lcore: 0, app, queues: [port], options }),
    async otherGoesOn() {
      const before = other.stats().rxPackets;
      await until("packets at the other lcore", () => other.stats().rxPackets > before).catch(() => {});
      return other.stats().rxPackets > before;
    },
    [Symbol.asyncDispose]: () => pm.close(),
  };
  pm.on("lcoreFailed", (status, error) => bench.failures.push({ status, error }));
  pm.on("lcoreStalled", (status) => bench.stalls.push(status));
  pm.on("lcoreRecovered", (status) => bench.recoveries.push(status));
  return bench;
}

const status = (pm: Pollmode, lcore: number) => pm.lcores.byId(lcore).status();

for (const what of ["throw", "exit"] as const) {
  t.test(`an application that ${what === "throw" ? "throws" : "ends its thread"}`, async (t) => {
    await using bench = await startBench();
    const { pm, failures } = bench;
    await bench.launch({ what, afterPackets: 5_000_000 }); // some 50 ms of them
    await until("the report", () => failures.length > 0);
    t.equal(failures.length, 1);
    t.match(failures[0]!.status, { lcore: 0, state: "failed", cpus: [0] });
    const reason = what === "throw" ? "an application's own mistake" : /exit/i;
    t.match(failures[0]!.status.reason, reason);
    t.match(status(pm, 0), { lcore: 0, state: "failed", reason });
    t.ok(await bench.otherGoesOn(), "the other lcore goes on");
    t.match(status(pm, 1), { lcore: 1, state: "running", reason: undefined });

    const again = bench.launch({ what: "none", afterPackets: 0 });
    await t.rejects(again, { code: "LCORE_BUSY", message: /lcore 0 is failed: / }, "it takes no work");
    await pm.lcores.restart(pm.lcores.byId(0));
    t.match(status(pm, 0), { state: "waiting", reason: undefined }, "until it is restarted");
    await bench.launch({ what: "none", afterPackets: 0 });
    const before = status(pm, 0).packets;
    await until("work", () => status(pm, 0).packets > before + 1000);
    t.equal(failures.length, 1);
    await pm.stop(0);
    await pm.stop(1);
    t.same(pm.pool.audit([]), [], "no mbuf is lost");
  });
}

t.test("an application that blocks for 2.5 s", async (t) => {
  await using bench = await startBench();
  const { pm, stalls, recoveries } = bench;
  const start = performance.now();
  await bench.launch({ what: "block", afterPackets: 1000, blockMs: 2_500 });
  await until("the stall's report", () => stalls.length > 0);
  const reported = performance.now() - start;
  t.ok(reported > 900 && reported < 2_500, `reported after ${Math.round(reported)} ms`);
  t.match(stalls[0], { lcore: 0, state: "stalled", reason: /no heartbeat for \d+ ms/ });
  t.match(status(pm, 0), { state: "stalled", reason: /its application does not return/ });
  t.ok(await bench.otherGoesOn(), "the other lcore goes on");
  await until("its recovery", () => recoveries.length > 0);
  t.match(recoveries[0], { lcore: 0, state: "running", reason: undefined });
  const before = status(pm, 0).packets;
  await until("work", () => status(pm, 0).packets > before);
  t.equal(stalls.filter(({ lcore }) => lcore === 0).length, 1, "it is reported once");
  await pm.stop(0);
  t.equal(status(pm, 0).state, "waiting");
});

t.test("an application that never returns", async (t) => {
  const { pm, launch, stalls } = await startBench();
  await launch({ what: "block", afterPackets: 1000, blockMs: 1_000_000 });
  await until("the stall's report", () => stalls.length > 0);
  await t.rejects(pm.stop(0), { code: "LCORE_STALLED", message: /lcore 0/ });
  const start = performance.now();
  await t.rejects(pm.close(), { code: "LCORE_STALLED" }, "closing says so");
  const ms = performance.now() - start;
  // each step that waits for the lcore gives it 2 s: its stop, each of the two ports, its end
  t.ok(ms < 10_000, `and ends its thread, after ${Math.round(ms)} ms`);
});

t.test("applications that cannot be started", async (t) => {
  await using bench = await startBench();
  const { pm, port, failures } = bench;
  const missing = new URL("./no-such-app.js", import.meta.url);
  const without = new URL("./support.js", import.meta.url);
  for (const [url, reason] of [
    [missing, /no-such-app/],
    [without, /has no function as its default export/],
  ] as const) {
    const run = pm.run({ lcore: 0, app: url, queues: [port] });
    await t.rejects(run, { code: "LCORE_FAILED", message: reason });
    t.match(status(pm, 0), { state: "failed", reason });
    await pm.lcores.restart(pm.lcores.byId(0));
  }
  t.equal(failures.length, 2);
  await t.rejects(pm.run({ lcore: 7, app, queues: [port] }), { code: "LCORE_UNKNOWN", message: /lcore 7/ });
  t.ok(await bench.otherGoesOn(), "the other lcore goes on");
});

for (const engine of ["wasm", "ts"] as const) {
  t.test(`engine ${engine}: a stream that leaves the arena`, async (t) => {
    await using bench = await startBench(engine);
    const { pm, port, failures } = bench;
    const sequence = { progress: 0xffff_ff00, sizeMin: 64, sizeMax: 64, window: 1, total: 1 };
    await pm.forward(0, [{ mode: "seq-send", tx: { port, queue: 0 }, sequence }]).catch(() => {});
    await until("the report", () => failures.length > 0);
    t.match(failures[0]!.status, { lcore: 0, state: "failed", reason: /out of bounds|outside the arena/ });
    t.ok(await bench.otherGoesOn(), "the other lcore goes on");
  });
}

t.test("work for an lcore that is at work", async (t) => {
  await using bench = await startBench();
  const { pm, port } = bench;
  const second = pm.forward(1, [{ mode: "txonly", tx: { port, queue: 0 } }]);
  await t.rejects(second, { code: "LCORE_BUSY", message: /lcore 1 is running/ });
  const run = pm.run({ lcore: 1, app, queues: [port], options: { what: "none", afterPackets: 0 } });
  await t.rejects(run, { code: "LCORE_BUSY" });
  t.ok(await bench.otherGoesOn(), "it goes on with what it has");
  t.equal(port.stats().txPackets, 0);
});

t.test("a queue goes from one lcore to another", async (t) => {
  await using bench = await startBench();
  const { pm, port } = bench;
  const [here, there] = [port, pm.port(1)].map((port) => ({
    mode: "count" as const,
    rx: { port, queue: 0 },
  }));
  await t.rejects(pm.forward(0, [there!]), { code: "QUEUE_BUSY", message: /run by lcore 1/ });
  for (let k = 0; k < 6; k++) {
    await pm.forward(0, [here!]);
    const before = port.stats().rxPackets;
    await until("packets", () => port.stats().rxPackets > before);
    t.ok(await bench.otherGoesOn());
    await pm.stop(0);
    await pm.stop(1);
    t.same(pm.pool.audit([]), []);
    await pm.forward(1, [k % 2 ? there! : here!]); // first what lcore 0 had, while it does the other
    await pm.forward(0, [k % 2 ? here! : there!]);
    t.ok(await bench.otherGoesOn());
    await pm.stop(0);
    await pm.stop(1);
    await pm.forward(1, [there!]);
  }
});

t.test("what a status says, and how long a stop takes", async (t) => {
  await using bench = await startBench();
  const { pm } = bench;
  const states = () => pm.lcores.all.map((lcore) => lcore.status().state);
  t.same(states(), ["waiting", "running"]);
  const before = status(pm, 1);
  await until("a heartbeat", () => status(pm, 1).heartbeat > before.heartbeat);
  const after = status(pm, 1);
  t.ok(after.polls > before.polls && after.packets > before.packets);
  t.ok(after.emptyPolls <= after.polls);
  t.same([after.lcore, after.cpus, after.reason], [1, [1], undefined]);
  const times: number[] = [];
  for (let k = 0; k < 10; k++) {
    const start = performance.now();
    await pm.stop(1);
    times.push(performance.now() - start);
    t.same(states(), ["waiting", "waiting"]);
    const stopped = status(pm, 1).packets;
    await pause(5);
    t.equal(status(pm, 1).packets, stopped, "stopped means stopped");
    await pm.forward(1, [{ mode: "count", rx: { port: pm.port(1), queue: 0 } }]);
  }
  times.sort((a, b) => a - b);
  t.comment(`stops took ${times.map((ms) => ms.toFixed(1)).join(", ")} ms`);
  t.ok(times[4]! < 50, "the median is milliseconds");
  await pm.stop(0); // which does nothing
});
