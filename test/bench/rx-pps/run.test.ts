// The real program: what it prints, where, and how it ends.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import t from "tap";
import type { Report } from "../../../bench/rx-pps/report.ts";
import { threadCpus } from "../../../src/libc/libc.ts";

t.setTimeout(240_000); // some twenty starts of the program
const program = fileURLToPath(new URL("../../../src/cli/pollmode.js", import.meta.url));
/** Backspace, escape and the like; carriage returns too. */
const controlCharacters = /[\x00-\x09\x0b-\x1f\x7f]/;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Start {
  readonly env?: NodeJS.ProcessEnv;
  /** Run before the program: `taskset -c 0`. */
  readonly by?: readonly string[];
  /** Sent when the program has made its socket's folder, and so listens to signals. */
  readonly signals?: readonly NodeJS.Signals[];
}

async function rxPps(line: string, { env = {}, by = [], signals = [] }: Start = {}): Promise<Ended> {
  const [command, ...args] = [...by, process.execPath, program, "rx-pps", ...line.split(" ").filter(Boolean)];
  const child = spawn(command!, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => void (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text));
  const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
  for (const signal of signals) {
    while (env.TMPDIR && readdirSync(env.TMPDIR).length === 0 && child.exitCode === null) await pause(20);
    child.kill(signal);
  }
  return { code: await closed, stdout, stderr };
}

interface Checks {
  equal(found: unknown, wanted: unknown, message: string): boolean;
  match(found: string, pattern: RegExp): boolean;
  notMatch(found: string, pattern: RegExp): boolean;
}

/** Counters are read while the lcore writes them: packets and bytes may be some microseconds apart. */
function bytesFit({ packets, bytes }: Report, frameBytes: number): boolean {
  return packets > 0 && Math.abs(bytes / (packets * frameBytes) - 1) < 0.02;
}

/** Short enough for a socket's path, which t.testdir() is not. */
function temporaryFolder(t: { teardown(end: () => void): void }): string {
  const folder = mkdtempSync("/tmp/rx-pps-test-");
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** stdout is one line, one object; no output has control characters. */
function jsonOf(t: Checks, { code, stdout, stderr }: Ended): Report {
  t.equal(code, 0, stderr);
  t.notMatch(stdout + stderr, controlCharacters);
  t.match(stdout, /^\{.*\}\n$/);
  return JSON.parse(stdout) as Report;
}

for (const engine of ["wasm", "ts"] as const) {
  t.test(`net_null0, ${engine} engine`, async (t) => {
    const line = `--vdev net_null0 --no-huge --in-memory --seconds 0.5 --engine ${engine} --json`;
    const report = jsonOf(t, await rxPps(line));
    t.match(report, { port: "net_null0", generator: null, engine, app: "touch", burst: 32, queues: 1 });
    t.match(report, { frameSize: null, interrupted: false, emptyPollShare: 0 });
    t.ok(bytesFit(report, 64), `${report.packets} packets, ${report.bytes} bytes`);
    t.ok(report.seconds >= 0.5 && report.pps > 0);
    t.ok(Math.abs(report.nsPerPacket! * report.pps - 1e9) < 1e7, "both say the same");
    t.ok(report.busyNsPerPacket! > 0 && report.latencyNs!.p50 > 0);
    t.same(new Set(Object.values(report.dropped)), new Set([0]));
    t.equal(report.machine.node, process.version);
  });
}

t.test("the default: net_virtio_user fed by net_vhost", async (t) => {
  const env = { TMPDIR: temporaryFolder(t) };
  const report = jsonOf(t, await rxPps("--no-huge --seconds 0.5 --json", { env }));
  t.match(report, { port: "net_virtio_user0", generator: "net_vhost0", frameSize: 64, linkDowns: 0 });
  t.ok(bytesFit(report, 64), `${report.packets} packets, ${report.bytes} bytes`);
  t.same(report.dropped, {
    rxErrors: 0,
    rxNoMbuf: 0,
    rxMissed: 0,
    queueFaults: 0,
    txRefused: 0,
    txErrors: 0,
  });
  t.same(readdirSync(env.TMPDIR), [], "the socket's folder is gone");
});

t.test("two queues, macswap, large frames", async (t) => {
  const line = "--no-huge --seconds 0.5 --json --queues 2 --app macswap --frame-size 4000";
  const report = jsonOf(t, await rxPps(line));
  t.match(report, { app: "macswap", queues: 2, frameSize: 4000 });
  t.ok(bytesFit(report, 4000), `${report.packets} packets, ${report.bytes} bytes`);
});

t.test("text, and a picture", async (t) => {
  const file = join(t.testdir({}), "out.svg");
  const { code, stdout, stderr } = await rxPps(`--vdev net_null0 --no-huge --seconds 0.5 --plot ${file}`);
  t.equal(code, 0, stderr);
  t.notMatch(stdout + stderr, controlCharacters);
  t.match(stdout, /^rx-pps: net_null0 on lcore \d+\n/);
  for (const row of ["received", "rate", "per packet", "poll to poll", "dropped", "machine:"]) {
    t.match(stdout, new RegExp(`^${row}`, "m"));
  }
  const svg = readFileSync(file, "utf8");
  t.match(svg, /^<svg .*<\/svg>\s*$/s);
  for (const text of [
    "Rate over time",
    "time (s)",
    "packets received (Mpps)",
    "percentile of polls",
    "p99.9",
  ]) {
    t.ok(svg.includes(`>${text}`), text);
  }
});

t.test("ended early", async (t) => {
  const TMPDIR = temporaryFolder(t);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const report = jsonOf(
      t,
      await rxPps("--no-huge --seconds 0 --json", { env: { TMPDIR }, signals: [signal] }),
    );
    t.equal(report.interrupted, true, signal);
    t.same(readdirSync(TMPDIR), [], signal);
  }
  const twice = await rxPps("--no-huge --seconds 0", { env: { TMPDIR }, signals: ["SIGINT", "SIGTERM"] });
  t.equal(twice.stdout, "", "the second ends it at once");
  t.equal(twice.code, 1);
  t.same(readdirSync(TMPDIR), []);
});

t.test("one CPU", { skip: hasTaskset() ? false : "taskset is missing" }, async (t) => {
  const by = ["taskset", "-c", `${threadCpus()[0]}`];
  const ended = await rxPps("--no-huge --seconds 1 --json", { by });
  t.match(ended.stderr, /take turns on CPU/);
  t.ok(jsonOf(t, ended).packets > 0);
});

function hasTaskset(): boolean {
  try {
    execFileSync("taskset", ["-V"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

t.test("mistakes are named, and there is no stack", async (t) => {
  const cases: [string, number, RegExp][] = [
    ["--burst 0", 2, /--burst "0"/],
    ["--vdev net_nul0", 2, /no driver net_nul/],
    ["--vdev net_null0,size=x --no-huge", 2, /size="x"/],
    ["-a 0000:01:00.0 --no-huge", 2, /PCI/],
    ["-l 900", 2, /CPU 900/],
    ["--vdev net_virtio_user0,path=/nobody/listens --no-huge", 1, /nobody\/listens/],
    ["--vdev net_virtio_user0,path=/nobody/listens --queues 2 --no-huge", 1, /nobody\/listens/],
  ];
  for (const [line, wanted, message] of cases) {
    const { code, stdout, stderr } = await rxPps(line);
    t.equal(code, wanted, line);
    t.equal(stdout, "", line);
    t.match(stderr, message, line);
    t.match(stderr, /\n {2}fix: /, line);
    t.notMatch(stderr, /\n\s+at /, line);
  }
});

t.test("--help and --version", async (t) => {
  t.match(await rxPps("--help"), { code: 0, stdout: /^usage: pollmode rx-pps/, stderr: "" });
  t.match(await rxPps("--version"), { code: 0, stdout: /^pollmode \d+\.\d+\.\d+\n$/, stderr: "" });
});
