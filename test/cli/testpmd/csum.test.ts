// testpmd's `csum` commands: what they ask of ports, what is refused, and that they reach packets while these flow.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { ForwardConfig } from "../../../src/cli/testpmd/config.ts";
import { type CsumChange, changeCsum, checksumsBy, csumText } from "../../../src/cli/testpmd/csum.ts";
import { fwdStats } from "../../../src/cli/testpmd/display-fwd.ts";
import type { Port } from "../../../src/ethdev/port.ts";
import { PacketReader } from "../../../src/pcap/reader.ts";
import { flavours } from "../../pcap/captures.ts";
import { tunnelCases } from "../../support/tunnels.ts";
import { openSession, until } from "./support.ts";

t.setTimeout(60_000);

const layers = ["ip", "udp", "tcp", "sctp", "outer-ip", "outer-udp"] as const;
const fake = (id: number, offloads: readonly string[]) => ({ id, info: { offloads } }) as unknown as Port;
/** Who makes which, as `csum show` says it, without names. */
const shown = (port: Port, config: ForwardConfig) => csumText(port, config).match(/\w+$/gm)!.join(" ");

t.test("who makes a port's checksums", async (t) => {
  const [able, unable] = [fake(3, ["txChecksum"]), fake(4, [])];
  let config = { csum: new Map() } as unknown as ForwardConfig;
  const ask = (port: Port, asked: CsumChange) => {
    config = { ...config, ...changeCsum(port, asked)(config).edit };
  };
  t.equal(shown(able, config), "off hw hw hw sw sw sw");
  t.equal(shown(unable, config), "off sw sw sw sw sw sw");
  ask(able, { layer: "udp", by: "sw" });
  ask(able, { tunnels: true });
  t.equal(shown(able, config), "on hw sw hw sw sw sw");
  t.same(checksumsBy(able, config), ["ip", "tcp"]);
  ask(able, { layer: "udp", by: "sw" });
  ask(able, { layer: "ip", by: "sw" });
  ask(able, { layer: "udp", by: "hw" });
  t.equal(shown(able, config), "on sw hw hw sw sw sw");
  t.equal(shown(unable, config), "off sw sw sw sw sw sw", "another port's");
  for (const layer of layers) {
    ask(unable, { layer, by: "sw" });
    t.throws(() => ask(unable, { layer, by: "hw" }), {
      code: "NOT_SUPPORTED",
      fix: `csum set ${layer} sw 4`,
    });
  }
  for (const layer of layers.slice(3))
    t.throws(() => ask(able, { layer, by: "hw" }), /not supported by port 3/);
  t.same(checksumsBy(unable, config), []);
});

t.test("tunnels' checksums, from when it is asked for", async (t) => {
  const cases = tunnelCases([40]);
  const spoilt = cases.map(({ frame, outerIp, innerIp, innerL4 }) => {
    const copy = Buffer.from(frame);
    for (const at of [outerIp, innerIp, innerL4]) {
      if (at !== undefined) copy.writeUInt16BE(copy.readUInt16BE(at) ^ 0x4242 || 1, at);
    }
    return copy;
  });
  const folder = t.testdir({});
  const [input, output] = [join(folder, "in.pcap"), join(folder, "out.pcap")];
  writeFileSync(input, flavours[0]!.write(spoilt.map((data, k) => ({ stampNs: BigInt(k), data }))));
  const args = `rx_pcap=${input},tx_pcap=${output},infinite_rx=1`;
  const app = ["--forward-mode=csum", "--port-topology=loop", "--no-flush-rx"];
  const few = ["--burst=1", "--nb-ports=1"];
  await using opened = await openSession([`net_pcap0,${args}`, "net_null1"], [...app, ...few]);
  const { session } = opened;
  for (const [layer, name] of [
    ["ip", "IP"],
    ["outer-udp", "Outer UDP"],
  ] as const) {
    const message = `${name} checksum offload is not supported by port 0`;
    await t.rejects(session.setCsum(0, { layer, by: "hw" }), { code: "NOT_SUPPORTED", message });
  }
  await t.rejects(session.setCsum(7, { tunnels: true }), { code: "PORT_UNKNOWN" });
  await session.start();
  await until("packets", () => session.portDelta(0).txPackets > 2 * cases.length);
  t.match(fwdStats(session), /Bad-outer-l4csum: 0 .*\n {2}Bad-outer-ipcsum: 0 /);
  opened.said();
  await session.setCsum(0, { tunnels: true });
  t.equal(
    opened.said(),
    "Parse tunnel is on\nIP checksum offload is sw\nUDP checksum offload is sw\nTCP checksum offload is sw\n" +
      "SCTP checksum offload is sw\nOuter-Ip checksum offload is sw\nOuter-Udp checksum offload is sw",
  );
  const before = session.portDelta(0).txPackets;
  await until("packets", () => session.portDelta(0).txPackets > before + 2 * cases.length);
  t.match(await session.stop(), /Bad-outer-l4csum: [1-9].*\n {2}Bad-outer-ipcsum: [1-9]/);
  await session.setCsum(0, { tunnels: false });
  t.match(opened.said(), /Parse tunnel is off/);
  await session.setCsum(1, { tunnels: true });
  await session.portStop(1);
  await session.portDetach(1);
  t.equal(await session.portAttach("net_null2"), 1);
  t.match(csumText(session.ports.get(1), session.config), /tunnel is off/, "another port of that number");
  await session.close();
  const sent = [...new PacketReader(output).push(readFileSync(output))].map(({ data }) => Buffer.from(data));
  const last = sent.slice(-cases.length).map((frame) => frame.subarray(12).toString("hex"));
  const right = cases.map(({ frame }) => frame.subarray(12).toString("hex"));
  t.same(new Set(last), new Set(right), "all checksums are right");
  const first = sent.slice(0, cases.length).map((frame) => frame.subarray(12).toString("hex"));
  t.notOk(
    first.some((frame, k) => cases[k]!.innerL4 !== undefined && frame === right[k]),
    "they were not before",
  );
});
