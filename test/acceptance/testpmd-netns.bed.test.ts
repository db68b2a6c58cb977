// `pollmode testpmd` between two network namespaces, over veth by af_packet and over TAP: the kernels' ping and TCP
// through it, none lost; macswap looked at frame by frame.
//
//   namespace left ── veth ── port 0 │ testpmd (in a namespace of its own) │ port 1 ── veth ── namespace right
//                     veth, bridge, TAP ── port 0                 port 1 ── TAP, bridge, veth
import { fileURLToPath } from "node:url";
import t from "tap";
import type { OwnedProcess } from "../beds/child.ts";
import { commandPath } from "../beds/command.ts";
import { Netns, netnsBed, Veth } from "../beds/netns.ts";
import { parseFinal } from "../beds/testpmd-stats.ts";
import { lcoreArgs } from "../cli/testpmd/support.ts";

const missing = netnsBed.missing();
const skip = missing ?? false;
t.setTimeout(180_000);
if (!missing) await netnsBed.setup();

const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));
const pings = 5000;

/** Two namespaces with an interface `side` each, and testpmd between them. */
class Bench implements AsyncDisposable {
  readonly left: Netns;
  readonly right: Netns;
  private readonly middle: Netns;
  private readonly cables: Veth[] = [];
  testpmd: OwnedProcess | undefined;

  private constructor(left: Netns, right: Netns, middle: Netns) {
    [this.left, this.right, this.middle] = [left, right, middle];
  }

  static async create(): Promise<Bench> {
    return new Bench(await Netns.create(), await Netns.create(), await Netns.create());
  }

  /** Sides are veth pairs, whose near ends are af_packet ports. */
  async overVeth(): Promise<string[]> {
    for (const [k, netns] of [this.left, this.right].entries()) {
      const near = { name: `near${k}`, netns: this.middle };
      this.cables.push(await Veth.create({ name: "side", netns, address: `10.77.0.${k + 1}/24` }, near));
    }
    return ["--vdev=net_af_packet0,iface=near0", "--vdev=net_af_packet1,iface=near1"];
  }

  async start(vdevs: string[], app: string[]): Promise<OwnedProcess> {
    const eal = ["--no-huge", "--in-memory", "--no-pci", ...lcoreArgs()];
    const args = [program, "testpmd", ...eal, ...vdevs, "--", ...app];
    this.testpmd = this.middle.spawn("pollmode testpmd", process.execPath, args);
    await this.testpmd.waitFor(/Press enter to exit\n/, 20_000);
    return this.testpmd;
  }

  /** Bridges lead from the near ends of veth pairs to the TAP interfaces that testpmd has made. */
  async bridgeTaps(): Promise<void> {
    for (const k of [0, 1]) {
      await this.middle.ip(`link add br${k} type bridge`);
      for (const port of [`near${k}`, `tap${k}`]) await this.middle.ip(`link set ${port} master br${k}`);
      await this.middle.ip(`link set br${k} up`);
    }
  }

  async mac(netns: Netns): Promise<string> {
    return (await netns.exec("cat", ["/sys/class/net/side/address"])).trim();
  }

  /** Enter; what it forwarded. */
  async end(): Promise<string> {
    this.testpmd!.write("\n");
    const { code } = await this.testpmd!.endWithin(10_000);
    if (code !== 0) throw this.testpmd!.error(`ended with exit code ${code}`);
    return this.testpmd!.stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.testpmd?.kill();
    for (const cable of this.cables) await cable[Symbol.asyncDispose]();
    for (const netns of [this.left, this.right, this.middle]) await netns.close();
  }
}

/** `sent/received` of a flood of pings from left to right. */
async function ping(bench: Bench): Promise<string> {
  const args = ["-q", "-c", `${pings}`, "-i", "0.0005", "-W", "2", "10.77.0.2"];
  await bench.left.exec("ping", ["-q", "-c", "1", "-W", "5", "10.77.0.2"]); // ARP, and all that warms up
  const output = await bench.left.exec("ping", args, { timeoutMs: 60_000 });
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(output) ?? [];
  return `${sent}/${received}`;
}

t.test("pings through io, over veth", { skip }, async (t) => {
  await using bench = await Bench.create();
  await bench.start(await bench.overVeth(), ["--forward-mode=io"]);
  t.equal(await ping(bench), `${pings}/${pings}`);
  const final = parseFinal(await bench.end())!;
  t.equal(final.all.rxPackets, final.all.txPackets);
  t.equal(final.all.rxDropped + final.all.txDropped, 0);
  t.ok(final.ports.get(0)!.rxPackets > pings);
});

t.test("pings through mac with --eth-peer, over veth", { skip }, async (t) => {
  await using bench = await Bench.create();
  const vdevs = await bench.overVeth();
  const peers = [
    `--eth-peer=0,${await bench.mac(bench.left)}`,
    `--eth-peer=1,${await bench.mac(bench.right)}`,
  ];
  await bench.start(vdevs, ["--forward-mode=mac", ...peers]);
  t.equal(await ping(bench), `${pings}/${pings}`);
  await bench.end();
});

t.test("pings through io, over TAP", { skip }, async (t) => {
  await using bench = await Bench.create();
  await bench.overVeth();
  await bench.start(["--vdev=net_tap0,iface=tap0", "--vdev=net_tap1,iface=tap1"], ["--forward-mode=io"]);
  await bench.bridgeTaps();
  t.equal(await ping(bench), `${pings}/${pings}`);
  const final = parseFinal(await bench.end())!;
  t.equal(final.all.rxPackets, final.all.txPackets);
});

t.test("macswap, frame by frame, by a packet socket", { skip }, async (t) => {
  await using bench = await Bench.create();
  await bench.start(await bench.overVeth(), ["--forward-mode=macswap", "--port-topology=loop", "--burst=8"]);
  const script = fileURLToPath(new URL("./macswap-child.js", import.meta.url));
  const report = JSON.parse(await bench.left.exec(process.execPath, [script, "side"], { timeoutMs: 60_000 }));
  t.same(report, { sent: 500, received: 500, wrong: [] });
  await bench.end();
});

const iperf = commandPath("iperf3") !== undefined;
t.test("TCP both ways", { skip: skip || (iperf ? false : "iperf3 is not installed") }, async (t) => {
  await using bench = await Bench.create();
  await bench.start(await bench.overVeth(), ["--forward-mode=io"]);
  await using server = bench.right.spawn("iperf3 -s", "iperf3", ["-s", "--forceflush"]);
  await server.waitFor(/listening/, 10_000);
  for (const way of [[], ["-R"]]) {
    const args = ["-c", "10.77.0.2", "-t", "2", "-b", "50M", "--json", ...way];
    const { end } = JSON.parse(await bench.left.exec("iperf3", args, { timeoutMs: 30_000 }));
    const rate = end.sum_received.bits_per_second;
    t.comment(
      `${way[0] ?? "there"}: ${(rate / 1e6).toFixed(1)} Mbit/s, ${end.sum_sent.retransmits} retransmitted`,
    );
    t.ok(rate > 40e6, "at the rate that was asked for");
  }
  // a sender that has to wait for its CPU retransmits too: what we lost is what we count
  const { all } = parseFinal(await bench.end())!;
  t.equal(all.rxDropped + all.txDropped, 0, "nothing is lost on the way");
  t.equal(all.rxPackets, all.txPackets);
});
