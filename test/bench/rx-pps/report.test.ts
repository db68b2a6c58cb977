import t from "tap";
import type { Machine } from "../../../bench/machine.ts";
import type { Measurement } from "../../../bench/rx-pps/measure.ts";
import { formatReport, groupBursts, makeReport, type Setting } from "../../../bench/rx-pps/report.ts";
import { merge } from "../../../src/telemetry/counters.ts";

const setting: Setting = {
  port: "net_virtio_user0",
  generator: "net_vhost0",
  engine: "wasm",
  app: "touch",
  burst: 32,
  queues: 1,
  frameSize: 64,
  receivers: ["lcore 1"],
  generatorLcore: "lcore 0",
  clockNs: 30,
};
const machine: Machine = {
  cpuModel: "Some CPU",
  cpuMHz: 2000,
  cores: 2,
  kernel: "6.1",
  node: "v20.20.2",
  commit: "abc1234",
  hugepages: [],
  date: "2026-01-01T00:00:00.000Z",
};
const drops = { rxErrors: 0, rxNoMbuf: 0, rxMissed: 0, queueFaults: 0, txRefused: 0, txErrors: 0 };

function measured(): Measurement {
  const bursts = new Float64Array(513);
  bursts[32] = 999_000;
  bursts[3] = 1000;
  const pollTimes = new Float64Array(1728);
  pollTimes[40] = 900;
  pollTimes[60] = 100;
  const counts = { polls: 4_000_000, emptyPolls: 3_000_000, packets: 0, roundNsMax: 12_345 };
  const busy = { busyNs: 1000 * 350, busyPackets: 32_000, busyPolls: 1000 };
  const counters = { ...merge(), ...counts, ...busy, bursts, pollTimes };
  const window = { seconds: 2, packets: 32_000_000, bytes: 32_000_000 * 64 };
  return { ...window, drops, counters, points: [], linkDowns: 0, interrupted: false };
}

t.test("numbers", async (t) => {
  const report = makeReport(setting, measured(), machine);
  t.match(report, {
    pps: 16e6,
    bps: 16e6 * 64 * 8,
    packets: 32e6,
    bytes: 32e6 * 64,
    seconds: 2,
    nsPerPacket: 62.5,
    busyNsPerPacket: 10,
    cyclesPerPacket: 20,
    emptyPollShare: 0.75,
    latencyNs: { p50: 40, p90: 40, p99: 60, p999: 60, max: 60 },
    roundNsMax: 12_345,
    linkDowns: 0,
    interrupted: false,
  });
  t.same(report.bursts, { "1": 0, "2-3": 1000, "4-7": 0, "8-15": 0, "16-31": 0, "32": 999_000 });
  t.same(report.dropped, drops);
  t.same(JSON.parse(JSON.stringify(report)), report, "plain data");
  const late = makeReport({ ...setting, clockNs: 70 }, measured(), machine);
  t.equal(late.clockNs, 40, "a clock measured in a bad moment cannot cost more than whole polls");
});

t.test("nothing came", async (t) => {
  const empty: Measurement = { ...measured(), seconds: 0, packets: 0, bytes: 0, counters: merge() };
  const report = makeReport(setting, empty, { ...machine, cpuMHz: undefined });
  const none = { nsPerPacket: null, busyNsPerPacket: null, cyclesPerPacket: null, latencyNs: null };
  t.match(report, { pps: 0, emptyPollShare: 0, ...none });
  t.notMatch(JSON.stringify(report), /NaN|Infinity/);
  t.notMatch(formatReport(report), /NaN|Infinity|undefined|null/);
});

t.test("as text", async (t) => {
  const report = makeReport(setting, measured(), machine);
  const expected = `rx-pps: net_virtio_user0 on lcore 1 from net_vhost0 on lcore 0, 64-byte frames
app touch, engine wasm, burst 32, 1 queue

received       32,000,000 packets, 2,048,000,000 bytes in 2.00 s
rate           16.00 Mpps, 8.192 Gbit/s (frame bits: no CRC, preamble or gap)
per packet     62.5 ns average (1 / rate); busy 10 ns = 20 cycles (TSC, 2000 MHz), the clock's 30 ns a poll taken off
empty polls    75.0 % of 4,000,000
bursts         1: 0 %  2-3: 0.1 %  4-7: 0 %  8-15: 0 %  16-31: 0 %  32: 99.9 %
poll to poll   p50 40 ns  p90 40 ns  p99 60 ns  p99.9 60 ns  max 60 ns (1 round in 64; 30 ns of each is the clock)
longest round  12.3 µs for 256 polls
dropped        0 (rx errors 0, no mbuf 0, missed 0, queue faults 0, tx refused 0, tx errors 0)

machine: Some CPU, 2000 MHz, 2 cores, Linux 6.1
pollmode abc1234, Node v20.20.2, hugepages free: none, 2026-01-01T00:00:00.000Z
`;
  t.equal(formatReport(report), expected);
  const given = {
    ...setting,
    port: "net_null0 net_null1",
    generator: null,
    generatorLcore: null,
    frameSize: null,
  };
  const bad: Measurement = {
    ...measured(),
    linkDowns: 2,
    interrupted: true,
    drops: { ...drops, rxNoMbuf: 1200 },
  };
  const text = formatReport(makeReport({ ...given, queues: 2 }, bad, machine));
  t.match(text, "rx-pps: net_null0 net_null1 on lcore 1\n");
  t.match(text, /, 2 queues\n/);
  t.match(text, "dropped        1,200 (rx errors 0, no mbuf 1,200, ");
  t.match(text, "went down 2x");
  t.match(text, "(ended early)");
});

t.test("burst groups", async (t) => {
  const bursts = Float64Array.from({ length: 513 }, () => 1);
  t.same(groupBursts(bursts, 1), { "1": 1 });
  t.same(groupBursts(bursts, 5), { "1": 1, "2-3": 2, "4-5": 2 });
  t.equal(
    Object.values(groupBursts(bursts, 512)).reduce((a, b) => a + b),
    512,
  );
});
