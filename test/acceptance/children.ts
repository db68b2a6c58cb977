// Scripts of this folder run as processes of their own.
import { fileURLToPath } from "node:url";
import { OwnedProcess } from "../beds/child.ts";

export function startScript(name: string, args: readonly string[], nodeOptions: string[] = []): OwnedProcess {
  const path = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  return new OwnedProcess(name, process.execPath, [...nodeOptions, path, ...args]);
}
