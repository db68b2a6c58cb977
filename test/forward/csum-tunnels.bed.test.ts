// What csum makes of tunnels' packets, decoded by Wireshark: every checksum in them is there and right.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tsharkFields, wiresharkBed } from "../beds/wireshark.ts";
import { flavours } from "../pcap/captures.ts";
import { Rig } from "../support/engines.ts";
import { StreamRun } from "../support/stream.ts";
import { type TunnelCase, tunnelCases } from "../support/tunnels.ts";

const missing = wiresharkBed.missing();
t.setTimeout(120_000);
if (!missing) await wiresharkBed.setup();

/** Packets whose checksums are all wrong. */
const cases = tunnelCases([0, 33, 900]);
const spots = ["outerIp", "outerL4", "gre", "innerIp", "innerL4"] as const;
const wrong = ({ frame, ...at }: TunnelCase): Buffer => {
  const spoilt = Buffer.from(frame);
  for (const spot of spots) {
    const offset = at[spot];
    if (offset !== undefined) spoilt.writeUInt16BE(spoilt.readUInt16BE(offset) ^ 0x1234 || 1, offset);
  }
  return spoilt;
};

t.test("checksums in tunnels, by tshark", { skip: missing ?? false }, async (t) => {
  const rig = await Rig.make("wasm", { mbufs: 1024 });
  const frames = cases.map(wrong);
  const sent = new StreamRun(rig, { mode: "csum", tunnels: true }).frames(frames);
  rig.close();
  const folder = t.testdir({});
  /** Good (1) and bad (0) checksums of all layers; others are none. */
  const judge = async (name: string, packets: readonly Buffer[]) => {
    const path = join(folder, name);
    writeFileSync(path, flavours[0]!.write(packets.map((data, k) => ({ stampNs: BigInt(k), data }))));
    const layers = ["ip", "udp", "tcp", "gre"].map((layer) => `${layer}.checksum.status`);
    const seen = (await tsharkFields(path, layers)).map((row) => row.join(",").split(","));
    const count = (status: string) => seen.flat().filter((word) => word === status).length;
    return { good: count("1"), bad: count("0") };
  };
  const all = spots.reduce((sum, spot) => sum + cases.filter((one) => one[spot] !== undefined).length, 0);
  const before = await judge("wrong.pcap", frames);
  t.ok(before.bad > 0.9 * all, `${before.bad} of ${all} are wrong before`); // some changes cancel others
  t.same(await judge("right.pcap", sent), { good: all, bad: 0 });
});
