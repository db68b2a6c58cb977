// Loads the hot path into this thread: hot.wasm over the arena, or the TypeScript engine, with the same functions.
import { readFileSync } from "node:fs";

/**
 * What src/hot/entry.ts exports. Written out, because `typeof entry` would lead every program that imports pollmode's
 * types into the hot files, whose u32 only this project knows.
 */
export interface Hot {
  rxBurst(q: number, pkts: number, n: number): number;
  txBurst(q: number, pkts: number, n: number): number;
  watchedRxBurst(s: number, pkts: number, n: number): number;
  watchedTxBurst(s: number, pkts: number, n: number): number;
  stampFrame(s: number, mbuf: number): number;
  txIdle(q: number): void;
  rxArm(q: number): void;
  rxDisarm(q: number): void;
  rxPending(q: number): number;
  runLcore(l: number, rounds: number): void;
  cacheCount(cache: number): number;
  cacheFill(cache: number, want: number): number;
  mbufAllocBulk(cache: number, pkts: number, n: number): number;
  mbufFreeBulk(cache: number, pkts: number, n: number): void;
  ringDequeue(ring: number, to: number, n: number): number;
  ringEnqueue(ring: number, from: number, n: number): number;
  copyFrame(to: number, from: number, n: number): void;
  copyWords(to: number, from: number, n: number): void;
  equalRun(a: number, b: number, n: number): number;
  sumBytes(p: number, n: number): number;
  swapMacs(p: number): void;
  writeMbuf(mbuf: number, data: number, length: number, origin: number): void;
}

/** What poll loops run as: WebAssembly, or the same sources as JavaScript, which a debugger can step through. */
export type EngineName = "wasm" | "ts";

/** System calls on arena offsets; each returns -errno when it fails (src/libc/hot-files.ts). */
export interface FileCalls {
  fdRead: (fd: number, p: number, n: number) => number;
  fdWrite: (fd: number, p: number, n: number) => number;
  fdReadv: (fd: number, p: number, n: number) => number;
  fdWritev: (fd: number, p: number, n: number) => number;
  fdSend: (fd: number) => number;
  fdRewind: (fd: number) => number;
}

/** Calls of libibverbs; `call`, `events`: arena offset of a VerbsCall, of a VerbsEvents (src/libc/hot-verbs.ts). */
export interface VerbsCalls {
  verbsPoll: (call: number, n: number, wcs: number) => number;
  verbsPost: (call: number, wrs: number) => number;
  verbsNotify: (call: number) => number;
  verbsEvents: (events: number) => number;
}

export interface HotImports extends FileCalls, VerbsCalls {
  /** Milliseconds, as performance.now(). */
  now: () => number;
  /** Adds one to an eventfd. */
  notify: (fd: number) => void;
}

/** Reads and compiles hot.wasm; a module goes to workers as it is. `plain`: without vector instructions. */
export function compileHot(plain = false): WebAssembly.Module {
  const url = new URL(plain ? "./hot-plain.wasm" : "./hot.wasm", import.meta.url);
  return new WebAssembly.Module(readFileSync(url));
}

/** The functions of the WASM engine over `memory`. */
export function instantiateHot(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  imports: HotImports,
): Hot {
  const instance = new WebAssembly.Instance(module, { env: { memory, ...imports } });
  return instance.exports as unknown as Hot;
}

/** The functions of the TypeScript engine, bound to `memory`. One arena a thread. */
export async function loadTypeScriptHot(memory: WebAssembly.Memory, imports: HotImports): Promise<Hot> {
  const { attach } = await import("./mem.ts");
  attach(memory, imports.now, imports.notify, imports);
  return import("./entry.ts");
}
