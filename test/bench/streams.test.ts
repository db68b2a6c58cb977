// The bench of PacketStreams: every way moves frames, and what it prints adds up.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { threadCpus } from "../../src/libc/libc.ts";

t.setTimeout(60_000);
const program = fileURLToPath(new URL("../../bench/streams/main.js", import.meta.url));
const bench = (...words: string[]) =>
  promisify(execFile)(process.execPath, [program, ...words], { timeout: 50_000 });
const skip = threadCpus().length < 2 ? "two CPUs are needed" : false;

t.test("every way moves frames", { skip }, async (t) => {
  const { stdout } = await bench("--json", "--seconds", "0.2", "--sizes", "64");
  const { machine, rows } = JSON.parse(stdout);
  t.equal(machine.node, process.version);
  const names = rows.map(({ name }: { name: string }) => name);
  const [receives, sends] = [
    ["application, receives", "for await", "readable()"],
    ["application, sends", "send()", "writable()"],
  ];
  t.same(names, [...receives!, ...sends!]);
  for (const { name, frameBytes, framesPerSecond, mainNsPerFrame } of rows) {
    t.ok(framesPerSecond > 1000 && frameBytes === 64, `${name}: ${Math.round(framesPerSecond)} frames/s`);
    if (name.startsWith("application")) continue;
    t.ok(mainNsPerFrame > 0, `${name}: it takes time of the main thread`);
    t.ok((framesPerSecond * mainNsPerFrame) / 1e9 < 1.05, `${name}: of one thread`);
  }
  t.ok(rows[0].framesPerSecond > rows[1].framesPerSecond, "an application is faster");
});

t.test("options that cannot be", async (t) => {
  for (const words of [
    ["--seconds", "0"],
    ["--sizes", "64,x"],
    ["--sizes", "9000"],
  ]) {
    await t.rejects(bench(...words), { code: 1, stderr: /cannot be\n {2}fix: / });
  }
  const { stdout } = await bench("--help");
  t.match(stdout, /--sizes BYTES/);
});
