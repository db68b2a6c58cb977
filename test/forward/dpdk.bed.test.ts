// The same frames through DPDK's testpmd and through our modes: what comes out is the same, byte by byte. testpmd reads
// and writes pcap files (net_pcap); ours runs on a test's rings as port 0 with that driver's MAC address.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { StreamSpec } from "../../src/forward/streams.ts";
import { pause, temporaryFolder } from "../acceptance/support.ts";
import { dpdkBed, Testpmd } from "../beds/dpdk.ts";
import { makeFrame, Rig } from "../support/engines.ts";
import { arp, ethernet, icmpEcho, ipv4, ipv6, tcp, udp } from "../support/frames.ts";
import { StreamRun } from "../support/stream.ts";
import { tunnelCases } from "../support/tunnels.ts";

const missing = dpdkBed.missing();
t.setTimeout(120_000);
if (!missing) await dpdkBed.setup();
const folder = temporaryFolder(t);

/** pcap_ethdev.c gives each interface such an address. */
const MAC = Buffer.from("027063617000", "hex");
/** testpmd has read, forwarded and written some dozen frames long before. */
const RUN_MS = 500;

/** A pcap file of Ethernet frames, and back (pcap-savefile(5)). */
function writePcap(path: string, frames: readonly Uint8Array[]): void {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(65535, 16);
  header.writeUInt32LE(1, 20);
  const records = frames.flatMap((frame) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return [record, frame];
  });
  writeFileSync(path, Buffer.concat([header, ...records]));
}

function readPcap(path: string, most: number): Buffer[] {
  const bytes = readFileSync(path);
  const frames: Buffer[] = [];
  for (let at = 24; at + 16 <= bytes.length && frames.length < most; ) {
    const length = bytes.readUInt32LE(at + 8);
    frames.push(bytes.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return frames;
}

const data = (n: number) => makeFrame(n, n);
const v6 = { v6: true };
const tag = { tags: [[0x8100, 0x0123]] as const };
const twoTags = {
  tags: [
    [0x88a8, 5],
    [0x8100, 6],
  ] as const,
};

/** Whole packets: what testpmd does beyond a frame's end is its own affair. */
const packets: Buffer[] = [
  ...[0, 1, 2, 17, 18, 255, 1400].flatMap((n) => [
    ipv4(17, udp(data(n))),
    ipv4(6, tcp(data(n))),
    ipv6(17, udp(data(n), v6)),
    ipv6(6, tcp(data(n), v6)),
  ]),
  ipv4(6, tcp(data(33)), { options: 40 }),
  ipv4(17, udp(data(33)), { options: 4 }),
  ipv4(17, udp(data(9)), tag),
  ipv6(6, tcp(data(9), v6), twoTags),
  ipv4(1, data(30)),
  ipv4(17, udp(data(3)), { padding: 15 }),
  ethernet(0x88b5, data(46)),
  arp(1),
];

/** The same with wrong checksums: IPv4's, and TCP's or UDP's. */
function spoil(frame: Buffer): Buffer {
  const spoilt = Buffer.from(frame);
  const ip = spoilt.readUInt16BE(12) === 0x0800 ? 14 : 0;
  if (ip === 0) return spoilt;
  spoilt.writeUInt16BE(spoilt.readUInt16BE(24) ^ 0x0101, 24);
  const l4 = ip + (spoilt[ip]! & 15) * 4 + (spoilt[23] === 6 ? 16 : 6);
  if (spoilt[23] === 6 || spoilt[23] === 17) spoilt.writeUInt16BE(spoilt.readUInt16BE(l4) ^ 0x4242 || 1, l4);
  return spoilt;
}

/** In tunnels, with wrong checksums, but for GRE's own, which testpmd leaves as it is. */
const tunnelled = tunnelCases([0, 17, 1300])
  .filter(({ gre }) => gre === undefined)
  .map(({ frame, outerIp, innerIp, innerL4 }) => {
    const spoilt = Buffer.from(frame);
    for (const at of [outerIp, innerIp, innerL4]) {
      if (at !== undefined) spoilt.writeUInt16BE(spoilt.readUInt16BE(at) ^ 0x4242 || 1, at);
    }
    return spoilt;
  });
const intoTunnels = `--cmdline-file=${join(folder, "tunnels")}`;
writeFileSync(join(folder, "tunnels"), "csum parse-tunnel on 0\n");

const questions: Buffer[] = [
  arp(1),
  arp(2),
  arp(1, { padding: 18 }),
  arp(1, tag),
  ...[0, 1, 56, 1400].map((n) => ipv4(1, icmpEcho(data(n)))),
  ipv4(1, icmpEcho(data(56)), tag),
  ipv4(1, icmpEcho(data(56), 0)),
  ipv4(1, icmpEcho(data(56), 8, 1)),
  ipv4(1, icmpEcho(data(9)), { from: [10, 0, 0, 1], to: [224, 0, 0, 1] }),
  ipv4(1, icmpEcho(data(9)), { from: [10, 0, 0, 6], to: [224, 0, 0, 1] }),
  ipv4(17, udp(data(30))),
  ethernet(0x86dd, data(60)),
];

const cases: { app?: string[]; spec: Omit<StreamSpec, "rx" | "tx">; frames: Buffer[]; compared?: number }[] =
  [
    { spec: { mode: "io" }, frames: packets },
    { spec: { mode: "mac" }, frames: packets },
    {
      app: ["--eth-peer=0,02:aa:bb:cc:dd:ee"],
      spec: { mode: "mac", ethPeer: Buffer.from("02aabbccddee", "hex") },
      frames: packets,
    },
    { spec: { mode: "macswap" }, frames: packets },
    { spec: { mode: "5tswap" }, frames: packets },
    { spec: { mode: "csum" }, frames: [...packets, ...packets.map(spoil)] },
    { app: [intoTunnels], spec: { mode: "csum", tunnels: true }, frames: [...tunnelled, ...packets] },
    { spec: { mode: "csum" }, frames: tunnelled },
    { spec: { mode: "icmpecho" }, frames: questions },
    { spec: { mode: "txonly" }, frames: [], compared: 100 },
    {
      app: ["--txpkts=20,30,100"],
      spec: { mode: "txonly", txpkts: [20, 30, 100] },
      frames: [],
      compared: 100,
    },
    {
      app: ["--txonly-multi-flow"],
      spec: { mode: "txonly", multiFlow: true },
      frames: [],
      compared: 250,
    },
    { spec: { mode: "flowgen" }, frames: [], compared: 250 },
    {
      app: ["--flowgen-flows=7", "--txpkts=100"],
      spec: { mode: "flowgen", flows: 7, txpkts: [100] },
      frames: [],
      compared: 50,
    },
  ];

async function throughDpdk(name: string, frames: readonly Buffer[], app: readonly string[], most: number) {
  const [input, output] = [join(folder, `${name}.in`), join(folder, `${name}.out`)];
  writePcap(input, frames);
  // the forwarding lcore has the number of the rig's own, which many flows' addresses show
  const vdev = `net_pcap0,rx_pcap=${input},tx_pcap=${output}`;
  await using testpmd = await Testpmd.start({
    eal: ["--no-huge", "--no-pci", "-m", "128", "--lcores=0,3@1", `--vdev=${vdev}`],
    app: ["--total-num-mbufs=2048", "--port-topology=loop", "--no-flush-rx", ...app],
  });
  await pause(RUN_MS);
  await testpmd.stop();
  return readPcap(output, most);
}

for (const [k, { app = [], spec, frames, compared = frames.length }] of cases.entries()) {
  t.test(`${spec.mode} ${app.join(" ")}`, { skip: missing ?? false }, async (t) => {
    const wanted = await throughDpdk(`${k}`, frames, [`--forward-mode=${spec.mode}`, ...app], compared);
    const rig = await Rig.make("wasm", {});
    try {
      const run = new StreamRun(rig, spec, { id: 0, mac: MAC });
      const seen = run.frames(frames).slice(0, compared);
      t.equal(seen.length, wanted.length);
      if (frames.length === 0) t.equal(seen.length, compared);
      else t.ok(seen.length > frames.length / 4);
      // behind the headers of a frame that is made up is whatever the buffer held, in DPDK's too
      const part = (frame?: Buffer) => (frames.length > 0 ? frame : frame?.subarray(0, 42))?.toString("hex");
      wanted.forEach((frame, j) => {
        t.equal(part(seen[j]), part(frame), `frame ${j}`);
        t.equal(seen[j]?.length, frame.length);
      });
    } finally {
      rig.close();
    }
  });
}
