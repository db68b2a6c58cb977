// The watchdog over a transmit queue that stands still: stopped only if it has work, the link is up and nobody paused
// it.
import t from "tap";
import { Watchdog } from "../../../pmd/e1000/watchdog.ts";
import { QueueBlock } from "../../../src/ethdev/queue-block.ts";
import { Queue, QueueError, QueueKind } from "../../../src/hot/layout.ts";
import { Rig } from "../../support/engines.ts";

const fn = { readConfig: () => 0, writeConfig: () => {} };

async function rig() {
  const memory = await Rig.make("ts");
  const block = new QueueBlock(memory.private, "block", 0, 0);
  block.run(QueueKind.INTEL);
  const watchdog = new Watchdog(fn);
  watchdog.begin();
  const look = (head: number, tail: number, mayStand = false) =>
    watchdog.look([block], [{ block, head, tail }], mayStand);
  const send = () => {
    memory.arena.f64[(block.offset + Queue.PACKETS) >>> 3]!++;
  };
  return { block, watchdog, look, send };
}

t.test("it stands still with work to do", async (t) => {
  const { block, look, watchdog } = await rig();
  for (let k = 0; k < 3; k++) look(5, 9);
  t.ok(block.running);
  look(5, 9);
  t.notOk(block.running);
  t.same([block.get(Queue.ERROR), block.get(Queue.ERROR_ARG)], [QueueError.DMA_ERROR, 5]);
  block.run(QueueKind.INTEL);
  watchdog.begin();
  for (let k = 0; k < 3; k++) look(5, 9);
  t.ok(block.running, "a start begins anew");
});

t.test("it moves, or has nothing to do, or may not send", async (t) => {
  const { block, look, send } = await rig();
  for (let k = 0; k < 10; k++) look(k, 100);
  for (let k = 0; k < 10; k++) look(7, 7);
  for (let k = 0; k < 10; k++) look(5, 9, true);
  for (let k = 0; k < 10; k++) {
    look(5, 9);
    send(); // once round the ring
  }
  t.ok(block.running);
});

t.test("bits of errors that cannot be cleared say nothing", async (t) => {
  const { block } = await rig();
  let status = 0x2000;
  const watchdog = new Watchdog({ readConfig: () => status, writeConfig: () => {} });
  watchdog.begin();
  watchdog.look([block], [], false);
  t.ok(block.running);
  status |= 0x1000;
  watchdog.look([block], [], false);
  t.same([block.running, block.get(Queue.ERROR_ARG)], [false, 0x1000]);
});
