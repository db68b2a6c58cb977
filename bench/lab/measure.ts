// One run of one side of a row in the guest, and the generator that feeds the rows that only receive.
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { PollmodeError } from "../../src/errors.ts";
import type { Lab } from "../../test/beds/lab/lab.ts";
import { parseSamples } from "../../test/beds/testpmd-stats.ts";
import type { GuestResult, GuestSettings } from "./guest.ts";
import { burst, descriptors, frameBytes, generatorMib, type Row } from "./rows.ts";

const program = fileURLToPath(new URL("./guest.js", import.meta.url));
const startMs = 60_000;
/** Main lcore on the first CPU, the working one on the second; a generator has both on the first. */
const workLcores = "0@0,1@1";
const generatorLcores = "0@0,1@0";
const testpmdMib = 256;

/** Packets a second of each window. */
export async function measurePollmode(lab: Lab, row: Row, seconds: number): Promise<readonly number[]> {
  const settings: GuestSettings = { mode: row.mode, nics: addresses(lab, row), seconds };
  const timeoutMs = startMs + seconds * 1000;
  const { code, stdout, stderr } = await lab.node(program, [JSON.stringify(settings)], { timeoutMs });
  if (code === 0) return (JSON.parse(stdout.trim().split("\n").at(-1)!) as GuestResult).windows;
  throw new PollmodeError("BENCH_FAILED", `${row.name}: ${stderr || stdout}`, "see the message");
}

export async function measureDpdk(lab: Lab, row: Row, seconds: number): Promise<readonly number[]> {
  const app = [`--forward-mode=${row.mode}`, "--stats-period", "1"];
  if (row.mode === "io") app.push("--tx-first", "--port-topology=paired");
  await using testpmd = await startTestpmd(lab, addresses(lab, row), workLcores, testpmdMib, app);
  const samples = () => parseSamples(testpmd.stdout);
  // the first block has no rates yet, the next ones are the warm-up
  const wanted = seconds + 3;
  for (const end = performance.now() + startMs + 1000 * wanted; samples().length < wanted; await pause(200)) {
    if (performance.now() > end) {
      throw new PollmodeError(
        "BENCH_FAILED",
        `${row.name}: testpmd: ${testpmd.stdout.slice(-2000)}`,
        "see above",
      );
    }
  }
  const rate = row.mode === "txonly" ? "txPps" : "rxPps";
  return samples()
    .slice(3, 3 + seconds)
    .map((ports) => ports.reduce((sum, port) => sum + port[rate], 0));
}

/** DPDK's txonly on a NIC, until it is disposed of. */
export async function startGenerator(lab: Lab, nic: number): Promise<AsyncDisposable> {
  const address = lab.nics[nic]!.address;
  return startTestpmd(lab, [address], generatorLcores, generatorMib, [
    "--forward-mode=txonly",
    "--stats-period",
    "9",
  ]);
}

async function startTestpmd(lab: Lab, nics: readonly string[], lcores: string, mib: number, app: string[]) {
  const eal = ["--lcores", lcores, "-m", `${mib}`, "--in-memory"];
  for (const address of nics) eal.push("-a", address);
  const common = ["--nb-cores=1", "--total-num-mbufs=8192", "--no-mlockall", `--txpkts=${frameBytes}`];
  common.push(`--rxd=${descriptors}`, `--txd=${descriptors}`, `--burst=${burst}`);
  const child = await lab.start(["stdbuf", "-oL", "dpdk-testpmd", ...eal, "--", ...common, ...app]);
  await child.waitFor(/Port statistics =/, startMs);
  return child;
}

function addresses(lab: Lab, row: Row): string[] {
  return row.nics.map((nic) => lab.nics[nic]!.address);
}
