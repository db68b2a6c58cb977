// The rules of style, each a function from files to findings (`path:line: what is wrong`). tidy.test.ts runs them.
import { exportsOf, functionsOf, type Import, importedPath, importsOf, type SourceFile } from "./source.ts";

const fileLinesMax = 399;
const functionLinesMax = 69;
const lineCharsMax = 120;

const isTypeScript = ({ path }: SourceFile) => path.endsWith(".ts");
/** Without docs/api.md: TypeDoc writes it, as long as it comes, out of sources that are looked at. */
const isSource = ({ path }: SourceFile) => /\.(ts|c|sh|md)$/.test(path) && path !== "docs/api.md";
const isLibrary = ({ path }: SourceFile) => /^(src|pmd)\/.*(?<!\.d)\.ts$/.test(path);

/** Files under 400 lines; register tables may be longer. */
export function longFiles(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => isSource(file) && !/(^|\/)registers\.ts$/.test(file.path))
    .map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
    .filter(({ lines }) => lines > fileLinesMax)
    .map(({ path, lines }) => `${path}: ${lines} lines, at most ${fileLinesMax}`);
}

/** Functions under 70 lines. */
export function longFunctions(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => /\.(ts|c)$/.test(path))
    .flatMap(({ path, text }) =>
      functionsOf(text)
        .filter(({ lines }) => lines > functionLinesMax)
        .map(({ line, lines, head }) => {
          return `${path}:${line}: a function of ${lines} lines, at most ${functionLinesMax}: ${head.slice(0, 60)}`;
        }),
    );
}

/** Lines of at most 120 characters. A table's row in Markdown cannot be broken. */
export function longLines(files: readonly SourceFile[]): string[] {
  return findLines(files.filter(isSource), ({ path }, line) => {
    if (line.length <= lineCharsMax || (path.endsWith(".md") && line.startsWith("|"))) return undefined;
    return `${line.length} characters, at most ${lineCharsMax}`;
  });
}

/** Words that mark unfinished work. Written apart here, for this file is searched too. */
const unfinished = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|")})\\b`);

export function unfinishedWork(files: readonly SourceFile[]): string[] {
  return findLines(files.filter(isSource), (_file, line) => {
    const word = unfinished.exec(line)?.[1];
    return word && `"${word}": finish it, or say in words what is missing`;
  });
}

const machineFolders = new RegExp(`(^|[^\\w.])/(${["work", "root", "home"].join("|")})/`);

/** Paths of somebody's machine. */
export function machinePaths(files: readonly SourceFile[]): string[] {
  return findLines(files, (_file, line) => {
    const folder = machineFolders.exec(line)?.[2];
    return folder && `a path under /${folder}: it exists on one machine alone`;
  });
}

/** A registry's address in the lock file sends every npm ci to that registry. */
export function registryHosts(files: readonly SourceFile[]): string[] {
  return findLines(
    files.filter(({ path }) => /(^|\/)package-lock\.json$/.test(path)),
    (_file, line) => (/"resolved":\s*"https?:/.test(line) ? "a registry's address: see .npmrc" : undefined),
  );
}

function findLines(
  files: readonly SourceFile[],
  check: (file: SourceFile, line: string) => string | undefined | "",
): string[] {
  return files.flatMap((file) =>
    file.text.split("\n").flatMap((line, index) => {
      const finding = check(file, line);
      return finding ? [`${file.path}:${index + 1}: ${finding}`] : [];
    }),
  );
}

function forImports(
  files: readonly SourceFile[],
  check: (file: SourceFile, target: string, imported: Import) => string | undefined,
): string[] {
  return files.flatMap((file) =>
    importsOf(file.text).flatMap((imported) => {
      if (!imported.specifier.startsWith(".")) return [];
      const finding = check(file, importedPath(file.path, imported.specifier), imported);
      return finding ? [`${file.path}:${imported.line}: ${finding}`] : [];
    }),
  );
}

/** Relative imports name the file as it is, with its `.ts`. */
export function importEndings(files: readonly SourceFile[]): string[] {
  return forImports(files.filter(isTypeScript), (_file, _target, { specifier }) =>
    specifier.endsWith(".ts") ? undefined : `"${specifier}" should end in .ts`,
  );
}

export interface Layers {
  /** Ground floor first. A layer is one or more path prefixes; it imports from itself and from those before it. */
  readonly order: readonly (readonly string[])[];
  /** Files of the hot side. They import hot files alone, wherever those are. */
  readonly hot: RegExp;
  /** What a hot file may import besides: constants and forwarding modes, which compile in both worlds. */
  readonly hotMayImport: RegExp;
}

/** A layer imports only from those below it. */
export function layering(files: readonly SourceFile[], layers: Layers): string[] {
  const layerOf = (path: string) =>
    layers.order.findIndex((prefixes) => prefixes.some((p) => path.startsWith(p)));
  return forImports(files.filter(isLibrary), ({ path }, target) => {
    if (!/^(src|pmd)\//.test(target)) return `${target} is no part of the library`;
    if (layers.hot.test(path)) {
      const fits = layers.hot.test(target) || layers.hotMayImport.test(target);
      return fits ? undefined : `a hot file imports ${target}, which is none`;
    }
    const [from, to] = [layerOf(path), layerOf(target)];
    if (from < 0) return undefined; // src/index.ts, or a new folder: unlayered() names it
    return to <= from ? undefined : `imports ${target} from a layer above it`;
  });
}

/** Library files that no layer holds, so that a new folder cannot escape layering(). */
export function unlayered(files: readonly SourceFile[], layers: Layers, roots: readonly string[]): string[] {
  const known = (path: string) => layers.order.some((prefixes) => prefixes.some((p) => path.startsWith(p)));
  const strangers = files.filter(isLibrary).filter(({ path }) => !known(path) && !roots.includes(path));
  return strangers.map(
    ({ path }) => `${path}: no layer holds it; add its folder to the table in tidy.test.ts`,
  );
}

/** Files under src/ and pmd/ that no entry point reaches. */
export function deadFiles(files: readonly SourceFile[], isEntry: (path: string) => boolean): string[] {
  const byPath = new Map(files.filter(isTypeScript).map((file) => [file.path, file]));
  const reached = new Set<string>();
  const queue = [...byPath.keys()].filter(isEntry);
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    const file = byPath.get(path);
    if (!file || reached.has(path)) continue;
    reached.add(path);
    queue.push(path.replace(/\.ts$/, ".as.ts")); // AssemblyScript's variant of the same file
    for (const { specifier } of importsOf(file.text)) {
      if (specifier.startsWith(".")) queue.push(importedPath(path, specifier).replace(/\.js$/, ".ts"));
    }
  }
  const dead = files.filter(isLibrary).filter(({ path }) => !reached.has(path));
  return dead.map(({ path }) => `${path}: no entry point reaches it`);
}

/**
 * Exports of src/ and pmd/ that nobody imports. `isPublic` files are imported by the world outside; a table of
 * registers is complete for its own sake.
 */
export function unusedExports(files: readonly SourceFile[], isPublic: (path: string) => boolean): string[] {
  const used = new Set<string>();
  for (const file of files.filter(isTypeScript)) {
    for (const { specifier, names } of importsOf(file.text)) {
      if (!specifier.startsWith(".")) continue;
      const target = importedPath(file.path, specifier);
      for (const name of names) used.add(`${target} ${name}`);
    }
  }
  const candidates = files.filter(
    (file) => isLibrary(file) && !file.path.endsWith(".as.ts") && !isPublic(file.path),
  );
  return candidates.flatMap(({ path, text }) =>
    exportsOf(text)
      .filter(({ name }) => !used.has(`${path} ${name}`) && !used.has(`${path} *`))
      .filter(({ isType, usedHere }) => !(isType && usedHere))
      .map(({ name, line }) => `${path}:${line}: ${name} is exported but imported nowhere`),
  );
}
