// The grammar of a command, written as testpmd's help writes it: `set promisc (port_id|all) (on|off)`. A bare word
// stands for itself; what is in parentheses is a value, one of several words or of a type that has a name (types.ts);
// what is in brackets may be left out, with all that follows it.
import { PollmodeError } from "../../../errors.ts";
import type { Session } from "../session.ts";

export interface Word {
  readonly text: string;
  /** Column in the line, from 0. */
  readonly at: number;
}

/** Bad input: the column that is wrong, and what would be right. */
export class WordError extends PollmodeError {
  readonly at: number;

  constructor(message: string, fix: string, at = -1) {
    super("COMMAND", message, fix);
    this.at = at;
  }

  /** The same at a column. */
  placed(at: number): WordError {
    return this.at >= 0 ? this : new WordError(this.message, this.fix, at);
  }
}

/** A value by its type. Both read what there is now: ports come and go. */
export interface ValueType {
  /** One line: what may stand here. */
  describe(session: Session): string;
  /** Throws a WordError. */
  parse(text: string, session: Session): unknown;
  /** Words that begin so; one that ends in `/` or `=` goes on. */
  complete?(start: string, session: Session): readonly string[];
  /** All words that are left, instead of one. */
  readonly tail?: TailType;
}

/** What has a grammar of its own to the end of the line, as flow rules do. */
export interface TailType {
  /** `end` is the column after the line. Throws a placed WordError. */
  parse(words: readonly Word[], end: number, session: Session): unknown;
  complete(words: readonly Word[], start: string, session: Session): readonly Hint[];
}

/** What may stand next. */
export interface Hint {
  readonly word: string;
  readonly help?: string;
}

export interface Step {
  readonly words: readonly string[];
  readonly types: readonly { readonly name: string; readonly type: ValueType }[];
  /** Whether it is handed to the command. */
  readonly isValue: boolean;
}

export type Types = Readonly<Record<string, ValueType>>;

/** The ways in which a command may be written: one more for each bracket. */
export function compile(grammar: string, types: Types): Step[][] {
  const tokens = grammar.match(/\([^)]*\)|\[|\]|[^\s[\]()]+/g) ?? [];
  const ways: Step[][] = [];
  const steps: Step[] = [];
  for (const token of tokens) {
    if (token === "[") ways.push([...steps]);
    else if (token !== "]") steps.push(compileStep(token, types));
  }
  return [...ways, steps];
}

function compileStep(token: string, types: Types): Step {
  if (!token.startsWith("(")) return { words: [token], types: [], isValue: false };
  const parts = token.slice(1, -1).split("|");
  const isType = (part: string) => Object.hasOwn(types, part);
  return {
    words: parts.filter((part) => !isType(part)),
    types: parts.filter(isType).map((name) => ({ name, type: types[name]! })),
    isValue: true,
  };
}

/** Words with their columns, without a comment. */
export function splitLine(line: string): Word[] {
  const words: Word[] = [];
  for (const match of line.matchAll(/\S+/g)) {
    if (match[0].startsWith("#")) break;
    words.push({ text: match[0], at: match.index });
  }
  return words;
}

/** The line, a caret under the word that is wrong, and what is wrong with it. `indent`: columns before the line. */
export function pointAt(line: string, error: WordError, indent = 0): string {
  return `${line}\n${" ".repeat(indent + error.at)}^\n${error.message}\n  fix: ${error.fix}`;
}
