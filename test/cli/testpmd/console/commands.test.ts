// Every command of the table: what a line makes of the session, what Tab offers, what is wrong with a line that does
// not fit, help, and the page of documentation.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { commands } from "../../../../src/cli/testpmd/console/commands.ts";
import { pointAt, WordError } from "../../../../src/cli/testpmd/console/grammar.ts";
import { briefHelp, helpFor, referencePage } from "../../../../src/cli/testpmd/console/help.ts";
import { completeLine, explainLine, matchLine } from "../../../../src/cli/testpmd/console/match.ts";
import { type CommandContext, sections } from "../../../../src/cli/testpmd/console/table.ts";
import { repositoryRoot } from "../../../beds/paths.ts";
import { fakeSession } from "./fake-session.ts";

const ours = commands.filter(({ missing }) => missing === undefined);

/** Lines, and what they make the session do. The first of each command is its example. */
const lines: Readonly<Record<string, string | readonly string[]>> = {
  start: "start 0",
  "start tx_first": "start 1",
  "start tx_first 2": "start 2",
  stop: "stop",
  quit: "quit",
  "load commands.txt": "load commands.txt",
  "help set promisc": "say",
  "? ports": "say",
  "clear port stats all": "clearStats all",
  "clear port xstats 1": "clearXstats 1",
  "clear fwd stats all": "clearFwdStats",
  "set stats_period 0": "repeatStats 0",
  "show port 0 rss reta 4 (0x3)": "say",
  "set burst 64": "setBurst 64",
  "set nbport 2": "setNbPorts 2",
  "set nbcore 1": "setNbCores 1",
  "set verbose 1": "setVerbose 1",
  "set corelist 1": "setCorelist [1]",
  "set coremask 0x6": "setCorelist [1,2]",
  "set coremask 0x2": "setCorelist [1]",
  "set portlist 0,1": "setPortlist [0,1]",
  "set portlist 1,0": "setPortlist [1,0]",
  "set portmask 0x3": "setPortlist [0,1]",
  "set fwd macswap": "setMode macswap",
  "set fwd app=./echo.ts": "setMode app=./echo.ts",
  "set txpkts 64,128": "setTxpkts [64,128]",
  "set record-burst-stats on": "setRecordBurstStats true",
  "csum parse-tunnel on 0": 'setCsum 0 {"tunnels":true}',
  "csum parse-tunnel off 1": 'setCsum 1 {"tunnels":false}',
  "csum set outer-udp sw 0": 'setCsum 0 {"layer":"outer-udp","by":"sw"}',
  "csum set ip hw 1": 'setCsum 1 {"layer":"ip","by":"hw"}',
  "csum show 0": "say",
  "set eth-peer 0 02:00:00:00:00:99": "setEthPeer 0 020000000099",
  "mac_addr add 0 02:00:00:00:00:77": "macAdd 0 020000000077",
  "mac_addr remove 0 02:00:00:00:00:77": "macRemove 0 020000000077",
  "mac_addr set 1 02:00:00:00:00:77": "macSet 1 020000000077",
  "set promisc all off": "setPromisc all false",
  "set promisc 1 on": "setPromisc 1 true",
  "set allmulti 0 on": "setAllmulti 0 true",
  "vlan set filter on 0": "vlanSet filter 0 true",
  "vlan set strip off 1": "vlanSet strip 1 false",
  "rx_vlan add 100 0": "rxVlan 0 100 true",
  "rx_vlan rm all 0": "rxVlan 0 all false",
  "set link-up port 0": "setLink 0 true",
  "set link-down port 0": "setLink 0 false",
  "set link up port 0": "setLink 0 true",
  "port stop all": "portStop all",
  "port start 0": "portStart 0",
  "port close 1": "portClose 1",
  "port reset all": "portReset all",
  "port attach net_null9": "portAttach net_null9",
  "port attach net_pcap0,tx_pcap=/tmp/a.pcap": "portAttach net_pcap0,tx_pcap=/tmp/a.pcap",
  "port detach 1": "portDetach 1",
  "create interface rdma host-if enp3s0f0 name rdma-0 num-rx-queues 2 mode dv":
    "portAttach net_rdma rdma-0 host-if=enp3s0f0,num-rx-queues=2,mode=dv",
  "create interface rdma rx-queue-size 512 host-if eth1":
    "portAttach net_rdma net_rdma0 rx-queue-size=512,host-if=eth1",
  "delete interface rdma rdma-0": "portDetach 1",
  "port config all rxq 2": 'configPort all {"rxq":2}',
  "port config all txd 0x200": 'configPort all {"txd":512}',
  "port config all max-pkt-len 1518": 'configPort all {"maxPktLen":1518}',
  "port config all burst 32": "setBurst 32",
  "port config mtu 0 1500": 'configPort 0 {"mtu":1500}',
  "port config 0 mtu 1500": 'configPort 0 {"mtu":1500}',
  "port config all rss ip": 'configPort all {"rss":["ipv4","ipv6"]}',
  "port config all rss none": 'configPort all {"rss":[]}',
  "port config all rss ipv4-udp": 'configPort all {"rss":["ipv4-udp"]}',
  "port config all rss all": 'configPort all {"rss":"all"}',
  [`port config 0 rss-hash-key ipv4 ${"6d5a".repeat(20)}`]: `configPort 0 {"rssKey":"${"6d5a".repeat(20)}"}`,
  "port config 0 rss reta (0,1),(1,0)": "setRedirection 0 [[0,1],[1,0]]",
  "flow validate 0 ingress pattern eth type is 0x88f7 / end actions queue index 0 / end": "say",
  "flow list 0": [],
  "flow list 0 group 0 group 1": [],
  "flow flush 0": [],
  "flow isolate 0 1": ["flow isolate true", "say"],
  "flow isolate 0 off": ["flow isolate false", "say"],
  // abbreviations and comments
  "  set   pro all   off  # as DPDK ": "setPromisc all false",
  "po conf mt 0 1500": 'configPort 0 {"mtu":1500}',
  "# nothing": [],
  "": [],
};

function rig() {
  const fake = fakeSession();
  const said: string[] = [];
  const context: CommandContext = {
    session: fake.session,
    commands,
    say: (text) => {
      said.push(text);
      fake.calls.push("say");
    },
    quit: () => fake.calls.push("quit"),
    load: async (path) => void fake.calls.push(`load ${path}`),
    repeatStats: (seconds) => fake.calls.push(`repeatStats ${seconds}`),
  };
  const run = async (line: string) => {
    const found = matchLine(commands, line, fake.session);
    await found?.command.run(context, found.values);
  };
  return { ...fake, said, run };
}

t.test("lines become calls", async (t) => {
  for (const [line, wanted] of Object.entries(lines)) {
    const { run, calls } = rig();
    await run(line);
    t.same(calls, typeof wanted === "string" ? [wanted] : wanted, line);
  }
});

t.test("every command has help, an example that is one of its lines, and is exercised", async (t) => {
  const { session } = rig();
  const of = (line: string) => matchLine(commands, line, session)?.command;
  const exercised = new Set(Object.keys(lines).map(of));
  const shown = ["show port info 0", "show port 0 rss-hash", "show config fwd", "show fwd stats all"].map(of);
  const flows = [
    "flow create 0 egress pattern end actions drop / end",
    "flow destroy 0 rule 0",
    "flow query 0 0 count",
  ];
  for (const command of [...shown, ...flows.map(of)]) exercised.add(command); // below, and on a session of its own
  for (const command of ours) {
    t.match(command.help, /^[A-Z].*\.$/, command.grammar);
    t.equal(of(command.example), command, command.example);
    t.ok(exercised.has(command), `${command.grammar} is exercised`);
    t.ok(Object.hasOwn(sections, command.section));
  }
});

t.test("flow rules, in testpmd's words", async (t) => {
  const { run, said, calls, rules } = rig();
  const pattern = "pattern eth / ipv4 src is 1.2.3.4 / udp dst is 53 / end actions";
  await run(`flow create 0 ingress ${pattern} queue index 1 / end`);
  await run(`flow create 0 priority 3 ingress ${pattern} count / queue index 0 / end`);
  await run("flow create 0 group 1 egress pattern end actions drop / end");
  t.same(
    said.splice(0),
    [0, 1, 2].map((id) => `Flow rule #${id} created`),
  );
  t.match(rules, [{ ingress: true }, { priority: 3 }, { group: 1, egress: true }]);
  await run("flow list 0");
  const head = "ID\tGroup\tPrio\tAttr\tRule";
  const rows = ["0\t0\t0\ti--\tETH IPV4 UDP => QUEUE", "1\t0\t3\ti--\tETH IPV4 UDP => COUNT QUEUE"];
  t.equal(said.pop(), [head, ...rows, "2\t1\t0\t-e-\t=> DROP"].join("\n"));
  await run("flow list 0 group 0");
  t.equal(said.pop(), [head, ...rows].join("\n"));
  await run("flow query 0 1 count");
  t.equal(said.pop(), "COUNT:\n hits_set: 1\n bytes_set: 1\n hits: 3\n bytes: 180");
  await t.rejects(run("flow query 0 0 count"), { code: "FLOW_RULE" });
  calls.length = 0;
  await t.rejects(run("flow destroy 0 rule 0 rule 9"), { code: "FLOW_ID", message: /#9 not found/ });
  t.same(calls, [], "none of them is destroyed then");
  await run("flow destroy 0 rule 0 rule 2");
  t.same(said.splice(0), ["Flow rule #0 destroyed", "Flow rule #2 destroyed"]);
  await run("flow flush 0");
  await run("flow list 0");
  t.same(said, []);
  await t.rejects(run(`flow create 1 ingress ${pattern} drop / end`), { code: "NOT_SUPPORTED" });
});

t.test("no line is two commands", async (t) => {
  const { session } = rig();
  for (const command of ours) {
    const others = ours.filter((other) => other !== command);
    t.throws(() => matchLine(others, command.example, session), { code: "COMMAND" }, command.example);
  }
});

/** A line, the word that the message points at (by its column), the message, and how to mend it. */
const faults: readonly [line: string, at: number, message: RegExp, fix: RegExp][] = [
  ["set promisc 7 on", 12, /^there is no port 7; there are 0, 1$/, /write 0/],
  ["set promisc foo on", 12, /"foo" cannot stand here/, /one of: all, <port_id>/],
  ["set promisc 0 maybe", 14, /"maybe" cannot stand here/, /one of: on, off/],
  ["set promisc 0", 13, /goes on after this/, /one of: on, off/],
  ["set promisc 0 on off", 17, /"off" is too much/, /ends before it/],
  ["set prmisc 0 on", 4, /"prmisc" cannot stand here/, /did you mean promisc\?/],
  ["sett promisc 0 on", 0, /there is no command "sett"/, /did you mean set\?/],
  ["set p 0 on", 4, /"p" may be portlist or portmask or promisc/, /write more/],
  ["set burst 9999", 10, /"9999" is not a whole number from 1 to 512/, /./],
  ["set nbcore 2", 11, /"2" is not a whole number from 1 to 1/, /./],
  ["set nbport 0", 11, /"0" is not a whole number from 1 to 2/, /./],
  ["set portlist 0,9", 13, /there is no port 9; there are 0, 1/, /./],
  ["set portmask 0x7", 13, /there is no port 2/, /./],
  ["set burst many", 10, /"many" is not a whole number/, /./],
  ["set burst -1", 10, /"-1" is not a whole number/, /./],
  ["rx_vlan add 4096 0", 12, /"4096" is not a whole number from 0 to 4095/, /./],
  ["set fwd forward", 8, /there is no forwarding mode forward/, /modes: io/],
  ["create interface rdma", 21, /no interface is named/, /host-if enp3s0f0/],
  ["create interface rdma name r", 28, /no interface is named/, /./],
  ["create interface rdma host-if", 29, /host-if has no value/, /kernel's interface/],
  ["create interface rdma host-if a host-fi b", 32, /"host-fi" cannot stand here/, /did you mean host-if/],
  ["create interface rdma host-if a host-if b", 32, /twice/, /once/],
  ["create interface rdma host-if a name 7", 37, /"7" is no port's name/, /rdma-0/],
  ["create interface tap", 17, /"tap" cannot stand here/, /one of: rdma/],
  ["set portlist 0-", 13, /no list of numbers/, /./],
  ["set portmask xyz", 13, /no hexadecimal mask/, /./],
  ["set txpkts 64,,64", 11, /no length of a segment/, /64,128/],
  ["mac_addr add 0 2:0:0:0:0", 15, /no MAC address/, /02:00:00:00:00:01/],
  ["port config 0 rss-hash-key ipv4 6d5", 32, /no key/, /two hexadecimal digits/],
  ["port config 0 rss reta (0,1", 23, /no entries and queues/, /\(0,1\)/],
  ["show port 0 rss reta 64 xyz", 24, /no masks/, /\(0x3/],
  ["show port info", 14, /goes on after this/, /<port_id>/],
  ["set stats_period 100000", 17, /not a whole number from 0 to 86400/, /./],
  ["start tx_first 0", 15, /not a whole number/, /./],
  ["flow create 0 ingress pattern eth / end", 39, /the rule goes on/, /one of: actions/],
];

t.test("a message points at the word, and nothing changes", async (t) => {
  for (const [line, at, message, fix] of faults) {
    const { run, calls } = rig();
    const error = await run(line).then(
      () => undefined,
      (one: WordError) => one,
    );
    t.ok(error instanceof WordError, line);
    t.match(error?.message, message, line);
    t.match(error?.fix, fix, line);
    t.equal(error?.at, at, line);
    t.same(calls, [], line);
  }
});

t.test("the caret", async (t) => {
  const { session } = rig();
  try {
    matchLine(commands, "set promisc 7 on", session);
    t.fail("it is wrong");
  } catch (error) {
    const [line, caret, message] = pointAt("set promisc 7 on", error as WordError, 2).split("\n");
    t.equal(line, "set promisc 7 on");
    t.equal(caret, "              ^");
    t.equal(message, "there is no port 7; there are 0, 1");
  }
});

t.test("DPDK's other commands are named as such, and never offered", async (t) => {
  const { session, calls, run } = rig();
  for (const { grammar, missing } of commands.filter((one) => one.missing !== undefined)) {
    const line = `${grammar.replaceAll("(port_id)", "0")} 1 on`;
    await t.rejects(run(line), {
      code: "COMMAND",
      message: `DPDK's command \`${grammar}\` is not supported`,
      fix: missing,
    });
    const word = /\S+$/.exec(grammar)![0];
    const before = line.slice(0, grammar.replaceAll("(port_id)", "0").length - word.length);
    const offered = completeLine(commands, before, session);
    const isOursToo = ours.some((one) =>
      one.ways.some((way) => way.some((step) => step.words.includes(word))),
    );
    if (!isOursToo) t.notOk(offered.includes(word), line);
  }
  t.same(calls, []);
});

/** A beginning, and what Tab makes of it. */
const completions: readonly [string, readonly string[]][] = [
  ["sto", ["stop"]],
  ["st", ["start", "stop"]],
  ["set prom", ["promisc"]],
  ["set promisc ", ["0", "1", "all"]],
  ["set promisc 0 ", ["off", "on"]],
  ["set promisc 7 ", []],
  ["set promisc 0 on ", []],
  ["set fwd mac", ["mac", "macswap"]],
  ["set portlist 0,", ["0,0", "0,1"]],
  ["show port ", ["0", "1", "info", "stats", "summary", "xstats"]],
  ["show port 0 ", ["rss", "rss-hash"]],
  ["port config all r", ["rss", "rxd", "rxq"]],
  ["help por", ["port", "ports"]],
  ["help set prom", ["promisc"]],
  ["flow create 0 in", ["ingress"]],
  ["flow create 0 ingress pattern eth t", ["type"]],
  ["flow create 0 ingress pattern eth / ipv4 src i", ["is"]],
  ["flow create 0 ingress pattern eth / ipv4 src is ", []],
  ["flow destroy 0 ", ["rule"]],
  ["flow list 0 gr", ["group"]],
  ["nonsense ", []],
];

t.test("completion", async (t) => {
  const { session } = rig();
  for (const [line, wanted] of completions) t.same(completeLine(commands, line, session), wanted, line);
  const folder = t.testdir({ "one.txt": "", "two words": "", sub: { "deep.txt": "" } });
  t.same(completeLine(commands, `load ${folder}/`, session), [`${folder}/one.txt`, `${folder}/sub/`]);
  t.same(completeLine(commands, `load ${folder}/sub/d`, session), [`${folder}/sub/deep.txt`]);
  t.same(completeLine(commands, `set fwd app=${folder}/o`, session), [`app=${folder}/one.txt`]);
  t.same(completeLine(commands, `load ${folder}/none/x`, session), []);
});

t.test("? shows what may come next", async (t) => {
  const { session } = rig();
  const explain = (line: string) => explainLine(commands, line, session).map(({ word }) => word);
  t.same(explain("set promisc "), ["all", "<port_id>"]);
  t.same(explain("start "), ["<Enter>", "tx_first"]);
  t.same(explain("flow create 0 ingress pattern eth type is "), ["<type>"]);
  t.match(explainLine(commands, "set promisc ", session).at(-1)?.help, /a port: there are 0, 1/);
  t.same(explain("set promisc 7 "), []);
});

t.test("help", async (t) => {
  for (const section of Object.keys(sections)) t.match(briefHelp(), `help ${section}`);
  t.equal(helpFor(commands, []), briefHelp());
  const all = helpFor(commands, ["all"]);
  for (const { grammar } of ours) t.ok(all.includes(`${grammar}\n`), grammar);
  t.match(
    helpFor(commands, ["set", "promisc"]),
    /set promisc \(port_id\|all\) \(on\|off\)\n.*\n.*for example/,
  );
  t.match(helpFor(commands, ["ports"]), /^\nPort Operations:\n-{16}\n/);
  t.throws(() => helpFor(commands, ["nonsense"]), { code: "COMMAND" });
  t.throws(() => helpFor(commands, ["bpf-load"]), { message: /DPDK's command/ });
});

t.test("docs/testpmd-console.md is the table", async (t) => {
  const path = join(repositoryRoot, "docs/testpmd-console.md");
  const page = readFileSync(path, "utf8");
  t.equal(page, referencePage(commands), "write it anew: node dist/scripts/console-docs.js");
});
