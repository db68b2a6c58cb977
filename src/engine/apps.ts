// Applications made ready for lcores (`app=FILE`), and made anew while they run.
//
//   FILE.ts .mts .js .mjs   bundled by esbuild with all that it imports, so one piece of text goes to the worker
//   FILE.as.ts              compiled by AssemblyScript in a thread of its own
//   FILE.wasm               as it is
import { readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, dirname, isAbsolute, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { BuildFailure, Plugin } from "esbuild";
import { PollmodeError } from "../errors.ts";
import type { AppFailure, AppModule } from "../lcore/task.ts";
import { checkImports, compileAssembly } from "./assembly.ts";

/** What `import … from "pollmode"` of an application means: this very package, not a second copy of it. */
const library = new URL("../index.js", import.meta.url).href;

/** An application that is ready but for the scratch memory that one in WebAssembly is given with its lcore. */
export interface BuiltApp {
  readonly module: AppModule;
  /** The files that it was made of: whichever of them changes, it is to be made anew. */
  readonly files: readonly string[];
}

/** The application's file, as an absolute path. */
export function appFile(app: URL | string): string {
  const { href } = app instanceof URL ? app : URL.canParse(app) ? new URL(app) : pathToFileURL(resolve(app));
  if (href.startsWith("file:")) return fileURLToPath(href);
  const message = `application ${href.slice(0, 100)}: it is no file`;
  throw new PollmodeError("APP_FILE", message, "give it as a path or as a file: URL");
}

/**
 * Makes an application ready. What is plain JavaScript and not `fresh` is left to Node.js to load: it then shares
 * nothing with a bundle's life, and is read once a thread.
 */
export async function buildApp(app: URL | string, fresh: boolean): Promise<BuiltApp> {
  const plain = /^[^?#]*\.[cm]?js([?#]|$)/.test(String(app)) || String(app).startsWith("data:");
  if (plain && !fresh) {
    const url = app instanceof URL || URL.canParse(app) ? new URL(app) : pathToFileURL(resolve(app));
    return { module: { kind: "module", url: url.href }, files: [] };
  }
  const file = appFile(app);
  if (file.endsWith(".wasm")) return wasmApp(file, readApp(file), [file]);
  if (file.endsWith(".as.ts")) {
    const { binary, files } = await compileAssembly(file);
    return wasmApp(file, binary, files);
  }
  if (/\.[cm]?[jt]s$/.test(file)) return bundleApp(file);
  const message = `application ${file}: its name ends in none of .ts, .js, .mjs, .as.ts, .wasm`;
  throw new PollmodeError("APP_FILE", message, "rename it by what it is");
}

function readApp(file: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(readFileSync(file));
  } catch (error) {
    throw new PollmodeError(
      "APP_FILE",
      `application: ${(error as Error).message}`,
      "name a file that can be read",
      {
        cause: error,
      },
    );
  }
}

function wasmApp(file: string, binary: Uint8Array<ArrayBuffer>, files: readonly string[]): BuiltApp {
  try {
    const module = new WebAssembly.Module(binary);
    checkImports(file, module, binary);
    return { module: { kind: "wasm", file, module, scratch: 0 }, files };
  } catch (error) {
    if (error instanceof PollmodeError) throw error;
    const message = `application ${file}: ${(error as Error).message}`;
    throw new PollmodeError("APP_WASM", message, "compile it anew: it is no WebAssembly module");
  }
}

async function bundleApp(file: string): Promise<BuiltApp> {
  readApp(file); // where it is missing, that is the clearer message
  const { build } = await import("esbuild");
  const url = JSON.stringify(pathToFileURL(file).href);
  try {
    const { outputFiles, metafile } = await build({
      stdin: {
        contents: `import * as app from ${JSON.stringify(`./${basename(file)}`)}; expose(app);`,
        resolveDir: dirname(file),
        sourcefile: "pollmode-app",
      },
      absWorkingDir: dirname(file),
      bundle: true,
      write: false,
      metafile: true,
      outfile: "app.js",
      format: "esm", // the one format that allows top-level await; its imports all go through the plugin
      platform: "node",
      target: `node${process.versions.node}`,
      sourcemap: "external",
      logLevel: "silent",
      define: { "import.meta.url": url, "import.meta.filename": JSON.stringify(file) },
      plugins: [fromOutside(await libraryNames())],
    });
    const text = (ending: string) => outputFiles.find(({ path }) => path.endsWith(ending))!.text;
    const files = Object.keys(metafile.inputs).map((path) => resolve(dirname(file), path));
    const map = absoluteSources(text(".map"), dirname(file));
    return {
      module: { kind: "bundle", file, code: text(".js"), map, library },
      files: files.filter(
        (path) => !/(^|[:/])pollmode-app$/.test(path) && isAbsolute(path) && !path.includes("outside:"),
      ),
    };
  } catch (error) {
    throw buildError(file, error);
  }
}

/** A source map's sources as paths that a message can name. */
function absoluteSources(map: string, folder: string): string {
  const parsed = JSON.parse(map) as { sources: string[] };
  return JSON.stringify({ ...parsed, sources: parsed.sources.map((source) => resolve(folder, source)) });
}

function buildError(file: string, error: unknown): PollmodeError {
  const [first] = (error as Partial<BuildFailure>).errors ?? [];
  if (first === undefined) {
    return new PollmodeError(
      "APP_BUILD",
      `application ${file}: ${(error as Error).message}`,
      "see the message",
      {
        cause: error,
      },
    );
  }
  const place = first.location;
  const at = place
    ? `${resolve(dirname(file), place.file)}:${place.line}:${place.column + 1}: `
    : `${file}: `;
  return new PollmodeError("APP_BUILD", `${at}${first.text}`, "mend that line", { cause: error });
}

let names: Promise<string[]> | undefined;
const libraryNames = () => (names ??= import(library).then((exports: object) => Object.keys(exports)));

/**
 * Node.js' modules and pollmode stay outside the bundle: it takes them by `outside`, which the worker hands it. An
 * import becomes one constant a name, for a namespace's field is slower to read than a constant in a poll loop.
 */
function fromOutside(pollmodeNames: readonly string[]): Plugin {
  return {
    name: "outside",
    setup(build) {
      build.onResolve({ filter: /^(node:)?[a-z0-9_/]+$/ }, ({ path, kind }) => {
        if (path !== "pollmode" && !isBuiltin(path)) return undefined;
        return { path, namespace: kind === "require-call" ? "outside-require" : "outside" };
      });
      build.onLoad({ filter: /.*/, namespace: "outside-require" }, ({ path }) => ({
        contents: `module.exports = outside(${JSON.stringify(path)});`,
        loader: "js",
      }));
      build.onLoad({ filter: /.*/, namespace: "outside" }, async ({ path }) => {
        const found = path === "pollmode" ? pollmodeNames : Object.keys(process.getBuiltinModule(path) ?? {});
        const usable = found.filter((name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== "default");
        return {
          contents: [
            `const all = outside(${JSON.stringify(path)});`,
            ...(path === "pollmode" ? [] : ["export default all;"]),
            ...usable.map((name, k) => `const name${k} = all.${name};`),
            `export { ${usable.map((name, k) => `name${k} as ${name}`).join(", ")} };`,
          ].join("\n"),
          loader: "js",
        };
      });
    },
  };
}

/** A reload that failed: the old application runs on. */
export function reloadError(lcore: number, file: string, failure: AppFailure): PollmodeError {
  const where = failure.at ?? file;
  const message = `lcore ${lcore} runs on as before: ${where}: ${failure.message}`;
  return new PollmodeError("APP_RELOAD", message, "mend the file and reload it");
}
