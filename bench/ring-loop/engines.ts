// The same loop five times over one arena: C, WebAssembly, WebAssembly with the application in AssemblyScript and in
// TypeScript, TypeScript.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import { PollmodeError } from "../../src/errors.ts";
import { attach } from "../../src/hot/mem.ts";
import { MADV_HUGEPAGE } from "../../src/libc/abi.ts";
import { repositoryRoot } from "../../test/beds/paths.ts";
import { layoutFlags } from "./arena.ts";
import { App, Arena, At, Queue, Scratch } from "./layout.ts";
import * as typescript from "./ring.ts";

export const apps = { none: App.NONE, touch: App.TOUCH, macswap: App.MACSWAP } as const;
export type AppName = keyof typeof apps;
export const appNames = Object.keys(apps) as AppName[];

/** What ring.ts exports, as WebAssembly or as TypeScript. */
type Loop = typeof typescript;

export interface Timing {
  readonly ns: number;
  readonly packets: number;
}

export interface Engine {
  readonly name: string;
  /** Polls until nothing comes any more. Returns the packets that came. */
  drain(batch: number, app: App): number;
  /** `rounds` times the device delivers `count` frames, and drain() is timed until it has taken them all. */
  timeRounds(rounds: number, count: number, batch: number, app: App): Timing;
}

/** The device model at the other end of the rings. */
export interface Nic {
  step(count: number): number;
  stepChecked(count: number, sendMax: number, swapped: boolean): number;
}

export interface Bench {
  readonly engines: readonly Engine[];
  readonly nic: Nic;
  readonly u32: Uint32Array;
}

/** Compiles the C and the WebAssembly and puts all engines over one arena. */
export function loadBench(): Bench {
  const memory = new WebAssembly.Memory({ initial: Arena.PAGES, maximum: Arena.PAGES, shared: true });
  const u32 = new Uint32Array(memory.buffer, 0, (Arena.PAGES * 65536) / 4);
  const base: bigint = koffi.address(u32); // and not src/libc: see docs/benchmarks.md, "not detached"
  const library = loadC();
  koffi.load("libc.so.6").func("int madvise(void *, size_t, int)")(base, u32.byteLength, MADV_HUGEPAGE);
  const step = library.func("uint32_t device_step(void *, uint32_t)");
  const stepChecked = library.func("uint32_t device_step_checked(void *, uint32_t, uint32_t, uint32_t)");
  const nic: Nic = {
    step: (count) => step(base, count),
    stepChecked: (count, sendMax, swapped) => stepChecked(base, count, sendMax, Number(swapped)),
  };
  attach(
    memory,
    () => performance.now(),
    () => {},
  );
  const wasm = instantiate(memory);
  const engines = [
    nativeEngine(library, base),
    timed("wasm", nic, (batch, app) => wasm.drain(batch, app)),
    timed("wasm + as app", nic, assemblyApplication(wasm, memory)),
    timed("wasm + ts app", nic, typescriptApplication(wasm, memory)),
    timed("typescript", nic, (batch, app) => typescript.drain(batch, app)),
  ];
  return { engines, nic, u32 };
}

/** Compiles loop.c and device.c. The file is gone as soon as it is loaded; the mapping stays. */
function loadC(): ReturnType<typeof koffi.load> {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-ring-loop-"));
  const output = join(folder, "loop.so");
  const sources = ["loop.c", "device.c"].map((file) => join(repositoryRoot, "bench", "ring-loop", file));
  const flags = ["-O3", "-march=native", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", ...layoutFlags];
  try {
    execFileSync("cc", [...flags, "-o", output, ...sources], { stdio: ["ignore", "pipe", "pipe"] });
    return koffi.load(output);
  } catch (cause) {
    const { code, stderr } = cause as NodeJS.ErrnoException & { stderr?: Buffer };
    const why = code === "ENOENT" ? "there is no C compiler" : String(stderr ?? cause);
    const fix = "apt-get install gcc libc6-dev";
    throw new PollmodeError("CC_FAILED", `cc ${sources.join(" ")}: ${why}`, fix, { cause });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Compiled anew each time: two seconds, and it is never older than its source. */
function instantiate(memory: WebAssembly.Memory): Loop {
  const program = fileURLToPath(new URL("./compile.js", import.meta.url));
  try {
    execFileSync(process.execPath, [program], { stdio: ["ignore", "ignore", "pipe"] });
  } catch (cause) {
    const why = String((cause as { stderr?: Buffer }).stderr);
    const fix = `run node ${program} as a user who may write there`;
    throw new PollmodeError("ASC_FAILED", `bench/ring-loop/ring.ts does not compile: ${why}`, fix, { cause });
  }
  return load<Loop>("ring.wasm", { memory, now: () => performance.now(), notify: () => {} });
}

function load<Exports>(file: string, env: Record<string, unknown>): Exports {
  const module = new WebAssembly.Module(readFileSync(new URL(`./${file}`, import.meta.url)));
  return new WebAssembly.Instance(module, { env }).exports as unknown as Exports;
}

/** C is timed in C: a call through koffi would be counted against it. */
function nativeEngine(library: ReturnType<typeof koffi.load>, base: bigint): Engine {
  const drain = library.func("uint32_t drain(void *, uint32_t, uint32_t)");
  const time = library.func("double time_rounds(void *, uint32_t, uint32_t, uint32_t, uint32_t, double *)");
  const packets = new Float64Array(1);
  return {
    name: "c",
    drain: (batch, app) => drain(base, batch, app),
    timeRounds(rounds, count, batch, app) {
      packets[0] = 0;
      const ns = time(base, rounds, count, batch, app, packets);
      return { ns, packets: packets[0]! };
    },
  };
}

function timed(name: string, nic: Nic, drain: Engine["drain"]): Engine {
  return {
    name,
    drain,
    timeRounds(rounds, count, batch, app) {
      let spentMs = 0;
      let packets = 0;
      for (let round = 0; round < rounds; round++) {
        nic.step(count);
        const start = performance.now();
        packets += drain(batch, app);
        spentMs += performance.now() - start;
      }
      return { ns: spentMs * 1e6, packets };
    },
  };
}

/** An application's own module beside the engine's: an lcore gives it the same (src/lcore/app-wasm.ts). */
function assemblyApplication(wasm: Loop, memory: WebAssembly.Memory): Engine["drain"] {
  const u32 = new Uint32Array(memory.buffer);
  const queue = () => At.QUEUE;
  const { rxBurst, txBurst, freeBurst } = wasm;
  const calls = { rxBurst, txBurst, mbufFreeBulk: freeBurst };
  const places = {
    rxQueue: queue,
    txQueue: queue,
    cache: queue,
    burst: () => At.PKTS,
    scratch: () => At.SCRATCH,
  };
  const app = load<{ init(): void; poll(): number }>("app.wasm", { memory, ...calls, ...places });
  app.init();
  return (batch, which) => {
    u32[(At.SCRATCH + Scratch.BATCH) >>> 2] = batch;
    u32[(At.SCRATCH + Scratch.APP) >>> 2] = which;
    let total = 0;
    for (let n = app.poll(); n !== 0; n = app.poll()) total += n;
    return total;
  };
}

/** rx and tx in WebAssembly; between them TypeScript that sees frames as offsets into typed arrays. */
function typescriptApplication(wasm: Loop, memory: WebAssembly.Memory): Engine["drain"] {
  const app = makeApplication(memory.buffer);
  return (batch, which) => {
    let total = 0;
    for (;;) {
      const got = wasm.rxFrames(At.QUEUE, At.PKTS, At.FRAMES, batch);
      if (got === 0) return total;
      if (which === App.TOUCH) app.touch(got);
      else if (which === App.MACSWAP) app.swapMacs(got);
      const sent = wasm.txBurst(At.QUEUE, At.PKTS, got);
      if (sent < got) wasm.freeBurst(At.QUEUE, At.PKTS + sent * 4, got - sent);
      total += got;
    }
  };
}

/**
 * The applications over three views that are shifted by a word and have one length: V8 then checks one bound for a
 * frame's first three words, not one for each.
 */
function makeApplication(buffer: SharedArrayBuffer) {
  const words = buffer.byteLength / 4 - 2;
  const first = new Int32Array(buffer, 0, words);
  const second = new Int32Array(buffer, 4, words);
  const third = new Int32Array(buffer, 8, words);
  const frames = new Int32Array(buffer, At.FRAMES, 512);
  return {
    touch(n: number): void {
      let sum = first[(At.QUEUE + Queue.SUM) >>> 2]!;
      for (let k = 0; k < n; k++) sum = (sum + first[frames[k]! >>> 2]!) | 0;
      first[(At.QUEUE + Queue.SUM) >>> 2] = sum;
    },
    swapMacs(n: number): void {
      for (let k = 0; k < n; k++) {
        const p = frames[k]! >>> 2;
        const a = first[p]!;
        const b = second[p]!;
        const c = third[p]!;
        first[p] = (b >>> 16) | (c << 16);
        second[p] = (c >>> 16) | (a << 16);
        third[p] = (a >>> 16) | (b << 16);
      }
    },
  };
}
