// The application of an lcore: started, polled, and replaced while it runs.
//
// A reload must not stop the polling, and making an application may take the thread's event loop: a factory may be
// asynchronous, an import always is. So the old application goes on polling turn by turn with a turn of the event loop
// between, until the new one is ready; then they change places between two polls, when no burst is under way.
import { setImmediate } from "node:timers/promises";
import type { Hot, HotImports } from "../hot/engine.ts";
import { Lcore, LcoreCommand } from "../hot/layout.ts";
import { APP_READY_TIMEOUT_MS } from "../limits.ts";
import { describeFailure, runBundle } from "./app-bundle.ts";
import { makeContext } from "./app-context.ts";
import { AppMeter } from "./app-meter.ts";
import { instantiateApp } from "./app-wasm.ts";
import type {
  App,
  AppFactory,
  AppFailure,
  AppModule,
  Launch,
  LcoreTask,
  Reload,
  ReloadAnswer,
} from "./task.ts";

type AppLaunch = Extract<Launch, { kind: "app" }>;

export class AppRunner {
  private readonly task: LcoreTask;
  private readonly hot: Hot;
  private readonly calls: HotImports;
  private readonly launch: AppLaunch;
  private readonly words: Int32Array;
  private readonly meter: AppMeter;
  private app: App = { poll: () => 0 };
  private source: AppModule;
  private state: { state: unknown } = { state: undefined };

  private constructor(task: LcoreTask, hot: Hot, calls: HotImports, launch: AppLaunch) {
    this.task = task;
    this.hot = hot;
    this.calls = calls;
    this.launch = launch;
    this.source = launch.app;
    this.words = new Int32Array(task.memory.buffer, task.block, Lcore.BYTES >>> 2);
    this.meter = new AppMeter(task.memory, task.block);
  }

  static async start(task: LcoreTask, hot: Hot, calls: HotImports, launch: AppLaunch): Promise<AppRunner> {
    const runner = new AppRunner(task, hot, calls, launch);
    try {
      const { app, context } = await runner.make(launch.app);
      runner.app = app;
      runner.state = context;
      return runner;
    } catch (error) {
      throw runner.named(error);
    }
  }

  private async make(source: AppModule): Promise<{ app: App; context: { state: unknown } }> {
    const context = makeContext(this.task, this.hot, this.launch);
    context.state = this.state.state;
    if (source.kind === "wasm") {
      return { app: instantiateApp(this.task, this.hot, this.calls, this.launch, source), context };
    }
    const exports = source.kind === "bundle" ? await runBundle(source) : await import(source.url);
    const factory = (exports as { default?: AppFactory }).default;
    const name = source.kind === "bundle" ? source.file : source.url;
    if (typeof factory !== "function") throw new TypeError(`${name} has no function as its default export`);
    const made = await factory(context);
    const app = typeof made === "function" ? { poll: made } : made;
    if (typeof app?.poll !== "function")
      throw new TypeError(`${name}: its factory returned no poll function`);
    return { app, context };
  }

  /** An error of the application, with where in its source it arose. */
  private named(error: unknown): unknown {
    const { message, at } = describeFailure(error, this.source);
    return at === undefined ? error : new Error(`${at}: ${message}`, { cause: error });
  }

  /** 256 polls, then a heartbeat and the counters. */
  turn(): void {
    try {
      this.meter.round(this.app);
    } catch (error) {
      throw this.named(error);
    }
    for (const queue of this.launch.queues) if (queue.tx) this.hot.txIdle(queue.tx);
    this.words[Lcore.HEARTBEAT >>> 2]!++;
  }

  /** `turn` is one of this runner's, which may sleep besides. Never throws for what the new application does. */
  async reload({ id, app }: Reload, turn: () => void): Promise<ReloadAnswer> {
    const deadline = performance.now() + APP_READY_TIMEOUT_MS;
    let next: Awaited<ReturnType<AppRunner["make"]>> | undefined;
    let failure: AppFailure | undefined;
    this.make(app).then(
      (made) => {
        next = made;
      },
      (error: unknown) => {
        failure = describeFailure(error, app);
      },
    );
    for (;;) {
      await setImmediate();
      if (failure) return { id, failure };
      if (next) return { id, ...this.swap(next, app) };
      const late = performance.now() > deadline;
      if (late) return refusal(id, `its factory did not end within ${APP_READY_TIMEOUT_MS} ms`);
      if (Atomics.load(this.words, Lcore.COMMAND >>> 2) !== LcoreCommand.RELOAD)
        return refusal(id, "the lcore was stopped meanwhile");
      turn();
    }
  }

  private swap(next: { app: App; context: { state: unknown } }, source: AppModule): Partial<ReloadAnswer> {
    const [old, oldSource] = [this.app, this.source];
    this.app = next.app;
    this.source = source;
    this.state = next.context;
    try {
      old.close?.("reload");
    } catch (error) {
      return { closeFailure: describeFailure(error, oldSource) };
    }
    return {};
  }

  stop(): void {
    const { app } = this;
    this.app = { poll: () => 0 };
    try {
      app.close?.("stop");
    } catch (error) {
      throw this.named(error);
    }
  }
}

export function refusal(id: number, message: string): ReloadAnswer {
  return { id, failure: { message, at: undefined } };
}
