// Numbered frames both ways between two mlx5 ports of one process, whose wires are the two ends of one cable; or from
// one port to itself, by way of somebody who sends them back. Job and report are JSON: mlx5-frames.bed.test.ts.
import { Mlx5Queue } from "../../pmd/mlx5/layout.ts";
import type { Port } from "../../src/ethdev/port.ts";
import { Queue } from "../../src/hot/layout.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { addressesOf, type Mode } from "./mlx5.ts";
import { Flow, type FlowResult, finished } from "./support.ts";

export interface FramesJob {
  mode: Mode;
  /** Receive and transmit queues of each port. */
  queues: number;
  sizeMin: number;
  sizeMax: number;
  /** Frames in all: both ways, all queues. */
  total: number;
  /** Descriptors of each ring. */
  descriptors: number;
  /** Further device arguments: `mprq_en=1`. */
  options: string;
  /** As if so many completions had come by each completion queue already; the emulator was told so (FIRST_CQE). */
  firstCqe?: number;
  /** The first port, as a PCI device. */
  address: string;
  /** The second one, as a virtual device. Absent: the first port's frames come back to it. */
  ibdev?: string;
}

export interface FramesReport {
  flows: { result: FlowResult; perfect: FlowResult }[];
  complete: boolean;
  seconds: number;
  faults: Record<string, unknown>;
  /** What the pool misses when both ports are stopped. */
  audit: string[];
  /** Frames by receive queue. */
  byQueue: number[];
  /** Frames that a port says it lost for want of a descriptor, or for a fault. */
  missed: number;
}

const HEADER_BYTES = 14;
const MTU_LEAST = 1500;

async function attach(pm: Pollmode, job: FramesJob): Promise<Port[]> {
  const { queues, descriptors, mode, options } = job;
  const args = `mode=${mode}${options === "" ? "" : `,${options}`}`;
  const ports = [await pm.attach(`${job.address},${args}`)];
  if (job.ibdev) ports.push(await pm.attach(`net_rdma0,ibdev=${job.ibdev},${args}`));
  for (const port of ports) {
    if (queues > 1) port.flow.isolate(true);
    const mtu = job.sizeMax - HEADER_BYTES;
    if (mtu > MTU_LEAST) await port.setMtu(mtu);
    const rings = { rxDescriptors: descriptors, txDescriptors: descriptors };
    await port.configure({ rxQueues: queues, txQueues: queues, ...rings });
    await port.start();
  }
  return ports;
}

/** Of running indices, a multiple of 2^16, for of them the NIC knows 16 bits: they soon wrap at 2^32. */
const FIRST_WQE = 2 ** 32 - 2 ** 16;

/**
 * Lets the started port's queues (dv mode) go on from `firstCqe`, as if they had run for long: their counters wrap at
 * 2^24, which the NIC knows of, and at 2^32.
 */
function wind(pm: Pollmode, { rxQueues, txQueues }: Port, firstCqe: number): void {
  const { u32 } = pm.arena;
  const set = (at: number, value: number) => Atomics.store(u32, at >>> 2, value);
  const add = (at: number) => set(at, (u32[at >>> 2]! + FIRST_WQE) >>> 0);
  const bigEndian = Buffer.alloc(4);
  bigEndian.writeUInt32BE(firstCqe & 0xffffff);
  for (const q of [...rxQueues, ...txQueues]) {
    set(q + Mlx5Queue.CQ_INDEX, firstCqe);
    set(u32[(q + Mlx5Queue.CQ_RECORD) >>> 2]!, bigEndian.readUInt32LE(0));
    for (const index of [Mlx5Queue.HEAD, Mlx5Queue.TAIL]) add(q + index);
  }
  for (const q of txQueues) {
    set(q + Mlx5Queue.LOT_TAIL, firstCqe);
    for (const index of [Mlx5Queue.PACKET_HEAD, Mlx5Queue.PACKET_TAIL]) add(q + index);
  }
}

interface Way {
  from: Port;
  to: Port;
  /** Of each queue to that of the same number. */
  flows: Flow[];
}

function waysBetween(pm: Pollmode, ports: readonly Port[], job: FramesJob): Way[] {
  const { sizeMin, sizeMax, queues, descriptors } = job;
  const total = job.total / ports.length / queues;
  const common = { sizeMin, sizeMax, total, window: descriptors / 2 };
  return ports.map((to, k) => {
    const from = ports[(k + 1) % ports.length]!;
    return {
      from,
      to,
      flows: addressesOf(to).map((destination) => new Flow(pm, { ...common, destination })),
    };
  });
}

async function run(job: FramesJob): Promise<FramesReport> {
  await using pm = await Pollmode.start({ lcores: "0@1", noHuge: true, memoryMib: 320, mbufs: 32768 });
  const ports = await attach(pm, job);
  if (job.firstCqe !== undefined) for (const port of ports) wind(pm, port, job.firstCqe);
  const ways = waysBetween(pm, ports, job);
  const each = <T>(make: (way: Way, flow: Flow, queue: number) => T) =>
    ways.flatMap((way) => way.flows.map((flow, queue) => make(way, flow, queue)));
  // checkers first: a queue's first poll fills its receive ring
  const checkers = each(({ to }, flow, queue) => flow.checker(to, queue));
  const senders = each(({ from }, flow, queue) => flow.sender(from, queue));
  const start = performance.now();
  await pm.forward(0, [...checkers, ...senders]);
  const flows = ways.flatMap((way) => way.flows);
  const complete = await finished(flows);
  const seconds = (performance.now() - start) / 1000;
  await pm.stop(0);
  const stats = ports.map((port) => port.stats());
  const faults = Object.assign({}, ...ports.map((port) => port.faults()));
  const byQueue = ports.flatMap(({ rxQueues }) =>
    rxQueues.map((queue) => pm.arena.f64[(queue + Queue.PACKETS) >>> 3]!),
  );
  for (const port of ports) await port.stop();
  return {
    flows: flows.map((flow) => ({ result: flow.result(), perfect: flow.perfect })),
    complete,
    seconds,
    faults,
    audit: pm.pool.audit([]),
    byQueue,
    missed: stats.reduce((sum, { rxMissed, rxErrors, txErrors }) => sum + rxMissed + rxErrors + txErrors, 0),
  };
}

console.log(JSON.stringify(await run(JSON.parse(process.argv[2]!) as FramesJob)));
