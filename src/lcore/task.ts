// What an lcore's worker is given, and what an application in TypeScript is.
import type { MessagePort } from "node:worker_threads";
import type { EngineName } from "../hot/engine.ts";
import type { SleepPlan } from "./sleep.ts";

/** The never-ending piscina task of one lcore. */
export interface LcoreTask {
  readonly memory: WebAssembly.Memory;
  /** hot.wasm, compiled once; undefined for the TypeScript engine. */
  readonly module: WebAssembly.Module | undefined;
  readonly engine: EngineName;
  /** Arena offset of its Lcore block. */
  readonly block: number;
  readonly lcore: number;
  /** Where the common clock begins (clock.ts). */
  readonly clockOriginMs: number;
  /** CPUs to pin to. */
  readonly cpus: readonly number[];
  /** Launch messages; read when the command turns to RUN. */
  readonly port: MessagePort;
}

/** One queue pair of a port, as an application's lcore serves it. Arena offsets of queue blocks; 0: none. */
export interface AppQueue {
  readonly port: number;
  readonly queue: number;
  readonly rx: number;
  readonly tx: number;
  /** The port's MAC address. */
  readonly mac: Uint8Array;
}

export type Launch =
  /** The streams in the Lcore block. */
  | { readonly kind: "streams"; readonly sleep?: SleepPlan | undefined }
  | {
      readonly kind: "app";
      readonly app: AppModule;
      readonly queues: readonly AppQueue[];
      readonly options: unknown;
      readonly sleep?: SleepPlan | undefined;
    };

/** An application, ready to be started on an lcore. Plain data, which goes to the worker as it is. */
export type AppModule =
  /** A module that Node.js loads, once for the life of the lcore's thread. */
  | { readonly kind: "module"; readonly url: string }
  /** A bundle made by src/engine/apps.ts: the body of an async function. */
  | {
      readonly kind: "bundle";
      /** The application's own file. */
      readonly file: string;
      readonly code: string;
      /** Its source map, JSON. */
      readonly map: string;
      /** What `import … from "pollmode"` means: the URL of this package's index. */
      readonly library: string;
    }
  /** WebAssembly over the arena: docs/applications.md says what it imports and exports. */
  | {
      readonly kind: "wasm";
      readonly file: string;
      readonly module: WebAssembly.Module;
      /** Arena offset of memory of its own, which its successors find as it left it. */
      readonly scratch: number;
    };

/** Takes the running application's place between two bursts. */
export interface Reload {
  readonly kind: "reload";
  /** Comes back with the answer. */
  readonly id: number;
  readonly app: AppModule;
}

export interface ReloadAnswer {
  readonly id: number;
  /** Why the old application runs on. */
  readonly failure?: AppFailure;
  /** The new one runs, but the old one's close() threw this. */
  readonly closeFailure?: AppFailure;
}

export interface AppFailure {
  readonly message: string;
  /** `file:line:column` of the source. */
  readonly at: string | undefined;
}

/** What an application in TypeScript sees: packets are numbers (mbufs), their fields and data lie in typed arrays. */
export interface AppContext {
  readonly lcore: number;
  readonly queues: readonly AppQueue[];
  /** Whatever the launcher passed; structured-cloneable. */
  readonly options: unknown;
  /**
   * Handed from an application to the one that takes its place (Pollmode.reload): what stands here when the successor's
   * factory is called is the successor's too, by reference. undefined in the first.
   */
  state: unknown;
  /** The arena. Mbuf fields: `u32[(mbuf + Mbuf.DATA) >>> 2]`, and so on (layout.ts). */
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;
  /** The burst at hand: `pkts[k]` is an mbuf. */
  readonly pkts: Uint32Array;
  /** Receives up to `n` packets into `pkts`; they are the application's then. */
  rxBurst(queue: AppQueue, n: number): number;
  /** Sends pkts[from] … pkts[from + n - 1]. Returns how many were taken; the others are still the application's. */
  txBurst(queue: AppQueue, n: number, from?: number): number;
  /** Gives pkts[from] … pkts[from + n - 1] back to the pool. */
  free(n: number, from?: number): void;
  /** Draws `n` empty mbufs into pkts[from] …: all or none. */
  alloc(n: number, from?: number): number;
  /** Arena offset of a packet's first byte. */
  data(mbuf: number): number;
  /** Bytes of a packet. */
  length(mbuf: number): number;
  /** Makes a packet of one segment `bytes` long. */
  setLength(mbuf: number, bytes: number): void;
}

/** Called for ever; returns the packets it handled in this turn. */
export type AppPoll = () => number;

/** An application with something to do at its end. */
export interface App {
  poll: AppPoll;
  /**
   * Called between two bursts, after the last poll(): the application gives back the packets that it still holds. With
   * "reload" its successor is ready by then and goes on where it stops; packets may be handed over in context.state.
   */
  close?(reason: "reload" | "stop"): void;
}

/** Makes an application, once: at run() and at reload(). It may be asynchronous; the old one polls on meanwhile. */
export type AppFactory = (context: AppContext) => AppPoll | App | Promise<AppPoll | App>;
