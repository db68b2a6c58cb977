// The runner itself: what it counts, and that nothing a test file does can pass for success.
import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { fileLine, findTests, isBedCrash, report, runBed, runFile } from "./run.ts";
import { TapTally } from "./tally.ts";

function tallyOf(tap: string) {
  const tally = new TapTally("x.test.js");
  tally.write(tap);
  return tally.end();
}

/** Runs a script as a test file; `tap` in it is the real one. */
async function runScript(folder: string, source: string, deadlineMs = 20_000) {
  const path = join(folder, "x.test.mjs");
  writeFileSync(path, `import t from ${JSON.stringify(import.meta.resolve("tap"))};\n${source}`);
  return runFile(path, "x.test.js", { deadlineMs });
}

t.test("a block with assertions is a test, one with blocks is a heading", async (t) => {
  const run = await runScript(
    t.testdir(),
    `t.test("a", async (t) => { t.ok(1); t.ok(1); });
     t.test("heading", async (t) => { t.test("b", async (t) => { t.ok(1); }); t.test("c", async (t) => t.ok(1)); });`,
  );
  t.match(run, { passed: 3, failures: [], skips: [] });
});

t.test("skips count one each, with their reasons", async (t) => {
  const run = await runScript(
    t.testdir(),
    `t.test("a", { skip: "no bed" }, async () => {});
     t.test("b", async (t) => { t.ok(1); t.skip("no root"); });
     t.test("c", async (t) => t.ok(1));
     t.test("empty", async () => {});
     t.test("plan", async (t) => { t.plan(0, "not now"); });
     t.skip("no card");`,
  );
  t.match(run, { passed: 1, failures: [] });
  t.same(run.skips, [
    { name: "a", reason: "no bed" },
    { name: "b", reason: "no root" },
    { name: "empty", reason: "holds no assertion" },
    { name: "plan", reason: "not now" },
    { name: "x.test.js", reason: "no card" },
  ]);
});

t.test("failures carry name, place and difference", async (t) => {
  const run = await runScript(
    t.testdir(),
    `t.test("outer", async (t) => { t.test("inner", async (t) => { t.equal(1, 2, "sums"); t.ok(0); }); });
     t.test("throws", async () => { throw new Error("boo"); });
     t.test("late", { timeout: 50 }, (t) => { t.ok(1); });
     t.equal(1, 2, "loose");
     console.error("a word on stderr");`,
  );
  t.same(
    run.failures.map(({ name }) => name),
    ["outer > inner", "throws", "late", "x.test.js"],
  );
  t.match(run.failures[0], { detail: /^sums\n {2}at .*x\.test\.mjs:2\n[\s\S]*\+1/ });
  t.match(run.failures[1], { detail: /boo/ });
  t.match(run.failures[3], { detail: /loose[\s\S]*stderr:\na word on stderr$/ });
  t.equal(run.passed, 0);
});

t.test("nothing but tests that pass is success", async (t) => {
  const folder = t.testdir();
  const failing = async (source: string, detail: RegExp, deadlineMs?: number) => {
    const run = await runScript(folder, source, deadlineMs);
    t.match(run.failures, [{ detail }], source);
  };
  await failing("", /no test|broken TAP/);
  await failing("process.exit(0);", /no test|broken TAP/);
  await failing('t.test("a", async (t) => { t.ok(1); process.exit(0); });', /.+/);
  await failing(
    't.test("a", async (t) => { t.ok(1); }); setTimeout(() => process.exit(3), 300);',
    /exit code 3/,
  );
  await failing('t.test("a", async (t) => { t.ok(1); process.kill(process.pid, "SIGSEGV"); });', /.+/);
  await failing('t.bailout("gave up");', /bailed out: gave up/);
  await failing("syntax error", /SyntaxError/);
});

t.test("a file past its deadline is killed with its children", async (t) => {
  const marker = `30${process.pid}.5`;
  const run = await runScript(
    t.testdir(),
    `import { spawn, execFileSync } from "node:child_process";
     spawn("sleep", ["${marker}"], { stdio: "inherit" });
     t.test("hangs", async (t) => { t.ok(1); await new Promise((r) => setTimeout(r, 60000)); });`,
    1500,
  );
  t.match(run.failures[0], { detail: /not ended after 1\.5 s: killed/ });
  t.ok(run.seconds < 10, "soon");
  const { execFileSync } = await import("node:child_process");
  t.notMatch(execFileSync("ps", ["-eo", "args"], { encoding: "utf8" }), `sleep ${marker}`);
});

t.test("ended by a signal, it lets test files undo what they did", async (t) => {
  const folder = t.testdir({
    "x.test.mjs": `import { appendFileSync } from "node:fs";
      process.on("SIGTERM", () => setTimeout(() => { appendFileSync("undone", "x"); process.exit(); }, 200));
      appendFileSync("up", "x");
      setInterval(() => {}, 1000);`,
    "runner.mjs": `import { endOnSignals, runFile } from ${JSON.stringify(import.meta.resolve("./run.js"))};
      endOnSignals();
      await runFile("x.test.mjs", "x.test.js", { deadlineMs: 20000 });
      await new Promise((done) => setTimeout(done, 60000));`,
  });
  const runner = spawn(process.execPath, ["runner.mjs"], { cwd: folder, stdio: "inherit" });
  const ended = new Promise((resolve) => runner.once("exit", (code) => resolve(code)));
  for (let left = 200; left > 0 && !existsSync(join(folder, "up")); left--) await sleep(50);
  runner.kill("SIGTERM");
  runner.kill("SIGTERM"); // as npm does
  t.equal(await ended, 1);
  t.equal(readFileSync(join(folder, "undone"), "utf8"), "x");
});

t.test("TAP cut short is a failure", async (t) => {
  t.match(tallyOf(""), { passed: 0, failures: [{ detail: /.+/ }] });
  t.match(tallyOf("TAP version 14\nok 1 - a\n"), { failures: [{ detail: /broken TAP/ }] });
  t.match(tallyOf("TAP version 14\nok 1 - a\n1..2\n"), { failures: [{ detail: /broken TAP/ }] });
  t.match(tallyOf("TAP version 14\n1..0 # SKIP not here\n"), { passed: 0, skips: [{ reason: "not here" }] });
  t.match(tallyOf("TAP version 14\nok 1 - a # todo later\n1..1\n"), {
    passed: 0,
    skips: [{ reason: /later/ }],
  });
});

t.test("finding test files", async (t) => {
  const files = {
    "run.js": "",
    "b.test.js": "",
    "b.test.js.map": "",
    sub: { "a.test.js": "", "vm.bed.test.js": "" },
    acceptance: { "pair.test.js": "" },
  };
  const folder = t.testdir(files);
  t.same(findTests(folder), {
    unit: ["b.test.js", "sub/a.test.js"],
    acceptance: ["acceptance/pair.test.js"],
    bed: ["sub/vm.bed.test.js"],
  });
  t.same(findTests(folder, ["sub/a", "vm"]), {
    unit: ["sub/a.test.js"],
    acceptance: [],
    bed: ["sub/vm.bed.test.js"],
  });
});

t.test("the report ends in the closing line", async (t) => {
  const fine = { file: "a.test.js", passed: 2, failures: [], skips: [], seconds: 0.25 };
  const skips = [{ name: "ping", reason: "needs root" }];
  const bad = {
    ...fine,
    file: "b.test.js",
    passed: 1,
    failures: [{ name: "x", detail: "1 is not 2" }],
    skips,
  };
  t.equal(fileLine(fine), "ok   a.test.js  2 passed  0.3 s");
  t.equal(fileLine(bad), "FAIL b.test.js  1 passed, 1 failed, 1 skipped  0.3 s");
  t.equal(report([fine]), "\n2 passed, 0 failed");
  t.equal(
    report([fine, bad]),
    "\nFAIL b.test.js: x\n  1 is not 2\n\nskipped:\n  b.test.js: ping: needs root\n\n3 passed, 1 failed, 1 skipped",
  );
});

t.test("an emulator's crash is told from a failure", async (t) => {
  const thrown = (code: string) =>
    runScript(
      t.testdir(),
      `t.test("a", async () => { throw Object.assign(new Error("QEMU has ended"), { code: "${code}" }); });`,
    );
  const crash = await thrown("BED_CRASHED");
  t.equal(crash.failures.length, 1);
  t.equal(isBedCrash(crash), true);
  t.equal(isBedCrash(await thrown("BED_PROCESS_FAILED")), false);
  // A guest hangs: a test's wait is over, and then killing the program that it waited for fails.
  const hang = await runScript(
    t.testdir(),
    `t.test("a", async () => {
       const error = Object.assign(new Error("the guest hangs"), { code: "BED_CRASHED" });
       throw Object.assign(new Error("suppressed"), { error, suppressed: new Error("ran for 60000 ms") });
     });`,
  );
  t.equal(isBedCrash(hang), true);
  t.match(hang.failures[0], { detail: /the guest hangs[\s\S]*ran for 60000 ms/ }, "both are shown");
});

t.test("a test whose guest crashed is run once more, and what failed is shown", async (t) => {
  const fine = { file: "vm.bed.test.js", passed: 2, failures: [], skips: [], seconds: 1 };
  const bad = {
    ...fine,
    passed: 1,
    failures: [{ name: "ping", detail: "QEMU has ended\ncode: BED_CRASHED" }],
  };
  const ours = { ...fine, passed: 1, failures: [{ name: "ping", detail: "1 is not 2" }] };
  const outcome = async (...runs: (typeof fine | typeof bad)[]) => {
    const said: string[] = [];
    const result = await runBed(
      async () => runs.shift()!,
      (text) => said.push(text),
    );
    t.equal(runs.length, 0, "run as often as is needed");
    return { result, said: said.join("") };
  };
  t.same(await outcome(fine), { result: fine, said: "" });
  t.same(await outcome(ours), { result: ours, said: "" }, "a failure of ours stands");
  t.same((await outcome(bad, ours)).result, ours);
  const twice = await outcome(bad, bad);
  t.same(twice.result, bad);
  t.match(
    twice.said,
    /^AGAIN vm\.bed\.test\.js {2}1 passed, 1 failed[\s\S]*once more: .*: ping\n {2}QEMU has ended\n {2}code: /,
  );
  const { result } = await outcome(bad, fine);
  t.equal(
    report([result]),
    "\npassed when run once more: vm.bed.test.js: ping\n  QEMU has ended\n  code: BED_CRASHED\n\n2 passed, 0 failed",
  );
});
