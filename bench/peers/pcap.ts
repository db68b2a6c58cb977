// net_pcap beside DPDK's: a file replayed without end and only received, and io from file to file. No backend: each
// program reads and writes files in /dev/shm, alone on its CPU.
//
//   replay:  pcap file, infinite_rx=1 -> rxonly | touch      what each program says of its own rate
//   io:      pcap file -> io -> pcap file                    how fast the output grows, seen from outside
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { PollmodeError } from "../../src/errors.ts";
import { pcapHeader, pcapRecord } from "../../src/pcap/pcap.ts";
import { OwnedProcess } from "../../test/beds/child.ts";
import { Testpmd } from "../../test/beds/dpdk.ts";
import { atEnd } from "../../test/beds/lifetime.ts";
import { type Cpus, cliPath, lcores, testpmdMib, testpmdOptions } from "./frontends.ts";
import { Guard } from "./guard.ts";
import type { RowResult, Run, Settings } from "./measure.ts";
import { counted, measureEach, summarizeAlone, takeTurns, type Who } from "./turns.ts";

const group = "net_pcap";
export const pcapRows = [
  { name: "pcap-rx", title: "replay a file (infinite_rx), rx" },
  { name: "pcap-io", title: "io from file to file" },
] as const;

const FRAME_BYTES = 60;
/** DPDK keeps the packets of a file that it repeats in mbufs. */
const REPLAYED = 2048;
/** 300 MB, a second's work. */
const COPIED = 4_000_000;
const RECORD_BYTES = 16 + FRAME_BYTES;
const lookMs = 2;
const ioTimeoutMs = 60_000;
const graceMs = 10_000;
/** Until rx-pps polls and its code is optimised. */
const startMs = 1500;

interface Files {
  readonly replayed: string;
  readonly copied: string;
  readonly output: string;
}

function makeFiles(folder: string): Files {
  const frame = Buffer.alloc(FRAME_BYTES, 0x5a);
  const record = (k: number) => pcapRecord(1_700_000_000_000_000_000n + BigInt(k) * 1000n, frame);
  const some = Buffer.concat([...Array(REPLAYED).keys()].map(record));
  const files = { replayed: "replayed.pcap", copied: "copied.pcap", output: "output.pcap" };
  const paths = Object.fromEntries(Object.entries(files).map(([key, name]) => [key, join(folder, name)]));
  const { replayed, copied } = paths as unknown as Files;
  writeFileSync(replayed, Buffer.concat([pcapHeader(), some]));
  writeFileSync(copied, pcapHeader());
  const many = Buffer.concat(Array(32).fill(some) as Buffer[]);
  const rounds = Math.ceil(COPIED / (32 * REPLAYED));
  for (let k = 0; k < rounds; k++) writeFileSync(copied, many, { flag: "a" });
  return paths as unknown as Files;
}

export async function measurePcap(
  wanted: ReadonlySet<string>,
  settings: Settings,
  results: RowResult[],
  missing: string[],
): Promise<void> {
  const folder = mkdtempSync("/dev/shm/pollmode-peers-");
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const forget = atEnd(remove);
  try {
    const files = makeFiles(folder);
    const measure = (row: (typeof pcapRows)[number]) => {
      const work = row.name === "pcap-rx" ? replay : copy;
      const run = (who: Who) => work(who, files, settings);
      return takeTurns({ ...row, group, run, summarize: summarizeAlone }, settings);
    };
    await measureEach(pcapRows, wanted, measure, { results, missing });
  } finally {
    forget();
    remove();
  }
}

async function replay(who: Who, { replayed }: Files, settings: Settings): Promise<Run> {
  const { cpus, seconds, foreignPctMax } = settings;
  const vdev = `net_pcap0,rx_pcap=${replayed},infinite_rx=1`;
  if (who === "pollmode") {
    await using child = startPollmode(vdev, "touch", cpus);
    await pause(startMs);
    const guard = new Guard([child.pid ?? 0]);
    await pause(1000 * seconds);
    const contention = guard.next();
    await child.stop("SIGINT", graceMs);
    const line = child.stdout.split("\n").findLast((text) => text.startsWith("{"));
    if (!line) throw child.error("printed no result");
    return counted([JSON.parse(line).pps], contention, foreignPctMax);
  }
  await using testpmd = await startDpdk(vdev, ["--forward-mode=rxonly", "--stats-period", "1"], cpus);
  const guard = new Guard([testpmd.pid ?? 0]);
  // the first block's rate is 0, the second's has the start in it
  while (testpmd.samples.length < seconds + 2) await pause(100);
  const pps = testpmd.samples.slice(2).map(([sample]) => sample!.rxPps);
  return counted(pps, guard.next(), foreignPctMax);
}

async function copy(who: Who, { copied, output }: Files, settings: Settings): Promise<Run> {
  rmSync(output, { force: true });
  const { cpus, foreignPctMax } = settings;
  const vdev = `net_pcap0,rx_pcap=${copied},tx_pcap=${output}`;
  const io = ["--forward-mode=io", "--port-topology=loop", "--no-flush-rx"];
  // the output's growth is awaited from the first moment on
  const watch = new AbortController();
  const growth = watchGrowth(output, statSync(copied).size, watch.signal);
  const start = () => (who === "pollmode" ? startPollmode(vdev, "io", cpus) : startDpdk(vdev, io, cpus));
  await using child = await start();
  void child.exited.then(() => watch.abort());
  const guard = new Guard([child.pid ?? 0]);
  const pps = await growth;
  if (pps === undefined) {
    const why = /^rx-pps: (.*)$/m.exec(child.output)?.[1] ?? "it wrote too little";
    throw new PollmodeError("PEER_SILENT", `${who} did not copy ${copied}: ${why}`, "run it by hand");
  }
  return counted([pps], guard.next(), foreignPctMax);
}

/** Packets a second from a tenth of the output to nine tenths of it; undefined if it does not come to that. */
async function watchGrowth(path: string, size: number, signal: AbortSignal): Promise<number | undefined> {
  let first: { ms: number; bytes: number } | undefined;
  for (
    const end = performance.now() + ioTimeoutMs;
    performance.now() < end && !signal.aborted;
    await pause(lookMs)
  ) {
    const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    const ms = performance.now();
    if (bytes > size / 10) first ??= { ms, bytes };
    if (!first || bytes < 0.9 * size || bytes === first.bytes) continue;
    return (1000 * (bytes - first.bytes)) / RECORD_BYTES / (ms - first.ms);
  }
  return undefined;
}

function startPollmode(vdev: string, app: string, { backend, frontend }: Cpus): OwnedProcess {
  const args = ["rx-pps", `--vdev=${vdev}`, "-l", `1@${frontend}`, "--app", app, "--seconds", "0"];
  const cpus = `${backend},${frontend}`;
  return new OwnedProcess("rx-pps", "taskset", ["-c", cpus, process.execPath, cliPath, ...args, "--json"]);
}

function startDpdk(vdev: string, app: readonly string[], { backend, frontend }: Cpus): Promise<Testpmd> {
  const memory = ["--no-pci", "-m", `${testpmdMib}`];
  const eal = ["--lcores", lcores(backend, frontend), ...memory, `--vdev=${vdev}`];
  return Testpmd.start({ eal, app: [...testpmdOptions, ...app] });
}
