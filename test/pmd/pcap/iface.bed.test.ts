// net_pcap on interfaces of the kernel: both ways (iface), receive alone with and without what this machine sends.
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { PacketReader } from "../../../src/pcap/reader.ts";
import { Pollmode } from "../../../src/pollmode.ts";
import { run } from "../../beds/command.ts";
import { interfaceName, Netns, netnsBed, Veth } from "../../beds/netns.ts";
import { newPath } from "./queues.ts";

const missing = netnsBed.missing();
t.setTimeout(120_000);
if (!missing) await netnsBed.setup();

async function startAll(pm: Pollmode): Promise<void> {
  for (const port of pm.ports) {
    await port.configure({ rxQueues: port.info.rxQueuesMax, txQueues: port.info.txQueuesMax });
    await port.start();
  }
}

t.test("iface: two namespaces ping each other through two ports", { skip: missing ?? false }, async (t) => {
  await using west = await Netns.create();
  await using east = await Netns.create();
  const [a, b] = [interfaceName("a"), interfaceName("b")];
  await using _a = await Veth.create({ name: a }, { name: "w0", netns: west, address: "10.93.0.1/24" });
  await using _b = await Veth.create({ name: b }, { name: "e0", netns: east, address: "10.93.0.2/24" });
  await using pm = await Pollmode.start({
    noHuge: true,
    vdev: [`net_pcap0,iface=${a},phy_mac=1`, `net_pcap1,iface=${b}`],
  });
  await startAll(pm);
  const [left, right] = pm.ports.map((port) => ({ port, queue: 0 }));
  const address = readFileSync(`/sys/class/net/${a}/address`, "utf8").trim();
  t.equal(Buffer.from(left!.port.mac).toString("hex"), address.replaceAll(":", ""));
  t.equal(Buffer.from(right!.port.mac.subarray(0, 5)).toString("hex"), "0270636170");
  t.equal(left!.port.link().up, true);
  await pm.forward(0, [
    { mode: "io", rx: left!, tx: right! },
    { mode: "io", rx: right!, tx: left! },
  ]);
  const text = await west.exec("ping", ["-n", "-c", "50", "-i", "0.01", "-W", "2", "10.93.0.2"]);
  t.match(text, / 50 received, 0% packet loss/);
  await pm.stop(0);
  const { rxPackets, txPackets } = left!.port.stats();
  t.ok(rxPackets >= 50 && txPackets >= 50 && rxPackets < 70, "what is sent does not come back");
});

t.test("rx_iface sees both ways, rx_iface_in what comes in", { skip: missing ?? false }, async (t) => {
  await using peer = await Netns.create();
  const name = interfaceName("c");
  await using _veth = await Veth.create(
    { name, address: "10.93.1.1/24" },
    { name: "p0", netns: peer, address: "10.93.1.2/24" },
  );
  const files = [newPath("pcapng"), newPath("pcapng")];
  await using pm = await Pollmode.start({
    noHuge: true,
    vdev: [
      `net_pcap0,rx_iface=${name},rx_iface_in=${name}`,
      `net_pcap1,tx_pcap=${files[0]},tx_pcap=${files[1]}`,
    ],
  });
  await startAll(pm);
  const [from, into] = pm.ports;
  const stream = (queue: number) =>
    ({ mode: "io", rx: { port: from!, queue }, tx: { port: into!, queue } }) as const;
  await pm.forward(0, [stream(0), stream(1)]);
  await run("ping", ["-n", "-c", "20", "-i", "0.01", "-W", "2", "10.93.1.2"]);
  await pause(50);
  await pm.stop(0);
  await into!.stop();
  const [both, inOnly] = files.map((path) => {
    const reader = new PacketReader(path);
    const types = [...reader.push(readFileSync(path))].map(({ data }) => {
      return data.readUInt16BE(12) === 0x0800 && data[23] === 1 ? data[34] : -1; // ICMP's type
    });
    const count = (type: number) => types.filter((one) => one === type).length;
    return { requests: count(8), replies: count(0) };
  });
  t.same(both, { requests: 20, replies: 20 });
  t.same(inOnly, { requests: 0, replies: 20 });
});

t.test("an interface that is not there, or is down", { skip: missing ?? false }, async (t) => {
  const none = Pollmode.start({ noHuge: true, vdev: ["net_pcap0,rx_iface=pm-none0"] });
  await t.rejects(none, { message: /net_pcap0.*pm-none0/ });
  await using peer = await Netns.create();
  const name = interfaceName("d");
  await using _veth = await Veth.create({ name }, { name: "p0", netns: peer });
  await run("ip", ["link", "set", name, "down"]);
  await using pm = await Pollmode.start({ noHuge: true, vdev: [`net_pcap0,tx_iface=${name}`] });
  await t.rejects(startAll(pm), { code: "INTERFACE_DOWN", message: new RegExp(`net_pcap0.*${name}`) });
  t.equal(pm.ports[0]?.link().up, false);
});
