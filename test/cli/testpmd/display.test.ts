import t from "tap";
import { burstLine } from "../../../src/cli/testpmd/display-bursts.ts";
import { configCores, configFwd, configRxtx, configTxpkts } from "../../../src/cli/testpmd/display-fwd.ts";
import { portInfo, portSummary, rssText } from "../../../src/cli/testpmd/display-port.ts";
import { periodicStats, portStats, portXstats } from "../../../src/cli/testpmd/display-stats.ts";
import { verboseText } from "../../../src/cli/testpmd/display-verbose.ts";
import { linkText, macText, speedText } from "../../../src/cli/testpmd/words.ts";
import type { VerbosePacket } from "../../../src/forward/verbose.ts";
import { OlFlag } from "../../../src/hot/layout.ts";
import { openSession, until } from "./support.ts";

t.setTimeout(60_000);

t.test("addresses and links", async (t) => {
  t.equal(macText(Uint8Array.of(2, 0xab, 0, 15, 255, 1)), "02:AB:00:0F:FF:01");
  const link = { up: true, speed: 10_000, duplex: "full" } as const;
  t.equal(linkText(link), "Link up at 10 Gbps FDX Fixed");
  t.equal(
    linkText({ ...link, speed: 100, duplex: "half", autoneg: true }),
    "Link up at 100 Mbps HDX Autoneg",
  );
  t.equal(linkText({ ...link, up: false }), "Link down");
  t.equal(speedText({ ...link, speed: 2500 }), "2.5 Gbps");
  t.equal(speedText({ ...link, speed: 0 }), "None");
});

t.test("bursts by their size, in one line", async (t) => {
  const counts = (sizes: Record<number, number>) => Array.from({ length: 65 }, (_, k) => sizes[k] ?? 0);
  const line = (sizes: Record<number, number>) => burstLine("RX", counts(sizes))[0];
  t.equal(line({}), undefined);
  t.equal(line({ 0: 100 }), "  RX-bursts : 100 [100% of 0 pkts]");
  t.equal(line({ 32: 31944 }), "  RX-bursts : 31944 [0% of 0 pkts + 100% of 32 pkts]");
  t.equal(line({ 0: 50, 32: 50 }), "  RX-bursts : 100 [50% of 0 pkts + 50% of 32 pkts]");
  t.equal(line({ 0: 20, 1: 30, 2: 50 }), "  RX-bursts : 100 [20% of 0 pkts + 50% of 2 pkts + 30% of 1 pkts]");
  t.equal(
    line({ 0: 25, 7: 40, 8: 30, 9: 5 }),
    "  RX-bursts : 100 [25% of 0 pkts + 40% of 7 pkts + 30% of 8 pkts + 5% of other]",
  );
});

t.test("a port's blocks", async (t) => {
  await using opened = await openSession(["net_null0,size=100", "net_ring0"], ["--txpkts=64,200"]);
  const { session } = opened;
  const info = portInfo(session, 0);
  t.match(
    info,
    /^\n\*{21} Infos for port 0 {2}\*{21}\nMAC address: 02:00:00:00:00:00\nDevice name: net_null0\n/,
  );
  t.match(info, /\nDriver name: net_null\n.*\nDevargs: size=100\n/s);
  t.match(info, /\nLink status: up\nLink speed: 10 Gbps\nLink duplex: full-duplex\n/);
  t.match(info, /\nPromiscuous mode: enabled\nAllmulticast mode: enabled\n/);
  t.match(info, /\nVLAN offload: \n {2}strip off, filter off, extend off, qinq strip off\n/);
  t.match(info, /\nNo RSS offload flow type is supported\.\n/);
  t.match(info, /\nCurrent number of RX queues: 1\nMax possible RX queues: 16\n/);
  t.throws(() => portInfo(session, 5), {
    message: "Invalid port 5",
    fix: "The valid ports array is [ 0 1 ]",
  });
  t.equal(
    portSummary(session, [0, 1]),
    [
      "Number of available ports: 2",
      "Port MAC Address       Name         Driver         Status   Link",
      "0    02:00:00:00:00:00 net_null0    net_null       up       10 Gbps",
      "1    02:00:00:00:00:01 net_ring0    net_ring       up       10 Gbps",
    ].join("\n"),
  );
  t.throws(() => rssText(session, 0, true), { code: "NOT_SUPPORTED" });
  t.equal(configCores(session), "List of forwarding lcores:  1");
  t.equal(configTxpkts(session), "Number of segments: 2\nSegment sizes: 64,200\nSplit packet: off");
  t.match(configFwd(session), /streams=2 .*\nLogical Core 1 \(socket 0\) forwards packets on 2 streams:\n/);
  await session.setMode("txonly");
  t.match(configRxtx(session), /^ {2}txonly packet .*burst=32\n {2}packet len=264 - nb packet segments=2\n/);
});

t.test("rates are since the last show", async (t) => {
  await using opened = await openSession(["net_null0"]);
  const { session } = opened;
  t.match(portStats(session, 0), /Rx-pps: {12}0 {10}Rx-bps: {12}0\n/);
  await session.start();
  await until("packets", () => session.portDelta(0).rxPackets > 100_000);
  const text = portStats(session, 0);
  const pps = Number(/Rx-pps: +(\d+)/.exec(text)![1]);
  const bps = Number(/Rx-bps: +(\d+)/.exec(text)![1]);
  t.ok(pps > 0);
  t.ok(Math.abs(bps / pps / 512 - 1) < 0.01, "frames of 64 bytes");
  await session.stop();
  portStats(session, 0);
  t.match(portStats(session, 0), /Rx-pps: {12}0 /, "nothing has come since");
  session.clearStats(0);
  t.match(portStats(session, 0), /RX-packets: 0 {10}RX-missed: 0 {10}RX-bytes: {2}0\n.*Rx-pps: {12}0 /s);
  t.match(portXstats(session, 0), /^###### NIC extended statistics for port 0 \nrx_good_packets: 0\ntx_good/);
  t.match(periodicStats(session), /^\nPort statistics =+\n {2}#+ NIC statistics for port 0 {2}#+\n/);
});

/** A packet as the rings have it. */
function packet(frame: string, edit: Partial<VerbosePacket> = {}): VerbosePacket {
  const data = Uint8Array.from(Buffer.from(frame.replaceAll(" ", ""), "hex"));
  const where = { lcore: 1, way: "received", port: 0, queue: 2, burst: 2, index: 0 } as const;
  const found = { length: 64, segments: 1, olFlags: 0, rssHash: 0, vlanTci: 0 };
  return { ...where, ...found, data, ...edit };
}

const macs = "020000000001 020000000002";
const unknown =
  "RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN RTE_MBUF_F_RX_OUTER_L4_CKSUM_UNKNOWN ";

t.test("packets in testpmd's words", async (t) => {
  const udp = packet(`${macs} 0800 4500002e00000000401100000a0000010a000002 0009000900000000`);
  t.equal(
    verboseText([udp]),
    "port 0/queue 2: received 2 packets\n" +
      "  src=02:00:00:00:00:02 - dst=02:00:00:00:00:01 - pool=mb_pool_0 - type=0x0800 - length=64 - nb_segs=1 - " +
      "sw ptype: L2_ETHER L3_IPV4 L4_UDP  - l2_len=14 - l3_len=20 - l4_len=8 - Receive queue=0x2\n" +
      `  ol_flags: ${unknown}`,
  );
  const heads = (packets: VerbosePacket[]) => verboseText(packets).match(/^port.*$/gm);
  const second = { ...udp, index: 1 };
  t.same(heads([udp, second]), ["port 0/queue 2: received 2 packets"], "one head line a burst");
  t.equal(heads([udp, second, udp, second])!.length, 2);
  t.equal(heads([udp, { ...second, port: 1 }])!.length, 2);
  t.same(heads([{ ...udp, way: "sent", burst: 1 }]), ["port 0/queue 2: sent 1 packets"]);
});

t.test("what packets are, as far as their headers are there", async (t) => {
  const cases: [frame: string, expected: RegExp][] = [
    [`${macs} 0806 0001`, /type=0x0806 .* sw ptype: L2_ETHER {2}- l2_len=14 - Receive/],
    [
      `${macs} 8100 0005 0800 4600003200000000400600000a0000010a00000201010101 00500050 00000000 00000000 6000 0000`,
      /type=0x8100 .* L2_ETHER_VLAN L3_IPV4_EXT L4_TCP {2}- l2_len=18 - l3_len=24 - l4_len=24 /,
    ],
    [
      `${macs} 0800 4500002e00002000401100000a0000010a000002`,
      /L3_IPV4 L4_FRAG {2}- l2_len=14 - l3_len=20 - l4_len=0 /,
    ],
    [
      `${macs} 0800 4500002e00000000400100000a0000010a000002`,
      /L2_ETHER L3_IPV4 {2}- l2_len=14 - l3_len=20 - Rec/,
    ],
    [
      `${macs} 86dd 60000000 0008 11 40 ${"00".repeat(32)}`,
      /L3_IPV6 L4_UDP {2}- l2_len=14 - l3_len=40 - l4_len=8 /,
    ],
    [
      `${macs} 86dd 60000000 0010 00 40 ${"00".repeat(32)} 1100000000000000`,
      /L3_IPV6_EXT L4_UDP {2}- l2_len=14 - l3_len=48 - l4_len=8 /,
    ],
    ["0200", /dst=02:00:00:00:00:00 .* type=0x0000 .* sw ptype: L2_ETHER {2}- l2_len=14/],
    ["", /type=0x0000/],
  ];
  for (const [frame, expected] of cases) t.match(verboseText([packet(frame)]), expected, frame);
});

t.test("what a port found out about a packet", async (t) => {
  const flags =
    OlFlag.RX_RSS_HASH | OlFlag.RX_VLAN_STRIPPED | OlFlag.RX_IP_CKSUM_GOOD | OlFlag.RX_L4_CKSUM_BAD;
  const text = verboseText([packet(`${macs} 0806`, { olFlags: flags, rssHash: 0xabcd, vlanTci: 5 })]);
  t.match(text, / - RSS hash=0xabcd - RSS queue=0x2 - VLAN tci=0x5 - /);
  t.match(text, /RX_VLAN RTE_MBUF_F_RX_RSS_HASH RTE_MBUF_F_RX_L4_CKSUM_BAD RTE_MBUF_F_RX_IP_CKSUM_GOOD /);
  t.match(text, /RTE_MBUF_F_RX_VLAN_STRIPPED RTE_MBUF_F_RX_OUTER_L4_CKSUM_UNKNOWN $/);
  const sent = OlFlag.TX_IPV4 | OlFlag.TX_IP_CKSUM | OlFlag.TX_UDP_CKSUM;
  const out = verboseText([packet(`${macs} 0806`, { way: "sent", olFlags: sent })]);
  t.match(
    out,
    /Send queue=0x2\n {2}ol_flags: RTE_MBUF_F_TX_IP_CKSUM RTE_MBUF_F_TX_UDP_CKSUM RTE_MBUF_F_TX_IPV4 $/,
  );
});

t.test("set verbose: packets are printed while they are forwarded", async (t) => {
  await using opened = await openSession(["net_ring0"], ["--no-flush-rx", "--burst=4"]);
  const { session } = opened;
  await session.setVerbose(1);
  t.match(opened.said(), /Change verbose level from 0 to 1$/);
  await session.start(1);
  let text = "";
  await until("a packet in words", () => {
    text += opened.said();
    return /port 0\/queue 0: received 4 packets\n {2}src=02:00:00:00:00:01 - .* L4_UDP/.test(text);
  });
  await session.setVerbose(0);
  opened.said();
  await session.stop();
  t.notMatch(opened.said(), /received/);
});
