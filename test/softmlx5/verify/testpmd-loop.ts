// DPDK's mlx5 PMD against its own port: what it sends comes back over a loop wire, in every way it knows to send and
// to receive. None may be lost: the counts of testpmd add up to the frame.
import type { SoftChip } from "../../beds/softmlx5-sysfs.ts";
import { toeplitz } from "../../pmd/e1000/toeplitz.ts";
import { type Check, expect, expectAll, type Load, numberBehind } from "./check.ts";
import { type Console, type ConsoleOptions, ring, withTestpmd } from "./console.ts";
import { Cable, Host, wireTap } from "./host.ts";
import { kernelAddress, peerAddress, ping } from "./wire.ts";

const burst = 32;
/** Frames in a session of compressed CQEs. */
const sessionMax = 64;
/** Descriptors of a receive ring for multi-packet WQEs of 512 strides. */
const deepRing = ["--rxd=4096"];

interface Way extends ConsoleOptions {
  name: string;
  chip?: SoftChip;
  /** Sizes of the segments of each frame. */
  txpkts?: string;
  /** Bursts of 32 that go round; default 4. */
  bursts?: number;
  mtu?: number;
  /** How many times the load's frames; default 1. */
  times?: number;
  /** The receive and send functions it chose must be so. */
  receive?: RegExp;
  send?: RegExp;
  /** The counter that shows that the device was used in this way. */
  counter?: string;
}

const jumbo = ["--max-pkt-len=9018", "--enable-scatter", "--tx-offloads=0x8000"];

// Names of device arguments: DPDK's guide of the mlx5 PMD. Modes: drivers/net/mlx5, mlx5_rx_burst_mode_get and
// txoff_func's list in mlx5_tx.c.
const ways: readonly Way[] = [
  { name: "vector receive", receive: /Vector/, times: 4 },
  { name: "scalar receive", devargs: "rx_vec_en=0", receive: /Scalar/ },
  {
    name: "compressed CQEs, vector",
    devargs: "rxq_cqe_comp_en=1",
    receive: /Vector/,
    counter: "cqe_compressed",
  },
  { name: "compressed CQEs, scalar", devargs: "rxq_cqe_comp_en=1,rx_vec_en=0", counter: "cqe_compressed" },
  {
    name: "multi-packet RQ",
    app: deepRing,
    devargs: "mprq_en=1,rxqs_min_mprq=1,rx_vec_en=0",
    receive: /Multi-Packet RQ/,
  },
  {
    name: "multi-packet RQ, vector",
    app: deepRing,
    devargs: "mprq_en=1,rxqs_min_mprq=1",
    receive: /MPRQ Vector/,
  },
  {
    name: "multi-packet RQ, compressed CQEs",
    app: deepRing,
    devargs: "mprq_en=1,rxqs_min_mprq=1,rxq_cqe_comp_en=1",
    receive: /MPRQ/,
    counter: "cqe_compressed",
  },
  { name: "eMPW of pointers", devargs: "txq_mpw_en=1,txq_inline_mpw=0,txq_inline_max=0,txq_inline_min=0" },
  { name: "eMPW of inline data", devargs: "txq_mpw_en=1,txqs_min_inline=1,txq_inline_mpw=128" },
  { name: "SEND, all inline", devargs: "txq_mpw_en=0,txqs_min_inline=1,txq_inline_max=204" },
  { name: "SEND, pointers", devargs: "txq_mpw_en=0,txq_inline_max=0,txq_inline_min=0" },
  { name: "ConnectX-4 Lx: 18 bytes inline", chip: "connectx4lx", devargs: "txq_mpw_en=0" },
  // a frame takes four mbufs of the receive ring
  {
    name: "6000 bytes in 3 segments",
    app: jumbo,
    txpkts: "2000,2000,2000",
    mtu: 6000,
    bursts: 1,
    times: 0.1,
  },
];

/**
 * Port 0 is a loop, in which frames go round and round: every one that comes in is sent out again. Port 1 answers the
 * kernel's ping, which looks into the frames.
 */
async function circulate(way: Way, { frames, pings }: Load): Promise<string> {
  const ports = [{ wire: "loop" }, { wire: `tap:${wireTap}` }];
  await using host = await Host.create({ chip: way.chip ?? "connectx5", ports });
  const { bursts = 4 } = way;
  return await withTestpmd(host, way, async (console) => {
    await console.do("set portlist 0");
    await console.do("set fwd io");
    if (way.txpkts) await console.do(`set txpkts ${way.txpkts}`);
    const modes = await burstModes(console, way);
    await console.do(`start tx_first ${bursts}`);
    await console.received(frames * (way.times ?? 1));
    const { all, words } = await console.stop();
    expect(all.rxDropped + all.txDropped === 0, "frames were dropped", words);
    // DPDK counts a compressed session's frames when it unpacks it, and may hand them out in the next burst alone
    const unpacked = all.rxPackets + bursts * burst - all.txPackets;
    const wanted = way.counter === undefined ? unpacked === 0 : unpacked >= 0 && unpacked < sessionMax;
    expect(wanted, `not ${bursts * burst} frames under way`, words);
    const counters = await host.counters();
    const used = way.counter === undefined || (counters[way.counter] ?? 0) > 0;
    expect(used, `no ${way.counter} by the device's own count`, JSON.stringify(counters));
    await answerPings(console, way, pings);
    return `${modes}; RX ${all.rxPackets}, TX ${all.txPackets}, none lost`;
  });
}

async function answerPings(console: Console, way: Way, pings: number): Promise<void> {
  const { netns } = console.host;
  await netns.ip(`link set ${wireTap} mtu ${way.mtu ?? 1500}`);
  await netns.address(wireTap, `${peerAddress}/24`);
  await console.do("set portlist 1");
  await console.do("set fwd icmpecho");
  await console.do("start");
  for (const bytes of [18, 300, (way.mtu ?? 1500) - 28]) await ping(netns, kernelAddress, pings, bytes);
  await console.stop();
}

async function burstModes(console: Console, way: Way): Promise<string> {
  const receive = await console.do("show rxq info 0 0");
  const send = await console.do("show txq info 0 0");
  const mode = /Burst mode: .*/;
  if (way.receive)
    expect(way.receive.test(mode.exec(receive)?.[0] ?? ""), `RX is not ${way.receive}`, receive);
  if (way.send) expect(way.send.test(mode.exec(send)?.[0] ?? ""), `TX is not ${way.send}`, send);
  return [receive, send].map((words) => expectAll(words, [mode]).slice("Burst mode: ".length)).join(" / ");
}

/** A port that sends and does not read: what the ring does not hold is out_of_buffer, and missed with DPDK. */
async function overflow(frames: number): Promise<string> {
  await using host = await Host.create();
  return await withTestpmd(host, {}, async (console) => {
    await console.do("set fwd txonly");
    await console.do("start");
    await console.until("frames to be sent", async () => {
      const said = await console.do("show port stats 0");
      return numberBehind(said, "TX-packets") >= frames ? undefined : said;
    });
    await console.stop();
    let words = "";
    // the counters of sysfs are written some 20 times a second
    await console.until(
      "sent less missed to be the receive ring's 512",
      async () => {
        const said = await console.do("show port stats 0");
        const [sent, missed] = [numberBehind(said, "TX-packets"), numberBehind(said, "RX-missed")];
        words = `TX-packets ${sent}, RX-missed ${missed}: ${sent - missed} in the ring`;
        return sent - missed === ring ? undefined : said;
      },
      3000,
    );
    return words;
  });
}

/** Two ports in one process with a cable between them: each forwards to the other. */
async function twoPorts(frames: number): Promise<string> {
  using cable = new Cable();
  await using host = await Host.create({ ports: [{ wire: cable.ends[0] }, { wire: cable.ends[1] }] });
  return await withTestpmd(host, {}, async (console) => {
    await console.do("set fwd io");
    await console.do("start tx_first 4");
    for (const port of [0, 1]) await console.received(frames / 2, port);
    const { all, ports, words } = await console.stop();
    expect(ports.size === 2 && all.txDropped === 0, "not two ports without drops", words);
    const underWay = all.txPackets - all.rxPackets;
    expect(underWay === 2 * 4 * burst, `not ${2 * 4 * burst} frames under way`, words);
    return [...ports]
      .map(([port, { rxPackets, txPackets }]) => `port ${port} RX ${rxPackets} TX ${txPackets}`)
      .join("; ");
  });
}

/** One testpmd sends, another in a machine of its own receives, over a cable that loses nothing. */
async function twoProcesses(frames: number): Promise<string> {
  using cable = new Cable();
  await using near = await Host.create({ ports: [{ wire: cable.ends[0] }] });
  await using far = await Host.create({ ports: [{ wire: cable.ends[1], mac: "02:15:b3:00:00:0b" }] });
  return await withTestpmd(far, {}, async (receiver) => {
    await receiver.do("set fwd rxonly");
    await receiver.do("start");
    const sent = await withTestpmd(near, {}, async (sender) => {
      await sender.do("set fwd txonly");
      await sender.do("start");
      await receiver.received(frames);
      const { all } = await sender.stop();
      await receiver.received(all.txPackets);
      return all.txPackets;
    });
    const { all, words } = await receiver.stop();
    expect(all.rxPackets === sent, `not the ${sent} that were sent`, words);
    return `sent ${sent}, received ${all.rxPackets}`;
  });
}

const flows = 64;

/** Many flows over two queues: each queue gets its flows by Toeplitz, here by arithmetic; none is lost. */
async function spread(frames: number): Promise<string> {
  await using host = await Host.create({ lossless: true });
  const app = ["--rxq=2", "--txq=2", `--flowgen-flows=${flows}`];
  return await withTestpmd(host, { app }, async (console) => {
    const key = Buffer.from(expectAll(await console.do("show port 0 rss-hash key"), [/[0-9A-F]{80}/]), "hex");
    await console.do("set fwd flowgen");
    await console.do("start");
    await console.received(frames);
    const { all, words } = await console.stop();
    const counts = [...words.matchAll(/Queue= \d -> [^\n]*\n\s+RX-packets: (\d+)/g)].map(([, count]) =>
      Number(count),
    );
    const wanted = flowsOfQueues(key).map((share) => (share / flows) * all.rxPackets);
    // what lies in the rings, and a round of the flows begun
    const near = counts.every((count, queue) => Math.abs(count - wanted[queue]!) <= ring + flows);
    expect(counts.length === 2 && near, `not ${wanted.join(" and ")} by Toeplitz`, words);
    await console.do("set fwd rxonly");
    await console.do("start");
    await console.until("what lay in the rings to come, and no more", async () => {
      const said = await console.do("show port stats 0");
      return numberBehind(said, "RX-packets") === numberBehind(said, "TX-packets") ? undefined : said;
    });
    await console.stop();
    return `queues RX ${counts.join(" and ")}, by Toeplitz ${wanted.map(Math.round).join(" and ")}`;
  });
}

/** testpmd's flowgen: from 10.254.0.0 to 10.253.0.k, hashed by addresses alone as testpmd asks by default. */
function flowsOfQueues(key: Uint8Array): number[] {
  const shares = [0, 0];
  for (let k = 0; k < flows; k++) shares[toeplitz(key, Uint8Array.of(10, 254, 0, 0, 10, 253, 0, k)) & 1]!++;
  return shares;
}

/** Reconfigured, stopped and started: the objects of one life are gone before the next. */
async function restarts(frames: number): Promise<string> {
  await using host = await Host.create();
  return await withTestpmd(host, {}, async (console) => {
    await console.do("set fwd io");
    const counts: number[] = [];
    for (const queues of [1, 2, 4, 1]) {
      await console.configure(`port config all rxq ${queues}`, `port config all txq ${queues}`);
      await console.do("clear port stats all");
      await console.do("start tx_first"); // one burst a queue
      await console.received(frames / 10);
      const { all, words } = await console.stop();
      expect(all.txPackets - all.rxPackets === queues * burst, "frames were lost", words);
      counts.push(all.rxPackets);
    }
    return `RX ${counts.join(", ")} with 1, 2, 4, 1 queues`;
  });
}

const program = "testpmd (mlx5 PMD)";

export const loopChecks: readonly Check[] = [
  ...ways.map((way) => ({
    program,
    name: way.name,
    run: (load: Load) => circulate(way, load),
  })),
  { program, name: "out of buffers", run: ({ frames }) => overflow(frames / 4) },
  { program, name: "two ports in one process", run: ({ frames }) => twoPorts(frames) },
  { program, name: "one process to another", run: ({ frames }) => twoProcesses(frames / 10) },
  { program, name: "64 flows over 2 queues", run: ({ frames }) => spread(frames) },
  { program, name: "stopped and started with other queues", run: ({ frames }) => restarts(frames) },
];
