// A recorded file of commands runs on Debian's dpdk-testpmd and on ours, and the ports end in the same state: what both
// then show of ports and configuration is compared field by field.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { commandPath } from "../../../beds/command.ts";
import { dpdkBed } from "../../../beds/dpdk.ts";
import { lcoreArgs } from "../support.ts";

const missing = dpdkBed.missing();
t.setTimeout(180_000);
if (!missing) await dpdkBed.setup();

const program = fileURLToPath(new URL("../../../../src/cli/pollmode.js", import.meta.url));
const prefix = `pollmode-recorded-${process.pid}`;
if (!missing) t.teardown(() => rmSync(`/var/run/dpdk/${prefix}`, { recursive: true, force: true })); // DPDK leaves it

const recorded = [
  "show port summary all",
  "show config fwd",
  "# a comment",
  "set fwd mac",
  "set fwd macswap",
  "set burst 16",
  "set burst 64",
  "set nbport 2",
  "set portlist 1,0,2",
  "set portmask 0x3",
  "set nbcore 1",
  "set verbose 1",
  "set verbose 0",
  "set eth-peer 0 02:00:00:00:00:99",
  "set eth-peer 1 02:00:00:00:00:98",
  "set record-burst-stats on",
  "set record-burst-stats off",
  "set txpkts 64,128",
  "start",
  "stop",
  "show fwd stats all",
  "clear fwd stats all",
  "clear port stats all",
  "clear port xstats all",
  "port stop all",
  "port config all rxq 2",
  "port config all txq 2",
  "port start all",
  "set fwd io",
  "start tx_first",
  "stop",
  "port stop 2",
  "port reset 2",
  "port start 2",
  "set promisc 2 off",
  "set promisc 2 on",
  "set allmulti 2 on",
  "port attach net_null5",
  "port stop 3",
  "port close 3",
  "port attach net_null6",
  "port start 3",
  "set portlist 0,1,2,3",
  "set fwd rxonly",
  "set fwd mac",
  "start",
  "stop",
  "set promisc 77 on",
  "set burst 9999",
  "port start 1",
];
const shows = [
  "show port summary all",
  ...[0, 1, 2, 3].map((id) => `show port info ${id}`),
  "show config fwd",
  "show config txpkts",
  "show config rxtx",
];
/** How the answers to these begin. */
const beginnings = [
  /Number of available ports/,
  ...[0, 1, 2, 3].map((id) => new RegExp(`\\*+ Infos for port ${id}`)),
  /\w+ packet forwarding - ports=/,
  /Number of segments:/,
  /\w+ packet forwarding packets\/burst=/,
];

function run(command: string, args: readonly string[], file: string): string {
  const eal = ["--no-huge", "--no-pci", "-m", "128", `--file-prefix=${prefix}`, ...lcoreArgs()];
  const vdevs = ["net_null0", "net_null1", "net_ring0"].map((vdev) => `--vdev=${vdev}`);
  const app = ["--", "-i", "--total-num-mbufs=8192", `--cmdline-file=${file}`];
  const limit = ["--signal=INT", "--kill-after=10", "30", command, ...args, ...eal, ...vdevs, ...app];
  const { stdout, stderr } = spawnSync("timeout", limit, { encoding: "utf8", input: "" });
  return `${stdout}\n${stderr}`;
}

/** What the last commands show, which neither program repeats: by the words that each begins with. */
function answer(output: string, command: (typeof shows)[number]): string {
  const last = output.slice(output.lastIndexOf("Number of available ports"));
  const all = last.slice(0, last.indexOf("Read CLI commands from"));
  const at = beginnings.map((beginning) => all.search(beginning));
  const k = shows.indexOf(command);
  return at[k]! < 0 ? "" : all.slice(at[k], at[k + 1]);
}

/** Fields of `show port info` that are the port's state, and not the device's own limits. */
const state =
  /^(Device name|Driver name|Link \w+|Autoneg status|MTU|\w+ mode|Current number of [RT]X queues)$/;

function portState(output: string, id: number): Record<string, string> {
  const rows = answer(output, `show port info ${id}`).matchAll(/^([A-Z][^:]*): *(.*?)\r?$/gm);
  const fields = [...rows].filter(([, name]) => state.test(name!));
  return Object.fromEntries(fields.map(([, name, value]) => [name!, value!]));
}

/** Without addresses that each program makes up for itself. */
function rows(output: string, command: string): string[] {
  return answer(output, command)
    .replaceAll(/(?<!peer=)([0-9A-F]{2}:){5}[0-9A-F]{2}/g, "MAC")
    .split(/\r?\n/)
    .map((row) => row.trim().replaceAll(/ +/g, " "))
    .filter(Boolean);
}

t.test("50 commands", { skip: missing ?? false }, async (t) => {
  t.ok(recorded.length + shows.length >= 40);
  const folder = t.testdir({ "recorded.txt": `${[...recorded, ...shows, "quit"].join("\n")}\n` });
  const file = join(folder, "recorded.txt");
  const theirs = run(commandPath("dpdk-testpmd")!, [], file);
  const ours = run(process.execPath, [program, "testpmd"], file);
  for (const id of [0, 1, 2, 3]) {
    const wanted = portState(theirs, id);
    t.ok(Object.keys(wanted).length >= 9, `port ${id}: ${Object.keys(wanted).length} fields`);
    t.same(portState(ours, id), wanted, `port ${id}`);
  }
  for (const command of ["show port summary all", "show config fwd", "show config txpkts"]) {
    const wanted = rows(theirs, command);
    t.ok(wanted.length >= 3, command);
    t.same(rows(ours, command), wanted, command);
  }
  // descriptors and thresholds are each driver's own
  const counts = (output: string) =>
    rows(output, "show config rxtx").filter((row) => /packets\/burst|nb forwarding|queue number/.test(row));
  t.ok(counts(theirs).length >= 6);
  t.same(counts(ours), counts(theirs), "show config rxtx");
});
