// An application in WebAssembly: compiled from AssemblyScript or whatever else, instantiated over the arena, its calls
// of the hot path direct from module to module. src/engine/assembly/index.as.ts declares its imports.
import type { Hot, HotImports } from "../hot/engine.ts";
import { Lcore, Queue } from "../hot/layout.ts";
import type { App, AppModule, Launch, LcoreTask } from "./task.ts";

interface AppExports {
  poll: () => number;
  init?: () => void;
  close?: (reload: number) => void;
}

/** `launch` gives the queues; their numbers are the application's. */
export function instantiateApp(
  task: LcoreTask,
  hot: Hot,
  calls: HotImports,
  launch: Extract<Launch, { kind: "app" }>,
  app: Extract<AppModule, { kind: "wasm" }>,
): App {
  const u32 = new Uint32Array(task.memory.buffer);
  const { queues, watch } = launch;
  const first = queues[0];
  const cache = first ? u32[((first.rx || first.tx) + Queue.CACHE) >>> 2]! : 0;
  const mac = (k: number, from: number, n: number) =>
    (queues[k]?.mac ?? [])
      .slice(from, from + n)
      .reduce((word, byte, i) => (word | (byte << (8 * i))) >>> 0, 0);
  const env = {
    ...calls,
    memory: task.memory,
    rxBurst: watch ? hot.watchedRxBurst : hot.rxBurst,
    txBurst: watch ? hot.watchedTxBurst : hot.txBurst,
    stamp: (mbuf: number) => (watch ? hot.stampFrame(watch[0]!, mbuf) : 0),
    mbufAllocBulk: hot.mbufAllocBulk,
    mbufFreeBulk: hot.mbufFreeBulk,
    copyFrame: hot.copyFrame,
    sumBytes: hot.sumBytes,
    swapMacs: hot.swapMacs,
    // asked for once, in init(): these are calls of JavaScript
    lcoreId: () => task.lcore,
    burst: () => u32[(task.block + Lcore.PKTS) >>> 2]!,
    cache: () => cache,
    scratch: () => app.scratch,
    queueCount: () => queues.length,
    // to whom queues are but numbers: a watched one's is that of its stream block
    rxQueue: (k: number) => (queues[k]?.rx ? (watch?.[k] ?? queues[k].rx) : 0),
    txQueue: (k: number) => (queues[k]?.tx ? (watch?.[k] ?? queues[k].tx) : 0),
    queuePort: (k: number) => queues[k]?.port ?? 0xffff,
    macLow: (k: number) => mac(k, 0, 4),
    macHigh: (k: number) => mac(k, 4, 2),
    abort: () => {
      throw new Error(`${app.file}: abort() was called`);
    },
  };
  const instance = new WebAssembly.Instance(app.module, { env });
  const { poll, init, close } = instance.exports as unknown as AppExports;
  init?.();
  // a u32 that is returned arrives as a signed number; bursts are small
  return close ? { poll, close: (reason) => close(reason === "reload" ? 1 : 0) } : { poll };
}
