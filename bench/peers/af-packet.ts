// net_af_packet beside DPDK's, on a veth pair between two network namespaces of the bench's own.
//
//   rx:  pollmode txonly, first CPU  -> far ── near -> rx-pps or testpmd rxonly, second CPU   what the receiver counts
//   tx:  the kernel, which drops all <- far ── near <- txonly of either, second CPU           what far's kernel counts
//
// A veth has no queue of its own: the sender's CPU also does the kernel's work of the receiving end.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { PollmodeError } from "../../src/errors.ts";
import { describeStatus, type OwnedProcess } from "../../test/beds/child.ts";
import { atEnd } from "../../test/beds/lifetime.ts";
import { Netns, netnsBed, Veth } from "../../test/beds/netns.ts";
import { parseSamples } from "../../test/beds/testpmd-stats.ts";
import { median } from "../ring-loop/median.ts";
import {
  type Cpus,
  cliPath,
  lcores,
  parseCoreCycles,
  parseRxPps,
  testpmdMib,
  testpmdOptions,
} from "./frontends.ts";
import { Guard } from "./guard.ts";
import { type RowResult, type Run, type Settings, summarize } from "./measure.ts";
import { counted, measureEach, summarizeAlone, takeTurns, type Who } from "./turns.ts";

const group = "net_af_packet";
export const afPacketRows = [
  { name: "af-packet-rx", title: "veth, 64-byte frames, rx" },
  { name: "af-packet-tx", title: "veth, 64-byte frames, txonly" },
] as const;
type RowName = (typeof afPacketRows)[number]["name"];

/** DPDK's default, and not pollmode's: so it is said to both. */
const bypass = "qdisc_bypass=1";
const readyTimeoutMs = 30_000;
const graceMs = 10_000;
const lookMs = 100;
const windowMs = 1000;
/** Until rx-pps, whose main thread shares its CPU with the sender, polls and its code is optimised. */
const startMs = 3000;
/** A txonly's code is optimised by then, and DPDK's first block of statistics, whose rate is 0, is over. */
const warmupMs = 1000;
/** A run that is disturbed goes on for up to so many times its seconds. */
const patience = 2;

/** Both ends of the cable. */
interface Cable {
  readonly near: Netns;
  readonly far: Netns;
}

export async function measureAfPacket(
  wanted: ReadonlySet<string>,
  settings: Settings,
  results: RowResult[],
  missing: string[],
): Promise<void> {
  await netnsBed.setup();
  await measureEach(afPacketRows, wanted, (row) => measureRow(row, settings), { results, missing });
}

async function measureRow(row: (typeof afPacketRows)[number], settings: Settings): Promise<RowResult> {
  await using near = await Netns.create();
  await using far = await Netns.create();
  await using _veth = await Veth.create({ name: "near", netns: near }, { name: "far", netns: far });
  return await measurements[row.name]({ near, far }, { ...row, group }, settings);
}

type Measurement = (
  cable: Cable,
  row: { name: string; title: string; group: string },
  settings: Settings,
) => Promise<RowResult>;

const measurements: Record<RowName, Measurement> = {
  /** One sender for all runs: what it costs to start it is in none of them. */
  async "af-packet-rx"({ near, far }, row, settings) {
    await using sender = startPollmodeTx(far, "far", settings.cpus, settings.cpus.backend);
    await sender.waitFor(/Press enter to exit/, readyTimeoutMs);
    const run = async (who: Who) => {
      const done = await receivers[who](near, sender, settings);
      if (sender.status) throw ended("the sender", sender);
      return done;
    };
    return await takeTurns({ ...row, run, summarize }, settings);
  },

  async "af-packet-tx"({ near, far }, row, settings) {
    // sees the far end's counters for us: /proc/PID/net is the namespace's that the process is in
    await using watcher = far.spawn("watcher", "sh", ["-c", "echo there; exec sleep infinity"]);
    await watcher.waitFor(/there/, readyTimeoutMs);
    const meter = () => received(readFileSync(`/proc/${watcher.pid}/net/dev`, "utf8"), "far");
    const run = (who: Who) => transmit(who, near, meter, settings);
    return await takeTurns({ ...row, run, summarize: summarizeAlone }, settings);
  },
};

const receivers: Record<Who, (near: Netns, sender: OwnedProcess, settings: Settings) => Promise<Run>> = {
  async pollmode(near, sender, { cpus, seconds, foreignPctMax }) {
    const vdev = "--vdev=net_af_packet0,iface=near";
    const args = ["rx-pps", vdev, "-l", `1@${cpus.frontend}`, "--in-memory", "--seconds", "0", "--json"];
    await using child = near.spawn("rx-pps", "taskset", [...pollmodeOn(cpus), ...args]);
    await pause(startMs);
    const guard = new Guard([child.pid ?? 0, sender.pid ?? 0]);
    await pause(1000 * seconds);
    const contention = guard.next();
    if (child.status) throw ended("rx-pps", child);
    await child.stop("SIGINT", graceMs);
    const busyNs = parseRxPps(child.stdout);
    if (busyNs === undefined) throw child.error("printed no result");
    const { pps } = JSON.parse(child.stdout.split("\n").findLast((text) => text.startsWith("{"))!);
    return counted([heard(pps, "to rx-pps")], contention, foreignPctMax, busyNs);
  },

  async dpdk(near, sender, { cpus, seconds, foreignPctMax }) {
    const app = ["--forward-mode=rxonly", "--stats-period", "1", "--record-core-cycles"];
    await using testpmd = await startDpdk(near, app, cpus);
    const guard = new Guard([testpmd.pid ?? 0, sender.pid ?? 0]);
    const samples = () => parseSamples(testpmd.stdout);
    // the first block's rate is 0, the second's has the start in it
    while (samples().length < seconds + 2) {
      if (testpmd.status) throw ended("testpmd", testpmd);
      await pause(lookMs);
    }
    const pps = samples()
      .slice(2, seconds + 2)
      .map(([sample]) => sample!.rxPps);
    const contention = guard.next();
    await testpmd.stop("SIGINT", graceMs);
    heard(median(pps), "to testpmd");
    return counted(pps, contention, foreignPctMax, parseCoreCycles(testpmd.stdout));
  },
};

/** Frames a second that have come to the far end, second by second. */
async function transmit(who: Who, near: Netns, meter: () => number, settings: Settings): Promise<Run> {
  const { cpus, seconds, foreignPctMax } = settings;
  await using sender =
    who === "pollmode"
      ? startPollmodeTx(near, "near", cpus, cpus.frontend)
      : await startDpdk(near, ["--forward-mode=txonly"], cpus);
  await sender.waitFor(/Press enter to exit/, readyTimeoutMs);
  await pause(warmupMs);
  const guard = new Guard([sender.pid ?? 0]);
  const windows: number[] = [];
  const foreign: number[] = [];
  let last = { ms: performance.now(), packets: meter() };
  while (windows.length < seconds && foreign.length < patience * seconds) {
    await pause(windowMs);
    if (sender.status) throw ended(`${who}'s txonly`, sender);
    const now = { ms: performance.now(), packets: meter() };
    const pps = heard((1000 * (now.packets - last.packets)) / (now.ms - last.ms), `from ${who}`);
    last = now;
    const { foreignPct, stealPct } = guard.next();
    foreign.push(foreignPct);
    if (Math.max(foreignPct, stealPct) <= foreignPctMax) windows.push(pps);
  }
  const dropped = foreign.length - windows.length;
  return { windows, dropped, foreignPct: median(foreign), busyNs: null };
}

/** The main thread on the first CPU, the lcore that sends on `cpu`. */
function startPollmodeTx(netns: Netns, iface: string, cpus: Cpus, cpu: number): OwnedProcess {
  const eal = ["--lcores", lcores(cpus.backend, cpu), "--no-pci", "--in-memory"];
  const args = [
    "testpmd",
    ...eal,
    `--vdev=net_af_packet0,iface=${iface},${bypass}`,
    "--",
    "--forward-mode=txonly",
  ];
  return netns.spawn("pollmode testpmd", "taskset", [...pollmodeOn(cpus), ...args]);
}

/** taskset's arguments up to the command of pollmode: the bench keeps itself to the first CPU. */
function pollmodeOn({ backend, frontend }: Cpus): string[] {
  return ["-c", `${backend},${frontend}`, process.execPath, cliPath];
}

let instances = 0;

/** DPDK's testpmd at the near end. In memory, so that hugetlbfs need not be mounted in the namespace. */
async function startDpdk(near: Netns, app: readonly string[], cpus: Cpus): Promise<OwnedProcess> {
  // a name that test/beds/dpdk.ts, too, knows for a dead process's
  const prefix = `pollmode-${process.pid}-${1000 + instances++}`;
  const memory = ["--no-pci", "-m", `${testpmdMib}`, "--in-memory", `--file-prefix=${prefix}`];
  const eal = ["--lcores", lcores(cpus.backend, cpus.frontend), ...memory];
  const vdev = `--vdev=net_af_packet0,iface=near,${bypass}`;
  const args = ["-oL", "dpdk-testpmd", ...eal, vdev, "--", ...testpmdOptions, ...app];
  const remove = () => rmSync(join("/var/run/dpdk", prefix), { recursive: true, force: true });
  const forget = atEnd(remove);
  const testpmd = near.spawn("dpdk-testpmd", "stdbuf", args);
  void testpmd.exited.then(() => {
    forget();
    remove();
  });
  try {
    await testpmd.waitFor(/Press enter to exit|Port statistics =/, readyTimeoutMs);
    return testpmd;
  } catch (cause) {
    await testpmd.kill();
    throw cause;
  }
}

/** Frames received by an interface, of /proc/net/dev. */
export function received(text: string, iface: string): number {
  const packets = new RegExp(`^ *${iface}: *\\d+ +(\\d+)`, "m").exec(text)?.[1];
  if (packets !== undefined) return Number(packets);
  const fix = "see whether something else removes pollmode's network namespaces";
  throw new PollmodeError("PEER_ENDED", `there is no interface ${iface} any more`, fix);
}

/** A rate that is none says that something is wrong with the cable, and nothing about either program. */
function heard(pps: number, where: string): number {
  if (pps > 0) return pps;
  throw new PollmodeError("PEER_SILENT", `no packets came ${where}`, "run it by hand, with a veth pair");
}

function ended(who: string, { status, output }: OwnedProcess): PollmodeError {
  const why = output.trimEnd().split("\n").at(-1) ?? "";
  const how = status ? describeStatus(status) : "";
  return new PollmodeError(
    "PEER_ENDED",
    `${who} ended too early, ${how}: ${why}`,
    "run it by hand, with a veth pair",
  );
}
