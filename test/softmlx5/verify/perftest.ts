// Debian's perftest: raw_ethernet_bw and raw_ethernet_lat, plain verbs programs, over a cable between two machines.
import { type Check, expect, expectAll } from "./check.ts";
import { Cable, Host } from "./host.ts";

const timeoutMs = 60_000;

/** They leave a CQ open. */
const allow = ["leaked-object"];

/** Client and server, each on a port at its end of the cable; the client's words. */
async function overCable(command: string, args: readonly string[]): Promise<string> {
  using cable = new Cable();
  await using near = await Host.create({ ports: [{ wire: cable.ends[0], mac: "02:15:b3:00:00:0a" }], allow });
  await using far = await Host.create({ ports: [{ wire: cable.ends[1], mac: "02:15:b3:00:00:0b" }], allow });
  const words = (own: Host, other: Host) => [
    ...["-d", "mlx5_0", "-F"],
    ...["-B", own.nic.ports[0]!.mac, "-E", other.nic.ports[0]!.mac],
    ...args,
  ];
  await using server = far.start(`${command} server`, command, ["--server", ...words(far, near)]);
  await server.waitFor(/-{20,}/, 10_000);
  const said = await near.run(command, ["--client", ...words(near, far)], timeoutMs);
  const status = await server.endWithin(timeoutMs);
  expect(status.code === 0, `the server ended with ${JSON.stringify(status)}`, server.output);
  return said;
}

async function bandwidth(frames: number): Promise<string> {
  const said = await overCable("raw_ethernet_bw", ["-s", "512", "-n", `${frames}`]);
  return expectAll(said, [new RegExp(`512 +${frames}(\\s+[\\d.]+){3}`)]);
}

async function latency(): Promise<string> {
  const said = await overCable("raw_ethernet_lat", ["-s", "64", "-n", "100"]);
  return expectAll(said, [/64 +100(\s+[\d.]+){3}/]);
}

export const perftestChecks: readonly Check[] = [
  { program: "raw_ethernet_bw", name: "client to server", run: ({ frames }) => bandwidth(frames / 100) },
  { program: "raw_ethernet_lat", name: "there and back", run: latency },
];
