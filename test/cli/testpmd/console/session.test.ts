// The console on a session with ports: each command's example runs, or says by name what the ports have not.
import t from "tap";
import { commands } from "../../../../src/cli/testpmd/console/commands.ts";
import { runFile } from "../../../../src/cli/testpmd/console/console.ts";
import { matchLine } from "../../../../src/cli/testpmd/console/match.ts";
import type { PollmodeError } from "../../../../src/errors.ts";
import { openSession } from "../support.ts";

t.setTimeout(60_000);
const vdevs = ["net_null0", "net_null1", "net_ring0"];

t.test("every example runs, or names what the ports have not", async (t) => {
  await using opened = await openSession(vdevs);
  const { session } = opened;
  const context = {
    ...{ session, commands, say: () => {}, quit: () => {} },
    load: async () => {},
    repeatStats: () => {},
  };
  const ofPorts = /^(RDMA_\w+|PORT_UNKNOWN)$/;
  const named =
    /^(NOT_SUPPORTED|PORT_STATE|FORWARDING|FLOW_ID|RSS|QUEUE_COUNT|RING_SIZE|LCORE_UNKNOWN|LCORE_LIST)$/;
  for (const command of commands.filter(({ missing }) => missing === undefined)) {
    const found = matchLine(commands, command.example, session);
    try {
      await found?.command.run(context, found.values);
      t.pass(command.example);
    } catch (error) {
      const { code = "none", message, fix } = error as PollmodeError;
      t.ok(named.test(code) || ofPorts.test(code), `${command.example}: ${code}: ${message}`);
      t.ok(fix, command.example);
    }
  }
});

async function runLines(lines: readonly string[]) {
  await using opened = await openSession(vdevs);
  opened.said();
  const folder = t.testdir({ "lines.txt": lines.join("\n") });
  const said: string[] = [];
  await runFile(opened.session, `${folder}/lines.txt`, (text) => said.push(text));
  const { config } = opened.session;
  return { text: said.join("\n"), said: opened.said(), config };
}

t.test("what is shown", async (t) => {
  const { text } = await runLines([
    "show port info 0",
    "show port summary all",
    "show port stats 1",
    "show port xstats 0",
    "show config fwd",
    "show config rxtx",
    "show config cores",
    "show config txpkts",
    "show port 0 rss-hash",
    "flow create 0 ingress pattern eth / end actions drop / end",
    "flow destroy 0 rule 0",
    "flow query 0 0 count",
  ]);
  t.match(text, /Infos for port 0 .*Device name: net_null0/s);
  t.match(text, /Number of available ports: 3\nPort MAC Address/);
  t.match(text, /NIC statistics for port 1/);
  t.match(text, /NIC extended statistics for port 0/);
  t.match(text, /io packet forwarding - ports=3/);
  t.match(text, /packets\/burst=32/);
  t.match(text, /List of forwarding lcores:/);
  t.match(text, /Segment sizes: 64/);
  t.match(text, /:9: port 0 \(net_null0\): net_null has not receive-side scaling/);
  t.match(text, /:10: port 0 \(net_null0\): net_null has not flow rules/);
  t.match(text, /:11: Flow rule #0 not found/);
  t.match(text, /:12: .*there is no flow rule 0/);
});

t.test("what is changed, also while packets are forwarded", async (t) => {
  const { config, text, said } = await runLines([
    "set portlist 0,1",
    "start",
    "set burst 16",
    "set fwd macswap",
    "set eth-peer 1 02:00:00:00:00:99",
    "port attach net_null7",
    "set promisc 9 on",
    "set portlist 0,9",
    "show fwd stats all",
    "stop",
    "port stop 2",
    "port detach 2",
  ]);
  t.match(config, { burst: 16, mode: "macswap" });
  t.same([...(config.ethPeers.get(1) ?? [])], [2, 0, 0, 0, 0, 0x99]);
  t.match(said, /Port 3 is attached/);
  t.match(said, /Device is detached/);
  t.match(text, /:7: there is no port 9; there are 0, 1, 2, 3\nset promisc 9 on\n {12}\^/);
  t.match(text, /:8: .*9/);
  t.match(text, /Forward statistics for port 0/);
});
