// What a NIC of ours is told to do, against an interface of the kernel's driver on the same wire: frames are sent and
// seen by packet sockets there, so both ends of each check are not ours. Runs in the interface's network namespace, in
// the lab's guest; prints what became of the frames. The test on the host knows what should have.
import { execFileSync, spawnSync } from "node:child_process";
import type { LinkStatus } from "../../../src/ethdev/driver.ts";
import { Pollmode } from "../../../src/pollmode.ts";
import { until } from "../../acceptance/support.ts";
import { makeFrame } from "../../support/engines.ts";
import { rxChecksums, spreading, txChecksums } from "./offload-checks.ts";
import { PacketSocket } from "./packet-socket.ts";
import { report, say, settings } from "./ports.ts";
import { type Received, SingleFrames } from "./single-frames.ts";

export interface FeatureSettings {
  /** PCI address. */
  nic: string;
  /** The kernel's interface on the same wire. */
  peer: string;
  queues: number;
}

const asked = settings<FeatureSettings>();
await using pm = await Pollmode.start({ lcores: "1", allow: [asked.nic] });
const port = pm.ports[0]!;
const links: LinkStatus[] = [];
const errors: string[] = [];
port.on("link", (status) => links.push(status));
port.on("error", ({ message }) => errors.push(message));
const ip = (...words: string[]) => void execFileSync("ip", words);
ip("link", "set", asked.peer, "mtu", "9000");
using peer = new PacketSocket(asked.peer);

const own = Uint8Array.from(port.mac);
const broadcast = new Uint8Array(6).fill(255);
const second = Uint8Array.of(2, 0, 0, 0, 0, 0x22);
const stranger = Uint8Array.of(2, 0, 0, 0, 0, 0x33);
const group = Uint8Array.of(0x01, 0, 0x5e, 1, 2, 3);
const otherGroup = Uint8Array.of(0x01, 0, 0x5e, 0x7f, 0xff, 0xfa);
/** IEEE's local experimental ethertype. */
const EXPERIMENTAL = [0x88, 0xb5];
const VLAN = 101;

let tag = 0;
const nic = new SingleFrames(pm, port, 1, () => {
  const last = frameTo(broadcast, 80);
  peer.send(last);
  return last;
});
function frameTo(mac: Uint8Array, bytes = 100, vlan?: number): Buffer {
  const frame = Buffer.from(makeFrame(tag++, bytes));
  const tagged = vlan === undefined ? [] : [0x81, 0, vlan >>> 8, vlan & 0xff];
  frame.set([...mac, ...peer.mac, ...tagged, ...EXPERIMENTAL]);
  return frame;
}

/** Sends by the kernel; tells which frames came unchanged, by their places among those sent. */
async function arrive(...frames: Buffer[]): Promise<number[]> {
  for (const frame of frames) peer.send(frame);
  const came = await nic.receive();
  return came.map(({ frame }) => frames.findIndex((one) => one.equals(frame)));
}

async function addresses() {
  const all = () => [own, broadcast, second, stranger, group, otherGroup].map((mac) => frameTo(mac));
  const found: Record<string, number[]> = { byDefault: await arrive(...all()) };
  await port.addMac(second);
  found.added = await arrive(...all());
  await port.removeMac(second);
  await port.setMulticast([group]);
  found.groupJoined = await arrive(...all());
  await port.setAllMulticast(true);
  found.allMulticast = await arrive(...all());
  await port.setAllMulticast(false);
  await port.setMulticast([]);
  await port.setPromiscuous(true);
  found.promiscuous = await arrive(...all());
  await port.setPromiscuous(false);
  await port.setMac(second);
  found.changed = await arrive(...all());
  found.mac = [...port.mac];
  return found;
}

/** With the address changed, a group joined and a VLAN let in before: a stop resets the chip. */
async function afterRestart() {
  await port.addMac(stranger);
  await port.setMulticast([otherGroup]);
  await port.setVlanFilter(true);
  await port.setVlan(VLAN, true);
  const all = () => [
    ...[own, broadcast, second, stranger, group, otherGroup].map((mac) => frameTo(mac)),
    ...[VLAN, VLAN + 1].map((vlan) => frameTo(second, 100, vlan)),
  ];
  const before = await arrive(...all());
  const linksBefore = links.length;
  await nic.restart();
  const after = await arrive(...all());
  const seen = links.slice(linksBefore).map(({ up }) => up);
  await port.setVlan(VLAN, false);
  const letOut = await arrive(frameTo(second, 100, VLAN), frameTo(second));
  await port.setVlanFilter(false);
  const noFilter = await arrive(frameTo(second, 100, VLAN + 1));
  await port.removeMac(stranger);
  await port.setMulticast([]);
  await port.setMac(own);
  return { before, after, links: seen, letOut, noFilter };
}

/** The kernel's VLAN interface, which has its tags put in and taken off by the kernel's driver and NIC. */
async function vlanOffload() {
  ip(
    "link",
    "add",
    "link",
    asked.peer,
    "name",
    "tagged",
    "type",
    "vlan",
    "id",
    `${VLAN}`,
    "egress-qos-map",
    "0:3",
  );
  ip("link", "set", "tagged", "up");
  using vlanPeer = new PacketSocket("tagged");
  await nic.restart({ rxQueues: 1, txQueues: 1, offloads: ["vlanStrip", "vlanInsert"] });
  const frame = frameTo(own);
  vlanPeer.send(frame);
  peer.send(frame);
  const came = await nic.receive();
  const stripped = came.map((one) => [one.frame.equals(frame), one.flags, one.vlan]);
  const back = Buffer.from(frame);
  back.set([...peer.mac, ...own]);
  const insert = { flags: 1 << 20, vlan: VLAN };
  await nic.send(back, insert);
  await nic.send(back, { ...insert, vlan: VLAN + 1 });
  await nic.send(back);
  const inserted = (await vlanPeer.receive(1)).map((one) => one.equals(back));
  await peer.receive(3);
  ip("link", "del", "tagged");
  return { stripped, inserted };
}

async function longFrames() {
  await nic.restart({ rxQueues: 1, txQueues: 1, offloads: [] });
  const errorsOf = () => port.xstats().ROC!;
  const before = errorsOf();
  const standard = await arrive(frameTo(own, 1514), frameTo(own, 1519), frameTo(own, 9014));
  const tooLong = errorsOf() - before;
  await port.setMtu(9000);
  const long = [1514, 2048, 2049, 4096, 8192, 9014].map((bytes) => frameTo(own, bytes));
  for (const frame of long) peer.send(frame);
  const came = await nic.receive();
  const pieces = came.map(({ frame, segments }, k) => [frame.equals(long[k]!), segments]);
  const back = frameTo(peer.mac, 9014);
  await nic.send(back);
  const sent = (await peer.receive(1)).map((frame) => frame.equals(back));
  await port.setMtu(1500);
  const again = await arrive(frameTo(own, 1514), frameTo(own, 9014));
  const tooLongToSend = port.stats().txErrors;
  await nic.send(back);
  const refused = [(await peer.receive(0)).length, port.stats().txErrors - tooLongToSend];
  return { standard, tooLong, pieces, sent, again, refused };
}

const difference = (after: Record<string, number>, before: Record<string, number>) =>
  Object.fromEntries(
    Object.entries(after).flatMap(([name, value]) =>
      value === before[name] || !/^[A-Z]/.test(name) ? [] : [[name, value - before[name]!]],
    ),
  );

/**
 * With CRC: 7 frames of 84 bytes to us, 5 of 304 and a last one of 84 to all, 3 of 1004 to a group; 6, 2 and 1 of 204
 * bytes from us.
 */
async function counters() {
  await port.setMulticast([group]);
  port.clearStats();
  const cleared = Object.values(port.xstats()).every((value) => value === 0);
  const before = port.xstats();
  const times = (count: number, mac: Uint8Array, bytes: number) =>
    Array.from({ length: count }, () => frameTo(mac, bytes));
  await arrive(...times(7, own, 80), ...times(5, broadcast, 300), ...times(3, group, 1000));
  const received = difference(port.xstats(), before);
  const middle = port.xstats();
  for (const frame of [...times(6, peer.mac, 200), ...times(2, broadcast, 200), ...times(1, group, 200)])
    await nic.send(frame);
  const seen = (await peer.receive(9)).length;
  const sent = difference(port.xstats(), middle);
  await port.setMulticast([]);
  const { rxPackets, txPackets, rxBytes, txBytes } = port.stats();
  await arrive(...times(4, own, 60));
  const shortest = port.xstats().PRC64;
  return { cleared, received, seen, sent, stats: [rxPackets, rxBytes, txPackets, txBytes], shortest };
}

/** The host pulls our cable and plugs it in again; the peer's is not touched. */
async function cable() {
  const before = links.length;
  const since = () => links.slice(before).map(({ up, speed }) => [up, speed]);
  say("unplug");
  await until("the link is down", () => since().length === 1, 20_000);
  const early = frameTo(own);
  peer.send(early);
  await nic.settle();
  const whileDown = nic.take().length;
  const status = port.link().up;
  say("plug");
  await until("the link is up", () => since().length === 2, 20_000);
  const late = frameTo(own);
  peer.send(late);
  const came = (await nic.receive()).map(({ frame }) => frame);
  // QEMU's hub keeps what a NIC without a link does not take (e1000x_rx_ready, net/queue.c), and brings it later
  const after = came.filter((frame) => !frame.equals(early)).map((frame) => frame.equals(late));
  return { links: since(), whileDown, status, after };
}

/** The kernel's stack pings through frames of five buffers each. */
async function longPings() {
  await nic.stop();
  await port.setMtu(9000);
  await port.configure({ rxQueues: 1, txQueues: 1 });
  await port.start();
  await pm.forward(1, [{ mode: "icmpecho", rx: { port, queue: 0 }, tx: { port, queue: 0 } }]);
  await until("a link", () => port.link().up, 20_000);
  const command = ["-q", "-i", "0.05", "-c", "40", "-s", "8972", "-M", "do", "-W", "2", "10.77.0.2"];
  const { stdout } = spawnSync("ping", command, { encoding: "utf8" });
  await pm.stop(1);
  return /(\d+) packets transmitted, (\d+) received/.exec(stdout)?.slice(1).map(Number);
}

await nic.start({ rxQueues: 1, txQueues: 1, offloads: [] });
const toUs = { from: peer.mac, to: own };
const send = async (frame: Buffer): Promise<Received | undefined> => {
  peer.send(frame);
  return (await nic.receive())[0];
};
const result = {
  info: port.info,
  addresses: await addresses(),
  afterRestart: await afterRestart(),
  cable: await cable(),
  counters: await counters(),
  vlanOffload: await vlanOffload(),
  longFrames: await longFrames(),
  spreading: await spreading({ nic, peer, queues: asked.queues, ...toUs }),
  rxChecksums: await rxChecksums({ nic, send, ...toUs }),
  txChecksums: await txChecksums({ nic, peer, from: own, to: peer.mac }),
  longPings: await longPings(),
};
const faults = port.faults();
await port.stop();
report({ ...result, faults, errors, pool: pm.pool.audit([]) });
