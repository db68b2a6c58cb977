// One lcore: a piscina task that pins its thread, waits for commands, and polls until it is told to stop.
//
//   STARTING -> WAITING <-> RUNNING -> ENDED      (FAILED from anywhere: the task rejects with the reason)
import { receiveMessageOnPort } from "node:worker_threads";
import { type Hot, type HotImports, instantiateHot, loadTypeScriptHot } from "../hot/engine.ts";
import { Lcore, LcoreCommand, LcoreState } from "../hot/layout.ts";
import { eventfdWrite, gettid, pinThread } from "../libc/libc.ts";
import { LOOP_ROUNDS, SLEEPY_ROUNDS } from "../limits.ts";
import { makeContext } from "./app-context.ts";
import { sleepyTurn } from "./sleep.ts";
import type { AppFactory, AppPoll, Launch, LcoreTask } from "./task.ts";

export default async function lcore(task: LcoreTask): Promise<void> {
  const words = new Int32Array(task.memory.buffer, task.block, Lcore.BYTES >>> 2);
  const state = (value: LcoreState) => Atomics.store(words, Lcore.STATE >>> 2, value);
  try {
    pinThread(task.cpus);
    Atomics.store(words, Lcore.TID >>> 2, gettid());
    const hot = await load(task);
    await serve(task, hot, words, state);
    state(LcoreState.ENDED);
  } catch (error) {
    state(LcoreState.FAILED);
    throw error;
  }
}

async function load(task: LcoreTask): Promise<Hot> {
  const imports: HotImports = { now: () => performance.now(), notify: eventfdWrite };
  if (task.module) return instantiateHot(task.module, task.memory, imports);
  return loadTypeScriptHot(task.memory, imports);
}

async function serve(
  task: LcoreTask,
  hot: Hot,
  words: Int32Array,
  state: (value: LcoreState) => void,
): Promise<void> {
  const command = Lcore.COMMAND >>> 2;
  for (;;) {
    const wanted = Atomics.load(words, command);
    if (wanted === LcoreCommand.QUIT) return;
    if (wanted === LcoreCommand.IDLE) {
      state(LcoreState.WAITING);
      Atomics.wait(words, command, LcoreCommand.IDLE);
      continue;
    }
    const turn = await prepare(task, hot, words);
    state(LcoreState.RUNNING);
    while (Atomics.load(words, command) === LcoreCommand.RUN) turn();
  }
}

/** What to do over and over for the launch at hand. */
async function prepare(task: LcoreTask, hot: Hot, words: Int32Array): Promise<() => void> {
  const launch = receiveMessageOnPort(task.port)?.message as Launch | undefined;
  const turn = await makeTurn(task, hot, words, launch);
  if (!launch?.sleep) return turn;
  const counters = new Float64Array(task.memory.buffer, task.block, Lcore.BYTES >>> 3);
  return sleepyTurn(turn, launch.sleep, hot, counters, words);
}

async function makeTurn(task: LcoreTask, hot: Hot, words: Int32Array, launch?: Launch): Promise<() => void> {
  if (launch?.kind !== "app") {
    const rounds = launch?.sleep ? SLEEPY_ROUNDS : LOOP_ROUNDS;
    return () => hot.runLcore(task.block, rounds);
  }
  const { default: factory } = (await import(launch.url)) as { default?: AppFactory };
  if (typeof factory !== "function")
    throw new TypeError(`${launch.url} has no function as its default export`);
  const poll = await factory(makeContext(task, hot, launch));
  return appTurn(task, hot, launch, poll, words);
}

/** 256 polls of an application, then a heartbeat and the counters. */
function appTurn(
  task: LcoreTask,
  hot: Hot,
  launch: Extract<Launch, { kind: "app" }>,
  poll: AppPoll,
  words: Int32Array,
): () => void {
  const counters = new Float64Array(task.memory.buffer, task.block, Lcore.BYTES >>> 3);
  return () => {
    let packets = 0;
    let empty = 0;
    for (let k = 0; k < 256; k++) {
      const got = poll();
      if (got === 0) empty++;
      else packets += got;
    }
    for (const queue of launch.queues) if (queue.tx) hot.txIdle(queue.tx);
    counters[Lcore.POLLS >>> 3]! += 256;
    counters[Lcore.EMPTY_POLLS >>> 3]! += empty;
    counters[Lcore.PACKETS >>> 3]! += packets;
    words[Lcore.HEARTBEAT >>> 2]!++;
  };
}
