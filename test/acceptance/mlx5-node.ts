// An engine on the software ConnectX that a test leads by commands: one JSON a line in, one JSON a line out, and what
// ports report of themselves in between. For tests that change the device while ports run on it:
// mlx5-errors.bed.test.ts.
import { createInterface } from "node:readline";
import { PollmodeError } from "../../src/errors.ts";
import type { DeviceConfig } from "../../src/ethdev/driver.ts";
import type { Port } from "../../src/ethdev/port.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { holdings } from "./leaks.ts";
import { Flow, pause } from "./support.ts";

/** As `Failure.code` where something failed that is no PollmodeError. */
const NOT_OURS = "NO_POLLMODE_ERROR";
const WINDOW = 64;
const ENDLESS = 2 ** 32 - 1;
/** What was under way to a port that failed never arrives. */
const DRAIN_MS_MAX = 60;

const pm = await Pollmode.start({ lcores: "0@1", noHuge: true, ...JSON.parse(process.argv[2]!) });
const flows = new Map<number, Flow>();

function failure(error: unknown): { code: string; message: string; fix: string } {
  if (error instanceof PollmodeError) return { code: error.code, message: error.message, fix: error.fix };
  return {
    code: NOT_OURS,
    message: error instanceof Error ? (error.stack ?? error.message) : `${error}`,
    fix: "",
  };
}

function report(message: object): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

function watch(port: Port): Port {
  port.on("error", (error) => report({ event: "error", port: port.id, ...failure(error) }));
  port.on("link", ({ up }) => report({ event: "link", port: port.id, up }));
  return port;
}

/** Each port sends numbered frames to its own address, and checks them when they have come back. */
async function run(ids: readonly number[]): Promise<void> {
  for (const id of ids) {
    const destination = pm.port(id).mac;
    flows.set(id, new Flow(pm, { sizeMin: 64, sizeMax: 1000, window: WINDOW, total: ENDLESS, destination }));
  }
  const both = (id: number, flow: Flow) => [flow.checker(pm.port(id), 0), flow.sender(pm.port(id), 0)];
  await pm.forward(
    0,
    [...flows].flatMap(([id, flow]) => both(id, flow)),
  );
}

/** Sends no more, lets what is under way arrive, and leaves the lcore idle. */
async function halt(): Promise<void> {
  await pm.stop(0);
  if (flows.size === 0) return;
  await pm.forward(
    0,
    [...flows].map(([id, flow]) => flow.checker(pm.port(id), 0)),
  );
  const isUnderWay = () => [...flows.values()].some((flow) => flow.received < flow.result().sent);
  for (const start = performance.now(); isUnderWay() && performance.now() - start < DRAIN_MS_MAX; )
    await pause(1);
  await pm.stop(0);
  for (const flow of flows.values()) flow.free();
  flows.clear();
}

const commands = {
  attach: async (device: string) => watch(await pm.attach(device)).id,
  start: async (id: number, config: DeviceConfig = { rxQueues: 1, txQueues: 1 }) => {
    await pm.port(id).configure(config);
    await pm.port(id).start();
  },
  restart: async (id: number) => {
    await pm.port(id).stop();
    await pm.port(id).start();
  },
  stop: (id: number) => pm.port(id).stop(),
  detach: (id: number) => pm.detach(pm.port(id)),
  run: (...ids: number[]) => run(ids),
  halt,
  progress: () => Object.fromEntries([...flows].map(([id, flow]) => [id, flow.result()])),
  faults: (id: number) => pm.port(id).faults(),
  link: (id: number) => pm.port(id).link(),
  stats: (id: number) => pm.port(id).stats(),
  mtu: (id: number, mtu: number) => pm.port(id).setMtu(mtu),
  holdings: () => holdings(),
  audit: () => pm.pool.audit([]),
} as const;

export type NodeCommand = keyof typeof commands;

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, args } = JSON.parse(line) as { id: number; command: NodeCommand; args: never[] };
  try {
    report({ id, value: (await (commands[command] as (...args: never[]) => unknown)(...args)) ?? null });
  } catch (error) {
    report({ id, error: failure(error) });
  }
}
await pm.close();
report({ event: "closed" });
