// A private copy of the build in which one source file may be wrong on purpose. Of the copy one .js is made anew, by
// esbuild; its hot code runs as the TypeScript engine, which is of the same sources as the WebAssembly. Vector variants
// (.as.ts) are in the WebAssembly alone: of them hot.wasm is made anew.
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { build, type Plugin } from "esbuild";
import { buildWasm } from "../../../scripts/build-wasm.ts";
import type { EngineName } from "../../../src/hot/engine.ts";
import { repositoryRoot } from "../../beds/paths.ts";

/** One wrong behaviour: `find` stands once in `file`, relative to the repository; `put` takes its place. */
export interface Mutation {
  /** What is wrong then, in words. */
  name: string;
  file: string;
  find: string;
  put: string;
  /** Parts of the short suite that are likely to catch it; they run before all the others. */
  first: readonly string[];
}

/** The build that this file is of. */
const built = resolve(import.meta.dirname, "../../../..");
const wanted = [
  "src",
  "pmd",
  "test/acceptance",
  "test/support",
  "test/pmd/e1000",
  "test/pmd/mlx5",
  "test/beds",
];

/** A source as it is. */
export function sourceOf(file: string): string {
  return readFileSync(join(repositoryRoot, file), "utf8");
}

/** The source with the mutation in it. Throws where it does not fit: one that is none would pass for caught. */
export function mutated({ name, file, find, put }: Mutation): string {
  const parts = sourceOf(file).split(find);
  if (parts.length === 2 && find !== put) return parts.join(put);
  throw new Error(`mutation "${name}": ${file} has ${parts.length - 1} times, not once: ${find}`);
}

/** Inlined are files of constants alone, which exist for compilers only. All else is left to be imported. */
const boundaries: Plugin = {
  name: "boundaries",
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir }) => {
      const text = readFileSync(join(resolveDir, path), "utf8");
      const isConstants =
        /^export const enum /m.test(text) && !/^(export )?(function|class|let)\b/m.test(text);
      if (isConstants) return undefined;
      return { path: path.replace(/\.ts$/, ".js"), external: true };
    }),
};

/** The JavaScript of one source file with this text. */
async function compile(file: string, contents: string): Promise<string> {
  const resolveDir = join(repositoryRoot, dirname(file));
  const { outputFiles } = await build({
    stdin: { contents, resolveDir, sourcefile: file, loader: "ts" },
    bundle: true,
    packages: "external",
    format: "esm",
    platform: "node",
    target: "node20",
    write: false,
    plugins: [boundaries],
  });
  return outputFiles[0]!.text;
}

const wasmFile = "dist/src/hot/hot.wasm";

/** Which engine runs a source. */
export function engineOf(source: string): EngineName {
  return source.endsWith(".as.ts") ? "wasm" : "ts";
}

/** A copy of the build in `folder`. */
export class BuildCopy implements Disposable {
  readonly folder: string;
  private readonly originals = new Map<string, Buffer>();

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    const filter = (path: string) => !/\.(d\.ts|map)$/.test(path);
    for (const part of wanted) {
      cpSync(join(built, "dist", part), join(folder, "dist", part), { recursive: true, filter });
    }
    for (const link of ["node_modules", "package.json"])
      symlinkSync(join(repositoryRoot, link), join(folder, link));
  }

  /** Where a source's JavaScript is. */
  path(source: string): string {
    return join(this.folder, "dist", source.replace(/\.ts$/, ".js"));
  }

  /** Puts other text in the place of a source's, compiled; the copy runs as that source's engine then. */
  async replace(source: string, text: string): Promise<void> {
    if (engineOf(source) === "ts") return this.keep(this.path(source), await compile(source, text));
    const file = join(this.folder, wasmFile);
    this.keep(file, readFileSync(file));
    const read = (path: string) => (path.endsWith(`/${source}`) ? text : readFileSync(path, "utf8"));
    await buildWasm("src/hot/entry.ts", relative(built, file), false, read);
  }

  /** Remembers what stands in a file, and writes other content. */
  private keep(path: string, content: string | Buffer): void {
    if (!this.originals.has(path)) this.originals.set(path, readFileSync(path));
    writeFileSync(path, content);
  }

  /** As it was built. */
  restore(): void {
    for (const [path, content] of this.originals) writeFileSync(path, content);
    this.originals.clear();
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
