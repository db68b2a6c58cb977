// Applications in WebAssembly: AssemblyScript compiled, and what any module may import checked.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { PollmodeError } from "../errors.ts";
import type { HotImports } from "../hot/engine.ts";
import type { AssemblyAnswer, AssemblyTask } from "../lcore/worker-assembly.ts";

/** The engine's own imports: an application may have them, too. */
const CALLS: Record<keyof HotImports, true> = {
  fdRead: true,
  fdWrite: true,
  fdReadv: true,
  fdWritev: true,
  fdSend: true,
  fdRewind: true,
  verbsPoll: true,
  verbsPost: true,
  verbsNotify: true,
  verbsEvents: true,
  now: true,
  notify: true,
};

/** What pollmode's WebAssembly and its worker give an application: src/engine/assembly/index.as.ts declares them. */
const IMPORTS = [
  ...["memory", "rxBurst", "txBurst", "mbufAllocBulk", "mbufFreeBulk", "stamp"],
  ...["copyFrame", "sumBytes", "swapMacs"],
  ...[
    "lcoreId",
    "burst",
    "cache",
    "scratch",
    "queueCount",
    "rxQueue",
    "txQueue",
    "queuePort",
    "macLow",
    "macHigh",
  ],
  ...["abort", ...Object.keys(CALLS)],
];

/** Compiles in a thread of its own: it takes a second, and control has other things to do. */
export async function compileAssembly(
  file: string,
): Promise<{ binary: Uint8Array<ArrayBuffer>; files: string[] }> {
  const task: AssemblyTask = { file, compiler: findCompiler(file) };
  const worker = new Worker(new URL("../lcore/worker-assembly.js", import.meta.url), { workerData: task });
  const answer = await new Promise<AssemblyAnswer>((done, failed) => {
    worker.once("message", done);
    worker.once("error", failed);
  });
  await worker.terminate();
  if (answer.binary) return { binary: answer.binary, files: answer.files };
  throw new PollmodeError("APP_BUILD", `application ${answer.failure}`, "mend that line");
}

/** As the application's own folder has it, else as this package has. */
function findCompiler(file: string): string {
  for (const from of [pathToFileURL(file).href, import.meta.url]) {
    try {
      // by its package.json: `exports` of a package need not let CommonJS find what import() does
      const root = createRequire(from).resolve("assemblyscript/package.json");
      return new URL("./dist/asc.js", pathToFileURL(root)).href;
    } catch {
      // not there
    }
  }
  const message = `application ${file}: it is AssemblyScript, whose compiler is not installed`;
  throw new PollmodeError("APP_COMPILER", message, "npm install assemblyscript");
}

const DATA_SECTION = 11;

/** Throws where a module needs what it cannot have. */
export function checkImports(file: string, module: WebAssembly.Module, binary: Uint8Array): void {
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    if (from === "env" && IMPORTS.includes(name)) continue;
    const message = `application ${file} imports ${from}.${name}, which pollmode has not`;
    throw new PollmodeError("APP_WASM", message, `there are env.${IMPORTS.join(", ")}`);
  }
  const poll = WebAssembly.Module.exports(module).find(({ name }) => name === "poll");
  if (poll?.kind !== "function") {
    const message = `application ${file} exports no function poll`;
    throw new PollmodeError("APP_WASM", message, "export function poll(): u32, the packets of a turn");
  }
  if (!sections(binary).includes(DATA_SECTION)) return;
  const message = `application ${file} has static data, which would lie among the packets of the arena`;
  const fix = "keep to numbers: no strings, arrays or objects; tables go into scratch()";
  throw new PollmodeError("APP_WASM", message, fix);
}

/** Numbers of a module's sections (WebAssembly core specification, 5.5.2). */
function sections(binary: Uint8Array): number[] {
  const found: number[] = [];
  for (let at = 8; at < binary.length; ) {
    found.push(binary[at++]!);
    let bytes = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = binary[at++]!;
      bytes += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    at += bytes;
  }
  return found;
}
