// pollmode's side of a row, inside the lab's guest: one lcore on CPU 1 does the job; packets are counted once a
// second, as testpmd's --stats-period does. Prints one JSON object.
import { setTimeout as pause } from "node:timers/promises";
import type { Port } from "../../src/ethdev/port.ts";
import { Pollmode } from "../../src/pollmode.ts";
import { burst, descriptors, firstFrames, frameBytes, type Row } from "./rows.ts";

export interface GuestSettings {
  readonly mode: Row["mode"];
  /** PCI addresses. */
  readonly nics: readonly string[];
  readonly seconds: number;
}

export interface GuestResult {
  /** Packets of each second: sent for txonly, received otherwise, over all ports. */
  readonly windows: readonly number[];
}

const lcore = 1;
const linkTimeoutMs = 15_000;
/** V8 optimises the loop, queues fill. */
const warmUpMs = 1500;

const { mode, nics, seconds } = JSON.parse(process.argv[2]!) as GuestSettings;
await using pm = await Pollmode.start({ lcores: `${lcore}`, allow: nics, mbufs: 8192 });
for (const port of pm.ports) {
  const count = { rxQueues: 1, txQueues: 1, rxDescriptors: descriptors, txDescriptors: descriptors };
  await port.configure(count);
  await port.start();
  await port.setPromiscuous(true);
}
for (
  const end = performance.now() + linkTimeoutMs;
  !pm.ports.every((port) => port.link().up);
  await pause(10)
) {
  if (performance.now() > end) throw new Error("no link");
}
const [first, second] = pm.ports.map((port) => ({ port, queue: 0 }));
if (mode === "txonly") await pm.forward(lcore, [{ mode, tx: first!, frameBytes }], { burst });
if (mode === "rxonly") await pm.forward(lcore, [{ mode: "touch", rx: first! }], { burst });
if (mode === "io") {
  for (const port of pm.ports) await seed(port);
  const there = { mode, rx: first!, tx: second! } as const;
  await pm.forward(lcore, [there, { mode, rx: second!, tx: first! }], { burst });
}
await pause(warmUpMs);
const counted = () =>
  pm.ports.reduce((sum, port) => sum + port.stats()[mode === "txonly" ? "txPackets" : "rxPackets"], 0);
const windows: number[] = [];
let before = counted();
let since = performance.now();
for (let second = 0; second < seconds; second++) {
  await pause(1000);
  const now = performance.now();
  const packets = counted();
  windows.push((packets - before) / ((now - since) / 1000));
  [before, since] = [packets, now];
}
await pm.stop(lcore);
process.stdout.write(`${JSON.stringify({ windows } satisfies GuestResult)}\n`);

/** Sends about `firstFrames` frames on a port: they are what io then forwards. */
async function seed(port: Port): Promise<void> {
  const sequence = {
    progress: pm.private.allocate("progress", 128),
    sizeMin: frameBytes,
    sizeMax: frameBytes,
  };
  const spec = { mode: "seq-send", tx: { port, queue: 0 } } as const;
  const limits = { window: firstFrames, total: firstFrames };
  await pm.forward(lcore, [{ ...spec, sequence: { ...sequence, ...limits } }]);
  await pause(200);
  await pm.stop(lcore);
}
