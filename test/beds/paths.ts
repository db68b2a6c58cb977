// Where the test beds find the repository and keep what they build.
import { existsSync, mkdirSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error("no package.json above " + fileURLToPath(import.meta.url));
    folder = parent;
  }
  // A build elsewhere, with a link to package.json beside it, still finds the sources and shares the beds' state.
  return dirname(realpathSync(join(folder, "package.json")));
}

/** The folder that holds package.json: found from this file, compiled or not. */
export const repositoryRoot = findRoot();

/** Where files beside the sources are that tsc does not copy, such as a guest's init script. */
export function bedSource(file: string): string {
  return join(repositoryRoot, "test", "beds", file);
}

/** A bed's own folder of downloads and images, `.beds/<name>`: git-ignored, safe to delete. */
export function bedState(name: string): string {
  const folder = join(repositoryRoot, ".beds", name);
  mkdirSync(folder, { recursive: true });
  return folder;
}
