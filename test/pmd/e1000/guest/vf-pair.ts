// Numbered frames between two virtual functions of one NIC, which its own switch carries: each sends by its second
// transmit queue. In the lab's guest.
import type { Port } from "../../../../src/ethdev/port.ts";
import { Flow, finished, pause } from "../../../acceptance/support.ts";
import { openNics, report, settings } from "../../../lab/guest/ports.ts";

const { nics, total } = settings<{ nics: string[]; total: number }>();
await using pm = await openNics({ nics, config: { rxQueues: 1, txQueues: 2 } });
const [first, second] = pm.ports as [Port, Port];
const flowTo = ({ mac }: Port) =>
  new Flow(pm, { sizeMin: 60, sizeMax: 1514, window: 400, total, destination: mac });
const [toSecond, toFirst] = [flowTo(second), flowTo(first)];
// the first polls fill the receive rings
for (const [lcore, stream] of [
  [1, toSecond.checker(second, 0)],
  [0, toFirst.checker(first, 0)],
] as const) {
  await pm.forward(lcore, [stream]);
  await pause(200);
  await pm.stop(lcore);
}
await pm.forward(1, [toSecond.checker(second, 0), toFirst.sender(second, 1)]);
await pm.forward(0, [toFirst.checker(first, 0), toSecond.sender(first, 1)]);
const flows = [toSecond, toFirst];
await finished(flows, 10_000, 120_000);
for (const { id } of pm.lcores.all) await pm.stop(id);
for (const port of pm.ports) await port.stop();
report({
  flows: flows.map((flow) => flow.result()),

  pool: pm.pool.audit([]),
});
