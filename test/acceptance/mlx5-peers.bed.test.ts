// mlx5 ports against counterparts that are not ours, on the software ConnectX: DPDK's testpmd with its own mlx5 driver
// at the other end of a wire, and the kernel at both sides of a port that our queues share with it.
//
//   numbered frames, pings ── our port ── cable ── DPDK's port ── io, icmpecho
//
//   namespace remote: wire0 ── the wire of the port ─┬─ our queues: icmpecho at 10.9.0.3
//                                                    └─ its kernel half: mlx0 in the host's namespace, 10.9.0.1
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import type { OwnedProcess } from "../beds/child.ts";
import { aptInstall, commandPath } from "../beds/command.ts";
import { dpdkBed, Testpmd } from "../beds/dpdk.ts";
import { Netns, netnsBed } from "../beds/netns.ts";
import { type SoftMlx5, softMlx5, softMlx5Bed } from "../beds/softmlx5.ts";
import { parseFinal } from "../beds/testpmd-stats.ts";
import { Cable, Host, kernelTap, wireTap } from "../softmlx5/verify/host.ts";
import { type Mode, runOn } from "./mlx5.ts";
import type { FramesReport } from "./mlx5-frames.ts";
import type { PingReport } from "./mlx5-ping.ts";

const missing = softMlx5Bed.missing() ?? dpdkBed.missing() ?? netnsBed.missing();
const skip = missing ?? false;
t.setTimeout(200_000);
if (!missing) {
  for (const bed of [softMlx5Bed, dpdkBed, netnsBed]) await bed.setup();
  if (!commandPath("iperf3")) await aptInstall(["iperf3"]);
}

const program = fileURLToPath(new URL("../../src/cli/pollmode.js", import.meta.url));
const modes: readonly Mode[] = ["dv", "ibv"];

/** Debian's testpmd with DPDK's mlx5 driver: by verbs, without what firmware would have to answer. */
function startTestpmd({ nic, prefix }: Host, mode: string): Promise<Testpmd> {
  const device = `${nic.ports[0]!.address},rxq_cqe_comp_en=0,dv_flow_en=0`;
  return Testpmd.start({
    prefix,
    eal: ["--lcores", "0@0,1@0", "--no-huge", "-m", "256", "--iova-mode=va", "-a", device],
    app: [`--forward-mode=${mode}`, "--nb-cores=1", "--total-num-mbufs=8192", "--rxd=1024", "--txd=1024"],
  });
}

/** What a cable's other end does: DPDK's port. */
async function byWayOfDpdk(
  forward: string,
  use: (ours: SoftMlx5, testpmd: Testpmd) => Promise<void>,
): Promise<void> {
  using cable = new Cable();
  await using ours = await softMlx5({ ports: [{ wire: cable.ends[0] }] });
  await using theirs = await Host.create({ ports: [{ wire: cable.ends[1] }] });
  await using testpmd = await startTestpmd(theirs, forward);
  await use(ours, testpmd);
}

for (const mode of modes) {
  t.test(`numbered frames by way of DPDK, ${mode}`, { skip }, (t) =>
    byWayOfDpdk("io", async (ours, testpmd) => {
      const total = 50_000;
      const sizes = { sizeMin: 64, sizeMax: 1514, descriptors: 512 };
      const job = { mode, queues: 1, total, options: "", ...sizes, address: ours.ports[0]!.address };
      const report = await runOn<FramesReport>(ours, "mlx5-frames", job);
      for (const { result, perfect } of report.flows) t.same(result, perfect);
      t.same([report.faults, report.audit, report.missed], [{}, [], 0]);
      const { all } = await testpmd.stop();
      t.same([all.rxPackets, all.txPackets, all.txDropped], [total, total, 0]);
      t.comment(`${total} frames in ${report.seconds.toFixed(1)} s`);
    }),
  );

  t.test(`pings to DPDK's icmpecho, ${mode}`, { skip }, (t) =>
    byWayOfDpdk("icmpecho", async (ours, testpmd) => {
      const job = { mode, address: ours.ports[0]!.address, pings: 2000 };
      const report = await runOn<PingReport>(ours, "mlx5-ping", job);
      t.same(report, { replies: job.pings, wrong: [], audit: [] });
      await testpmd.stop();
    }),
  );
}

const remoteAddress = "10.9.0.2";
const kernelAddress = "10.9.0.1";
const ourAddress = "10.9.0.3";
const ourMac = "02:00:5e:00:00:07";
const pings = 500;
const tcpMbit = 50;

/** A port whose wire ends at the kernel of namespace `remote`; its own kernel is that of the host's namespace. */
class Shared implements AsyncDisposable {
  readonly remote: Netns;
  readonly host: Host;
  testpmd: OwnedProcess | undefined;

  private constructor(remote: Netns, host: Host) {
    [this.remote, this.host] = [remote, host];
  }

  static async create(): Promise<Shared> {
    const host = await Host.create({ ports: [{ wire: `tap:${wireTap}`, kernel: `tap:${kernelTap}` }] });
    return new Shared(await Netns.create(), host);
  }

  /** Our testpmd, and these commands; then the addresses of both kernels, and the start. */
  async start(args: string, app: string[], commands: string[], reachedBy: string): Promise<OwnedProcess> {
    const { remote, host } = this;
    const vdev = `--vdev=net_rdma0,host-if=${kernelTap},${args}`;
    const eal = ["-l", "0-1", "--no-huge", "--in-memory", "--no-pci", vdev];
    const line = [program, "testpmd", ...eal, "--", "-i", "--forward-mode=icmpecho", ...app];
    this.testpmd = host.start("pollmode testpmd", process.execPath, line);
    await this.testpmd.waitFor(/testpmd> /, 20_000);
    await host.netns.ip(`link set ${wireTap} netns ${remote.name}`);
    await host.netns.ip(`addr add ${kernelAddress}/24 dev ${kernelTap}`);
    await remote.address(wireTap, `${remoteAddress}/24`);
    const { mac } = host.nic.ports[0]!;
    const remoteMac = (await remote.exec("cat", [`/sys/class/net/${wireTap}/address`])).trim();
    await host.netns.ip(`neigh replace ${remoteAddress} lladdr ${remoteMac} dev ${kernelTap}`);
    await remote.ip(`neigh replace ${kernelAddress} lladdr ${mac} dev ${wireTap}`);
    await remote.ip(`neigh replace ${ourAddress} lladdr ${reachedBy} dev ${wireTap}`);
    for (const command of [...commands, "start"]) this.testpmd.write(`${command}\n`);
    await this.testpmd.waitFor(/icmpecho packet forwarding/, 20_000);
    await remote.exec("ping", ["-q", "-c", "1", "-w", "10", ourAddress]); // the receive ring is filled then
    return this.testpmd;
  }

  /** `sent/received` of pings from remote. */
  async ping(address: string): Promise<string> {
    const words = ["-q", "-c", `${pings}`, "-i", "0.002", "-W", "10", address];
    const output = await this.remote.exec("ping", words, { timeoutMs: 30_000 });
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(output) ?? [];
    return `${sent}/${received}`;
  }

  /** Mbit/s of TCP between the two kernels, there or back. */
  async tcp(way: string[]): Promise<number> {
    const words = ["-c", kernelAddress, "-t", "1", "-b", `${tcpMbit}M`, "-J", ...way];
    const { end } = JSON.parse(await this.remote.exec("iperf3", words, { timeoutMs: 30_000 }));
    return end.sum_received.bits_per_second / 1e6;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.testpmd?.kill();
    await this.host.close();
    await this.remote.close();
  }
}

/** Pings to our queues and to the kernel, and TCP with the kernel, at the same time over the same port. */
async function tryBoth(t: Test, shared: Shared): Promise<void> {
  await using server = shared.host.netns.spawn("iperf3 server", "iperf3", ["-s", "--forceflush"]);
  await server.waitFor(/listening/, 10_000);
  for (const way of [[], ["-R"]]) {
    const [ours, kernels, mbit] = await Promise.all([
      shared.ping(ourAddress),
      shared.ping(kernelAddress),
      shared.tcp(way),
    ]);
    t.same([ours, kernels], [`${pings}/${pings}`, `${pings}/${pings}`], "pings to us, to the kernel");
    t.ok(mbit > 0.9 * tcpMbit, `the kernel's TCP${way.join(" ")}: ${mbit.toFixed(1)} Mbit/s`);
  }
}

/** Ends it: our queues have received and sent the pings, and nothing else. */
async function ends(t: Test, testpmd: OwnedProcess): Promise<void> {
  testpmd.write("stop\n");
  await testpmd.waitFor(/Accumulated forward statistics[\s\S]*?\n\s*\++\n/, 20_000);
  testpmd.write("quit\n");
  t.match(await testpmd.endWithin(10_000), { code: 0 }, testpmd.output);
  const { all } = parseFinal(testpmd.stdout)!;
  const few = (packets: number) => packets - 2 * pings; // those until the first was answered
  t.ok(
    few(all.rxPackets) >= 1 && few(all.rxPackets) < 12,
    `our queues saw the pings alone: ${all.rxPackets}`,
  );
  t.same([all.txPackets, all.txDropped], [all.rxPackets, 0]);
}

for (const mode of modes) {
  t.test(`the kernel on the same port, by an address of our own, ${mode}`, { skip }, async (t) => {
    await using shared = await Shared.create();
    // promiscuous, as testpmd has its ports, we would take the kernel's frames too
    const testpmd = await shared.start(`mode=${mode},mac=${ourMac}`, [], ["set promisc all off"], ourMac);
    await tryBoth(t, shared);
    await ends(t, testpmd);
  });
}

t.test("the kernel on the same port and address: flow-isolated", { skip }, async (t) => {
  await using shared = await Shared.create();
  const { mac } = shared.host.nic.ports[0]!;
  const rule = `flow create 0 ingress pattern eth / ipv4 dst is ${ourAddress} / end actions queue index 0 / end`;
  const testpmd = await shared.start("mode=dv", ["--flow-isolate-all"], [rule], mac);
  t.match(testpmd.output, /Flow rule #0 created/);
  await tryBoth(t, shared);
  await ends(t, testpmd);
});
