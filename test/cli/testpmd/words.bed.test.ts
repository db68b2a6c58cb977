// The same command lines, given to Debian's dpdk-testpmd and to ours: what they print is the same, word by word, but
// for counts and MAC addresses. Scripts that read testpmd's output read ours.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import t from "tap";
import { commandPath } from "../../beds/command.ts";
import { dpdkBed } from "../../beds/dpdk.ts";
import { lcoreArgs } from "./support.ts";

const missing = dpdkBed.missing();
t.setTimeout(180_000);
if (!missing) await dpdkBed.setup();

const program = fileURLToPath(new URL("../../../src/cli/pollmode.js", import.meta.url));
const prefix = `pollmode-words-${process.pid}`;
const eal = ["--no-huge", "--no-pci", "-m", "128", `--file-prefix=${prefix}`];
if (!missing) t.teardown(() => rmSync(`/var/run/dpdk/${prefix}`, { recursive: true, force: true })); // DPDK leaves it
const mbufs = "--total-num-mbufs=4096";

/** stdout of a run whose input ends at once, or, with --stats-period, that SIGINT ends after `seconds`. */
function run(command: string, args: readonly string[], input: string, seconds: number): string {
  const limit = ["--signal=INT", "--kill-after=10", `${seconds}`, command, ...args];
  const { stdout } = spawnSync("timeout", limit, { encoding: "utf8", input });
  return stdout;
}

/** Without what differs from run to run. */
function normalize(output: string): string[] {
  return output
    .replaceAll(/(?<!peer=)([0-9A-F]{2}:){5}[0-9A-F]{2}/g, "MAC")
    .replaceAll(
      /((?:RX|TX|Rx|Tx)-(?:packets|dropped|total|bytes|missed|errors|nombuf|pps|bps)): +\d+ */g,
      "$1: N ",
    )
    .replaceAll(/(_packets) +\d+ +\d+/g, "$1 N")
    .replaceAll(/((?:RX|TX)-bursts) : \d+/g, "$1 : N")
    .replaceAll(/\d+% of/g, "N% of")
    .replaceAll(/\u001b\[[0-9;]*[HJ]/g, "") // DPDK's clears the screen even where there is none
    .replace(/Primary: Sending 'stop_req' request to secondary\.\.\.\n\n/, "") // of its multi-process capture
    .replaceAll(/(\nPort statistics =[\s\S]*?)(?=Telling cores)/g, onlyFirstBlocks)
    .split("\n");
}

/** Two periodic blocks: how many there are is a matter of time. */
function onlyFirstBlocks(blocks: string): string {
  return blocks
    .split(/(?=\nPort statistics =)/)
    .slice(0, 2)
    .join("");
}

const lines: readonly { vdevs?: number; lcores?: number; app: string[]; input?: string; seconds?: number }[] =
  [
    { app: ["--tx-first"] },
    { app: ["--rxq=2", "--txq=2", "--burst=64", "--record-burst-stats"] },
    { app: ["--record-burst-stats", "--forward-mode=macswap"] },
    { vdevs: 3, app: ["--port-topology=chained", "--forward-mode=rxonly", "--auto-start"] },
    { vdevs: 3, app: ["--port-topology=loop", "--forward-mode=mac", "--eth-peer=1,02:11:22:33:44:55"] },
    { vdevs: 4, app: ["--forward-mode=txonly", "--txpkts=64,100", "--portmask=0x5"] },
    {
      vdevs: 3,
      lcores: 4,
      app: ["--nb-cores=4", "--rxq=3", "--txq=3", "--portlist=2,0,1", "--forward-mode=5tswap"],
    },
    { app: ["--rxq=3", "--txq=3", "--forward-mode=icmpecho"] },
    { app: ["--rxq=2", "--txq=2", "--forward-mode=csum"] },
    { app: ["--forward-mode=flowgen", "--flowgen-flows=64"] },
    {
      lcores: 4,
      app: ["--rxq=2", "--txq=2", "--forward-mode=noisy", "--coremask=0xc", "--no-lsc-interrupt"],
    },
    { app: ["--stats-period=1", "--display-xstats=rx_good_packets,tx_good_packets"], seconds: 4 },
    { app: ["-i"], input: "set burst 8\n\n# nothing\nshow config cores\nset nbcore 1\nquit\nset burst 9\n" },
    { app: ["-i", "--auto-start"], input: "show fwd stats all\n" },
  ];

for (const { vdevs = 2, lcores = 1, app, input = "", seconds = 30 } of lines) {
  t.test([...app, JSON.stringify(input)].join(" "), { skip: missing ?? false }, async (t) => {
    const devices = Array.from({ length: vdevs }, (_, k) => `--vdev=net_null${k}`);
    const args = [...eal, ...lcoreArgs(lcores), ...devices, "--", mbufs, ...app];
    const theirs = normalize(run("stdbuf", ["-oL", commandPath("dpdk-testpmd")!, ...args], input, seconds));
    const ours = normalize(run(process.execPath, [program, "testpmd", ...args], input, seconds));
    t.ok(theirs.includes("Bye..."), "DPDK's ran to its end");
    t.same(ours, theirs);
  });
}
