// pollmode and DPDK side by side: their virtio-user frontends in turn against one and the same vhost-user backend, then
// the pure ring loop beside C. docs/benchmarks.md says how to read the result.
//
//   npm run bench:peers -- [options]
//
//   backend (testpmd, first CPU) <- socket -> rx-pps or testpmd (second CPU)
//        | statistics, once a second
//   measure.ts (first CPU) -> tables.ts -> stdout, docs/benchmarks.md
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { helpText } from "../../src/eal/option-table.ts";
import { describeError, PollmodeError } from "../../src/errors.ts";
import { threadCpus } from "../../src/libc/libc.ts";
import { OwnedProcess } from "../../test/beds/child.ts";
import { dpdkBed } from "../../test/beds/dpdk.ts";
import { hugepagesMissing, reserveHugepages } from "../../test/beds/hugepages.ts";
import { atEnd } from "../../test/beds/lifetime.ts";
import { netnsBed } from "../../test/beds/netns.ts";
import { repositoryRoot } from "../../test/beds/paths.ts";
import { describeMachine } from "../machine.ts";
import { replaceResults } from "../markdown.ts";
import type { RingLoopResult } from "../ring-loop/measure.ts";
import { afPacketRows, measureAfPacket } from "./af-packet.ts";
import { rxPpsMissing, testpmdMib } from "./frontends.ts";
import { measureRow, type RowResult, type Settings, startBackend } from "./measure.ts";
import { type Options, optionTable, readOptions, ringLoopRow } from "./options.ts";
import { measurePcap, pcapRows } from "./pcap.ts";
import { type Row, rows } from "./rows.ts";
import { formatResult } from "./tables.ts";

/** Two testpmd, and pollmode's buffers and rings. */
const hugepages = testpmdMib + 64;
const ringLoopTimeoutMs = 300_000;
const resultsPath = join(repositoryRoot, "docs", "benchmarks.md");

/** Drivers that need no backend, each with its rows. */
const drivers = [
  { driver: "net_pcap", rows: pcapRows, lacks: () => undefined, measure: measurePcap },
  { driver: "net_af_packet", rows: afPacketRows, lacks: netnsBed.missing, measure: measureAfPacket },
];

const say = (text: string) => void process.stderr.write(`bench:peers: ${text}\n`);

async function main(options: Options): Promise<boolean> {
  const machine = describeMachine();
  const cpus = threadCpus();
  const missing: string[] = [];
  const results: RowResult[] = [];
  const wanted = rows.filter((row) => options.rows.has(row.name));
  const why = wanted.length > 0 ? vhostMissing(cpus) : undefined;
  if (why) missing.push(`the virtio-user rows: ${why}`);
  else if (wanted.length > 0) {
    const [backend, frontend] = cpus as [number, number];
    const settings = { ...options, cpus: { backend, frontend }, say };
    await measureVhost(wanted, settings, results, missing);
  }
  for (const { driver, rows: own, lacks, measure } of drivers) {
    if (!own.some((row) => options.rows.has(row.name))) continue;
    const lacking = vhostMissing(cpus) ?? lacks();
    const [backend, frontend] = cpus as [number, number];
    const settings = { ...options, cpus: { backend, frontend }, say };
    if (lacking) missing.push(`the ${driver} rows: ${lacking}`);
    else await measureDriver(measure, settings, options.rows, results, missing);
  }
  let ringLoop: RingLoopResult | undefined;
  if (options.rows.has(ringLoopRow)) {
    try {
      ringLoop = await measureRingLoop(cpus.at(-1)!, options);
    } catch (error) {
      missing.push(`the ring loop: ${firstLine(error)}`);
    }
  }
  for (const text of missing) say(`not measured: ${text}`);
  const result = { machine, rows: results, ringLoop, missing };
  console.log(options.json ? JSON.stringify(result) : formatResult(result));
  if (options.write) {
    const document = readFileSync(resultsPath, "utf8");
    writeFileSync(resultsPath, replaceResults(document, "bench:peers", formatResult(result), resultsPath));
    say(`wrote ${resultsPath}`);
  }
  return missing.length === 0;
}

/** Why DPDK and pollmode cannot be run side by side here; undefined when they can. */
function vhostMissing(cpus: readonly number[]): string | undefined {
  const few = cpus.length < 2 ? `two CPUs are needed, this process may use ${cpus.length}` : undefined;
  return few ?? dpdkBed.missing() ?? hugepagesMissing(hugepages) ?? rxPpsMissing();
}

async function measureDriver(
  measure: typeof measurePcap,
  settings: Settings,
  wanted: ReadonlySet<string>,
  results: RowResult[],
  missing: string[],
): Promise<void> {
  await dpdkBed.setup();
  keepTo(settings.cpus.backend);
  using _hugepages = reserveHugepages(hugepages);
  await measure(wanted, settings, results, missing);
}

/** Rows of one backend mode share one backend process. A row that fails does not take the others with it. */
async function measureVhost(
  wanted: readonly Row[],
  settings: Settings,
  results: RowResult[],
  missing: string[],
): Promise<void> {
  await dpdkBed.setup();
  keepTo(settings.cpus.backend);
  using _hugepages = reserveHugepages(hugepages);
  const folder = mkdtempSync(join(tmpdir(), "pollmode-peers-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const forget = atEnd(remove);
  try {
    for (const mode of new Set(wanted.map((row) => row.backend))) {
      const socket = join(folder, `${mode}.sock`);
      await using backend = await startBackend(mode, socket, settings.cpus);
      for (const row of wanted.filter((candidate) => candidate.backend === mode)) {
        try {
          results.push(await measureRow(row, backend, socket, settings));
        } catch (error) {
          missing.push(`${row.name}: ${firstLine(error)}`);
        }
      }
    }
  } finally {
    forget();
    remove();
  }
}

function firstLine(error: unknown): string {
  return describeError(error).split("\n")[0]!;
}

/** Keeps this process, and what it starts unless told otherwise, on one CPU: off the one that is measured. */
function keepTo(cpu: number): void {
  execFileSync("taskset", ["-acp", `${cpu}`, `${process.pid}`], { stdio: "ignore" });
}

/** In a process of its own: what this one has loaded slows TypeScript down (docs/benchmarks.md, "not detached"). */
async function measureRingLoop(cpu: number, { quick }: Options): Promise<RingLoopResult> {
  const program = fileURLToPath(new URL("../ring-loop/main.js", import.meta.url));
  const args = [program, "--json", "--cpu", `${cpu}`, ...(quick ? ["--reps", "3", "--slices", "40"] : [])];
  say(`ring loop on CPU ${cpu}`);
  await using child = new OwnedProcess("ring-loop", process.execPath, args);
  const status = await child.endWithin(ringLoopTimeoutMs);
  if (status.code !== 0) {
    const [why = ""] = child.output.trim().split("\n");
    throw new PollmodeError("RING_LOOP_FAILED", why, `run node ${program}`);
  }
  return JSON.parse(child.stdout);
}

try {
  const options = readOptions(process.argv.slice(2));
  if (options.help) {
    const sections = [{ title: "options", table: optionTable }];
    process.stdout.write(helpText("npm run bench:peers -- [options]", sections));
  } else if (!(await main(options))) process.exitCode = 1;
} catch (error) {
  console.error(describeError(error));
  process.exitCode = 1;
}
