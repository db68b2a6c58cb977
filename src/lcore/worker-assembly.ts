// Compiles an application in AssemblyScript, in a thread of its own (src/engine/assembly.ts starts it).
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { parentPort, workerData } from "node:worker_threads";

export interface AssemblyTask {
  readonly file: string;
  /** URL of asc. */
  readonly compiler: string;
}

export interface AssemblyAnswer {
  readonly binary?: Uint8Array<ArrayBuffer>;
  readonly files: string[];
  /** The compiler's first message, with file and line. */
  readonly failure?: string;
}

type Compiler = Pick<typeof import("assemblyscript/asc"), "main">;

/** `import … from "pollmode"` of an application: declarations that the build has put here. */
const declarations = fileURLToPath(new URL("../engine/assembly/", import.meta.url));

/** asc looks for a package in node_modules; pollmode's declarations are wherever this file is. */
function declaration(name: string): string | undefined {
  const [, file] = /^node_modules\/pollmode\/([\w-]+\.ts)(?:\.ts)?$/.exec(name) ?? [];
  return file && join(declarations, file);
}

async function compile({ file, compiler }: AssemblyTask): Promise<AssemblyAnswer> {
  const { main } = (await import(compiler)) as Compiler;
  const folder = dirname(file);
  const files = new Set<string>();
  let binary: Uint8Array<ArrayBuffer> | undefined;
  const readFile = (name: string): string | null => {
    // asc adds an ending of its own to imports that have one
    const path = declaration(name) ?? resolve(folder, name.replace(/\.ts\.ts$/, ".ts"));
    if (!existsSync(path)) return null;
    if (!path.startsWith(declarations)) files.add(path);
    return readFileSync(path, "utf8");
  };
  const options = [
    ...["--importMemory", "--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65536"],
    ...["-O3", "--noAssert", "--enable", "threads", "--enable", "simd", "--use", "abort="],
    ...["--runtime", "node_modules/pollmode/no-heap"],
  ];
  const { error, stderr } = await main([basename(file), "-o", "app.wasm", ...options], {
    readFile,
    writeFile: (name, contents) => {
      if (name.endsWith(".wasm")) binary = new Uint8Array(contents as Uint8Array);
    },
    listFiles: () => [],
  });
  const listed = [...files, file];
  if (!error && binary) return { binary, files: listed };
  return { files: listed, failure: complaint(file, stripVTControlCharacters(stderr.toString()), error) };
}

/**
 * asc's messages: `ERROR TS2304: Cannot find name 'x'.`, the source, then `in x.ts(3,5)`. On a terminal, and where the
 * variable CI is set, it colours them.
 */
function complaint(file: string, text: string, error: Error | null): string {
  const what = /^(?:ERROR|FAILURE) (.*)$/m.exec(text)?.[1] ?? error?.message ?? "it cannot be compiled";
  const [, name, line, column] = / in (.+)\((\d+),(\d+)\)/.exec(text) ?? [];
  return name ? `${resolve(dirname(file), name)}:${line}:${column}: ${what}` : `${file}: ${what}`;
}

parentPort!.postMessage(await compile(workerData as AssemblyTask));
