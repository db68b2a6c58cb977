// examples/l2-switch.ts between three namespaces' kernels: ping from each to each, and TCP by iperf3.
//
//   a (10.89.0.1) --+
//   b (10.89.0.2) --+-- the switch, net_tap ports
//   c (10.89.0.3) --+
import { fileURLToPath } from "node:url";
import t from "tap";
import { until } from "../acceptance/support.ts";
import { OwnedProcess } from "../beds/child.ts";
import { aptInstall, commandPath, run } from "../beds/command.ts";
import { Netns, netnsBed } from "../beds/netns.ts";

t.setTimeout(0); // the runner has the deadline
const missing = netnsBed.missing() ?? false;
const file = fileURLToPath(new URL("../../examples/l2-switch.js", import.meta.url));
const PINGS = 300;

t.test("a switch between kernels", { skip: missing }, async (t) => {
  await netnsBed.setup();
  if (!commandPath("iperf3")) await aptInstall(["iperf3"]);
  const hosts = [await Netns.create(), await Netns.create(), await Netns.create()];
  t.teardown(async () => {
    for (const host of hosts) await host.close();
  });
  const device = (k: number) => `pmsw${process.pid % 10_000}x${k}`;
  const vdevs = hosts.map((_, k) => `net_tap${k},iface=${device(k)}`);
  const program = new OwnedProcess("l2-switch", process.execPath, [file, ...vdevs]);
  t.teardown(() => program.stop("SIGTERM", 5000));
  await until("the switch", () => program.output.includes("switching between"));
  for (const [k, host] of hosts.entries()) {
    await run("ip", ["link", "set", device(k), "netns", host.name]);
    await host.address(device(k), `10.89.0.${k + 1}/24`);
  }
  for (const [from, to] of [
    [0, 1],
    [1, 2],
    [2, 0],
  ] as const) {
    const text = await hosts[from]!.exec("ping", [
      "-q",
      "-c",
      `${PINGS}`,
      "-i",
      "0.002",
      `10.89.0.${to + 1}`,
    ]);
    t.match(text, new RegExp(`${PINGS} packets transmitted, ${PINGS} received, 0% packet loss`));
  }
  const server = hosts[1]!.spawn("iperf3 server", "iperf3", ["-s", "-1", "--forceflush"]);
  t.teardown(() => server.stop("SIGTERM", 1000));
  await until("iperf3's server", () => server.output.includes("listening"));
  const json = await hosts[0]!.exec("iperf3", ["-c", "10.89.0.2", "-t", "2", "-b", "50M", "-J"]);
  const { sum_sent: sent, sum_received: received } = JSON.parse(json).end;
  t.comment(`${(received.bits_per_second / 1e6).toFixed(0)} Mbit/s, ${sent.retransmits} retransmitted`);
  t.ok(received.bits_per_second > 25e6, "TCP passes");
});
