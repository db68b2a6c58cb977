// An engine on the software ConnectX whose receiving lcore sleeps: what mlx5-wake.bed.test.ts looks at, as JSON.
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { Pollmode } from "../../src/pollmode.ts";
import { holdings } from "./leaks.ts";
import { lcores, Waker } from "./mlx5-wake.ts";
import { Flow, finished, pause, until } from "./support.ts";

export interface WakeJob {
  device: string;
  queues: number;
}

const { device, queues } = JSON.parse(process.argv[2]!) as WakeJob;
const FLOW = { sizeMin: 64, sizeMax: 500, window: 256, total: 40_000 };
/** A machine that is shared may take a CPU away from an lcore for seconds. */
const IDLE_MS = 30_000;
const { receiver, sender } = lcores;
const pm = await Pollmode.start({ lcores: `${receiver},${sender}`, noHuge: true });
const waker = await Waker.start(pm, device, queues);
const { port } = waker;

/** As fast as can be, to each queue, while the receiving lcore may sleep: what came, and how often it slept. */
async function load() {
  const flows = waker.addresses.map((destination) => new Flow(pm, { ...FLOW, destination }));
  const checkers = flows.map((flow, queue) => flow.checker(port, queue));
  await pm.forward(receiver, checkers, { rxInterrupt: true });
  const sleeps = waker.sleeps;
  await pm.forward(
    sender,
    flows.map((flow, queue) => flow.sender(port, queue)),
  );
  await finished(flows, IDLE_MS);
  const slept = waker.sleeps - sleeps;
  await waker.asleep();
  for (const lcore of [sender, receiver]) await pm.stop(lcore);
  const results = flows.map((flow) => ({ found: flow.result(), wanted: flow.perfect }));
  for (const flow of flows) flow.free();
  return { sleeps: slept, results };
}

/** From configure() on an lcore can wait; with each start there are channels. All go again. */
async function leaks() {
  port.flow.flush();
  const counts = async () => {
    await port.configure({ rxQueues: 1, txQueues: 1 });
    const { fds, memfds } = holdings();
    return { fds, memfds };
  };
  const before = await counts();
  for (let round = 0; round < 3; round++) {
    await port.configure({ rxQueues: 2, txQueues: 1, rxInterrupts: true });
    await port.start();
    await port.stop();
  }
  return { before, after: await counts() };
}

/** The device goes away under a sleeping lcore, which goes on sleeping. */
async function lose() {
  await port.configure({ rxQueues: 1, txQueues: 1, rxInterrupts: true });
  await port.start();
  const codes: string[] = [];
  port.on("error", ({ code }) => codes.push(code));
  const [rx, tx] = [{ port, queue: 0 } as const, { port, queue: 0 } as const];
  await pm.forward(receiver, [{ mode: "io", rx, tx }], { rxInterrupt: true });
  await waker.asleep();
  const socket = connect(process.env.SOFTMLX5_CONTROL!);
  socket.end("fatal 0\n");
  await text(socket);
  await until("the event", () => codes.length > 0);
  const sleeps = waker.sleeps;
  await pause(500);
  const slept = waker.sleeps - sleeps;
  await pm.stop(receiver);
  await pm.detach(port);
  await pm.close();
  return { codes, slept };
}

const report = {
  first: await waker.trickle(8, 1),
  idle: await waker.idle(800),
  trickle: await waker.trickle(24, 60),
  race: await waker.trickle(1_500, 1),
  many: await waker.many(10_000),
  restarted: await waker.restart().then(() => waker.trickle(24, 20)),
  stopMs: await waker.stop(),
  load: await load(),
  faults: port.faults(),
  audit: await port.stop().then(() => pm.pool.audit([])),
  leaks: await leaks(),
};
export type WakeReport = typeof report & { lost: Awaited<ReturnType<typeof lose>> };

process.stdout.write(`${JSON.stringify({ ...report, lost: await lose() })}\n`);
