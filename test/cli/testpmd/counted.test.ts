// What modes do to packets as testpmd shows it: wrong checksums that are counted, where flowgen sends to.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { fwdStats } from "../../../src/cli/testpmd/display-fwd.ts";
import { PacketReader } from "../../../src/pcap/reader.ts";
import { flavours } from "../../pcap/captures.ts";
import { ipv4, tcp, udp } from "../../support/frames.ts";
import { openSession, until } from "./support.ts";

t.setTimeout(60_000);

const IP_CHECKSUM = 14 + 10;
const TCP_CHECKSUM = 34 + 16;
const UDP_CHECKSUM = 34 + 6;

function spoilt(frame: Buffer, ...at: number[]): Buffer {
  const copy = Buffer.from(frame);
  for (const offset of at) copy.writeUInt16BE(copy.readUInt16BE(offset) ^ 0x0101 || 1, offset);
  return copy;
}

t.test("csum: Bad-ipcsum and Bad-l4csum", async (t) => {
  const overTcp = ipv4(6, tcp(Buffer.alloc(30, 1)));
  const overUdp = ipv4(17, udp(Buffer.alloc(31, 2)));
  const frames = [
    ...[overTcp, overUdp],
    ...[spoilt(overTcp, IP_CHECKSUM), spoilt(overUdp, IP_CHECKSUM)],
    ...[spoilt(overTcp, TCP_CHECKSUM), spoilt(overUdp, UDP_CHECKSUM)],
    spoilt(overTcp, IP_CHECKSUM, TCP_CHECKSUM),
  ];
  const folder = t.testdir({ "in.pcap": "" });
  const [input, output] = [join(folder, "in.pcap"), join(folder, "out.pcap")];
  writeFileSync(input, flavours[0]!.write(frames.map((data, k) => ({ stampNs: BigInt(k), data }))));
  const vdev = `net_pcap0,rx_pcap=${input},tx_pcap=${output}`;
  const app = ["--forward-mode=csum", "--port-topology=loop", "--no-flush-rx"];
  {
    await using opened = await openSession([vdev], app);
    const { session } = opened;
    await session.start();
    await until("all packets", () => session.portDelta(0).txPackets === frames.length);
    const bad = "Bad-ipcsum: 3              Bad-l4csum: 3             Bad-outer-l4csum: 0             ";
    const counts = new RegExp(`\\n {2}RX-packets: 7 .*\\n {2}${bad}\\n {2}Bad-outer-ipcsum: 0 +\\n`);
    t.match(fwdStats(session), counts, "show fwd stats all");
    t.match(await session.stop(), counts, "stop");
  }
  const sent = [...new PacketReader(output).push(readFileSync(output))].map(({ data }) => Buffer.from(data));
  const made = sent.map((frame) => frame.subarray(12).toString("hex"));
  const [t4, u4] = [overTcp, overUdp].map((frame) => frame.subarray(12).toString("hex"));
  t.same(made, [t4, u4, t4, u4, t4, u4, t4], "all checksums are right");
});

t.test("flowgen sends to its own address, or to one that was asked for", async (t) => {
  const app = ["--forward-mode=flowgen", "--port-topology=loop"];
  await using opened = await openSession(["net_ring0"], app);
  const { session } = opened;
  let text = "";
  const shows = (line: RegExp) =>
    until(`${line}`, () => {
      text += opened.said();
      return line.test(text);
    });
  await session.setVerbose(2);
  await session.start();
  await shows(/src=00:01:02:03:04:00 - dst=00:01:02:03:04:01 - /);
  t.notMatch(text, /dst=02:/);
  for (const last of [0, 9]) {
    await session.setEthPeer(0, Uint8Array.of(2, 0, 0, 0, 0, last));
    await shows(new RegExp(`src=00:01:02:03:04:00 - dst=02:00:00:00:00:0${last} - `));
  }
  await session.stop();
});

t.test("what an application does not do is said, once", async (t) => {
  const folder = t.testdir({ "idle.mjs": "export default () => () => 0;\n" });
  const mode = `app=${folder}/idle.mjs` as const;
  await using opened = await openSession(["net_null0"], ["--record-burst-stats"]);
  const { session } = opened;
  opened.warned();
  await session.setMode(mode);
  const lacks = (...asked: string[]) => `${mode}: nothing comes of ${asked.join(", ")}: `;
  t.ok(opened.warned().startsWith(lacks("record-burst-stats")));
  await session.setVerbose(1);
  t.ok(opened.warned().startsWith(lacks("set verbose", "record-burst-stats")));
  await session.setBurst(16);
  t.equal(opened.warned(), "");
  await session.setVerbose(0);
  await session.setRecordBurstStats(false);
  opened.warned();
  await session.setMode("io");
  await session.setVerbose(1);
  t.equal(opened.warned(), "");
});
