// net_virtio_user and net_vhost at the two ends of one socket, in one process: numbered frames both ways on each queue.
import { join } from "node:path";
import type { Port } from "../../src/ethdev/port.ts";
import type { EngineName } from "../../src/hot/engine.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { Flow, type FlowOptions, finished, until } from "./support.ts";

export interface PairCase {
  packed: boolean;
  mergeable: boolean;
  inOrder: boolean;
  queues: number;
}

/** All 16 of them. */
export const pairCases: readonly PairCase[] = [false, true].flatMap((packed) =>
  [true, false].flatMap((mergeable) =>
    [true, false].flatMap((inOrder) => [1, 2].map((queues) => ({ packed, mergeable, inOrder, queues }))),
  ),
);

export function caseTitle({ packed, mergeable, inOrder, queues }: PairCase): string {
  const words = [packed ? "packed" : "split", mergeable ? "mergeable" : "not mergeable"];
  return [...words, inOrder ? "in order" : "any order", `${queues} queue pair${queues > 1 ? "s" : ""}`].join(
    ", ",
  );
}

export function frontendArguments({ packed, mergeable, inOrder, queues }: PairCase): string {
  const flag = (on: boolean) => (on ? 1 : 0);
  return `queues=${queues},packed_vq=${flag(packed)},mrg_rxbuf=${flag(mergeable)},in_order=${flag(inOrder)}`;
}

/** Lcore 0 serves the backend, lcore 1 the frontend. */
export function startEngine(engine: EngineName): Promise<Pollmode> {
  return Pollmode.start({ lcores: "0-1", noHuge: true, engine });
}

export interface Pair {
  backend: Port;
  frontend: Port;
}

let pairs = 0;

export async function connectPair(pm: Pollmode, folder: string, kind: PairCase, extra = ""): Promise<Pair> {
  const { queues } = kind;
  const path = join(folder, `pair${pairs++}.sock`);
  const backend = await pm.attach(`net_vhost${pairs},iface=${path},queues=${queues}`);
  await backend.configure({ rxQueues: queues, txQueues: queues });
  await backend.start();
  const frontend = await pm.attach(`net_virtio_user${pairs},path=${path},${frontendArguments(kind)}${extra}`);
  await frontend.configure({ rxQueues: queues, txQueues: queues });
  await frontend.start();
  await until("the link of both ends", () => backend.link().up && frontend.link().up);
  return { backend, frontend };
}

/** Stops the lcores, then both ports, and closes them. */
export async function disconnectPair(pm: Pollmode, { backend, frontend }: Pair): Promise<void> {
  await pm.stop(0);
  await pm.stop(1);
  for (const port of [frontend, backend]) await port.stop();
  for (const port of [frontend, backend]) await port.close();
}

export interface Exchange {
  toFrontend: Flow[];
  toBackend: Flow[];
  complete: boolean;
  seconds: number;
}

/** Sends numbered frames both ways over each queue pair until all have come, and lets the lcores wait then. */
export async function exchange(
  pm: Pollmode,
  { backend, frontend }: Pair,
  toFrontend: FlowOptions,
  toBackend: FlowOptions,
): Promise<Exchange> {
  const queues = backend.rxQueues.map((_, queue) => queue);
  const down = queues.map(() => new Flow(pm, toFrontend));
  const up = queues.map(() => new Flow(pm, toBackend));
  const start = performance.now();
  const atBackend = queues.flatMap((k) => [down[k]!.sender(backend, k), up[k]!.checker(backend, k)]);
  const atFrontend = queues.flatMap((k) => [up[k]!.sender(frontend, k), down[k]!.checker(frontend, k)]);
  await pm.forward(0, atBackend);
  await pm.forward(1, atFrontend);
  const complete = await finished([...down, ...up]);
  const seconds = (performance.now() - start) / 1000;
  await pm.stop(0);
  await pm.stop(1);
  return { toFrontend: down, toBackend: up, complete, seconds };
}
