// The two frontends under test as programs: each is started against the backend's socket, and says when it is ended
// what a packet has cost it.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { PollmodeError } from "../../src/errors.ts";
import { describeStatus, OwnedProcess } from "../../test/beds/child.ts";
import { Testpmd } from "../../test/beds/dpdk.ts";
import { repositoryRoot } from "../../test/beds/paths.ts";
import type { Row } from "./rows.ts";

export interface Cpus {
  readonly backend: number;
  readonly frontend: number;
}

export interface Frontend {
  readonly pid: number;
  /** Throws when it has ended by itself. */
  check(): void;
  /** Ends it. Returns the time its polls with packets took, a packet; null if it does not say. */
  finish(): Promise<number | null>;
}

export type StartFrontend = (row: Row, socket: string, cpus: Cpus) => Promise<Frontend>;

const queueSize = 1024;
const finishGraceMs = 10_000;
export const testpmdOptions = ["--nb-cores=1", "--total-num-mbufs=8192"] as const;
/** MiB that each testpmd takes in hugepages. */
export const testpmdMib = 256;

export const cliPath = join(repositoryRoot, "dist", "src", "cli", "pollmode.js");

/** Why rx-pps cannot be run; undefined when it can. */
export function rxPpsMissing(path = cliPath): string | undefined {
  return existsSync(path) ? undefined : `there is no ${path}: run \`npm run build\``;
}

export const startPollmode: StartFrontend = async (row, socket, cpus) => {
  const vdev = `net_virtio_user0,path=${socket},queue_size=${queueSize}${row.pollmodeArgs}`;
  const args = ["rx-pps", `--vdev=${vdev}`, "-l", `1@${cpus.frontend}`, "--app", row.pollmodeApp];
  // The bench keeps itself to the backend's CPU; rx-pps needs both, and keeps its main thread off its lcore's.
  const taskset = ["-c", `${cpus.backend},${cpus.frontend}`, process.execPath, cliPath];
  const child = new OwnedProcess("rx-pps", "taskset", [...taskset, ...args, "--seconds", "0", "--json"]);
  return {
    pid: child.pid ?? 0,
    check() {
      if (!child.status) return;
      const why = /^rx-pps: (.*)$/m.exec(child.output)?.[1] ?? describeStatus(child.status);
      const fix = `run node ${cliPath} ${args.join(" ")}, with the backend beside it`;
      throw new PollmodeError("PEER_ENDED", `rx-pps ended too early: ${why}`, fix);
    },
    async finish() {
      await child.stop("SIGINT", finishGraceMs);
      const busyNs = parseRxPps(child.stdout);
      if (busyNs === undefined) throw child.error("printed no result");
      return busyNs;
    },
  };
};

/** busyNsPerPacket of rx-pps's JSON; undefined when there is no such thing in the text. */
export function parseRxPps(stdout: string): number | null | undefined {
  const line = stdout.split("\n").findLast((text) => text.startsWith("{"));
  try {
    const { pps, busyNsPerPacket } = JSON.parse(line ?? "");
    return typeof pps === "number" ? (busyNsPerPacket ?? null) : undefined;
  } catch {
    return undefined;
  }
}

export const startDpdk: StartFrontend = async (row, socket, cpus) => {
  const vdev = `net_virtio_user0,path=${socket},queues=1,queue_size=${queueSize}${row.dpdkArgs}`;
  const eal = ["--lcores", lcores(cpus.backend, cpus.frontend), "--no-pci", "-m", `${testpmdMib}`];
  const testpmd = await Testpmd.start({
    eal: [...eal, "--single-file-segments", `--vdev=${vdev}`],
    app: [...testpmdOptions, `--forward-mode=${row.dpdkMode}`, "--record-core-cycles"],
  });
  let status: unknown;
  void testpmd.exited.then((ended) => {
    status = ended;
  });
  return {
    pid: testpmd.pid ?? 0,
    check() {
      if (status === undefined) return;
      const line = testpmd.output.trimEnd().split("\n").at(-1) ?? "";
      throw new PollmodeError("PEER_ENDED", `DPDK's frontend ended too early: ${line}`, "run it by hand");
    },
    async finish() {
      await testpmd.stop();
      return parseCoreCycles(testpmd.stdout);
    },
  };
};

/** DPDK's main lcore 0 stays on the one CPU, lcore 1 forwards on the other. */
export function lcores(main: number, forwarding: number): string {
  return `0@${main},1@${forwarding}`;
}

/** What --record-core-cycles prints at the end, in nanoseconds; null if no packet came. */
export function parseCoreCycles(output: string): number | null {
  const match = /CPU cycles\/packet=([\d.]+)[\s\S]*? at (\d+) MHz/.exec(output);
  return match ? (Number(match[1]) * 1000) / Number(match[2]) : null;
}
