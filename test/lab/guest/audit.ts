// Numbered frames through NICs: from one port to another both ways, or from one port to itself by way of a
// reflector on the other NIC that is not ours.
import type { Port } from "../../../src/ethdev/port.ts";
import type { StreamSpec } from "../../../src/forward/streams.ts";
import { Flow, type FlowOptions, finished, pause } from "../../acceptance/support.ts";
import { type NicSettings, openNics, report, settings } from "./ports.ts";

export interface AuditSettings extends NicSettings {
  /** Frames of each flow. */
  total: number;
  sizeMin: number;
  sizeMax: number;
  window: number;
  /** Frames come back to the port that sent them. */
  reflected?: boolean;
  /** Address the frames are sent to instead of the receiving port's. */
  destination?: number[];
}

const asked = settings<AuditSettings>();
await using pm = await openNics(asked);
const [first, second] = pm.ports as [Port, Port | undefined];
const options = ({ mac }: Port): FlowOptions => {
  const { total, sizeMin, sizeMax, window } = asked;
  return { total, sizeMin, sizeMax, window, destination: Uint8Array.from(asked.destination ?? mac) };
};
const flows: Flow[] = [];
const start = performance.now();
if (second && !asked.reflected) {
  const toSecond = new Flow(pm, options(second));
  const toFirst = new Flow(pm, options(first));
  flows.push(toSecond, toFirst);
  // a queue's first poll fills its receive ring: no frame must come before
  await prime(1, toSecond.checker(second, 0));
  await prime(0, toFirst.checker(first, 0));
  await pm.forward(1, [toSecond.checker(second, 0), toFirst.sender(second, 0)]);
  await pm.forward(0, [toFirst.checker(first, 0), toSecond.sender(first, 0)]);
} else {
  const flow = new Flow(pm, options(first));
  flows.push(flow);
  await prime(0, flow.checker(first, 0));
  await pm.forward(0, [flow.checker(first, 0), flow.sender(first, 0)]);
}
const complete = await finished(flows, 10_000, 240_000);
const seconds = (performance.now() - start) / 1000;
for (const { id } of pm.lcores.all) await pm.stop(id);
const faults = pm.ports.flatMap((port) => Object.values(port.faults()));
const stats = pm.ports.map((port) => port.stats());
const xstats = pm.ports.map((port) => port.xstats());
const links = pm.ports.map((port) => port.link());
for (const port of pm.ports) await port.stop();
report({
  complete,
  seconds,
  flows: flows.map((flow) => flow.result()),
  faults,
  stats,
  xstats,
  links,
  pool: pm.pool.audit([]),
});

async function prime(lcore: number, checker: StreamSpec): Promise<void> {
  await pm.forward(lcore, [checker]);
  await pause(100);
  await pm.stop(lcore);
}
