// `pollmode testpmd` as a program: how it ends, what it leaves, what it says of a command line that cannot be.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { OwnedProcess } from "../../beds/child.ts";
import { parseFinal, parseSamples } from "../../beds/testpmd-stats.ts";
import { lcoreArgs } from "./support.ts";

t.setTimeout(120_000);
const program = fileURLToPath(new URL("../../../src/cli/pollmode.js", import.meta.url));
const eal = ["--no-huge", "--in-memory", "--no-pci", "-m", "64", ...lcoreArgs()];
const nulls = ["--vdev=net_null0", "--vdev=net_null1"];

function start(...args: string[]): OwnedProcess {
  return new OwnedProcess("pollmode testpmd", process.execPath, [program, "testpmd", ...args]);
}

const ends: [title: string, end: (testpmd: OwnedProcess) => void][] = [
  ["Enter", (testpmd) => testpmd.write("\n")],
  ["the end of its input", (testpmd) => testpmd.endInput()],
  ["SIGINT", (testpmd) => testpmd.signal("SIGINT")],
  ["SIGTERM", (testpmd) => testpmd.signal("SIGTERM")],
];

for (const [title, end] of ends) {
  t.test(`it ends by ${title}`, async (t) => {
    await using testpmd = start(...eal, ...nulls, "--", "--forward-mode=macswap");
    await testpmd.waitFor(/Press enter to exit\n/, 20_000);
    end(testpmd);
    t.same(await testpmd.endWithin(10_000), { code: 0, signal: null });
    const { ports, all } = parseFinal(testpmd.stdout)!;
    t.same([...ports.keys()], [0, 1]);
    t.ok(all.rxPackets > 0);
    t.equal(all.rxPackets, all.txPackets);
    t.match(
      testpmd.stdout,
      /Shutting down port 1\.\.\.\nClosing ports\.\.\.\nPort 1 is closed\nDone\n\nBye\.\.\.\n$/,
    );
    const signal = /^SIG/.test(title) ? /Signal \d+ received, preparing to exit\.\.\./ : /^(?!.*Signal)/s;
    t.match(testpmd.output, signal);
  });
}

t.test("--stats-period: a block at once and then each period, until a signal", async (t) => {
  await using testpmd = start(...eal, ...nulls, "--", "--stats-period=1");
  testpmd.endInput();
  await testpmd.waitFor(/(Port statistics =[\s\S]*?){3}/, 20_000);
  testpmd.signal("SIGINT");
  t.same(await testpmd.endWithin(10_000), { code: 0, signal: null });
  t.notMatch(testpmd.stdout, "\u001b", "no escapes in a pipe");
  const samples = parseSamples(testpmd.stdout);
  t.ok(samples.length >= 2);
  const [first, second] = samples as [(typeof samples)[0], (typeof samples)[0]];
  t.match(first, [
    { port: 0, rxPps: 0, txPps: 0 },
    { port: 1, rxPps: 0 },
  ]);
  for (const port of [0, 1]) {
    const packets = second[port]!.rxPackets - first[port]!.rxPackets;
    t.ok(packets > 0);
    const error = Math.abs(second[port]!.rxPps / packets - 1);
    t.ok(
      error < 0.2,
      `port ${port}: the rate is what was counted in a second, within ${Math.round(100 * error)} %`,
    );
    t.ok(
      Math.abs(second[port]!.rxBps / second[port]!.rxPps / (8 * 64) - 1) < 0.01,
      "bits of frames of 64 bytes",
    );
  }
});

t.test("--http serves what is forwarded; --engine=ts forwards", async (t) => {
  await using testpmd = start(...eal, ...nulls, "--", "--http=0", "--engine=ts");
  await testpmd.waitFor(/Press enter to exit\n/, 20_000);
  const [, url] = await testpmd.waitFor(/statistics at (http:\/\/127\.0\.0\.1:\d+\/)/, 5_000);
  const metrics = await (await fetch(new URL("/metrics", url))).text();
  t.match(metrics, /port.*net_null0/);
  t.match((await (await fetch(url!)).text()).slice(0, 200), /<!doctype html>/i);
  testpmd.write("\n");
  t.same(await testpmd.endWithin(10_000), { code: 0, signal: null });
  t.ok(parseFinal(testpmd.stdout)!.all.rxPackets > 0);
});

t.test("-i: commands from a pipe, and a command file before them", async (t) => {
  const folder = t.testdir({ commands: "set fwd macswap\nset burst 16\n" });
  await using testpmd = start(...eal, ...nulls, "--", "-i", "-a", `--cmdline-file=${folder}/commands`);
  await testpmd.waitFor(/Start automatic packet forwarding\nmacswap packet forwarding/, 20_000);
  testpmd.write("stop\nshow config fwd\nquit\n");
  t.same(await testpmd.endWithin(10_000), { code: 0, signal: null });
  t.match(testpmd.stdout, /Number of packets per burst set to 16\n/);
  t.match(testpmd.stdout, /testpmd> stop\r?\n.*testpmd> show config fwd\r?\nmacswap.*testpmd> quit\r?\n/s);
  t.match(
    testpmd.stdout,
    /Accumulated forward statistics.*\nDone\.\n.*macswap packet forwarding - ports=2.*Bye/s,
  );
});

t.test("--cmdline-file: a signal ends it there, in order", async (t) => {
  const lines = Array.from({ length: 100_000 }, () => "show port stats all\n").join("");
  const folder = t.testdir({ commands: `start\n${lines}set burst 7\n` });
  for (const mode of [["-i"], []]) {
    await using testpmd = start(...eal, ...nulls, "--", ...mode, `--cmdline-file=${folder}/commands`);
    await testpmd.waitFor(/NIC statistics for port 1/, 20_000);
    testpmd.signal("SIGTERM");
    t.same(await testpmd.endWithin(5_000), { code: 0, signal: null });
    t.match(testpmd.output, /Signal 15 received, preparing to exit\.\.\./);
    t.match(testpmd.stdout, /Telling cores to stop\.\.\.\n[\s\S]*\nBye\.\.\.\n$/);
    t.notMatch(testpmd.stdout, /Number of packets per burst set to 7|Read CLI commands|No commandline core/);
  }
});

t.test("a signal while it waits for links", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-links-")); // where a socket's path is short enough
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const vhost = `--vdev=net_vhost0,iface=${folder}/socket`;
  await using testpmd = start(...eal, vhost, "--", "--no-lsc-interrupt");
  await testpmd.waitFor(/Checking link statuses/, 20_000);
  testpmd.signal("SIGTERM");
  t.same(await testpmd.endWithin(5_000), { code: 0, signal: null }, "long before the 9 s are over");
  t.match(testpmd.stdout, /Port 0 Link down\nDone\n[\s\S]*\nBye\.\.\.\n$/);
});

t.test("-i: a signal ends it at its prompt", async (t) => {
  await using testpmd = start(...eal, ...nulls, "--", "-i");
  await testpmd.waitFor(/testpmd> /, 20_000);
  testpmd.signal("SIGTERM");
  t.same(await testpmd.endWithin(10_000), { code: 0, signal: null });
  t.match(testpmd.stdout, /Bye\.\.\.\n$/);
});

t.test("whoever reads its output may leave early", async (t) => {
  const command = `"${process.execPath}" "${program}" testpmd ${eal.join(" ")} ${nulls.join(" ")} -- --stats-period=1`;
  await using shell = new OwnedProcess("testpmd | head", "bash", ["-c", `${command} | head -3`]);
  t.match(await shell.endWithin(15_000), { code: 0 });
});

t.test("a runtime directory is made for --file-prefix, held, and gone in the end", async (t) => {
  const prefix = `testpmd-${process.pid}`;
  const base = process.getuid?.() === 0 ? "/var/run" : (process.env.XDG_RUNTIME_DIR ?? "/tmp");
  const folder = join(base, "pollmode", prefix);
  const withPrefix = eal.map((word) => (word === "--in-memory" ? `--file-prefix=${prefix}` : word));
  await using testpmd = start(...withPrefix, ...nulls, "--");
  await testpmd.waitFor(/Press enter to exit\n/, 20_000);
  t.ok(existsSync(folder), folder);
  await using other = start(...withPrefix, ...nulls, "--");
  t.same(await other.endWithin(10_000), { code: 1, signal: null });
  t.match(other.output, /testpmd: .*\n {2}fix: .*(--file-prefix|prefix)/);
  testpmd.write("\n");
  t.same(await testpmd.endWithin(10_000), { code: 0, signal: null });
  t.notOk(existsSync(folder));
});

t.test("it ends well within its time with an lcore's application that fails", async (t) => {
  const app =
    "export default () => { let n = 0; return () => { if (n++ > 1e5) throw new Error('enough'); return 0; }; };\n";
  const folder = t.testdir({ "fails.mjs": app });
  await using testpmd = start(...eal, ...nulls, "--", `--forward-mode=app=${folder}/fails.mjs`);
  await testpmd.waitFor(/lcore 1 stopped: .*enough/, 20_000);
  testpmd.write("\n");
  t.same(await testpmd.endWithin(10_000), { code: 1, signal: null }, "an lcore failed: its exit code tells");
  t.match(testpmd.stdout, /Bye\.\.\.\n$/);
});

const wrong: [args: string[], output: RegExp][] = [
  [
    ["--", "--burst=0"],
    /testpmd: --burst "0" is not a whole number from 1 to 512\n {2}fix: write --burst=32/,
  ],
  [["--", "--numa"], /testpmd: DPDK's --numa is not supported\n {2}fix: /],
  [["--no-such"], /testpmd: unknown option --no-such\n/],
  [["--vdev=net_nul0", "--"], /testpmd: net_nul0: there is no driver net_nul\n/],
  [["--", "--nb-ports=1"], /--nb-ports 1: there are 0 ports/],
  [["--", "--nb-cores=5"], /--nb-cores 5: nb-cores should be > 0 and <= 1\n/],
];

t.test("a command line that cannot be: exit code 2, the option is named, nothing on stdout", async (t) => {
  for (const [args, output] of wrong) {
    await using testpmd = start(...eal, ...args);
    t.same(await testpmd.endWithin(20_000), { code: 2, signal: null }, args.join(" "));
    t.match(testpmd.output, output);
    t.equal(testpmd.stdout, "");
  }
  await using alone = start(
    "--no-huge",
    "--in-memory",
    "--no-pci",
    "-l",
    lcoreArgs(0)[1]!.split("@")[1]!,
    "--",
  );
  t.same(await alone.endWithin(20_000), { code: 2, signal: null });
  t.match(
    alone.output,
    /No cores defined for forwarding: lcore \d+ is the main one.*\n {2}fix: .*(-l|--lcores)/,
  );
});

t.test("help and version", async (t) => {
  await using help = start("--help");
  t.match(await help.endWithin(10_000), { code: 0 });
  t.match(help.stdout, /^usage: pollmode testpmd \[EAL OPTIONS\] -- \[OPTIONS\]\n/);
  await using version = start("--version");
  t.match(await version.endWithin(10_000), { code: 0 });
  t.match(version.stdout, /^pollmode \d+\.\d+\.\d+/);
});
