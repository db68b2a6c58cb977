// Checksums and the spreading over queues: what the NIC says of packets that the kernel's driver sends, and what the
// kernel's driver sees of packets that are to be completed by the NIC. Part of features.ts.

import type { RssType } from "../../../src/ethdev/driver.ts";
import { OlFlag } from "../../../src/hot/layout.ts";
import { toeplitz } from "../../pmd/e1000/toeplitz.ts";
import { checksumFaults, withoutChecksums } from "../../pmd/intel/packets.ts";
import {
  finished,
  hashedBytes,
  type PacketKind,
  type PacketSpec,
  shapeOf,
  unfinished,
} from "./ip-packets.ts";
import type { PacketSocket } from "./packet-socket.ts";
import type { Received, SingleFrames } from "./single-frames.ts";

interface Ends {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

const kinds = [4, 6].flatMap((ip) =>
  (["tcp", "udp", "other"] as const).map((kind) => ({ ip: ip as 4 | 6, kind })),
);
const PACKETS_A_KIND = 12;

/** What the datasheets hash of a packet: the most specific type that is turned on; undefined: nothing. */
function hashedAs(
  types: readonly RssType[],
  ip: 4 | 6,
  kind: PacketKind,
): { withPorts: boolean } | undefined {
  if (kind !== "other" && types.includes(`ipv${ip}-${kind}`)) return { withPorts: true };
  return types.includes(`ipv${ip}`) ? { withPorts: false } : undefined;
}

/** Sends packets of every kind, and counts those that came as the hash, the key and the table say. */
async function spread(nic: SingleFrames, peer: PacketSocket, ends: Ends) {
  const { key, table, types } = nic.port.rss();
  const wrong: string[] = [];
  const used = new Set<number>();
  for (const { ip, kind } of kinds) {
    const specs = Array.from(
      { length: PACKETS_A_KIND },
      (_, k): PacketSpec => ({ ip, kind, tag: 100 * ip + k, ...ends }),
    );
    const frames = specs.map(finished);
    for (const frame of frames) peer.send(frame);
    const came = await nic.receive();
    frames.forEach((frame, k) => {
      const got = came.find((one) => one.frame.equals(frame));
      const as = hashedAs(types, ip, kind);
      const hash = as ? toeplitz(key, hashedBytes(frame, specs[k]!, as.withPorts)) : 0;
      const flag = as ? OlFlag.RX_RSS_HASH : 0;
      if (got) used.add(got.queue);
      const isRight = got && (got.flags & OlFlag.RX_RSS_HASH) === flag && (!as || got.hash === hash);
      if (isRight && got.queue === (as ? table[hash % table.length] : 0)) return;
      const what = got ? `flags ${got.flags}, hash ${got.hash.toString(16)}, queue ${got.queue}` : "lost";
      wrong.push(`ipv${ip} ${kind} ${k}: ${what}, not ${hash.toString(16)}`);
    });
  }
  return { wrong, used: [...used].sort() };
}

export async function spreading(rig: Ends & { nic: SingleFrames; peer: PacketSocket; queues: number }) {
  const { nic, peer, queues } = rig;
  const { port } = nic;
  await nic.restart({ rxQueues: queues, txQueues: queues, offloads: [] });
  const byDefault = await spread(nic, peer, rig);
  const key = Uint8Array.from({ length: 40 }, (_, k) => (k * 73 + 29) & 0xff);
  const table = Array.from({ length: 128 }, (_, k) => (k * 5 + (k >>> 3) + 1) % queues);
  await port.setRss({ key, table });
  const byOwnKey = await spread(nic, peer, rig);
  await nic.restart();
  const { key: keptKey, table: keptTable } = port.rss();
  const kept = Buffer.compare(keptKey, key) === 0 && keptTable.join() === table.join();
  await port.setRss({ table: [queues - 1], types: ["ipv4"] });
  const oneQueue = await spread(nic, peer, rig);
  const sent: number[] = [];
  for (let queue = 0; queue < queues; queue++) {
    await nic.send(unfinished({ ip: 4, kind: "other", tag: queue, from: rig.to, to: rig.from }), { queue });
    sent.push((await peer.receive(1)).length);
  }
  return { byDefault, byOwnKey, kept, oneQueue, sent };
}

const CHECKED =
  OlFlag.RX_IP_CKSUM_GOOD | OlFlag.RX_IP_CKSUM_BAD | OlFlag.RX_L4_CKSUM_GOOD | OlFlag.RX_L4_CKSUM_BAD;

function verdict({ flags }: Received): string {
  const word = (good: number, bad: number) => (flags & bad ? "bad" : flags & good ? "good" : "-");
  const ip = word(OlFlag.RX_IP_CKSUM_GOOD, OlFlag.RX_IP_CKSUM_BAD);
  return `${ip} ${word(OlFlag.RX_L4_CKSUM_GOOD, OlFlag.RX_L4_CKSUM_BAD)}`;
}

export async function rxChecksums(
  rig: Ends & { nic: SingleFrames; send(frame: Buffer): Promise<Received | undefined> },
) {
  const { nic, send } = rig;
  await nic.restart({ rxQueues: 1, txQueues: 1, offloads: ["rxChecksum"] });
  const found: Record<string, string> = {};
  const look = async (name: string, frame: Buffer) => {
    const got = await send(frame);
    found[name] = !got ? "lost" : got.frame.equals(frame) ? verdict(got) : "changed";
  };
  for (const { ip, kind } of kinds) {
    const spec: PacketSpec = { ip, kind, tag: 7, from: rig.from, to: rig.to };
    const frame = finished(spec);
    await look(`ipv${ip} ${kind}`, frame);
    const badL4 = Buffer.from(frame);
    badL4[100]! ^= 0x10;
    await look(`ipv${ip} ${kind}, payload spoilt`, badL4);
    if (ip === 6) continue;
    const badIp = Buffer.from(frame);
    badIp[shapeOf(spec).l2 + 8]! ^= 1; // time to live, which TCP and UDP do not cover
    await look(`ipv${ip} ${kind}, header spoilt`, badIp);
  }
  const without = finished({ ip: 4, kind: "udp", tag: 8, from: rig.from, to: rig.to });
  without.writeUInt16BE(0, 14 + 20 + 6);
  await look("ipv4 udp without a checksum", without);
  const arp = finished({ ip: 4, kind: "other", tag: 9, from: rig.from, to: rig.to });
  arp.writeUInt16BE(0x88b5, 12);
  await look("not IP", arp);
  await nic.restart({ rxQueues: 1, txQueues: 1, offloads: [] });
  const got = await send(finished({ ip: 4, kind: "tcp", tag: 10, from: rig.from, to: rig.to }));
  found["turned off"] = got && (got.flags & CHECKED) === 0 ? "- -" : "told";
  return found;
}

/** A frame that the NIC is to complete, and what the peer finds wrong with it. */
export async function txChecksums(rig: Ends & { nic: SingleFrames; peer: PacketSocket }) {
  const { nic, peer } = rig;
  await nic.restart({ rxQueues: 1, txQueues: 1, offloads: ["txChecksum"] });
  const found: Record<string, unknown> = {};
  const specs: [string, Omit<PacketSpec, "from" | "to" | "tag">][] = [];
  for (const { ip, kind } of kinds) {
    if (kind === "other") continue;
    specs.push([`ipv${ip} ${kind}`, { ip, kind }]);
    specs.push([`ipv${ip} ${kind}, 1514 bytes`, { ip, kind, bytes: 1514 }]);
    specs.push([`ipv${ip} ${kind}, odd`, { ip, kind, bytes: 123 }]);
  }
  specs.push(["ipv4 tcp, options", { ip: 4, kind: "tcp", optionBytes: 12 }]);
  for (const [k, [name, part]] of specs.entries()) {
    const spec = { ...part, tag: 50 + k, from: rig.from, to: rig.to };
    const shape = shapeOf(spec);
    const frame = unfinished(spec);
    const l4 = spec.kind === "tcp" ? OlFlag.TX_TCP_CKSUM : OlFlag.TX_UDP_CKSUM;
    const flags = l4 | (spec.ip === 4 ? OlFlag.TX_IP_CKSUM | OlFlag.TX_IPV4 : 0);
    await nic.send(frame, { flags, l2: shape.l2, l3: shape.l3 });
    const [got] = await peer.receive(1);
    const same = got && withoutChecksums(got, shape).equals(withoutChecksums(frame, shape));
    found[name] = got ? (same ? checksumFaults(got, shape) : "changed") : "lost";
  }
  const plain = unfinished({ ip: 4, kind: "tcp", tag: 99, from: rig.from, to: rig.to });
  await nic.send(plain);
  const [untouched] = await peer.receive(1);
  found["not asked for"] = untouched?.equals(plain);
  return found;
}
