// DPDK's mlx5 PMD against the kernel's tools over a TAP wire: what the device computes (hashes, checksums, tags,
// segments), judged by tshark and by arithmetic.
import { hashInput, ipv4Vectors, ipv6Vectors, microsoftKey } from "../../pmd/e1000/toeplitz.ts";
import { ethernet, ipv4, ipv6, tcp, udp } from "../../support/frames.ts";
import { type Check, expect, expectAll } from "./check.ts";
import { type Console, withTestpmd } from "./console.ts";
import { Host, wireTap } from "./host.ts";
import { Capture, sendFrames } from "./wire.ts";

const tapWire = { ports: [{ wire: `tap:${wireTap}` }] };
const macOf = (host: Host) => Buffer.from(host.nic.ports[0]!.mac.replaceAll(":", ""), "hex");
const source = Buffer.from("020000000099", "hex");

/** How the PMD makes its rules: verbs' flow specifications, or matchers of direct verbs. */
export const flowEngines = [
  { engine: "verbs", devargs: "dv_flow_en=0" },
  { engine: "direct verbs", devargs: "dv_flow_en=1" },
] as const;

/** The frames of Microsoft's examples, of which the device tells hash and queue. */
async function rss(devargs: string): Promise<string> {
  await using host = await Host.create(tapWire);
  const app = ["--rxq=2", "--txq=2"];
  return await withTestpmd(host, { app, devargs }, async (console) => {
    const key = Buffer.from(microsoftKey).toString("hex");
    await console.do(`port config 0 rss-hash-key ipv4 ${key}`); // and, by that, IPv4 alone
    await console.do("port config all rss tcp");
    await console.configure();
    expect(
      (await console.do("show port 0 rss-hash key")).toLowerCase().includes(key),
      "not the key set",
      key,
    );
    await console.configure("set fwd rxonly", "set verbose 1");
    await console.do("start");
    const vectors = [...ipv4Vectors, ...ipv6Vectors];
    const frames = vectors.map((vector) => vectorFrame(macOf(host), hashInput(vector, true)));
    await sendFrames(host, frames);
    await console.received(frames.length);
    await console.stop();
    return vectors
      .map((vector) => {
        const hash = vector.hashWithPorts.toString(16);
        return expectAll(console.output, [
          new RegExp(`RSS hash=0x${hash} - RSS queue=0x${vector.hashWithPorts & 1}`),
        ]);
      })
      .join("; ");
  });
}

/** A TCP segment between the addresses and ports of a Toeplitz input: source, destination, their ports. */
function vectorFrame(destination: Uint8Array, input: Uint8Array): Buffer {
  const bytes = (input.length - 4) / 2;
  const header = Buffer.alloc(20);
  header.set(input.subarray(2 * bytes), 0);
  header[12] = 0x50;
  if (bytes === 4) {
    const [from, to] = [[...input.subarray(0, 4)], [...input.subarray(4, 8)]];
    return ipv4(6, header, { destination, source, from, to });
  }
  const frame = ipv6(6, header, { destination, source });
  frame.set(input.subarray(0, 32), 14 + 8);
  return frame;
}

const tagged = 20;

/** Tags are stripped and named, others are put in; stripping is switched off while frames come in (modify_wq). */
async function vlan(): Promise<string> {
  await using host = await Host.create(tapWire);
  return await withTestpmd(host, {}, async (console) => {
    await console.configure("vlan set strip on 0", "tx_vlan set 0 300", "set fwd mac", "set verbose 1");
    await using capture = await Capture.start(host);
    const frame = ipv4(17, udp(Buffer.alloc(60, 7)), {
      destination: macOf(host),
      source,
      tags: [[0x8100, 0x6064]],
    });
    await console.do("start");
    await sendFrames(host, new Array(tagged).fill(frame));
    await console.received(tagged);
    const rows = await capture.fields(tagged, [
      "vlan.id",
      "frame.len",
      "ip.checksum.status",
      "udp.checksum.status",
    ]);
    const wanted = ["300", `${frame.length}`, "1", "1"].join(" ");
    expect(
      rows.every((row) => row.join(" ") === wanted),
      `tshark: not ${wanted}`,
      rows.join("\n"),
    );
    const stripped = expectAll(console.output, [
      new RegExp(`type=0x0800 - length=${frame.length - 4} `),
      /VLAN tci=0x6064/,
      /RTE_MBUF_F_RX_VLAN_STRIPPED/,
    ]);
    const said = await console.do("vlan set strip off 0");
    expect(!/error|fail/i.test(said), "strip off refused", said);
    const from = console.output.length;
    await sendFrames(host, [frame]);
    await console.received(tagged + 1);
    const kept = expectAll(console.output.slice(from), [new RegExp(`type=0x8100 - length=${frame.length} `)]);
    await console.stop();
    return `${stripped}; sent with vlan.id 300; then ${kept}`;
  });
}

const damaged = { ip: 7, l4: 5 };

/** Received checksums are judged, sent ones are made: the csum engine asks the device for all of them. */
async function checksums(): Promise<string> {
  await using host = await Host.create(tapWire);
  return await withTestpmd(host, { app: ["--enable-rx-cksum"] }, async (console) => {
    const hardware = ["ip", "udp", "tcp"].map((layer) => `csum set ${layer} hw 0`);
    await console.configure(...hardware, "set fwd csum", "set verbose 1");
    await using capture = await Capture.start(host);
    const options = { destination: macOf(host), source };
    const payload = Buffer.alloc(101, 0x5a);
    const good = [
      ipv4(17, udp(payload), options),
      ipv4(6, tcp(payload), options),
      ipv6(17, udp(payload, { v6: true }), options),
      ipv6(6, tcp(payload, { v6: true }), options),
      ipv4(6, tcp(payload), { ...options, tags: [[0x8100, 5]] }),
    ];
    const badIp = Buffer.from(good[0]!);
    badIp.writeUInt16BE(0xbad1, 14 + 10);
    const badL4 = Buffer.from(good[1]!);
    badL4.writeUInt16BE(0xbad2, 14 + 20 + 16);
    const frames = [...good, ...new Array(damaged.ip).fill(badIp), ...new Array(damaged.l4).fill(badL4)];
    await console.do("start");
    await sendFrames(host, frames);
    await console.received(frames.length);
    const rows = await capture.fields(frames.length, [
      "ip.checksum.status",
      "tcp.checksum.status",
      "udp.checksum.status",
    ]);
    const wrong = rows.filter((row) => row.some((status) => status !== "" && status !== "1"));
    expect(
      rows.length === frames.length && wrong.length === 0,
      "tshark: not all checksums are good",
      rows.join("\n"),
    );
    await console.stop();
    // The device says which are good, and no more: DPDK takes the others for unknown.
    const seen = ["IP_CKSUM_GOOD", "L4_CKSUM_GOOD", "IP_CKSUM_UNKNOWN", "L4_CKSUM_UNKNOWN"].map((flag) => {
      const lines = console.output.match(new RegExp(`^  ol_flags: .*F_RX_${flag}`, "gm"));
      return `${lines?.length ?? 0} ${flag}`;
    });
    const [all, bad] = [frames.length, damaged];
    const wanted = `${all - bad.ip} IP_CKSUM_GOOD,${all - bad.l4} L4_CKSUM_GOOD,${bad.ip} IP_CKSUM_UNKNOWN,`;
    expect(`${seen},`.startsWith(wanted), `not ${wanted}`, `${seen}`);
    return `${seen.join(", ")}; tshark: ${rows.length} frames with good ones`;
  });
}

/** A segment of 1400 bytes leaves as four, whose sequence numbers, lengths and checksums tshark reads. */
async function segmentation(): Promise<string> {
  await using host = await Host.create(tapWire);
  return await withTestpmd(host, { app: ["--enable-rx-cksum"] }, async (console) => {
    await console.configure("csum set ip hw 0", "csum set tcp hw 0", "tso set 400 0", "set fwd csum");
    await using capture = await Capture.start(host);
    const payload = Buffer.from(Array.from({ length: 1400 }, (_, k) => k & 0xff));
    const options = { destination: macOf(host), source };
    await console.do("start");
    await sendFrames(host, [ipv4(6, tcp(payload), options), ipv6(6, tcp(payload, { v6: true }), options)]);
    const numbers = ["tcp.seq_raw", "tcp.len", "tcp.checksum.status", "tcp.flags.push"];
    const rows = await capture.fields(8, [...numbers, "ip.checksum.status", "ip.id", "tcp.payload"]);
    await console.stop();
    for (const version of [4, 6]) {
      const segments = rows.splice(0, 4);
      const seen = segments.map((row) => row.slice(0, -1).join(" "));
      const wanted = [400, 400, 400, 200].map((bytes, k) => {
        const ip = version === 4 ? `1 0x${(0x1234 + k).toString(16)}` : " ";
        return `${0x01020304 + 400 * k} ${bytes} 1 ${k === 3 ? 1 : 0} ${ip}`;
      });
      expect(seen.join() === wanted.join(), `not these segments:\n${wanted.join("\n")}`, seen.join("\n"));
      const data = segments.map((row) => row.at(-1)).join("");
      expect(data === payload.toString("hex"), "the data changed", data);
    }
    return "IPv4 and IPv6: tcp.len 400, 400, 400, 200; sequence numbers, PSH, IP id, checksums and data right";
  });
}

/** Rules by address and port: each sends its frames to a queue, marks or drops them, and no others. */
async function rules(devargs: string): Promise<string> {
  await using host = await Host.create(tapWire);
  const app = ["--rxq=4", "--txq=4"];
  return await withTestpmd(host, { app, devargs }, async (console) => {
    await console.configure("set fwd rxonly", "set verbose 1");
    await flow(console, "pattern eth / ipv4 / udp dst is 53 / end actions mark id 42 / queue index 1 / end");
    await flow(console, "pattern eth / ipv6 / tcp src is 4097 dst is 80 / end actions queue index 2 / end");
    await flow(console, "pattern eth / vlan tci is 7 / ipv4 / end actions queue index 3 / end");
    await flow(
      console,
      "pattern eth / ipv4 src is 10.0.0.77 dst spec 10.0.0.0 dst prefix 8 / end actions drop / end",
    );
    await console.do("start");
    const options = { destination: macOf(host), source };
    const segment = tcp(Buffer.alloc(60));
    const frames = [
      ipv4(17, udp(Buffer.alloc(60)), options),
      ipv6(6, tcp(Buffer.alloc(60), { v6: true }), options),
      ipv4(6, segment, { ...options, tags: [[0x8100, 7]] }),
      ...new Array(3).fill(ipv4(6, segment, { ...options, from: [10, 0, 0, 77] })),
      ipv4(6, segment, { ...options, from: [10, 0, 0, 77], to: [11, 0, 0, 1] }),
      ethernet(0x88b5, Buffer.alloc(46), options),
    ];
    await sendFrames(host, frames);
    await console.received(5);
    const { all, words } = await console.stop();
    expect(all.rxPackets === 5, "not 5 frames: the dropped ones came through", words);
    expectAll(console.output, [
      /type=0x0800[^\n]*FDIR matched ID=0x2a[^\n]*L4_UDP[^\n]*Receive queue=0x1/,
      /type=0x86dd[^\n]*Receive queue=0x2/,
      /type=0x8100[^\n]*Receive queue=0x3/,
      /type=0x0800(?![^\n]*FDIR)[^\n]*L4_TCP/,
      /type=0x88b5/,
    ]);
    return "mark and queue 1 by UDP port, queue 2 by TCP ports, queue 3 by VLAN, 3 dropped by addresses";
  });
}

export async function flow(console: Console, rule: string): Promise<void> {
  const said = await console.do(`flow create 0 ingress ${rule}`);
  expect(/Flow rule #\d+ created/.test(said), `refused ${rule}`, said);
}

const program = "testpmd (mlx5 PMD)";

export const offloadChecks: readonly Check[] = [
  ...flowEngines.flatMap(({ engine, devargs }) => [
    { program, name: `RSS by Microsoft's vectors, ${engine}`, run: () => rss(devargs) },
    { program, name: `rules: mark, queue, drop, ${engine}`, run: () => rules(devargs) },
  ]),
  { program, name: "VLAN stripped and inserted", run: vlan },
  { program, name: "checksums judged and made", run: checksums },
  { program, name: "TCP segmentation", run: segmentation },
];
