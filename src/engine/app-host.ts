// The applications that run: what each lcore's was made of, its scratch memory, its reloads, the watching of its files.
import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { PollmodeError } from "../errors.ts";
import type { LcoreControl, Lcores } from "../lcore/lcores.ts";
import type { AppModule } from "../lcore/task.ts";
import { APP_SCRATCH_BYTES, APP_SETTLE_MS } from "../limits.ts";
import type { Zone } from "../memory/zone.ts";
import { appFile, type BuiltApp, buildApp, reloadError } from "./apps.ts";

interface Running {
  app: URL | string;
  /** Reloads of one lcore, one after the other. */
  last: Promise<unknown>;
  files: readonly string[];
  watchers: FSWatcher[];
  /** Runs from a change until the files are looked at. */
  timer: NodeJS.Timeout | undefined;
  readonly watch: boolean;
}

/** What becomes of reloads that a changed file causes. */
export interface AppListener {
  reloaded(lcore: number, file: string): void;
  failed(lcore: number, error: PollmodeError): void;
}

/** The application runs all the same: the folder has just gone, or the kernel has no more watches. */
function unwatched(lcore: number, folder: string, cause: unknown): PollmodeError {
  const message = `lcore ${lcore}: changes of files in ${folder} will not be seen: ${(cause as Error).message}`;
  return new PollmodeError("APP_RELOAD", message, "see fs.inotify in `sysctl -a`; reload by hand", { cause });
}

export class AppHost {
  private readonly zone: Zone;
  private readonly lcores: Lcores;
  private readonly listener: AppListener;
  private readonly running = new Map<LcoreControl, Running>();
  /** By lcore; kept until the engine closes. */
  private readonly scratches = new Map<LcoreControl, number>();

  constructor(zone: Zone, lcores: Lcores, listener: AppListener) {
    this.zone = zone;
    this.lcores = lcores;
    this.listener = listener;
  }

  /** Before the lcore is launched. `watched` demands a file that can be read again. */
  build(app: URL | string, watched: boolean): Promise<BuiltApp> {
    return buildApp(app, watched);
  }

  /** What is launched: with its scratch memory, zeroed, where it needs one. */
  ready(lcore: LcoreControl, { module }: BuiltApp): AppModule {
    const known = this.scratches.get(lcore);
    if (known !== undefined) this.zone.arena.clear(known, APP_SCRATCH_BYTES);
    return this.withScratch(lcore, module);
  }

  private withScratch(lcore: LcoreControl, module: AppModule): AppModule {
    if (module.kind !== "wasm") return module;
    let scratch = this.scratches.get(lcore);
    if (scratch === undefined) {
      scratch = this.zone.allocate(`application of lcore ${lcore.id}`, APP_SCRATCH_BYTES);
      this.scratches.set(lcore, scratch);
    }
    return { ...module, scratch };
  }

  /** The lcore runs `app` from now on. */
  started(lcore: LcoreControl, app: URL | string, built: BuiltApp, watched: boolean): void {
    this.forget(lcore);
    const { files } = built;
    const running: Running = {
      app,
      last: Promise.resolve(),
      files,
      watchers: [],
      timer: undefined,
      watch: watched,
    };
    this.running.set(lcore, running);
    if (watched) this.observe(lcore, running);
  }

  /** It runs something else, or nothing. */
  forget(lcore: LcoreControl): void {
    const running = this.running.get(lcore);
    for (const watcher of running?.watchers ?? []) watcher.close();
    clearTimeout(running?.timer);
    this.running.delete(lcore);
  }

  close(): void {
    for (const lcore of [...this.running.keys()]) this.forget(lcore);
  }

  /** Swaps the lcore's application, by default for its own file as it is now. Resolves to what its close() threw. */
  async reload(lcore: LcoreControl, app?: URL | string): Promise<string | undefined> {
    const running = this.running.get(lcore);
    if (running === undefined || lcore.status().state === "failed") {
      const message = `lcore ${lcore.id} runs no application`;
      throw new PollmodeError("APP_RELOAD", message, "start one by run()");
    }
    const done = running.last.then(() => this.swap(lcore, running, app ?? running.app));
    running.last = done.catch(() => undefined);
    return done;
  }

  private async swap(lcore: LcoreControl, running: Running, app: URL | string): Promise<string | undefined> {
    const file = appFile(app);
    let built: BuiltApp;
    try {
      built = await buildApp(app, true);
    } catch (error) {
      if (!(error instanceof PollmodeError)) throw error;
      const message = `lcore ${lcore.id} runs on as before: ${error.message}`;
      throw new PollmodeError("APP_RELOAD", message, error.fix, { cause: error });
    }
    const answer = await this.lcores.reload(lcore, this.withScratch(lcore, built.module));
    if (answer.failure) throw reloadError(lcore.id, file, answer.failure);
    if (this.running.get(lcore) === running) {
      const isSame = `${running.files}` === `${built.files}`;
      running.app = app;
      running.files = built.files;
      // watchers that fit stay: a change that comes just now would be lost with them
      if (running.watch && !isSame) this.observe(lcore, running);
    }
    const { closeFailure } = answer;
    return (
      closeFailure && `${closeFailure.at ?? file}: close() of the application before: ${closeFailure.message}`
    );
  }

  /** Watches folders, not files: editors write a new file and give it the old one's name. */
  private observe(lcore: LcoreControl, running: Running): void {
    const before = running.watchers.splice(0);
    const changed = () => {
      clearTimeout(running.timer);
      running.timer = setTimeout(() => this.follow(lcore, running), APP_SETTLE_MS);
    };
    for (const folder of new Set(running.files.map((file) => dirname(file)))) {
      const names = new Set(
        running.files.filter((file) => dirname(file) === folder).map((file) => basename(file)),
      );
      try {
        const watcher = watch(folder, { persistent: false }, (_event, name) => {
          if (name === null || names.has(name)) changed();
        });
        watcher.on("error", () => watcher.close()); // the folder went away; what runs, runs on
        running.watchers.push(watcher);
      } catch (error) {
        this.listener.failed(lcore.id, unwatched(lcore.id, folder, error));
      }
    }
    for (const watcher of before) watcher.close();
  }

  private async follow(lcore: LcoreControl, running: Running): Promise<void> {
    if (this.running.get(lcore) !== running) return;
    try {
      const trouble = await this.reload(lcore);
      if (trouble)
        this.listener.failed(lcore.id, new PollmodeError("APP_CLOSE", trouble, "mend its close()"));
      this.listener.reloaded(lcore.id, appFile(running.app));
    } catch (error) {
      const known =
        error instanceof PollmodeError
          ? error
          : new PollmodeError("APP_RELOAD", (error as Error).message, "see the message", { cause: error });
      this.listener.failed(lcore.id, known);
    }
  }
}
