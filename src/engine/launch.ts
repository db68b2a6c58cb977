// What the engine is told to run, and what it tells.
import type { PollmodeError } from "../errors.ts";
import type { LcoreStatus } from "../lcore/lcores.ts";
import type { AppEnds } from "./app-queues.ts";

/** What a Pollmode tells its listeners, by event: the arguments. Without a listener, faults are warnings. */
export interface PollmodeEvents {
  /** An lcore's heartbeat has stood still for a second. */
  lcoreStalled: [LcoreStatus];
  /** It moves again. */
  lcoreRecovered: [LcoreStatus];
  /** An lcore threw or trapped, and stopped alone. */
  lcoreFailed: [LcoreStatus, Error];
  /** A watched application was replaced: lcore, file. */
  appReloaded: [number, string];
  /** A watched application could not be replaced, and the old one runs on: lcore, why. */
  appReloadFailed: [number, PollmodeError];
}

/** What Pollmode.run() starts. */
export interface AppLaunch {
  /** Which waits for work. */
  lcore: number;
  /** A file whose default export is an AppFactory: .ts, .js, .mjs; or .as.ts, .wasm (docs/applications.md). */
  app: URL | string;
  /** Reloads it when the file, or one that it imports, changes. */
  watch?: boolean;
  /** Queue pairs it serves: all of each port's, or the numbered ones. */
  queues: readonly AppEnds[];
  /** Handed to the application; structured-cloneable. */
  options?: unknown;
  /** The lcore sleeps while its queues are idle: as ForwardOptions.rxInterrupt. */
  rxInterrupt?: boolean;
  /** 1: received packets, 2: sent ones, 3: both are kept for drainVerbose(). 0: none. */
  verbose?: number;
  /** Counts bursts by their size; readStreams() has a line for each queue pair then. */
  recordBursts?: boolean;
  /** The age of stamped packets that come in goes into the lcore's latency histogram; lets it stamp() its own. */
  latency?: boolean;
}

/** How Pollmode.forward() polls. */
export interface ForwardOptions {
  /** Packets asked for at a time, 1 to 512. Default: 32. */
  burst?: number;
  /**
   * The lcore sleeps while its receive queues are idle and wakes by their interrupts. Its ports must have been
   * configured with rxInterrupts.
   */
  rxInterrupt?: boolean;
}
