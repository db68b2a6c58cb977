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

/** One queue pair of a port, as an application's lcore serves it. */
export interface AppQueue {
  /** The port's number. */
  readonly port: number;
  /** The pair's number, from 0 on. */
  readonly queue: number;
  /** Arena offset of the receive queue's block; 0: there is none. */
  readonly rx: number;
  /** Arena offset of the transmit queue's block; 0: there is none. */
  readonly tx: number;
  /** The port's MAC address, 6 bytes. */
  readonly mac: Uint8Array;
}

export type Launch =
  /** The streams in the Lcore block. */
  | { readonly kind: "streams"; readonly sleep?: SleepPlan | undefined }
  | {
      readonly kind: "app";
      readonly app: AppModule;
      readonly queues: readonly AppQueue[];
      /** Stream blocks of the queues, where somebody looks at what they do. */
      readonly watch: readonly number[] | undefined;
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
  /** The lcore that it runs on. */
  readonly lcore: number;
  /** The queue pairs to be served, in the order of AppLaunch.queues. */
  readonly queues: readonly AppQueue[];
  /** Whatever the launcher passed; structured-cloneable. */
  readonly options: unknown;
  /**
   * Handed from an application to the one that takes its place (Pollmode.reload): what stands here when the successor's
   * factory is called is the successor's too, by reference. undefined in the first.
   */
  state: unknown;
  /** The arena by bytes: a packet's are `u8[data(mbuf)]` and on. */
  readonly u8: Uint8Array;
  /** The arena by words of 16 bits: `u16[(mbuf + Mbuf.PORT) >>> 1]`. */
  readonly u16: Uint16Array;
  /** The arena by words of 32 bits: `u32[(mbuf + Mbuf.PKT_LEN) >>> 2]`. */
  readonly u32: Uint32Array;
  /** The arena by numbers of 64 bits. */
  readonly f64: Float64Array;
  /** The burst at hand: `pkts[k]` is an mbuf. */
  readonly pkts: Uint32Array;
  /** Receives up to `n` packets (512 at most) into `pkts`; they are the application's then. Returns how many. */
  rxBurst(queue: AppQueue, n: number): number;
  /** Sends pkts[from] … pkts[from + n - 1]. Returns how many were taken; the others are still the application's. */
  txBurst(queue: AppQueue, n: number, from?: number): number;
  /** Gives pkts[from] … pkts[from + n - 1] back to the pool. */
  free(n: number, from?: number): void;
  /**
   * Draws `n` empty mbufs into pkts[from] …: all or none. Returns `n` or 0. Lcores share the pool and never wait for
   * one another: 0 also means that another one is at it just now, and that the next poll() will have them.
   */
  alloc(n: number, from?: number): number;
  /** Arena offset of a packet's first byte. */
  data(mbuf: number): number;
  /** Bytes of a packet, all of its segments. */
  length(mbuf: number): number;
  /** Makes a packet of one segment `bytes` long. */
  setLength(mbuf: number, bytes: number): void;
  /**
   * Puts the time into bytes 42 to 57 of a packet, whose age is recorded where it comes in again. False, and nothing
   * done, if the packet is shorter, or the application was launched without `latency`.
   */
  stamp(mbuf: number): boolean;
}

/** Called for ever; returns the packets it handled in this turn. */
export type AppPoll = () => number;

/** An application with something to do at its end. */
export interface App {
  /** Called for ever. */
  poll: AppPoll;
  /**
   * Called between two bursts, after the last poll(): the application gives back the packets that it still holds. With
   * "reload" its successor is ready by then and goes on where it stops; packets may be handed over in context.state.
   */
  close?(reason: "reload" | "stop"): void;
}

/** Makes an application, once: at run() and at reload(). It may be asynchronous; the old one polls on meanwhile. */
export type AppFactory = (context: AppContext) => AppPoll | App | Promise<AppPoll | App>;
