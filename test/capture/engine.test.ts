// Captures of a running engine: in the program itself, and by `pollmode capture` from outside.
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { loadLibpcap } from "../../src/capture/filter.ts";
import { runtimePath } from "../../src/eal/runtime-dir.ts";
import type { EngineName } from "../../src/hot/engine.ts";
import { Queue } from "../../src/hot/layout.ts";
import { CAPTURES_MAX } from "../../src/limits.ts";
import { readPackets } from "../../src/pcap/reader.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { ControlConnection } from "../../src/telemetry/control-client.ts";
import { Command, program } from "./command.ts";
import type { PacedOptions } from "./paced-app.ts";

t.setTimeout(120_000);

const app = new URL("./paced-app.js", import.meta.url);
const folder = mkdtempSync(join(tmpdir(), "pollmode-capture-"));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
let serial = 0;
const file = () => join(folder, `${++serial}.pcapng`);

interface Setup {
  engine: Pollmode;
  prefix: string;
  /** Sends numbered packets round port 0; resolves when all have come back. */
  paced(options: PacedOptions): Promise<void>;
}

async function setup(
  t: { teardown(work: () => unknown): void },
  vdev: string,
  engineName?: EngineName,
): Promise<Setup> {
  const prefix = `capture-test-${process.pid}-${++serial}`;
  const engine = await Pollmode.start({
    filePrefix: prefix,
    noHuge: true,
    memoryMib: 16,
    mbufs: 2048,
    vdev: [vdev],
    ...(engineName ? { engine: engineName } : {}),
  });
  t.teardown(() => engine.close());
  const port = engine.port(0);
  await port.configure();
  await port.start();
  const paced = async (options: PacedOptions) => {
    const before = port.stats().rxPackets;
    await engine.run({ lcore: 0, app, queues: [port], options });
    for (let k = 0; k < 3000 && port.stats().rxPackets < before + options.packets; k++) await pause(5);
    await engine.stop(0);
  };
  return { engine, prefix, paced };
}

interface Numbers {
  in: number[];
  out: number[];
}

async function numbersIn(path: string): Promise<Numbers> {
  const numbers: Numbers = { in: [], out: [] };
  for await (const { data, direction } of readPackets(path)) {
    numbers[direction!].push(Buffer.from(data).readUInt32LE(16));
  }
  return numbers;
}

function noLibpcap(): string | false {
  try {
    loadLibpcap();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}

const upTo = (n: number) => Array.from({ length: n }, (_, k) => k);

t.test("await using stops a capture", async (t) => {
  const { engine, paced } = await setup(t, "net_ring0");
  const path = file();
  {
    await using capture = engine.capture(engine.port(0), { write: path });
    await paced({ packets: 100, perMs: 100, bytes: 60 });
    t.equal(capture.stats.dropped, 0);
  }
  t.same(await numbersIn(path), { in: upTo(100), out: upTo(100) }, "what was captured is written first");
});

for (const engineName of ["wasm", "ts"] as const) {
  t.test(`in the program itself, ${engineName}: nothing lost at a moderate rate`, async (t) => {
    const { engine, paced } = await setup(t, "net_ring0", engineName);
    const [both, half] = [file(), file()];
    const port = engine.port(0);
    const captures = [
      engine.capture(port, { write: both }),
      engine.capture(port, { write: half, direction: "in", snaplen: 20 }),
    ];
    await paced({ packets: 20_000, perMs: 20, bytes: 200 });
    const [stats, halfStats] = await Promise.all(captures.map((one) => one.stop()));
    t.same(stats, { captured: 40_000, seen: 40_000, received: 40_000, dropped: 0 });
    t.same(await numbersIn(both), { in: upTo(20_000), out: upTo(20_000) });
    t.same(halfStats, { captured: 20_000, seen: 20_000, received: 20_000, dropped: 0 });
    t.same((await numbersIn(half)).in, upTo(20_000));
    let before = 0n;
    let disorder = 0;
    for await (const { stampNs } of readPackets(both)) {
      if (stampNs! < before) disorder++;
      before = stampNs!;
    }
    t.equal(disorder, 0, "in the order of their stamps");
  });

  t.test(`at full rate, ${engineName}: what is dropped is counted to the packet`, async (t) => {
    const { engine } = await setup(t, "net_null0,size=100", engineName);
    const port = engine.port(0);
    const path = file();
    const capture = engine.capture(port, { write: path, ringBytes: 2 ** 20, snaplen: 40 });
    const end = { port, queue: 0 };
    await engine.forward(0, [{ mode: "io", rx: end, tx: end }]);
    await pause(100);
    await engine.stop(0);
    const { captured, seen, received, dropped } = await capture.stop();
    const { rxPackets, txPackets } = port.stats();
    t.equal(seen, rxPackets + txPackets);
    t.equal(received, seen);
    t.equal(captured + dropped, seen);
    // the TypeScript engine may be slow enough for the writer
    t.ok(captured > 0 && (dropped > 0 || engineName === "ts"), `${captured} captured, ${dropped} dropped`);
    let inFile = 0;
    for await (const _ of readPackets(path)) inFile++;
    t.equal(inFile, captured);
  });
}

t.test("the command: files, count, direction; several at once", async (t) => {
  const { prefix, paced } = await setup(t, "net_ring0");
  const [all, some, half] = [file(), file(), file()];
  const commands = [
    new Command(prefix, "0", "-w", all),
    new Command(prefix, "net_ring0", "-w", some, "-c", "500", "-Q", "out"),
    new Command(prefix, "0", "-w", half, "--direction", "in", "-s", "64"),
    new Command(prefix, "0", "-w", "-", "--queue", "0"),
  ];
  await Promise.all(commands.map((one) => one.ready()));
  await paced({ packets: 5000, perMs: 10, bytes: 300 });
  t.equal(await commands[1]!.ended, 0, "a count ends it");
  for (const one of [commands[0]!, commands[2]!, commands[3]!])
    t.equal(await one.stop(), 0, "Ctrl-C is no failure");
  t.same(await numbersIn(all), { in: upTo(5000), out: upTo(5000) });
  t.same(commands[0]!.counts, [10_000, 10_000, 0]);
  t.same(await numbersIn(some), { in: [], out: upTo(500) });
  t.same(await numbersIn(half), { in: upTo(5000), out: [] });
  const lengths = new Set<string>();
  for await (const { data, length } of readPackets(half)) lengths.add(`${data.length} of ${length}`);
  t.same([...lengths], ["64 of 300"]);
  const text = Buffer.concat(commands[3]!.out);
  t.ok(text.length > 10_000 * 300);
  t.ok(text.includes("net_ring0"), "the interface has a name");
});

t.test("filters", { skip: noLibpcap() }, async (t) => {
  const { engine, prefix, paced } = await setup(t, "net_ring0");
  const [inside, outside] = [file(), file()];
  const capture = engine.capture(engine.port(0), { write: inside, filter: "ether[13] = 0xb5" });
  const command = new Command(prefix, "0", "-w", outside, "-Q", "in", "ether[13]", "=", "0xb6");
  await command.ready();
  await paced({ packets: 1000, perMs: 10, bytes: 100 });
  const [even, odd] = [upTo(500).map((k) => 2 * k), upTo(500).map((k) => 2 * k + 1)];
  t.same(await capture.stop(), { captured: 1000, seen: 2000, received: 1000, dropped: 0 });
  t.same(await numbersIn(inside), { in: odd, out: odd });
  t.equal(await command.stop(), 0);
  t.same(await numbersIn(outside), { in: even, out: [] });
  t.same(command.counts, [500, 500, 0]);
  const wrong = new Command(prefix, "0", "-w", "x", "-f", "tcp prt 80");
  t.equal(await wrong.ended, 1);
  t.match(wrong.err, /capture filter "tcp prt 80": /);
  t.throws(() => engine.capture(engine.port(0), { write: "x", filter: "(" }), { code: "CAPTURE_FILTER" });
});

t.test("a reader that goes, and one that hangs", async (t) => {
  const { engine, prefix } = await setup(t, "net_null0,size=500");
  const port = engine.port(0);
  const end = { port, queue: 0 };
  await engine.forward(0, [{ mode: "io", rx: end, tx: end }]);
  const pipe = `${process.execPath} ${program} capture --file-prefix ${prefix} 0 -w - 2>&1 1>&3 | cat >&2`;
  const code = await new Promise((resolve) => {
    const shell = `set -o pipefail; { ${pipe}; } 3>&1 | head -c 100000 > /dev/null`;
    execFile("bash", ["-c", shell], { timeout: 20_000 }, (error, _out, err) => resolve(error ?? err));
  });
  t.match(code, /packets captured/);
  // it never reads: Ctrl-C works all the same, at the second time at the latest
  const child = spawn(process.execPath, [program, "capture", "--file-prefix", prefix, "0", "-w", "-"]);
  child.stdout.pause();
  let err = "";
  child.stderr.on("data", (text: Buffer) => (err += text.toString()));
  for (let k = 0; k < 1000 && !err.includes("listening"); k++) await pause(10);
  await pause(200);
  child.kill("SIGINT");
  await pause(200);
  child.kill("SIGINT");
  const ended = await new Promise((resolve) => child.on("exit", (code) => resolve(code)));
  t.equal(ended, 0);
  await pause(20);
  t.match(err, /packets dropped by ring/);
  await engine.stop(0);
});

t.test("killed: its taps are gone within a second, and the port goes on", async (t) => {
  const { engine, prefix } = await setup(t, "net_null0");
  const port = engine.port(0);
  const end = { port, queue: 0 };
  await engine.forward(0, [{ mode: "io", rx: end, tx: end }]);
  const tapped = () =>
    [...port.rxQueues, ...port.txQueues].some((q) => engine.arena.u32[(q + Queue.CAPTURE) >>> 2]);
  const used = engine.private.usedBytes;
  for (let k = 0; k < 3; k++) {
    const command = new Command(prefix, "0", "-w", file());
    await command.ready();
    await pause(50);
    t.ok(tapped());
    const start = performance.now();
    await command.stop("SIGKILL");
    while (tapped() && performance.now() - start < 3000) await pause(5);
    t.ok(performance.now() - start < 1000, `${performance.now() - start} ms`);
  }
  for (let k = 0; k < 200 && engine.private.usedBytes !== used; k++) await pause(5);
  t.equal(engine.private.usedBytes, used, "no memory is left behind");
  const before = port.stats().rxPackets;
  await pause(50);
  t.ok(port.stats().rxPackets > before);
  await engine.stop(0);
});

t.test("a port that is stopped, configured anew, detached; an engine that ends", async (t) => {
  const { engine, prefix, paced } = await setup(t, "net_ring0");
  const port = engine.port(0);
  const path = file();
  const command = new Command(prefix, "0", "-w", path);
  await command.ready();
  await paced({ packets: 100, perMs: 10, bytes: 100 });
  await port.stop();
  await port.configure({ rxQueues: 2, txQueues: 2 });
  await port.start();
  await paced({ packets: 200, perMs: 10, bytes: 100 });
  await engine.detach(port);
  t.equal(await command.ended, 0);
  t.match(command.err, /ended: port 0 \(net_ring0\) was closed/);
  t.same(await numbersIn(path), { in: [...upTo(100), ...upTo(200)], out: [...upTo(100), ...upTo(200)] });

  const other = await engine.attach("net_ring1");
  const last = file();
  const inside = file();
  await other.configure();
  const second = new Command(prefix, "net_ring1", "-w", last);
  await second.ready();
  const own = engine.capture(other, { write: inside });
  await engine.close();
  t.equal(await second.ended, 0);
  t.match(second.err, /ended: the engine /);
  t.same(await own.done, { captured: 0, seen: 0, received: 0, dropped: 0 });
  for (const one of [last, inside]) t.ok(readFileSync(one).length > 100, "the file is whole");
  await numbersIn(last);
});

t.test("an engine that is killed: what it captured last is still read, and the file is whole", async (t) => {
  const prefix = `capture-test-${process.pid}-${++serial}`;
  const script = fileURLToPath(new URL("./engine-child.js", import.meta.url));
  const child = spawn(process.execPath, [script, prefix], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => void child.kill("SIGKILL"));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const path = file();
  const command = new Command(prefix, "0", "-w", path, "-s", "64");
  await command.ready();
  await pause(100);
  child.kill("SIGKILL");
  t.equal(await command.ended, 0);
  t.match(command.err, /ended: the engine has ended/);
  let packets = 0;
  for await (const _ of readPackets(path)) packets++;
  t.equal(packets, command.counts[0]);
  t.equal(command.counts[0]! + command.counts[2]!, command.counts[1]!);
  rmSync(runtimePath(prefix), { recursive: true, force: true });
});

t.test("what is wrong is named", async (t) => {
  const { engine, prefix } = await setup(t, "net_null0");
  const cases: [string[], RegExp, number][] = [
    [["7", "-w", "x"], /there is no port "7"\n {2}fix: ports: 0 \(net_null0\)/, 1],
    [["0"], /-w is missing/, 1],
    [[], /no port is named/, 1],
    [["0", "-w", "x", "-C", "0"], /-C "0" is no file size/, 2],
    [["0", "-w", "x", "-W", "3"], /-W 3 without -C or -G/, 2],
    [["0", "-w", "-", "-C", "3"], /-w - is one stream/, 2],
    [["0", "-w", "x", "--direction", "up"], /--direction "up"/, 2],
    [["0", "-w", "x", "--queue", "99"], /there is no queue 99/, 1],
    [["0", "-w", "/nonexistent/x"], /capture file \/nonexistent\/x: .*\n {2}fix: make the folder first/, 1],
    [["0", "-w", "x", "--ring-size", "9999"], /--ring-size "9999"/, 2],
    [["0", "-w", "x", "--colour"], /unknown option --colour/, 2],
  ];
  await Promise.all(
    cases.map(async ([args, text, code]) => {
      const command = new Command(prefix, ...args);
      t.equal(await command.ended, code, args.join(" "));
      t.match(command.err, text);
    }),
  );
  const nobody = new Command(`${prefix}-x`, "0", "-w", "x");
  t.equal(await nobody.ended, 1);
  t.match(nobody.err, new RegExp(`no engine listens at .*\n {2}fix: running: .*--file-prefix ${prefix}`));
  const list = new Command(prefix, "-D");
  t.equal(await list.ended, 0);
  t.equal(Buffer.concat(list.out).toString(), "0.net_null0 (net_null) [up]\n");
  t.throws(() => engine.capture(engine.port(0), { write: "x", count: 0 }), { code: "CAPTURE_OPTION" });
  const failed = engine.capture(engine.port(0), { write: "/nonexistent/x" });
  await t.rejects(failed.done, { code: "CAPTURE_OUTPUT" });
});

t.test("nonsense over the control socket starts nothing", async (t) => {
  const { engine, prefix } = await setup(t, "net_null0");
  const control = new ControlConnection(prefix, { onEvent: () => {}, onClose: () => {} });
  t.teardown(() => control.close());
  const used = engine.private.usedBytes;
  const bad: [Record<string, unknown>, string][] = [
    [{}, "PORT_UNKNOWN"],
    [{ port: {} }, "PORT_UNKNOWN"],
    [{ port: 0, program: null }, "CAPTURE_PROGRAM"],
    [{ port: 0, program: [[0x15, 9, 9, 0]] }, "CAPTURE_PROGRAM"],
    [{ port: 0, snaplen: "5" }, "CAPTURE_OPTION"],
    [{ port: 0, ringBytes: 1e300 }, "CAPTURE_OPTION"],
    [{ port: 0, queue: {} }, "CAPTURE_OPTION"],
    [{ port: 0, direction: 1 }, "CAPTURE_OPTION"],
  ];
  for (const [params, code] of bad) await t.rejects(control.ask("capture.start", params), { code });
  t.equal(engine.private.usedBytes, used);
  await control.ask("capture.stop", { capture: 1 });
  for (let k = 0; k < CAPTURES_MAX; k++) await control.ask("capture.start", { port: 0, ringBytes: 2 ** 20 });
  await t.rejects(control.ask("capture.start", { port: 0 }), { code: "CAPTURE_COUNT" });
  t.match((await control.ask("info")).result, { pid: process.pid, ports: 1, captures: CAPTURES_MAX });
  control.close();
  for (let k = 0; k < 400 && engine.private.usedBytes !== used; k++) await pause(5);
  t.equal(engine.private.usedBytes, used);
});
