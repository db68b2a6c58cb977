// The parts of bench:peers that need neither DPDK nor hugepages: what it reads, sums up and writes.
import t from "tap";
import { describeMachine } from "../../bench/machine.ts";
import { replaceResults } from "../../bench/markdown.ts";
import { parseCoreCycles, parseRxPps } from "../../bench/peers/frontends.ts";
import { Guard, parseCpuTicks, parseProcessTicks } from "../../bench/peers/guard.ts";
import { summarize } from "../../bench/peers/measure.ts";
import { readOptions } from "../../bench/peers/options.ts";
import { formatResult } from "../../bench/peers/tables.ts";

t.test("the guard", async (t) => {
  t.same(parseCpuTicks("cpu  10 20 30 400 50 6 7 8 9 0\ncpu0 1 2\n"), { busyTicks: 73, stealTicks: 8 });
  const fields = Array.from({ length: 50 }, (_, at) => at);
  t.equal(parseProcessTicks(`1 (a b) c) ${fields.join(" ")}`), 23);
  const guard = new Guard([process.pid, 2 ** 22 + 1]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const { foreignPct, stealPct } = guard.next();
  t.ok(Number.isFinite(foreignPct) && Number.isFinite(stealPct), "also with a process that is gone");
});

t.test("what the frontends print", async (t) => {
  t.equal(parseRxPps('noise\n{"pps":25e6,"busyNsPerPacket":15.5}\n'), 15.5);
  t.equal(parseRxPps('{"pps":0,"busyNsPerPacket":null}'), null);
  t.equal(parseRxPps("rx-pps: no such port"), undefined);
  t.equal(parseRxPps('{"pps":'), undefined);
  const cycles = "CPU cycles/packet=65.00 (busy cycles=1300 / total RX packets=20) at 2600 MHz Clock";
  t.equal(parseCoreCycles(`Telling cores to stop...\n\n  ${cycles}\n`), 25);
  t.equal(parseCoreCycles("Bye..."), null);
});

t.test("the sum of the runs", async (t) => {
  const quiet = { windows: [20e6, 22e6, 24e6], dropped: 0, foreignPct: 1, busyNs: 15 };
  const disturbed = { windows: [10e6], dropped: 2, foreignPct: 9, busyNs: 99 };
  t.same(summarize([quiet, disturbed]), {
    mpps: 21,
    busyNs: 15,
    busyDisturbed: false,
    windows: 4,
    near: 0,
    dropped: 2,
  });
  const near = { windows: [33e6, 34e6], dropped: 0, foreignPct: 0, busyNs: 7 };
  t.match(summarize([near, quiet]), { mpps: 22, busyNs: 15, near: 1 }, "both CPUs were on one core");
  t.match(summarize([disturbed]), { mpps: 10, busyNs: 99, busyDisturbed: true });
  t.same(summarize([]), { mpps: null, busyNs: null, busyDisturbed: false, windows: 0, near: 0, dropped: 0 });
});

t.test("options", async (t) => {
  t.match(readOptions([]), { reps: 4, seconds: 6, foreignPctMax: 5, quick: false });
  t.match(readOptions(["--quick"]), { reps: 1, seconds: 3 });
  t.match(readOptions(["--quick", "--reps", "2"]), { reps: 2, seconds: 3 });
  t.same([...readOptions(["--rows", "split-rx,packed-rx"]).rows], ["split-rx", "packed-rx"]);
  t.throws(() => readOptions(["--rows", "split-tx"]), { code: "OPTION_VALUE", fix: "write --rows split-rx" });
  t.throws(() => readOptions(["--reps", "0"]), { code: "OPTION_VALUE" });
});

t.test("the document", async (t) => {
  const side = { mpps: 25.1, busyNs: 15.25, busyDisturbed: false, windows: 24, near: 0, dropped: 0 };
  const none = { mpps: null, busyNs: null, busyDisturbed: false, windows: 0, near: 0, dropped: 9 };
  const row = { name: "split-rx", title: "split ring, rx", rateRatio: 1.18, busyRatio: null };
  const text = formatResult({
    machine: describeMachine(),
    rows: [{ ...row, pollmode: side, dpdk: none }],
    ringLoop: {
      batch: 32,
      packetsChecked: 1,
      rows: [{ app: "none", engine: "c", nsPerPacket: 3, ratioToC: 1 }],
    },
    missing: ["packed-rx: why"],
  });
  t.match(text, /\| split ring, rx \| +25\.10 \| +- \| \*\*1\.18\*\* \| +15\.25 \|/);
  t.match(text, /\| c +\| 3\.00 \(1\.00\) \|/);
  t.match(text, "- Not measured: packed-rx: why");
  const [begin, end] = [
    "<!-- results: written by npm run bench:peers -- --write -->",
    "<!-- end of bench:peers -->",
  ];
  t.equal(
    replaceResults(`a\n${begin}\nold\n${end}\nb`, "bench:peers", "new", "x.md"),
    `a\n${begin}\n\nnew\n\n${end}\nb`,
  );
  t.throws(() => replaceResults("a", "bench:peers", "new", "x.md"), { code: "NO_RESULTS_PLACE" });
});
