// What modes do to packets as testpmd shows it: wrong checksums that are counted, where flowgen sends to.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { fwdStats } from "../../../src/cli/testpmd/display-fwd.ts";
import type { Session } from "../../../src/cli/testpmd/session.ts";
import { PacketReader } from "../../../src/pcap/reader.ts";
import { flavours } from "../../pcap/captures.ts";
import { ipv4, tcp, udp } from "../../support/frames.ts";
import { type Opened, openSession, pause, until } from "./support.ts";

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

/** Sends each port's packets by the other one, half of each burst and then the rest. */
const crossing = `export default ({ queues, rxBurst, txBurst, free }) => {
  const [a, b] = queues;
  const move = (from, to) => {
    const got = rxBurst(from, 64);
    const half = got >>> 1;
    for (const [first, n] of [[0, half], [half, got - half]]) {
      const sent = txBurst(to, n, first);
      free(n - sent, first + sent);
    }
    return got;
  };
  return () => move(a, b) + move(b, a);
};\n`;

const crossingAssembly = `
import { burst, cache, free, rxBurst, rxQueue, txBurst, txQueue } from "pollmode";

function send(tx: u32, pkts: u32, n: u32): void {
  const sent: u32 = txBurst(tx, pkts, n);
  free(cache(), pkts + (sent << 2), n - sent);
}

function move(from: u32, to: u32): u32 {
  const got: u32 = rxBurst(rxQueue(from), burst(), 64);
  const half: u32 = got >>> 1;
  send(txQueue(to), burst(), half);
  send(txQueue(to), burst() + (half << 2), got - half);
  return got;
}

export function poll(): u32 {
  return move(0, 1) + move(1, 0);
}
`;

/** `2 [0% of 0 pkts + 100% of 64 pkts]`: the sizes of bursts that a line of testpmd's names. */
const sizes = (line: string) => [...line.matchAll(/of (\d+) pkts/g)].map(([, size]) => Number(size));

/** What a session says of the packets and bursts of the application that runs. */
async function judgeShown(t: Test, { session, said }: Opened): Promise<void> {
  let seen = "";
  await until("packets of both ports, both ways", () => {
    seen += `${said()}\n`;
    const ways = ["0/queue 0: received 64", "1/queue 0: received 64", "0/queue 0: sent 32"];
    return ways.every((words) => seen.includes(`port ${words} packets`));
  });
  t.match(seen, /length=100 - nb_segs=1 .* - Receive queue=0x0\n/);
  t.match(seen, /length=200 - nb_segs=1 .* - Send queue=0x0\n/);
  const shown = fwdStats(session);
  const lines = (way: string) => shown.split("\n").filter((line) => line.startsWith(`  ${way}-bursts : `));
  for (const [way, size] of [
    ["RX", 64],
    ["TX", 32],
  ] as const) {
    t.equal(lines(way).length, 2);
    for (const line of lines(way)) t.same(sizes(line), [0, size], line); // testpmd always names 0
  }
}

/** Burst by burst as many packets as were counted. */
function judgeCounts(t: Test, session: Session): void {
  for (const { counts } of session.streamStats()) {
    t.ok(counts.rxPackets > 0);
    t.equal(64 * counts.rxBursts[64]!, counts.rxPackets);
    t.equal(32 * counts.txBursts[32]!, counts.txPackets);
    t.equal(counts.rxPackets, counts.txPackets);
  }
}

const sized = ["net_null0,size=100", "net_null1,size=200"];

t.test("an application's bursts and packets are shown, and counts go on over changes", async (t) => {
  const folder = t.testdir({ "cross.mjs": crossing });
  const app = [`--forward-mode=app=${folder}/cross.mjs`, "--record-burst-stats"];
  await using opened = await openSession(sized, app);
  const { session } = opened;
  await session.start();
  t.equal(opened.warned(), "");
  await session.setVerbose(3);
  await judgeShown(t, opened);
  await session.setRecordBurstStats(true); // nothing changes, and no burst is counted twice
  const before = session.streamStats()[0]!.counts.rxPackets;
  await session.setBurst(16);
  await until("more", () => session.streamStats()[0]!.counts.rxPackets > before);
  await session.stop();
  judgeCounts(t, session);
  await session.setVerbose(0);
  await session.setRecordBurstStats(false);
  await session.start();
  opened.said();
  await until("packets", () => session.portDelta(0).rxPackets > 10_000);
  await pause(250); // more than twice as long as it takes to be shown
  t.equal(opened.said(), "", "off again");
  t.notMatch(await session.stop(), /-bursts/);
});

t.test("those of an application in AssemblyScript", async (t) => {
  const folder = t.testdir({ "cross.as.ts": crossingAssembly });
  const app = [`--forward-mode=app=${folder}/cross.as.ts`, "--record-burst-stats"];
  await using opened = await openSession(sized, app);
  const { session } = opened;
  await session.setVerbose(3);
  await session.start();
  await judgeShown(t, opened);
  await session.stop();
  judgeCounts(t, session);
});

t.test("counts when an application does not start: what ran before counts on", async (t) => {
  const folder = t.testdir({ "broken.mjs": "export default () => { throw new Error('on purpose'); };\n" });
  await using opened = await openSession(["net_null0", "net_null1"], ["--record-burst-stats"]);
  const { session } = opened;
  await session.start();
  const packets = () => session.streamStats()[0]!.counts.rxPackets;
  await until("packets", () => packets() > 10_000);
  const before = packets();
  await t.rejects(session.setMode(`app=${folder}/broken.mjs`), { message: /on purpose/ });
  t.ok(packets() >= before, `${before} packets, then ${packets()}`);
  await session.stop();
  const { rxPackets, rxBursts } = session.streamStats()[0]!.counts;
  t.equal(
    rxBursts.reduce((sum, bursts, size) => sum + bursts * size, 0),
    rxPackets,
  );
});
