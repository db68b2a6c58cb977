// Reads a line by the table of commands: all commands whose grammar fits the words so far are followed at once, so that
// a message can say what else could have stood at the word that fits none, and Tab can offer what may come next.
import { nearest } from "../../../eal/nearest.ts";
import type { Session } from "../session.ts";
import { type Hint, type Step, splitLine, type Word, WordError } from "./grammar.ts";
import type { Command } from "./table.ts";

/** A command, and how far it has been read. */
interface Path {
  readonly command: Command;
  readonly steps: readonly Step[];
  readonly at: number;
  readonly values: readonly unknown[];
}

export interface Match {
  readonly command: Command;
  readonly values: readonly unknown[];
}

function begin(commands: readonly Command[]): Path[] {
  return commands.flatMap((command) => command.ways.map((steps) => ({ command, steps, at: 0, values: [] })));
}

function advance(path: Path, value: unknown): Path {
  const isValue = path.steps[path.at]!.isValue;
  return { ...path, at: path.at + 1, values: isValue ? [...path.values, value] : path.values };
}

/** The command that a line is; undefined for one that is empty. Throws a placed WordError. */
export function matchLine(commands: readonly Command[], line: string, session: Session): Match | undefined {
  const words = splitLine(line);
  if (words.length === 0) return undefined;
  let paths = begin(commands);
  for (const [k, word] of words.entries()) {
    const tail = tailOf(paths);
    if (tail) return finish(tail, words, k, session);
    paths = step(paths, word, session);
  }
  const done = paths.find((path) => path.at === path.steps.length);
  if (done) return { command: done.command, values: done.values };
  const tail = tailOf(paths);
  if (tail) return finish(tail, words, words.length, session);
  const last = words.at(-1)!;
  const message = "the command goes on after this";
  throw new WordError(message, expected(paths, session), last.at + last.text.length);
}

/** Of commands that take the rest of the line, there is one at a time. */
function tailOf(paths: readonly Path[]): Path | undefined {
  return paths.find((path) => path.steps[path.at]?.types[0]?.type.tail !== undefined);
}

/** The words from `first` on by the grammar that they have of their own. */
function finish(path: Path, words: readonly Word[], first: number, session: Session): Match {
  const { tail } = path.steps[path.at]!.types[0]!.type;
  const last = words.at(-1)!;
  try {
    const value = tail!.parse(words.slice(first), last.at + last.text.length, session);
    return { command: path.command, values: [...path.values, value] };
  } catch (error) {
    throw error instanceof WordError ? error.placed(words[first - 1]!.at) : error;
  }
}

/** Reads one word: as it stands, else as a value, else as the beginning of one word alone. */
function step(paths: readonly Path[], word: Word, session: Session): Path[] {
  const open = paths.filter((path) => path.at < path.steps.length);
  const literal = open.filter((path) => path.steps[path.at]!.words.includes(word.text));
  if (literal.length > 0) return literal.map((path) => advance(path, word.text));
  const faults: WordError[] = [];
  const typed = open.flatMap((path) => asValue(path, word, session, faults));
  if (typed.length > 0) return typed;
  const begun = new Set(open.filter(isOurs).flatMap((path) => wordsWith(path, word.text)));
  const [only] = begun;
  if (begun.size === 1) {
    const meant = open.filter((path) => path.steps[path.at]!.words.includes(only!));
    return meant.map((path) => advance(path, only));
  }
  if (begun.size > 1) {
    throw new WordError(`"${word.text}" may be ${[...begun].join(" or ")}`, "write more of it", word.at);
  }
  throw fault(paths, open, word, faults, session);
}

function asValue(path: Path, { text, at }: Word, session: Session, faults: WordError[]): Path[] {
  for (const { type } of path.steps[path.at]!.types) {
    if (type.tail) continue;
    try {
      return [advance(path, type.parse(text, session))];
    } catch (error) {
      if (!(error instanceof WordError)) throw error;
      faults.push(error.placed(at));
    }
  }
  return [];
}

/** DPDK's commands that are not here are told by their whole words, and never offered. */
function isOurs(path: Path): boolean {
  return path.command.missing === undefined;
}

function wordsWith(path: Path, start: string): string[] {
  return path.steps[path.at]!.words.filter((word) => word.startsWith(start));
}

function fault(
  paths: readonly Path[],
  open: readonly Path[],
  word: Word,
  faults: readonly WordError[],
  session: Session,
): WordError {
  if (open.length === 0) {
    return new WordError(`"${word.text}" is too much`, "the command ends before it", word.at);
  }
  const options = open.filter(isOurs).flatMap((path) => path.steps[path.at]!.words);
  const near = nearest(word.text, new Set(options));
  // what is meant as a value is told what is wrong with it
  const [first] = faults;
  if (first && (options.length === 0 || (near === undefined && /^[0-9]/.test(word.text)))) return first;
  if (paths[0]!.at === 0) {
    const hint = near ? `did you mean ${near}? ` : "";
    return new WordError(`there is no command "${word.text}"`, `${hint}\`help\` lists them`, word.at);
  }
  const hint = near ? `did you mean ${near}? ` : "";
  return new WordError(`"${word.text}" cannot stand here`, `${hint}${expected(open, session)}`, word.at);
}

function expected(paths: readonly Path[], session: Session): string {
  const hints = hintsOf(paths.filter(isOurs), session).map(({ word }) => word);
  return `one of: ${[...new Set(hints)].join(", ")}`;
}

/** What may stand next: words as they are, types by name. */
function hintsOf(paths: readonly Path[], session: Session): Hint[] {
  const hints = new Map<string, Hint>();
  for (const path of paths) {
    const step = path.steps[path.at];
    const help = path.command.help;
    for (const word of step?.words ?? []) if (!hints.has(word)) hints.set(word, { word, help });
    for (const { name, type } of step?.types ?? []) {
      const word = `<${name}>`;
      if (!hints.has(word)) hints.set(word, { word, help: type.describe(session) });
    }
  }
  return [...hints.values()];
}

/** Commands that the words before the last one fit, and these words; undefined where they fit none. */
function follow(commands: readonly Command[], words: readonly Word[], session: Session) {
  let paths = begin(commands.filter(({ missing }) => missing === undefined));
  for (const [k, word] of words.entries()) {
    const tail = tailOf(paths);
    if (tail) return { paths: [tail], rest: words.slice(k) };
    try {
      paths = step(paths, word, session);
    } catch {
      return undefined;
    }
  }
  return { paths, rest: [] };
}

/** The word that is being written, and those before it. */
function cut(line: string): { before: Word[]; start: string } {
  const words = splitLine(line);
  if (words.length === 0 || /\s$/.test(line)) return { before: words, start: "" };
  return { before: words.slice(0, -1), start: words.at(-1)!.text };
}

/** For Tab: what the last word of the line may become. */
export function completeLine(commands: readonly Command[], line: string, session: Session): string[] {
  const { before, start } = cut(line);
  const found = follow(commands, before, session);
  if (!found) return [];
  const words = new Set<string>();
  for (const path of found.paths) {
    for (const word of wordsOf(path, found.rest, start, session)) words.add(word);
  }
  return [...words].filter((word) => word.startsWith(start)).sort();
}

function wordsOf(path: Path, rest: readonly Word[], start: string, session: Session): readonly string[] {
  const step = path.steps[path.at];
  if (!step) return [];
  const typed = step.types.flatMap(({ type }) => {
    if (type.tail) return type.tail.complete(rest, start, session).map(({ word }) => word);
    return [...(type.complete?.(start, session) ?? [])];
  });
  return [...step.words, ...typed.filter((word) => !word.startsWith("<"))];
}

/** For `?`: what may come next, with a line of help each. */
export function explainLine(commands: readonly Command[], line: string, session: Session): Hint[] {
  const { before, start } = cut(line);
  const found = follow(commands, before, session);
  if (!found) return [];
  const tail = tailOf(found.paths)?.steps.at(-1)?.types[0]?.type.tail;
  const hints = tail ? tail.complete(found.rest, start, session) : hintsOf(found.paths, session);
  const ends = found.rest.length === 0 && found.paths.some((path) => path.at === path.steps.length);
  const fitting = hints.filter(({ word }) => word.startsWith(start) || word.startsWith("<"));
  return ends && start === "" ? [{ word: "<Enter>", help: "runs the command" }, ...fitting] : fitting;
}
