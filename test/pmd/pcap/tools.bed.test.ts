// Files that net_pcap writes, decoded by Wireshark and libpcap; and files exchanged with DPDK's net_pcap both ways.
import { readFileSync, rmSync, statSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { PacketReader } from "../../../src/pcap/reader.ts";
import { Pollmode } from "../../../src/pollmode.ts";
import { OwnedProcess } from "../../beds/child.ts";
import { run } from "../../beds/command.ts";
import { dpdkBed, Testpmd } from "../../beds/dpdk.ts";
import { hugepagesMissing, reserveHugepages } from "../../beds/hugepages.ts";
import { captureInfo, tsharkFields, wiresharkBed } from "../../beds/wireshark.ts";
import { finished } from "../../lab/guest/ip-packets.ts";
import { flavours } from "../../pcap/captures.ts";
import { newPath, save } from "./queues.ts";

const PAGES = 160;
const noTools = wiresharkBed.missing();
const noDpdk = dpdkBed.missing() ?? hugepagesMissing(PAGES);
t.setTimeout(300_000);
if (!noTools) await wiresharkBed.setup();
if (!noDpdk) await dpdkBed.setup();

const to = Uint8Array.of(2, 0, 0, 0, 0, 1);
const from = Uint8Array.of(2, 0, 0, 0, 0, 2);
const frames = Array.from({ length: 200 }, (_, tag) => {
  const [ip, kind] = [tag % 3 === 0 ? 6 : 4, tag % 2 === 0 ? "udp" : "tcp"] as const;
  return finished({ ip, kind, to, from, tag, bytes: 74 + ((tag * 37) % 1440) });
});
const BASE_NS = 1_700_000_000_000_000_000n;
const packets = frames.map((data, k) => ({ stampNs: BASE_NS + BigInt(k) * 1_234_567n, data }));

/** Runs io from files to a file until all is written. */
async function forward(input: string, output: string, args = ""): Promise<void> {
  await using pm = await Pollmode.start({
    noHuge: true,
    vdev: [`net_pcap0,rx_pcap=${input}`, `net_pcap1,tx_pcap=${output}${args}`],
  });
  for (const port of pm.ports) {
    await port.configure();
    await port.start();
  }
  const [rx, tx] = pm.ports.map((port) => ({ port, queue: 0 }));
  const ended = new Promise<void>((resolve) => rx!.port.once("end", resolve));
  await pm.forward(0, [{ mode: "io", rx: rx!, tx: tx! }]);
  await ended;
  await pm.stop(0);
}

const framesOf = (bytes: Buffer): Buffer[] => {
  const reader = new PacketReader("file");
  const found = [...reader.push(bytes)].map(({ data }) => Buffer.from(data));
  reader.end();
  return found;
};
const same = (found: readonly Buffer[]) =>
  found.length === frames.length && found.every((frame, k) => frame.equals(frames[k]!));

const outputs = [
  { args: "", ending: "pcap", type: "nsecpcap" },
  { args: "", ending: "pcapng", type: "pcapng" },
  { args: ",tx_format=pcap-us", ending: "cap", type: "pcap" },
];

t.test("Wireshark and libpcap decode what was written", { skip: noTools ?? false }, async (t) => {
  const input = save(flavours[0]!.write(packets));
  for (const { args, ending, type } of outputs) {
    const path = newPath(ending);
    const before = Date.now() / 1000 - 1;
    await forward(input, path, args);
    t.same(await captureInfo(path), { packets: frames.length, ordered: true, type });
    const checks = ["ip.checksum.status", "tcp.checksum.status", "udp.checksum.status"];
    const lines = await tsharkFields(path, ["frame.time_epoch", "frame.len", ...checks]);
    t.equal(lines.length, frames.length);
    let last = before;
    for (const [k, [time, length, ...status]] of lines.entries()) {
      const sums = status.filter((value) => value !== "");
      const wanted = k % 3 === 0 ? ["1"] : ["1", "1"]; // IPv6 has no checksum of its own; 1 is good
      if (JSON.stringify(sums) !== JSON.stringify(wanted)) t.fail(`packet ${k}: checksums ${status}`);
      if (Number(length) !== frames[k]!.length) t.fail(`packet ${k}: ${length} bytes`);
      if (Number(time) < last) t.fail(`packet ${k}: ${time} after ${last}`);
      last = Number(time);
    }
    t.ok(last < Date.now() / 1000 + 1);
    const copy = newPath();
    await run("tcpdump", ["-n", "-r", path, "-w", copy, "--time-stamp-precision=nano", "-Z", "root"]);
    t.ok(same(framesOf(readFileSync(copy))), `${ending}: tcpdump reads the same frames`);
    if (type !== "pcap") t.match(lines[0]?.[0], /\.\d{9}$/, "nanoseconds");
    rmSync(path);
  }
});

t.test("live into tshark, through a FIFO", { skip: noTools ?? false }, async (t) => {
  const live = newPath("fifo");
  await run("mkfifo", [live]);
  const count = `${frames.length}`;
  const fields = ["-T", "fields", "-e", "frame.len"];
  await using tshark = new OwnedProcess("tshark", "tshark", ["-n", "-i", live, "-c", count, ...fields]);
  const input = save(flavours[0]!.write(packets));
  const output = `net_pcap1,tx_pcap=${live},tx_format=pcapng`;
  await using pm = await Pollmode.start({ noHuge: true, vdev: [`net_pcap0,rx_pcap=${input}`, output] });
  const [from, into] = pm.ports;
  await from!.configure();
  await into!.configure();
  await from!.start();
  await t.rejects(into!.start(), { code: "ENXIO" }, "nobody reads yet");
  for (let tries = 0; !into!.started && tries < 200; tries++) {
    await into!.start().catch(() => pause(50)); // until tshark has opened it
  }
  await pm.forward(0, [{ mode: "io", rx: { port: from!, queue: 0 }, tx: { port: into!, queue: 0 } }]);
  t.match(await tshark.endWithin(20_000), { code: 0 });
  const lengths = tshark.stdout.trim().split("\n").map(Number);
  t.same(
    lengths,
    frames.map(({ length }) => length),
  );
});

t.test("what Wireshark's tools wrote is read", { skip: noTools ?? false }, async (t) => {
  const input = save(flavours[0]!.write(packets));
  for (const format of ["pcap", "nsecpcap", "pcapng"]) {
    const path = newPath(format);
    await run("editcap", ["-F", format, input, path]);
    const output = newPath("pcapng");
    await forward(path, output);
    t.ok(same(framesOf(readFileSync(output))), format);
  }
  // two inputs become two interfaces, in turn
  const merged = newPath("pcapng");
  await run("mergecap", ["-w", merged, "-I", "none", input, save(flavours[9]!.write(packets))]);
  const output = newPath("pcapng");
  await forward(merged, output);
  const lengths = (list: readonly Buffer[]) => list.map(({ length }) => length).sort((a, b) => a - b);
  t.same(lengths(framesOf(readFileSync(output))), lengths([...frames, ...frames]));
});

/** testpmd's net_pcap, from file to file, until as much is written as is wanted. */
async function forwardByDpdk(input: string, output: string, bytes: number): Promise<void> {
  const vdev = `--vdev=net_pcap0,rx_pcap=${input},tx_pcap=${output}`;
  await using testpmd = await Testpmd.start({
    eal: ["--lcores", "0@0,1@1", "--no-pci", "-m", "256", vdev],
    // before it forwards, testpmd throws away what the queues hold: a file's beginning
    app: [
      "--forward-mode=io",
      "--port-topology=loop",
      "--nb-cores=1",
      "--total-num-mbufs=4096",
      "--no-flush-rx",
    ],
  });
  for (let k = 0; k < 100 && statSync(output).size < bytes; k++) await pause(50);
  await testpmd.stop();
}

t.test("files go to DPDK's net_pcap and come back", { skip: noDpdk ?? false }, async (t) => {
  using _hugepages = reserveHugepages(PAGES);
  const wanted = 24 + frames.reduce((sum, frame) => sum + 16 + frame.length, 0);
  for (const ending of ["pcap", "pcapng"]) {
    const ours = newPath(ending);
    await forward(save(flavours[0]!.write(packets)), ours);
    const theirs = newPath();
    await forwardByDpdk(ours, theirs, wanted);
    t.equal(statSync(theirs).size, wanted);
    t.ok(same(framesOf(readFileSync(theirs))), `DPDK reads our ${ending}`);
    const back = newPath("pcapng");
    await forward(theirs, back);
    t.ok(same(framesOf(readFileSync(back))), "we read DPDK's");
  }
});
