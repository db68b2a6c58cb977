// The lcores: one never-ending piscina task each, commanded through blocks in the arena. An lcore that fails or stalls
// is reported by name and reason, and the others go on.
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { MessageChannel, type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { Piscina } from "piscina";
import type { LcoreCpus } from "../eal/lcore-list.ts";
import { PollmodeError } from "../errors.ts";
import { compileHot, type EngineName } from "../hot/engine.ts";
import { Histogram, Lcore, LcoreCommand, LcoreState, Stream } from "../hot/layout.ts";
import { close, eventfd, eventfdWrite } from "../libc/libc.ts";
import {
  APP_READY_TIMEOUT_MS,
  BURST_DEFAULT,
  BURST_MAX,
  LCORE_START_TIMEOUT_MS,
  QUIESCE_TIMEOUT_MS,
  SEGMENTS_EXTRA,
  STALL_MS,
  STREAMS_MAX,
} from "../limits.ts";
import type { Zone } from "../memory/zone.ts";
import { commonClock, monotonicMs } from "./clock.ts";
import type { AppModule, Launch, LcoreTask, ReloadAnswer } from "./task.ts";

/** How an lcore is: `engine.lcores.byId(0).status()`, and what the events lcoreStalled and lcoreFailed tell. */
export interface LcoreStatus {
  /** Its number. */
  readonly lcore: number;
  /** Where its thread may run. */
  readonly cpus: readonly number[];
  /** `waiting`: for work. `stalled`: it runs, but its heartbeat has stood still for a second. `failed`: it threw. */
  readonly state: "starting" | "waiting" | "running" | "stalled" | "failed" | "ended";
  /** Why it failed or stalled. */
  readonly reason: string | undefined;
  /** Grows every 256 polls. 32-bit: it wraps. */
  readonly heartbeat: number;
  /** Turns of its loop. */
  readonly polls: number;
  /** Turns that brought no packet. */
  readonly emptyPolls: number;
  /** Packets that it received, or that its application says it handled. */
  readonly packets: number;
  /** Times it slept until a packet's interrupt (rxInterrupt). */
  readonly sleeps: number;
}

interface LcoreEvents {
  stalled: [LcoreStatus];
  recovered: [LcoreStatus];
  failed: [LcoreStatus, Error];
}

/** Times of all lcores of this process count from here. */
const clockOriginMs = monotonicMs();

const STATES = ["starting", "waiting", "running", "failed", "ended"] as const;
const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

/** One lcore's control side. */
export class LcoreControl {
  readonly id: number;
  /** Number among the lcores: which cache of a pool is its. */
  readonly index: number;
  readonly cpus: readonly number[];
  readonly block: number;
  /** To the running task. */
  messages: MessagePort | undefined;
  private readonly zone: Zone;
  failure: Error | undefined;
  stalled = false;
  /** Wakes it where it may sleep; made when first asked for. */
  private wake: number | undefined;
  /** Heartbeat when last looked at, and when it was first seen so (ms). */
  seen = { beat: -1, since: 0 };

  constructor(zone: Zone, index: number, spec: LcoreCpus) {
    this.zone = zone;
    this.id = spec.lcore;
    this.index = index;
    this.cpus = spec.cpus;
    const bursts = 4 * (BURST_MAX + 1);
    const histogram = 4 * Histogram.BUCKETS;
    const parts = [Lcore.BYTES, Stream.BLOCK_BYTES * STREAMS_MAX, bursts + 60, histogram, histogram];
    const pkts = 4 * (2 * BURST_MAX + SEGMENTS_EXTRA);
    this.block = zone.allocate(
      `lcore ${this.id}`,
      parts.reduce((a, b) => a + b, pkts),
    );
    const words = [
      Lcore.STREAM,
      Lcore.BURST_HISTOGRAM,
      Lcore.POLL_HISTOGRAM,
      Lcore.LATENCY_HISTOGRAM,
      Lcore.PKTS,
    ];
    words.reduce((at, word, k) => {
      const start = at + parts[k]!;
      this.set(word, start);
      return start;
    }, this.block);
    this.set(Lcore.ID, this.id);
    this.set(Lcore.BURST, BURST_DEFAULT);
  }

  get(word: number): number {
    return Atomics.load(this.zone.arena.u32, (this.block + word) >>> 2);
  }

  set(word: number, value: number): void {
    Atomics.store(this.zone.arena.u32, (this.block + word) >>> 2, value);
  }

  counter(word: number): number {
    return this.zone.arena.f64[(this.block + word) >>> 3]!;
  }

  command(value: LcoreCommand): void {
    this.set(Lcore.COMMAND, value);
    Atomics.notify(this.zone.arena.i32, (this.block + Lcore.COMMAND) >>> 2);
    this.rouse();
  }

  /** Lets a running lcore look for an application that is to take the running one's place; false if it does not run. */
  askReload(): boolean {
    const at = (this.block + Lcore.COMMAND) >>> 2;
    const { u32 } = this.zone.arena;
    const before = Atomics.compareExchange(u32, at, LcoreCommand.RUN, LcoreCommand.RELOAD);
    if (before !== LcoreCommand.RUN) return false;
    this.rouse();
    return true;
  }

  /** eventfd that ends its sleep. */
  get wakeFd(): number {
    this.wake ??= eventfd();
    return this.wake;
  }

  /** Ends its sleep, if it sleeps. */
  rouse(): void {
    if (this.wake !== undefined) eventfdWrite(this.wake);
  }

  /** The lcore has ended. */
  free(): void {
    this.messages?.close();
    if (this.wake !== undefined) close(this.wake);
    this.wake = undefined;
    this.zone.free(this.block);
  }

  get state(): LcoreState {
    return this.get(Lcore.STATE);
  }

  status(): LcoreStatus {
    const state = this.stalled && this.state === LcoreState.RUNNING ? "stalled" : STATES[this.state]!;
    const reason = this.failure?.message ?? (state === "stalled" ? this.stallReason() : undefined);
    return {
      lcore: this.id,
      cpus: this.cpus,
      state,
      reason,
      heartbeat: this.get(Lcore.HEARTBEAT),
      polls: this.counter(Lcore.POLLS),
      emptyPolls: this.counter(Lcore.EMPTY_POLLS),
      packets: this.counter(Lcore.PACKETS),
      sleeps: this.counter(Lcore.SLEEPS),
    };
  }

  /** What the kernel says the thread does: an application that blocks sleeps, one that loops runs. */
  private stallReason(): string {
    const ms = Math.round(performance.now() - this.seen.since);
    try {
      const stat = readFileSync(`/proc/self/task/${this.get(Lcore.TID)}/stat`, "utf8");
      const state = stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
      const doing =
        state === "R"
          ? "its application does not return, or its CPU is taken by another"
          : `its thread is in state ${state}`;
      return `no heartbeat for ${ms} ms: ${doing}`;
    } catch {
      return `no heartbeat for ${ms} ms: its thread is gone`;
    }
  }
}

export class Lcores extends EventEmitter<LcoreEvents> {
  readonly all: readonly LcoreControl[];
  /** The lcores' clock, read on this thread: milliseconds. */
  readonly nowMs = commonClock(clockOriginMs);
  private readonly zone: Zone;
  private readonly pool: Piscina;
  private readonly engine: EngineName;
  private readonly module: WebAssembly.Module | undefined;
  private readonly tasks = new Map<LcoreControl, Promise<void>>();
  private closing = false;
  private reloads = 0;

  constructor(zone: Zone, specs: readonly LcoreCpus[], engine: EngineName) {
    super();
    this.zone = zone;
    this.engine = engine;
    this.module = engine === "wasm" ? compileHot() : undefined;
    this.all = specs.map((spec, index) => new LcoreControl(zone, index, spec));
    this.pool = new Piscina({
      filename: new URL("./worker.js", import.meta.url).href,
      minThreads: specs.length,
      maxThreads: specs.length,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: "disabled",
      recordTiming: false,
    });
  }

  /** Starts all lcores; resolves when each waits for work. */
  async start(): Promise<void> {
    for (const lcore of this.all) this.spawn(lcore);
    await Promise.all(this.all.map((lcore) => this.reach(lcore, LcoreState.WAITING, LCORE_START_TIMEOUT_MS)));
  }

  private spawn(lcore: LcoreControl): void {
    lcore.failure = undefined;
    lcore.set(Lcore.STATE, LcoreState.STARTING);
    lcore.set(Lcore.COMMAND, LcoreCommand.IDLE);
    const { memory } = this.zone.arena;
    const { block, cpus } = lcore;
    const { port1, port2 } = new MessageChannel();
    port1.unref();
    lcore.messages?.close();
    lcore.messages = port1;
    const task: LcoreTask = {
      memory,
      module: this.module,
      engine: this.engine,
      block,
      lcore: lcore.id,
      clockOriginMs,
      cpus,
      port: port2,
    };
    const running = this.pool.run(task, { transferList: [port2] }).then(
      () => undefined,
      (error: unknown) => this.failed(lcore, error instanceof Error ? error : new Error(String(error))),
    );
    this.tasks.set(lcore, running);
  }

  private failed(lcore: LcoreControl, error: Error): void {
    if (this.closing) return;
    lcore.failure = error;
    lcore.set(Lcore.STATE, LcoreState.FAILED);
    if (!this.emit("failed", lcore.status(), error)) {
      process.emitWarning(`lcore ${lcore.id} stopped: ${error.message}`, { code: "LCORE_FAILED" });
    }
  }

  byId(id: number): LcoreControl {
    const lcore = this.all.find((one) => one.id === id);
    if (lcore) return lcore;
    const message = `there is no lcore ${id}; there are ${this.all.map((one) => one.id).join(", ")}`;
    throw new PollmodeError("LCORE_UNKNOWN", message, `name it in -l/--lcores`);
  }

  /** Throws unless the lcore waits for work: what a running one works on must not be touched. */
  requireWaiting(lcore: LcoreControl): void {
    if (lcore.state === LcoreState.WAITING) return;
    const { state, reason } = lcore.status();
    const message = `lcore ${lcore.id} is ${state}${reason ? `: ${reason}` : ""}`;
    throw new PollmodeError("LCORE_BUSY", message, "stop it first, or use another lcore");
  }

  /** Lets a waiting lcore run what `launch` says. */
  async launch(lcore: LcoreControl, launch: Launch): Promise<void> {
    this.requireWaiting(lcore);
    lcore.seen = { beat: -1, since: performance.now() };
    lcore.messages?.postMessage(launch);
    lcore.command(LcoreCommand.RUN);
    await this.reach(lcore, LcoreState.RUNNING, LCORE_START_TIMEOUT_MS);
  }

  /** Swaps the application of a running lcore between two bursts. One at a time an lcore. */
  async reload(lcore: LcoreControl, app: AppModule): Promise<ReloadAnswer> {
    const id = ++this.reloads;
    const stopped = { id, failure: { message: `lcore ${lcore.id} does not run`, at: undefined } };
    if (lcore.state !== LcoreState.RUNNING) return stopped;
    lcore.messages!.postMessage({ kind: "reload", id, app });
    if (!lcore.askReload()) return stopped;
    const deadline = performance.now() + 2 * APP_READY_TIMEOUT_MS;
    for (;;) {
      const answer = receiveMessageOnPort(lcore.messages!)?.message as ReloadAnswer | undefined;
      if (answer?.id === id) return answer;
      if (answer) continue;
      if (lcore.state !== LcoreState.RUNNING) return stopped;
      if (performance.now() > deadline) {
        const message = `lcore ${lcore.id} does not answer: ${lcore.status().reason ?? "its thread is busy"}`;
        return { id, failure: { message, at: undefined } };
      }
      await pause(1);
    }
  }

  /** Stops an lcore's work; it waits then. Takes milliseconds; nothing if it does not run. */
  async stop(lcore: LcoreControl): Promise<void> {
    if (lcore.state !== LcoreState.RUNNING) return;
    lcore.command(LcoreCommand.IDLE);
    await this.reach(lcore, LcoreState.WAITING, QUIESCE_TIMEOUT_MS);
  }

  /** Lets an lcore that failed wait for work again. */
  async restart(lcore: LcoreControl): Promise<void> {
    if (lcore.state !== LcoreState.FAILED) return;
    await this.tasks.get(lcore); // the old task's end is reported before the new one begins
    this.spawn(lcore);
    await this.reach(lcore, LcoreState.WAITING, LCORE_START_TIMEOUT_MS);
  }

  private async reach(lcore: LcoreControl, state: LcoreState, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (lcore.state !== state) {
      if (lcore.state === LcoreState.FAILED) {
        await this.tasks.get(lcore); // the state is here before the reason, which the task's end brings
        const reason = lcore.failure?.message ?? 'see the event "failed"';
        const fix = "see the reason; the other lcores go on";
        throw new PollmodeError("LCORE_FAILED", `lcore ${lcore.id} failed: ${reason}`, fix, {
          cause: lcore.failure,
        });
      }
      if (performance.now() > deadline) {
        const where = `lcore ${lcore.id} (CPU ${lcore.cpus.join(", ")})`;
        const message = `${where} did not become ${STATES[state]} in ${timeoutMs} ms`;
        throw new PollmodeError(
          "LCORE_STALLED",
          message,
          "its application must return from each poll, and its CPU be free",
        );
      }
      await pause(1);
    }
  }

  /** Resolves when every running lcore has ended the round it was in. */
  async quiesce(): Promise<void> {
    const beats = this.all.map((lcore) => lcore.get(Lcore.HEARTBEAT));
    for (const lcore of this.all) lcore.rouse();
    const deadline = performance.now() + QUIESCE_TIMEOUT_MS;
    for (const lcore of this.all) {
      while (lcore.state === LcoreState.RUNNING && lcore.get(Lcore.HEARTBEAT) === beats[lcore.index]) {
        if (performance.now() > deadline) {
          const message = `lcore ${lcore.id} does not leave its queues: ${lcore.status().reason ?? "no heartbeat"}`;
          throw new PollmodeError("LCORE_STALLED", message, "its application must return from each poll");
        }
        await pause(1);
      }
    }
  }

  /** Looks at the heartbeats; reports lcores that stand still, and those that move again. */
  monitor(): void {
    const now = performance.now();
    for (const lcore of this.all) {
      const beat = lcore.get(Lcore.HEARTBEAT);
      if (lcore.state !== LcoreState.RUNNING || beat !== lcore.seen.beat) {
        if (lcore.stalled) {
          lcore.stalled = false;
          this.emit("recovered", lcore.status());
        }
        lcore.seen = { beat, since: now };
      } else if (!lcore.stalled && now - lcore.seen.since > STALL_MS) {
        lcore.stalled = true;
        const status = lcore.status();
        if (!this.emit("stalled", status)) {
          process.emitWarning(`lcore ${lcore.id}: ${status.reason}`, { code: "LCORE_STALLED" });
        }
      }
    }
  }

  /** Ends all lcores: by command, or, where one does not listen, by ending its thread. */
  async close(): Promise<void> {
    this.closing = true;
    for (const lcore of this.all) lcore.command(LcoreCommand.QUIT);
    const ended = Promise.all(this.tasks.values());
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, QUIESCE_TIMEOUT_MS);
    });
    await Promise.race([ended, late]);
    clearTimeout(timer); // else it would keep the process from ending
    await this.pool.destroy();
    for (const lcore of this.all) lcore.free();
  }
}
