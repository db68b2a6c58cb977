// Loads the hot path into this thread: hot.wasm over the arena, or the TypeScript engine, with the same functions.
import { readFileSync } from "node:fs";
import type * as entry from "./entry.ts";

/** What src/hot/entry.ts exports. */
export type Hot = typeof entry;
export type EngineName = "wasm" | "ts";

export interface HotImports {
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
  const { now, notify } = imports;
  const instance = new WebAssembly.Instance(module, { env: { memory, now, notify } });
  return instance.exports as unknown as Hot;
}

/** The functions of the TypeScript engine, bound to `memory`. One arena a thread. */
export async function loadTypeScriptHot(memory: WebAssembly.Memory, imports: HotImports): Promise<Hot> {
  const { attach } = await import("./mem.ts");
  attach(memory, imports.now, imports.notify);
  return import("./entry.ts");
}
