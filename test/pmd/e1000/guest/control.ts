// Two NICs on one wire in the lab's guest: the first sends single frames, the second is told what to receive. Prints
// what was received after each step; the test on the host knows what should have been.
import { setTimeout as pause } from "node:timers/promises";
import { chipOf } from "../../../../pmd/e1000/chips.ts";
import { negotiateLink } from "../../../../pmd/e1000/phy.ts";
import { Reg, RingReg } from "../../../../pmd/e1000/registers.ts";
import { BarRegisters } from "../../../../pmd/e1000/registers-io.ts";
import { IntelQueue } from "../../../../pmd/intel/layout.ts";
import type { PollmodeError } from "../../../../src/errors.ts";
import type { FlowRule } from "../../../../src/ethdev/flow.ts";
import type { Port } from "../../../../src/ethdev/port.ts";
import { OlFlag } from "../../../../src/hot/layout.ts";
import { Pollmode } from "../../../../src/pollmode.ts";
import { until } from "../../../acceptance/support.ts";
import { report, settings } from "../../../lab/guest/ports.ts";
import { makeFrame } from "../../../support/engines.ts";
import { checksumFaults, ipFrame, type Shape } from "../../intel/packets.ts";
import { addressBytes, type HashVector, hashInput, ipv4Vectors, ipv6Vectors, toeplitz } from "../toeplitz.ts";
import { Nic } from "./nic.ts";

export interface ControlSettings {
  /** PCI addresses: who sends, who receives. */
  nics: [string, string];
  /** PCI device id of who receives. */
  device: number;
}

const { nics: addresses, device } = settings<ControlSettings>();
await using pm = await Pollmode.start({ lcores: "0", allow: addresses });
const [sender, receiver] = (await Nic.open(pm)) as [Nic, Nic];
const port = receiver.port;
const links: boolean[] = [];
port.on("link", ({ up }) => links.push(up));

const own = [...port.mac];
const other = [0x02, 0, 0, 0, 0, 0x11];
const broadcast = [255, 255, 255, 255, 255, 255];
const group = [0x01, 0, 0x5e, 1, 2, 3];

function frameTo(mac: readonly number[], bytes = 100, tag?: number): Uint8Array {
  const frame = makeFrame(bytes, bytes);
  frame.set([
    ...mac,
    ...sender.port.mac,
    ...(tag === undefined ? [0x88, 0xb5] : [0x81, 0, tag >>> 8, tag & 0xff]),
  ]);
  if (tag !== undefined) frame.set([0x88, 0xb5], 16);
  return frame;
}

async function come(...frames: Uint8Array[]): Promise<number> {
  for (const frame of frames) sender.send(frame);
  return (await receiver.receive()).length;
}

async function setUp(config: Parameters<Port["configure"]>[0]): Promise<void> {
  await port.stop();
  await port.configure(config);
  await port.start();
  receiver.prime();
  await until("a link", () => port.link().up && sender.port.link().up, 20_000);
  await receiver.receive();
}

async function receivedByAddress() {
  const bytes = (mac: number[]) => Uint8Array.from(mac);
  const found: Record<string, number> = {};
  found.own = await come(frameTo(own));
  found.broadcast = await come(frameTo(broadcast));
  found.other = await come(frameTo(other));
  await port.addMac(bytes(other));
  found.added = await come(frameTo(other), frameTo(own));
  await port.removeMac(bytes(other));
  found.removed = await come(frameTo(other));
  await port.setMac(bytes(other));
  found.changed = await come(frameTo(other), frameTo(own));
  await port.setMac(bytes(own));
  found.changedBack = await come(frameTo(other), frameTo(own));
  await port.setPromiscuous(true);
  found.promiscuous = await come(frameTo(other), frameTo(group));
  await port.setPromiscuous(false);
  found.group = await come(frameTo(group));
  await port.setMulticast([bytes(group)]);
  found.groupJoined = await come(frameTo(group), frameTo([0x33, 0x33, 0, 0, 0, 1]));
  await port.setMulticast([]);
  await port.setAllMulticast(true);
  found.allMulticast = await come(frameTo(group), frameTo([0x33, 0x33, 0, 0, 0, 1]), frameTo(other));
  await port.setAllMulticast(false);
  found.none = await come(frameTo(group));
  return found;
}

async function vlans() {
  const found: Record<string, unknown> = {};
  found.noFilter = await come(frameTo(own, 100, 100));
  await port.setVlanFilter(true);
  found.filter = await come(frameTo(own, 100, 100), frameTo(own));
  await port.setVlan(100, true);
  found.letIn = await come(frameTo(own, 100, 100), frameTo(own, 100, 101));
  await port.setVlan(100, false);
  found.letOut = await come(frameTo(own, 100, 100));
  await port.setVlanFilter(false);
  await setUp({ rxQueues: 1, txQueues: 1, offloads: ["vlanStrip", "vlanInsert"] });
  sender.send(frameTo(own, 100, 0x6064));
  const [stripped] = await receiver.receive();
  const bare = frameTo(own, 100, 0x6064);
  const rest = Buffer.concat([bare.subarray(0, 12), bare.subarray(16)]);
  found.stripped = [
    stripped?.flags === OlFlag.RX_VLAN_STRIPPED,
    stripped?.vlan,
    stripped?.frame.equals(rest),
  ];
  receiver.send(frameTo([...sender.port.mac], 100), { flags: OlFlag.TX_VLAN, vlan: 0x2065 });
  const [tagged] = await sender.receive();
  found.inserted = [tagged?.frame.length, tagged?.frame.subarray(12, 16).toString("hex")];
  const switched: unknown[] = [];
  for (const on of [false, true]) {
    await port.setVlanStrip(on);
    sender.send(bare);
    const [got] = await receiver.receive();
    switched.push([got?.frame.length, got?.flags, got?.flags ? got.vlan : 0]);
  }
  return { ...found, switched };
}

async function mtu() {
  const found: Record<string, unknown> = {};
  await sender.port.setMtu(9000);
  found.standard = await come(frameTo(own, 1514), frameTo(own, 1518, 5));
  found.tooLong = await come(frameTo(own, 1600));
  await port.setMtu(9000);
  const jumbo = frameTo(own, 9018);
  sender.send(jumbo);
  const [whole] = await receiver.receive();
  found.jumbo = [whole?.frame.equals(jumbo), whole?.segments];
  await port.setMtu(1500);
  found.tooLongAgain = await come(frameTo(own, 1600));
  try {
    await port.setMtu(9001);
  } catch (error) {
    found.refused = (error as PollmodeError).code;
  }
  return found;
}

/** A TCP packet (or one of a protocol without ports) of a published vector. */
function hashFrame(vector: HashVector, protocol: 6 | 253): Uint8Array {
  const isV4 = vector.source.includes(".");
  const hosts = [...addressBytes(vector.source), ...addressBytes(vector.destination)];
  const frame = Buffer.alloc(14 + (isV4 ? 20 : 40) + 46);
  frame.set([...own, ...sender.port.mac, ...(isV4 ? [0x08, 0x00] : [0x86, 0xdd])]);
  if (isV4) {
    frame.set([0x45, 0, 0, 66, 0, 0, 0, 0, 64, protocol, 0, 0, ...hosts], 14);
    let sum = 0;
    for (let k = 14; k < 34; k += 2) sum += frame.readUInt16BE(k);
    frame.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 24);
  } else frame.set([0x60, 0, 0, 0, 0, 46, protocol, 64, ...hosts], 14);
  const at = isV4 ? 34 : 54;
  frame.writeUInt16BE(vector.sourcePort, at);
  frame.writeUInt16BE(vector.destinationPort, at + 2);
  if (protocol === 6) frame[at + 12] = 0x50;
  return frame;
}

async function hashes(key?: Uint8Array) {
  const table = [1, 0, 0, 1, 1, 1, 0];
  const types = ["ipv4", "ipv4-tcp", "ipv6", "ipv6-tcp"] as const;
  await port.setRss({ table, types, ...(key ? { key } : {}) });
  const { key: used, table: whole } = port.rss();
  const wrong: string[] = [];
  for (const vector of [...ipv4Vectors, ...ipv6Vectors]) {
    for (const withPorts of [true, false]) {
      sender.send(hashFrame(vector, withPorts ? 6 : 253));
      const [got] = await receiver.receive();
      const hash = toeplitz(used, hashInput(vector, withPorts));
      const isRight = got?.hash === hash && got.queue === whole[hash & 127] && got.flags & OlFlag.RX_RSS_HASH;
      if (!isRight)
        wrong.push(`${vector.destination} ${withPorts}: ${got?.hash.toString(16)}, queue ${got?.queue}`);
    }
  }
  return wrong;
}

async function rss() {
  await setUp({ rxQueues: 2, txQueues: 1 });
  const byDefault = await hashes();
  return {
    byDefault,
    byOwnKey: await hashes(Uint8Array.from({ length: 40 }, (_, k) => (k * 37 + 11) & 0xff)),
  };
}

/** PKTTYPE as the chip writes it back: bit 15 for an EtherType filter that the frame met, bits 6:4 for which. */
async function etherTypeFilter(type: number): Promise<number | "none"> {
  const queue = port.rxQueues[0]!;
  const word = (at: number) => pm.arena.u32[at >>> 2]!;
  const slot = word(queue + IntelQueue.HEAD) & word(queue + IntelQueue.MASK);
  const frame = frameTo(own);
  frame.set([type >>> 8, type & 0xff], 12);
  sender.send(frame);
  await pause(50);
  const info = word(word(queue + IntelQueue.RING) + 16 * slot);
  const came = await receiver.receive();
  if (came.length !== 1 || came[0]!.queue !== 0) return Number.NaN;
  return info & 0x8000 ? (info >>> 4) & 7 : "none";
}

const toQueue = (type: number, index: number): FlowRule => ({
  ingress: true,
  pattern: [{ item: "eth", type: { spec: type } }],
  actions: [{ action: "queue", index }],
});

/** What a port throws: its code. */
async function codeOf(ask: () => unknown): Promise<string> {
  try {
    await ask();
    return "nothing";
  } catch (error) {
    return (error as PollmodeError).code;
  }
}

/** QEMU's igb meets EtherType filters and says so in the descriptor; it leads no frame by them. Its e1000e has none. */
async function flows() {
  await setUp({ rxQueues: 2, txQueues: 1 });
  if (chipOf(device)!.family !== "igb") {
    return {
      create: await codeOf(() => port.flow.create(toQueue(0x88f7, 0))),
      rules: port.flow.list().length,
    };
  }
  const found: Record<string, unknown> = { before: await etherTypeFilter(0x88f7) };
  const first = port.flow.create(toQueue(0x88f7, 0));
  const second = port.flow.create(toQueue(0x8847, 1));
  found.met = [await etherTypeFilter(0x88f7), await etherTypeFilter(0x8847), await etherTypeFilter(0x88f8)];
  const read = (k: number) =>
    registers()
      .read(Reg.ETQF + 4 * k)
      .toString(16);
  found.etqf = [read(0), read(1), read(2)];
  await setUp({ rxQueues: 2, txQueues: 1 });
  found.afterReset = [await etherTypeFilter(0x88f7), await etherTypeFilter(0x8847), read(1)];
  await port.stop();
  found.fewerQueues = await codeOf(() => port.configure({ rxQueues: 1, txQueues: 1 }));
  await setUp({ rxQueues: 2, txQueues: 1 });
  port.flow.destroy(first);
  found.destroyed = [await etherTypeFilter(0x88f7), await etherTypeFilter(0x8847)];
  port.flow.destroy(second);
  found.flushed = [await etherTypeFilter(0x8847), read(0), read(1)];
  return found;
}

async function checksums() {
  await setUp({ rxQueues: 1, txQueues: 1, offloads: ["rxChecksum", "txChecksum"] });
  const bits =
    OlFlag.RX_IP_CKSUM_GOOD | OlFlag.RX_IP_CKSUM_BAD | OlFlag.RX_L4_CKSUM_GOOD | OlFlag.RX_L4_CKSUM_BAD;
  const found: Record<string, unknown> = {};
  for (const [ip, l4] of [
    [4, "tcp"] as const,
    [4, "udp"] as const,
    [6, "tcp"] as const,
    [6, "udp"] as const,
  ]) {
    const shape: Shape = { ip, l4, l2: 14, l3: ip === 4 ? 20 : 40 };
    const frame = ipFrame(7, 200, shape);
    frame.set([...own, ...sender.port.mac]);
    const at = shape.l2 + shape.l3;
    if (ip === 4) frame.writeUInt16BE(0, shape.l2 + 6); // no fragment
    if (l4 === "udp") frame.writeUInt16BE(frame.length - at, at + 4);
    else frame[at + 12] = 0x50;
    const l4Flag = l4 === "tcp" ? OlFlag.TX_TCP_CKSUM : OlFlag.TX_UDP_CKSUM;
    const flags = l4Flag | (ip === 4 ? OlFlag.TX_IP_CKSUM | OlFlag.TX_IPV4 : 0);
    sender.send(frame, { flags, l2: shape.l2, l3: shape.l3 });
    const [good] = await receiver.receive();
    found[`ipv${ip} ${l4}`] = good ? [checksumFaults(good.frame, shape), good.flags & bits] : "lost";
    if (!good) continue;
    good.frame[190]! ^= 1;
    sender.send(good.frame);
    const [bad] = await receiver.receive();
    found[`ipv${ip} ${l4}, spoilt`] = bad ? bad.flags & bits : "lost";
  }
  return found;
}

async function counters() {
  const before = port.xstats();
  await come(...Array.from({ length: 10 }, () => frameTo(own, 100)), frameTo(broadcast, 300));
  const after = port.xstats();
  const names = ["GPRC", "BPRC", "PRC127", "PRC511", "GORC", "TPR"];
  return names.map((name) => after[name]! - before[name]!);
}

/** The receiver's registers: BAR 0 lies so far before its first queue's tail. */
function registers(): BarRegisters {
  const tail = pm.arena.u32[(port.rxQueues[0]! + IntelQueue.TAIL_REG) >>> 2]!;
  const bar = { offset: tail - chipOf(device)!.rings.rx - RingReg.TAIL, bytes: 1 << 17 };
  return new BarRegisters(pm.arena, bar);
}

/** The PHY negotiates anew, which takes the link down for a while. */
async function linkFlap() {
  links.length = 0;
  await negotiateLink(registers(), chipOf(device)!, port.name);
  await until("the link is down and up", () => links.length >= 2, 20_000);
  await pause(300);
  return { links: [...links], works: await come(frameTo(own)) };
}

/** Taken down by the port itself: nothing comes and nothing goes. What waits in the rings goes later, with the next. */
async function linkSet() {
  links.length = 0;
  await port.setLink(false);
  const came = await come(frameTo(own));
  receiver.send(frameTo([...sender.port.mac]));
  const whileDown = [port.link().up, came, (await sender.receive()).length];
  await port.setLink(true);
  await until("a link again", () => port.link().up, 20_000);
  await pause(300);
  await receiver.receive();
  await sender.receive();
  receiver.send(frameTo([...sender.port.mac]));
  const after = [await come(frameTo(own)), (await sender.receive()).length > 0];
  return { whileDown, after, links: [...links] };
}

for (const { port } of [sender, receiver]) {
  await port.configure({ rxQueues: 1, txQueues: 1 });
  await port.start();
}
sender.prime();
receiver.prime();
await until("links", () => pm.ports.every((one) => one.link().up), 20_000);
const result = {
  link: port.link(),
  addresses: await receivedByAddress(),
  counters: await counters(),
  linkFlap: await linkFlap(),
  linkSet: await linkSet(),
  mtu: await mtu(),
  vlans: await vlans(),
  rss: await rss(),
  flows: await flows(),
  checksums: await checksums(),
};
for (const one of pm.ports) await one.stop();
report({ ...result, faults: pm.ports.map((one) => one.faults()) });
