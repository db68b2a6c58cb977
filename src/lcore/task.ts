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
  /** A module whose default export is an AppFactory. */
  | {
      readonly kind: "app";
      readonly url: string;
      readonly queues: readonly AppQueue[];
      readonly options: unknown;
      readonly sleep?: SleepPlan | undefined;
    };

/** What an application in TypeScript sees: packets are numbers (mbufs), their fields and data lie in typed arrays. */
export interface AppContext {
  readonly lcore: number;
  readonly queues: readonly AppQueue[];
  /** Whatever the launcher passed; structured-cloneable. */
  readonly options: unknown;
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
export type AppFactory = (context: AppContext) => AppPoll | Promise<AppPoll>;
