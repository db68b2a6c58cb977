// Runs a bundle that src/engine/apps.ts made of an application, on its lcore's thread. As a function and no module:
// Node.js keeps every module that it ever loaded, so an application that is reloaded often would fill the memory; a
// function goes when nobody refers to it any more. It is an async function, so top-level await works.
import { createRequire, SourceMap } from "node:module";
import { pathToFileURL } from "node:url";
import { compileFunction } from "node:vm";
import type { AppFailure, AppModule } from "./task.ts";

type Bundle = Extract<AppModule, { kind: "bundle" }>;
type Exports = Record<string, unknown>;

/** What a bundle is called with, in this order. Its imports of Node.js and of pollmode go through `outside`. */
const PARAMETERS = ["outside", "expose"];

export async function runBundle(bundle: Bundle): Promise<Exports> {
  const library = (await import(bundle.library)) as Exports;
  const load = createRequire(pathToFileURL(bundle.file));
  let exports: Exports = {};
  const body = compileFunction(`return (async () => {${bundle.code}\n})();`, PARAMETERS, {
    filename: scriptName(bundle),
  });
  await body(
    (name: string) => (name === "pollmode" ? library : load(name)),
    (found: Exports) => {
      exports = found;
    },
  );
  return exports;
}

/** As stack traces name it. */
const scriptName = ({ file }: Bundle) => `pollmode-app:${file}`;

/** Where in an application's source an error arose, as well as its stack tells. */
export function describeFailure(error: unknown, app: AppModule): AppFailure {
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  if (app.kind !== "bundle") return { message, at: undefined };
  const start = stack.indexOf(`${scriptName(app)}:`);
  const [, line, column] = /^:(\d+)(?::(\d+))?/.exec(stack.slice(start + scriptName(app).length)) ?? [];
  if (start < 0 || line === undefined) return { message, at: undefined };
  const entry = new SourceMap(JSON.parse(app.map)).findEntry(Number(line) - 1, Number(column ?? 1) - 1);
  if (!("originalSource" in entry)) return { message, at: undefined };
  return { message, at: `${entry.originalSource}:${entry.originalLine + 1}:${entry.originalColumn + 1}` };
}
