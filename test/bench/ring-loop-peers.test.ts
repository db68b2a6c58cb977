// The parts of bench:peers that need neither DPDK nor hugepages: what it reads, sums up and writes.
import t from "tap";
import { describeMachine } from "../../bench/machine.ts";
import { replaceResults } from "../../bench/markdown.ts";
import { afPacketRows, received } from "../../bench/peers/af-packet.ts";
import { parseCoreCycles, parseRxPps } from "../../bench/peers/frontends.ts";
import { Guard, parseCpuTicks, parseProcessTicks } from "../../bench/peers/guard.ts";
import { type RowResult, type Run, summarize } from "../../bench/peers/measure.ts";
import { readOptions } from "../../bench/peers/options.ts";
import { formatResult } from "../../bench/peers/tables.ts";
import { counted, measureEach, summarizeAlone, takeTurns, type Who } from "../../bench/peers/turns.ts";
import { PollmodeError } from "../../src/errors.ts";

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

const quietly = { cpus: { backend: 0, frontend: 1 }, seconds: 1, foreignPctMax: 5, say: () => {} };

t.test("turns", async (t) => {
  const order: Who[] = [];
  const said: string[] = [];
  const run = async (who: Who): Promise<Run> => {
    order.push(who);
    return {
      windows: [who === "dpdk" ? 2e6 : 3e6],
      dropped: 0,
      foreignPct: 1,
      busyNs: who === "dpdk" ? 80 : 60,
    };
  };
  const row = { name: "af-packet-rx", title: "rx", group: "net_af_packet", run };
  const settings = { ...quietly, reps: 2, say: (text: string) => void said.push(text) };
  const result = await takeTurns({ ...row, summarize }, settings);
  t.same(order, ["pollmode", "dpdk", "dpdk", "pollmode"]);
  t.match(result, { name: "af-packet-rx", group: "net_af_packet", rateRatio: 1.5, busyRatio: 0.75 });
  t.match(result.pollmode, { mpps: 3, busyNs: 60, windows: 2 });
  t.equal(said[0], "af-packet-rx pollmode: 3.00 Mpps, 60.0 ns busy, others used 1.0 % of a CPU");
  const alone = await takeTurns({ ...row, summarize: summarizeAlone }, { ...settings, reps: 1 });
  t.match(alone, { rateRatio: 1.5, busyRatio: null });
  const disturbed = async (who: Who) => ({ ...(await run(who)), windows: [], dropped: 1 });
  const none = await takeTurns({ ...row, run: disturbed, summarize }, { ...settings, reps: 1 });
  t.match(none, { rateRatio: null, pollmode: { mpps: null, busyDisturbed: true, dropped: 1 } });
  t.match(said.at(-1), /^af-packet-rx dpdk: no Mpps/);
});

t.test("what counts of a run", async (t) => {
  const calm = { foreignPct: 4, stealPct: 5 };
  t.same(counted([1e6, 2e6], calm, 5), { windows: [1e6, 2e6], dropped: 0, foreignPct: 4, busyNs: null });
  t.same(counted([1e6], { foreignPct: 0, stealPct: 6 }, 5, 30), {
    windows: [],
    dropped: 1,
    foreignPct: 0,
    busyNs: 30,
  });
  const fast = { windows: [30e6], dropped: 0, foreignPct: 0, busyNs: null };
  const slow = { windows: [10e6, 12e6], dropped: 1, foreignPct: 0, busyNs: null };
  t.match(summarizeAlone([fast, slow]), { mpps: 12, busyNs: null, windows: 3, near: 0, dropped: 1 });
});

t.test("a row that fails leaves the others", async (t) => {
  const side = summarizeAlone([]);
  const results: RowResult[] = [];
  const missing: string[] = [];
  const measure = async ({ name }: { name: string }) => {
    if (name === "af-packet-rx") throw new PollmodeError("PEER_SILENT", "no veth", "make one");
    return { name, title: name, pollmode: side, dpdk: side, rateRatio: null, busyRatio: null };
  };
  await measureEach(afPacketRows, new Set(["af-packet-rx", "af-packet-tx"]), measure, { results, missing });
  t.strictSame([results.map(({ name }) => name), missing], [["af-packet-tx"], ["af-packet-rx: no veth"]]);
  await measureEach(afPacketRows, new Set(["split-rx"]), measure, { results, missing });
  t.equal(results.length + missing.length, 2, "what is not wanted is not measured");
});

t.test("the kernel's count at the far end", async (t) => {
  const text = `Inter-|   Receive                            |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:       0       1    0    0    0     0          0         0        0       2    0    0
xfar: 128 3 0 0 0 0 0 0 4 5 0 0
   far:90000064 1406251    0    7    0     0          0         0      896      14    0    0
`;
  t.equal(received(text, "far"), 1_406_251);
  t.equal(received(text, "lo"), 1);
  t.throws(() => received(text, "near"), { code: "PEER_ENDED", message: /near/ });
});

t.test("options", async (t) => {
  t.match(readOptions([]), { reps: 4, seconds: 6, foreignPctMax: 5, quick: false });
  t.match(readOptions(["--quick"]), { reps: 1, seconds: 3 });
  t.match(readOptions(["--quick", "--reps", "2"]), { reps: 2, seconds: 3 });
  t.same([...readOptions(["--rows", "split-rx,packed-rx"]).rows], ["split-rx", "packed-rx"]);
  t.same(
    [...readOptions(["--rows", "af-packet-rx,af-packet-tx"]).rows],
    afPacketRows.map(({ name }) => name),
  );
  t.ok(
    afPacketRows.every(({ name }) => readOptions([]).rows.has(name)),
    "all rows, unless told otherwise",
  );
  t.throws(() => readOptions(["--rows", "af-packet"]), { code: "OPTION_VALUE", fix: /af-packet-/ });
  t.throws(() => readOptions(["--rows", "split-tx"]), { code: "OPTION_VALUE", fix: "write --rows split-rx" });
  t.throws(() => readOptions(["--reps", "0"]), { code: "OPTION_VALUE" });
});

t.test("the document", async (t) => {
  const side = { mpps: 25.1, busyNs: 15.25, busyDisturbed: false, windows: 24, near: 0, dropped: 0 };
  const none = { mpps: null, busyNs: null, busyDisturbed: false, windows: 0, near: 0, dropped: 9 };
  const row = { name: "split-rx", title: "split ring, rx", rateRatio: 1.18, busyRatio: null };
  const text = formatResult({
    machine: describeMachine(),
    rows: [
      { ...row, pollmode: side, dpdk: none },
      {
        ...row,
        title: "veth, rx",
        group: "net_af_packet",
        pollmode: side,
        dpdk: side,
        rateRatio: 1,
        busyRatio: 1,
      },
    ],
    ringLoop: {
      batch: 32,
      packetsChecked: 1,
      rows: [{ app: "none", engine: "c", nsPerPacket: 3, ratioToC: 1 }],
    },
    missing: ["packed-rx: why"],
  });
  t.match(text, /\| split ring, rx \| +25\.10 \| +- \| \*\*1\.18\*\* \| +15\.25 \|/);
  t.match(
    text,
    /\| net_af_packet +\| pollmode Mpps[^\n]+\n[^\n]+\n\| veth, rx +\| +25\.10 \| +25\.10 \| \*\*1\.00\*\*/,
  );
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
