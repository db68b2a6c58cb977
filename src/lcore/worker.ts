// One lcore: a piscina task that pins its thread, waits for commands, and polls until it is told to stop.
//
//   STARTING -> WAITING <-> RUNNING -> ENDED      (FAILED from anywhere: the task rejects with the reason)
import { receiveMessageOnPort } from "node:worker_threads";
import { type Hot, type HotImports, instantiateHot, loadTypeScriptHot } from "../hot/engine.ts";
import { Lcore, LcoreCommand, LcoreState } from "../hot/layout.ts";
import { hotFiles } from "../libc/hot-files.ts";
import { hotVerbs } from "../libc/hot-verbs.ts";
import { eventfdWrite, gettid, pinThread } from "../libc/libc.ts";
import { LOOP_ROUNDS, SLEEPY_ROUNDS } from "../limits.ts";
import { AppRunner, refusal } from "./app-runner.ts";
import { commonClock } from "./clock.ts";
import { sleepyTurn } from "./sleep.ts";
import type { Launch, LcoreTask, Reload } from "./task.ts";

export default async function lcore(task: LcoreTask): Promise<void> {
  const words = new Int32Array(task.memory.buffer, task.block, Lcore.BYTES >>> 2);
  const state = (value: LcoreState) => Atomics.store(words, Lcore.STATE >>> 2, value);
  try {
    pinThread(task.cpus);
    Atomics.store(words, Lcore.TID >>> 2, gettid());
    const system = { ...hotFiles(task.memory), ...hotVerbs(task.memory) };
    const calls = { now: commonClock(task.clockOriginMs), notify: eventfdWrite, ...system };
    await serve(task, await load(task, calls), calls, words, state);
    state(LcoreState.ENDED);
  } catch (error) {
    state(LcoreState.FAILED);
    throw error;
  }
}

async function load(task: LcoreTask, calls: HotImports): Promise<Hot> {
  if (task.module) return instantiateHot(task.module, task.memory, calls);
  return loadTypeScriptHot(task.memory, calls);
}

async function serve(
  task: LcoreTask,
  hot: Hot,
  calls: HotImports,
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
    const { turn, app } = await prepare(task, hot, calls, words);
    state(LcoreState.RUNNING);
    for (;;) {
      const now = Atomics.load(words, command);
      if (now === LcoreCommand.RUN) turn();
      else if (now === LcoreCommand.RELOAD) await reload(task, words, turn, app);
      else break;
    }
    app?.stop();
  }
}

interface Work {
  readonly turn: () => void;
  readonly app?: AppRunner;
}

/** What to do over and over for the launch at hand. */
async function prepare(task: LcoreTask, hot: Hot, calls: HotImports, words: Int32Array): Promise<Work> {
  const launch = nextLaunch(task);
  const rounds = launch?.sleep ? SLEEPY_ROUNDS : LOOP_ROUNDS;
  const app = launch?.kind === "app" ? await AppRunner.start(task, hot, calls, launch) : undefined;
  const turn = app ? () => app.turn() : () => hot.runLcore(task.block, rounds);
  const work = app ? { app } : {};
  if (!launch?.sleep) return { turn, ...work };
  const counters = new Float64Array(task.memory.buffer, task.block, Lcore.BYTES >>> 3);
  return { turn: sleepyTurn(turn, launch.sleep, hot, counters, words), ...work };
}

/** Passes over reloads of the last work, which was stopped before it saw them. */
function nextLaunch(task: LcoreTask): Launch | undefined {
  for (;;) {
    const message = receiveMessageOnPort(task.port)?.message as Launch | Reload | undefined;
    if (message?.kind !== "reload") return message;
  }
}

/** Ends with the command RUN, unless control has given another. */
async function reload(task: LcoreTask, words: Int32Array, turn: () => void, app?: AppRunner): Promise<void> {
  const message = receiveMessageOnPort(task.port)?.message as Reload | undefined;
  if (message) {
    const answer = app ? await app.reload(message, turn) : refusal(message.id, "no application runs there");
    task.port.postMessage(answer);
  }
  Atomics.compareExchange(words, Lcore.COMMAND >>> 2, LcoreCommand.RELOAD, LcoreCommand.RUN);
}
