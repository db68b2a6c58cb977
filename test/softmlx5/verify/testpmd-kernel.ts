// DPDK's mlx5 PMD and the kernel on one port: the kernel's ping answered by testpmd over a TAP wire; the bifurcated
// port, whose other half is the kernel's; the link that goes away.
import { Netns } from "../../beds/netns.ts";
import { ethernet, ipv4, udp } from "../../support/frames.ts";
import { type Check, expect, type Load, numberBehind } from "./check.ts";
import { withTestpmd } from "./console.ts";
import { Host, kernelTap, wireTap } from "./host.ts";
import { flow, flowEngines } from "./testpmd-offload.ts";
import { kernelAddress, peerAddress, ping, sendFrames } from "./wire.ts";

const port = { wire: `tap:${wireTap}` };
const bifurcated = { ...port, kernel: `tap:${kernelTap}` };

/** What an interface of a namespace has received and sent. */
async function linkCounts(netns: Netns, device: string): Promise<{ rx: number; tx: number }> {
  const [link] = JSON.parse(await netns.ip(`-s -j link show ${device}`));
  return { rx: link.stats64.rx.packets, tx: link.stats64.tx.packets };
}

async function icmpecho(pings: number): Promise<string> {
  await using host = await Host.create({ ports: [port] });
  return await withTestpmd(host, {}, async (console) => {
    await console.do("set fwd icmpecho");
    await console.do("start");
    await host.netns.address(wireTap, `${peerAddress}/24`);
    const said: string[] = [];
    for (const bytes of [18, 56, 700, 1472]) {
      said.push(`${bytes} bytes: ${await ping(host.netns, kernelAddress, pings, bytes)}`);
    }
    await console.until("every frame to be answered", async () => {
      const words = await console.do("show port stats 0");
      const { rx, tx } = await linkCounts(host.netns, wireTap);
      const [received, sent] = [numberBehind(words, "RX-packets"), numberBehind(words, "TX-packets")];
      const same = rx === tx && rx === received && rx === sent;
      return same ? undefined : `${wireTap} RX ${rx} TX ${tx}\n${words}`;
    });
    await console.stop();
    return said.join("; ");
  });
}

/** Runs `use` with the wire's far end in a namespace of its own, as if it were another machine. */
async function withPeer<T>(host: Host, use: (peer: Netns) => Promise<T>): Promise<T> {
  await using peer = await Netns.create();
  await host.netns.ip(`link set ${wireTap} netns ${peer.name}`);
  await peer.address(wireTap, `${peerAddress}/24`);
  return await use(peer);
}

const diverted = 50;

/** Isolated: only what a rule names comes to testpmd; ARP, ping and all else is the kernel's, both ways. */
async function isolated(pings: number, devargs: string): Promise<string> {
  await using host = await Host.create({ ports: [bifurcated] });
  return await withTestpmd(host, { app: ["--flow-isolate-all"], devargs }, async (console) => {
    await console.do("set fwd rxonly");
    await flow(console, "pattern eth / ipv4 / udp dst is 53 / end actions queue index 0 / end");
    await console.do("start");
    await host.netns.address(kernelTap, `${kernelAddress}/24`);
    return await withPeer(host, async (peer) => {
      const said = await ping(peer, kernelAddress, pings, 56);
      const script = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for k in range(${diverted}): s.sendto(b"x" * 100, ("${kernelAddress}", 53))`;
      await peer.exec("/usr/bin/python3", ["-c", script]);
      await console.received(diverted);
      const back = await ping(host.netns, peerAddress, pings, 1000);
      const { all, words } = await console.stop();
      expect(all.rxPackets === diverted, `not the ${diverted} datagrams alone`, words);
      await console.until("both interfaces to have the same frames", async () => {
        const [near, far] = [await linkCounts(host.netns, kernelTap), await linkCounts(peer, wireTap)];
        const same = near.tx === far.rx && near.rx + diverted === far.tx;
        return same ? undefined : JSON.stringify([near, far]);
      });
      return `kernel: ${said}; back: ${back}; testpmd: RX ${all.rxPackets} of UDP port 53`;
    });
  });
}

/** Not promiscuous: the port's own address and broadcast come to testpmd, groups to the kernel, others to nobody. */
async function byAddress(devargs: string): Promise<string> {
  await using host = await Host.create({ ports: [bifurcated] });
  return await withTestpmd(host, { devargs }, async (console) => {
    await console.do("set promisc all off");
    await console.do("set allmulti all off");
    await console.do("set fwd rxonly");
    await console.do("start");
    const body = udp(Buffer.alloc(60));
    const own = Buffer.from(host.nic.ports[0]!.mac.replaceAll(":", ""), "hex");
    const other = Buffer.from("020000000042", "hex");
    const everyone = Buffer.alloc(6, 0xff);
    const group = Buffer.from("01005e000001", "hex");
    const frames = (n: number, destination: Uint8Array) => new Array(n).fill(ipv4(17, body, { destination }));
    const marker = ethernet(0x88b5, Buffer.alloc(46), { destination: own });
    const before = await host.counters();
    await sendFrames(host, [
      ...frames(20, other),
      ...frames(3, group),
      ...frames(10, own),
      ...frames(5, everyone),
      marker,
    ]);
    await console.received(16);
    const { all, words } = await console.stop();
    expect(all.rxPackets === 16, "not 10 own, 5 broadcasts and the last", words);
    const after = await host.counters();
    const [kernel, unmatched] = ["kernel_rx", "unmatched"].map((name) => after[name]! - before[name]!);
    expect(kernel === 3 && unmatched === 23, "not 3 to the kernel, 20 to nobody", JSON.stringify(after));
    return `testpmd: RX ${all.rxPackets}; kernel: RX ${kernel}; nobody: ${unmatched! - kernel!}`;
  });
}

/** The carrier goes and the device tells by an event; then both come back. */
async function linkChange(): Promise<string> {
  await using host = await Host.create();
  return await withTestpmd(host, {}, async (console) => {
    const { netdev } = host.nic.ports[0]!;
    for (const state of ["down", "up"]) {
      await host.netns.ip(`link set ${netdev}far ${state}`);
      await host.nic.control(`link 0 ${state}`);
      await console.until(`link ${state}`, async () => {
        const said = await console.do("show port info 0");
        return said.includes(`Link status: ${state}`) ? undefined : said;
      });
    }
    const events = console.output.match(/link state change event/g)?.length ?? 0;
    expect(events >= 2, "testpmd had no link events", console.output);
    return `Link status: down, then up; ${events} link state change events`;
  });
}

const program = "testpmd (mlx5 PMD)";

export const kernelChecks: readonly Check[] = [
  { program, name: "answers the kernel's ping", run: ({ pings }) => icmpecho(pings) },
  ...flowEngines.flatMap(({ engine, devargs }) => [
    {
      program,
      name: `isolated, the rest is the kernel's, ${engine}`,
      run: ({ pings }: Load) => isolated(pings, devargs),
    },
    { program, name: `own and other addresses, ${engine}`, run: () => byAddress(devargs) },
  ]),
  { program, name: "link down and up", run: linkChange },
];
