// examples/l2-switch.ts between three namespaces' kernels: ping from each to each, and TCP by iperf3.
//
//   a (10.89.0.1) --+
//   b (10.89.0.2) --+-- the switch, net_tap ports
//   c (10.89.0.3) --+
import { fileURLToPath } from "node:url";
import t from "tap";
import { until } from "../acceptance/support.ts";
import { aptInstall, commandPath } from "../beds/command.ts";
import { Netns, netnsBed } from "../beds/netns.ts";

t.setTimeout(0); // the runner has the deadline
const missing = netnsBed.missing() ?? false;
const file = fileURLToPath(new URL("../../examples/l2-switch.js", import.meta.url));
const PINGS = 5000;
/** Of each sender; a CPU that lcore and kernels share carries several times that. */
const TCP_MBIT = 50;
const TCP_SECONDS = 3;

const device = (k: number) => `pmsw${process.pid % 10_000}x${k}`;

/** PINGS requests from one host to another, one each 2 ms at most; `sent/received`. */
async function ping(from: Netns, to: number): Promise<string> {
  const words = ["-q", "-c", `${PINGS}`, "-i", "0.002", "-W", "2", `10.89.0.${to + 1}`];
  const output = await from.exec("ping", words, { timeoutMs: 60_000 });
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(output) ?? [];
  return `${sent}/${received}`;
}

/** Frames that the kernel had for the switch and dropped, for its queue was full. */
async function kernelDrops(host: Netns, k: number): Promise<number> {
  return Number(await host.exec("cat", [`/sys/class/net/${device(k)}/statistics/tx_dropped`]));
}

t.test("a switch between kernels", { skip: missing }, async (t) => {
  await netnsBed.setup();
  if (!commandPath("iperf3")) await aptInstall(["iperf3"]);
  const hosts = [await Netns.create(), await Netns.create(), await Netns.create()];
  // interfaces are up as soon as they are made: where they are made nobody may speak on them unasked
  const own = await Netns.create();
  t.teardown(async () => {
    for (const netns of [...hosts, own]) await netns.close();
  });
  const vdevs = hosts.map((_, k) => `net_tap${k},iface=${device(k)}`);
  const program = own.spawn("l2-switch", process.execPath, [file, ...vdevs]);
  t.teardown(() => program.stop("SIGTERM", 5000));
  await until("the switch", () => program.output.includes("switching between"));
  for (const [k, host] of hosts.entries()) {
    await own.ip(`link set ${device(k)} netns ${host.name}`);
    await host.address(device(k), `10.89.0.${k + 1}/24`);
  }
  const [a, b, c] = hosts as [Netns, Netns, Netns];
  const dropsBefore = await Promise.all(hosts.map(kernelDrops));

  await t.test(`${PINGS} pings round the three at a time, none lost`, async (t) => {
    const pings = await Promise.all([ping(a, 1), ping(b, 2), ping(c, 0)]);
    t.same(pings, Array(3).fill(`${PINGS}/${PINGS}`));
  });

  await t.test("TCP both ways, nothing lost by us", async (t) => {
    await using server = b.spawn("iperf3 server", "iperf3", ["-s", "--forceflush"]);
    await server.waitFor(/listening/, 10_000);
    for (const way of [[], ["-R"]]) {
      const words = ["-c", "10.89.0.2", "-t", `${TCP_SECONDS}`, "-b", `${TCP_MBIT}M`, "-J", ...way];
      const { end } = JSON.parse(await a.exec("iperf3", words, { timeoutMs: 60_000 }));
      const mbit = end.sum_received.bits_per_second / 1e6;
      const { retransmits } = end.sum_sent;
      t.comment(`${way[0] ?? "there"}: ${mbit.toFixed(1)} Mbit/s, ${retransmits} retransmitted`);
      t.ok(mbit > 0.9 * TCP_MBIT, "at the rate that was asked for");
    }
  });

  const drops = await Promise.all(hosts.map(kernelDrops));
  await program.stop("SIGTERM", 5000);
  const ports = [...program.output.matchAll(/(net_tap\d): (\d+) received, (\d+) sent, (\d+) dropped/g)];
  t.equal(ports.length, 3, program.output);
  t.match(program.output, /^0 copies missed$/m, "one lcore alone draws from the pool");
  for (const [, name, received, sent, dropped] of ports) {
    t.ok(Number(received) > 2 * PINGS && Number(sent) > 2 * PINGS, `${name}: ${received}, ${sent}`);
    t.equal(Number(dropped), 0, `${name}: what the switch dropped`);
  }
  // a sender that has to wait for its CPU retransmits, too: what we lost is what was dropped on our way
  t.same(drops, dropsBefore, "frames that the switch was too late for");
});
