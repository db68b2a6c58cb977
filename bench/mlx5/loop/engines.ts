// The same loop three times over one arena: C, WebAssembly, TypeScript.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import koffi from "koffi";
import { PollmodeError } from "../../../src/errors.ts";
import { attach } from "../../../src/hot/mem.ts";
import { repositoryRoot } from "../../../test/beds/paths.ts";
import * as typescript from "./drain.ts";
import { layoutFlags } from "./flags.ts";
import type { Rings } from "./rings.ts";

type Drain = typeof typescript.drain;

export interface Timing {
  readonly ns: number;
  readonly packets: number;
}

export interface Engine {
  readonly name: string;
  /** Polls until nothing comes any more. Returns the packets that came. */
  drain(batch: number): number;
  /** `rounds` times the device delivers `count` frames, and drain() is timed until it has taken them all. */
  timeRounds(rounds: number, count: number, batch: number): Timing;
}

export interface Bench {
  readonly engines: readonly Engine[];
  /** Numbered frames that are compared when they are sent on; sends at most `sendMax` WQEs. */
  stepChecked(count: number, sendMax: number): number;
}

export function loadEngines(rings: Rings): Bench {
  const { memory, address } = rings.arena;
  const { device, rxq, txq, pkts } = rings;
  const library = loadC();
  const step = library.func("uint32_t device_step(void *, uint32_t, uint32_t)");
  const stepChecked = library.func("uint32_t device_step_checked(void *, uint32_t, uint32_t, uint32_t)");
  const now = () => performance.now();
  attach(memory, now, () => {});
  const calls = Object.fromEntries(imports.map((name) => [name, () => 0]));
  const wasm = new WebAssembly.Instance(compile(), { env: { ...calls, memory, now } });
  const timed = (name: string, loop: Drain): Engine => ({
    name,
    drain: (batch) => loop(rxq, txq, pkts, batch),
    timeRounds(rounds, count, batch) {
      let spentMs = 0;
      let packets = 0;
      for (let round = 0; round < rounds; round++) {
        step(address, device, count);
        const start = performance.now();
        packets += loop(rxq, txq, pkts, batch);
        spentMs += performance.now() - start;
      }
      return { ns: spentMs * 1e6, packets };
    },
  });
  return {
    engines: [
      nativeEngine(library, rings),
      timed("wasm", wasm.exports.drain as Drain),
      timed("typescript", typescript.drain),
    ],
    stepChecked: (count, sendMax) => stepChecked(address, device, count, sendMax),
  };
}

/** Calls out of hot code that this loop never makes. */
const imports = [
  "notify",
  "fdRead",
  "fdWrite",
  "fdReadv",
  "fdWritev",
  "fdSend",
  "fdRewind",
  "verbsPoll",
  "verbsPost",
  "verbsNotify",
  "verbsEvents",
];

/** Compiles the C. The file is gone as soon as it is loaded; the mapping stays. */
function loadC(): ReturnType<typeof koffi.load> {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-mlx5-loop-"));
  const output = join(folder, "loop.so");
  const sources = ["loop.c", "send.c", "device.c"].map((file) =>
    join(repositoryRoot, "bench", "mlx5", "loop", file),
  );
  const flags = ["-O3", "-march=native", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"];
  try {
    execFileSync("cc", [...flags, ...layoutFlags, "-o", output, ...sources], {
      stdio: ["ignore", "pipe", "pipe"],
    });
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

/** Compiled anew each time: it is never older than its source. */
function compile(): WebAssembly.Module {
  const program = fileURLToPath(new URL("./compile.js", import.meta.url));
  try {
    execFileSync(process.execPath, [program], { stdio: ["ignore", "ignore", "pipe"] });
  } catch (cause) {
    const why = String((cause as { stderr?: Buffer }).stderr);
    const fix = `run node ${program} as a user who may write there`;
    throw new PollmodeError("ASC_FAILED", `bench/mlx5/loop/drain.ts does not compile: ${why}`, fix, {
      cause,
    });
  }
  return new WebAssembly.Module(readFileSync(new URL("./loop.wasm", import.meta.url)));
}

/** C is timed in C: a call through koffi would be counted against it. */
function nativeEngine(library: ReturnType<typeof koffi.load>, rings: Rings): Engine {
  const { rxq, txq, pkts, device } = rings;
  const { address } = rings.arena;
  const drain = library.func("uint32_t drain(void *, uint32_t, uint32_t, uint32_t, uint32_t)");
  const words = "uint32_t, ".repeat(7);
  const time = library.func(`double time_rounds(void *, ${words}double *)`);
  const packets = new Float64Array(1);
  return {
    name: "c",
    drain: (batch) => drain(address, rxq, txq, pkts, batch),
    timeRounds(rounds, count, batch) {
      packets[0] = 0;
      const ns = time(address, device, rxq, txq, pkts, batch, rounds, count, packets);
      return { ns, packets: packets[0]! };
    },
  };
}
