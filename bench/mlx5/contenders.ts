// Who is compared: pollmode in both its modes, and DPDK's mlx5 PMD. Either saves bus by compressed CQEs and by
// multi-packet send (eMPW), both on unless told otherwise. These are testpmd, DPDK's or pollmode's, at its prompt, on
// the same port of the same software ConnectX. DPDK has direct verbs only: what pollmode's ibv mode is to be compared
// with is a C program that sends and receives by libibverbs, too (verbs/).
import { OwnedProcess } from "../../test/beds/child.ts";
import { commandPath } from "../../test/beds/command.ts";
import type { TreePort } from "../../test/beds/softmlx5-sysfs.ts";
import type { Host } from "../../test/softmlx5/verify/host.ts";
import { cliPath, lcores, testpmdMib } from "../peers/frontends.ts";
import type { Workload } from "./workloads.ts";

export interface Contender {
  readonly name: string;
  readonly program: "pollmode" | "dpdk" | "c";
  /** Device arguments; the C program has none. */
  readonly args: string;
}

/** What the rates of the others are set beside (tables.ts). */
export const verbsInC = "C, verbs";
/** No flows by direct rules: the device has no DevX. */
const dpdk = "dv_flow_en=0";

export const contenders: readonly Contender[] = [
  { name: "pollmode dv", program: "pollmode", args: "mode=dv" },
  { name: "pollmode dv, whole CQEs", program: "pollmode", args: "mode=dv,rxq_cqe_comp_en=0" },
  { name: "pollmode dv, no eMPW", program: "pollmode", args: "mode=dv,txq_mpw_en=0" },
  { name: "pollmode ibv", program: "pollmode", args: "mode=ibv" },
  { name: verbsInC, program: "c", args: "" },
  { name: "DPDK", program: "dpdk", args: dpdk },
  { name: "DPDK, whole CQEs", program: "dpdk", args: `${dpdk},rxq_cqe_comp_en=0` },
  { name: "DPDK, no eMPW", program: "dpdk", args: `${dpdk},txq_mpw_en=0` },
];

export interface Cpus {
  /** Of the device's own thread, and of all that does not poll. */
  readonly device: number;
  readonly poller: number;
}

const readyTimeoutMs = 30_000;
const quitGraceMs = 15_000;
const ring = 1024;
const common = ["-i", "--nb-cores=1", "--total-num-mbufs=8192", `--rxd=${ring}`, `--txd=${ring}`];

let instances = 0;

/** Starts a contender and lets it work; `verbs`: the C program's path. The caller quits it. */
export async function startContender(
  contender: Contender,
  host: Host,
  work: Workload,
  { cpus, verbs }: { cpus: Cpus; verbs: string },
): Promise<OwnedProcess> {
  const [first, ...prefix] = host.prefix;
  const on = [
    `SOFTMLX5_CPU=${cpus.device}`,
    "taskset",
    "-c",
    `${cpus.device},${cpus.poller}`,
    "stdbuf",
    "-oL",
  ];
  const [port] = host.nic.ports;
  const isC = contender.program === "c";
  const own = isC
    ? [verbs, port!.ibdev, work.name, `${cpus.poller}`]
    : testpmdWords(contender, port!, lcores(cpus.device, cpus.poller));
  const child = new OwnedProcess(contender.name, first, [...prefix, ...on, ...own]);
  try {
    await child.waitFor(isC ? /^ready$/m : /testpmd> /, readyTimeoutMs);
    if (!isC) for (const line of work.lines) child.write(`${line}\n`);
    return child;
  } catch (cause) {
    await child.kill();
    throw cause;
  }
}

function testpmdWords({ program, args }: Contender, port: TreePort, cores: string): string[] {
  const eal = ["--lcores", cores, "--in-memory"];
  if (program === "pollmode") {
    const vdev = `--vdev=net_rdma0,ibdev=${port.ibdev},${args}`;
    return [process.execPath, cliPath, "testpmd", ...eal, vdev, "--", ...common];
  }
  const memory = ["-m", `${testpmdMib}`, `--file-prefix=${filePrefix()}`, "--iova-mode=va"];
  const testpmd = commandPath("dpdk-testpmd") ?? "dpdk-testpmd";
  return [testpmd, ...eal, ...memory, "-a", `${port.address},${args}`, "--", ...common];
}

/** A name that test/beds/dpdk.ts, too, knows for a dead process's. */
function filePrefix(): string {
  return `pollmode-${process.pid}-${2000 + instances++}`;
}

/** Leaves in order; the emulator complains of whatever is left open, and a complaint fails the run. */
export async function quit(child: OwnedProcess): Promise<void> {
  child.write("stop\nquit\n"); // the C program ends at any line
  const status = await child.endWithin(quitGraceMs);
  if (status.code !== 0 || child.output.includes("softmlx5: complaint"))
    throw child.error("did not end in order");
}
