// Just enough reading of TypeScript and C for the rules of style: what is code, what each file imports and exports,
// and where functions begin and end. Heuristics; TypeScript 7 has no stable API to ask instead.
import { dirname, join } from "node:path/posix";

export interface SourceFile {
  /** From the repository's root. */
  readonly path: string;
  readonly text: string;
}

export interface Import {
  readonly specifier: string;
  /** The names taken; "*" for all of them. */
  readonly names: readonly string[];
  readonly line: number;
  /** `export … from`: the names are passed on. */
  readonly reexport: boolean;
}

/** The file a relative import of `path` means. */
export function importedPath(path: string, specifier: string): string {
  return join(dirname(path), specifier);
}

/** A regular expression may begin after one of these; after anything else "/" divides. */
const beforeRegex = /(^|[=(,:[!&|?{};+\-*%<>~^]|\b(return|case|typeof|in|of|yield|await))\s*$/;

/** Blanks comments, template texts, regular expressions and, with `strings`, quoted texts. Lines stay in place. */
export function maskSource(text: string, strings = true): string {
  const masked: string[] = [];
  const templateDepths: number[] = []; // of braces, where each template's ${ } began
  let depth = 0;
  let at = 0;
  const blank = (pattern: RegExp) => {
    const match = sticky(pattern, text, at) || text[at]!;
    masked.push(match.replace(/[^\n]/g, " "));
    at += match.length;
  };
  const template = () => {
    blank(/(?:[^\\`$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{)?/y);
    if (text.startsWith("${", at - 2) && text[at - 1] === "{") templateDepths.push(depth);
  };
  while (at < text.length) {
    const char = text[at]!;
    if (text.startsWith("//", at)) blank(/.*/y);
    else if (text.startsWith("/*", at)) blank(/\/\*[\s\S]*?(?:\*\/|$)/y);
    else if (char === "`") {
      masked.push(" ");
      at++;
      template();
    } else if (char === "}" && templateDepths.at(-1) === depth) {
      templateDepths.pop();
      masked.push(" ");
      at++;
      template();
    } else if (char === '"' || char === "'") {
      const quoted = sticky(/(["'])(?:\\[\s\S]|(?!\1)[^\\\n])*\1?/y, text, at);
      masked.push(strings ? quoted.replace(/[^\n]/g, " ") : quoted);
      at += quoted.length;
    } else if (char === "/" && beforeRegex.test(masked.slice(-40).join(""))) {
      blank(/\/(?:\\.|\[(?:\\.|[^\]\n])*\]|[^/\n\\])+\/[a-z]*/y);
    } else {
      if (char === "{") depth++;
      if (char === "}") depth--;
      masked.push(char);
      at++;
    }
  }
  return masked.join("");
}

function sticky(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

function lineAt(text: string, at: number): number {
  return text.slice(0, at).split("\n").length;
}

/** All imports of a file, `export … from` and `import("…")` among them. */
export function importsOf(text: string): Import[] {
  const code = maskSource(text, false);
  const imports: Import[] = [];
  const add = (at: number, specifier: string, names: string[], reexport = false) =>
    imports.push({ specifier, names, line: lineAt(code, at), reexport });
  for (const match of code.matchAll(/\b(import|export)\s+([^;"'()=]*?)\s*\bfrom\s*["']([^"']+)["']/g)) {
    add(match.index, match[3]!, importedNames(match[2]!), match[1] === "export");
  }
  for (const match of code.matchAll(/\bimport\s*["']([^"']+)["']/g)) add(match.index, match[1]!, []);
  // Which names a dynamic import uses is not known: all, then.
  for (const match of code.matchAll(/\bimport\s*\(\s*["']([^"']+)["']/g)) add(match.index, match[1]!, ["*"]);
  return imports.sort((a, b) => a.line - b.line);
}

function importedNames(clause: string): string[] {
  if (/\*/.test(clause)) return ["*"];
  const braces = /\{([\s\S]*)\}/.exec(clause);
  const listed = (braces?.[1] ?? "").split(",").map((name) => name.trim().replace(/^type\s+/, ""));
  const names = listed.map((name) => name.split(/\s+as\s+/)[0]!).filter(Boolean);
  const rest = clause.replace(/\{[\s\S]*\}/, "").replace(/^type\b/, "");
  return /\w/.test(rest) ? ["default", ...names] : names;
}

export interface Export {
  readonly name: string;
  readonly line: number;
  /** Whether the file itself mentions it again: an exported type may be part of a function's signature. */
  readonly usedHere: boolean;
  readonly isType: boolean;
}

/** The names a file defines and exports. */
export function exportsOf(text: string): Export[] {
  const code = maskSource(text);
  const exports: Export[] = [];
  const kinds =
    "(?:async\\s+)?function\\*?|(?:abstract\\s+)?class|(?:declare\\s+)?(?:const\\s+enum|enum|const|let)";
  const declaration = new RegExp(`^export\\s+(?:declare\\s+)?(${kinds}|interface|type)\\s+(\\w+)`, "gm");
  for (const match of code.matchAll(declaration)) {
    const name = match[2]!;
    const mentions = code.match(new RegExp(`\\b${name}\\b`, "g"))?.length ?? 0;
    const isType = match[1] === "interface" || match[1] === "type";
    exports.push({ name, line: lineAt(code, match.index), usedHere: mentions > 1, isType });
  }
  for (const match of code.matchAll(/^export\s+(?:type\s+)?\{([^}]*)\}(?!\s*from)/gm)) {
    for (const part of match[1]!.split(",")) {
      const name = part
        .trim()
        .split(/\s+as\s+/)
        .at(-1)!
        .replace(/^type\s+/, "");
      if (name) exports.push({ name, line: lineAt(code, match.index), usedHere: false, isType: false });
    }
  }
  return exports;
}

export interface FunctionSpan {
  readonly line: number;
  readonly lines: number;
  /** The words before its body, for messages. */
  readonly head: string;
}

interface Brace {
  readonly line: number;
  readonly kind: "function" | "type" | "other";
  readonly head: string;
  /** The statement around it so far, at its own depth; braces already closed stand in it as "#". */
  readonly outer: { head: string; parens: number; line: number };
}

const control = /^(else\s+)?(if|for|while|switch|catch|with)\b/;

/** Every function with braces in TypeScript or C, from the line its head begins on to its closing brace. */
export function functionsOf(text: string): FunctionSpan[] {
  const code = maskSource(text).replace(/^[ \t]*#.*$/gm, ""); // C's preprocessor; TypeScript's #private has no line
  const spans: FunctionSpan[] = [];
  const braces: Brace[] = [];
  let line = 1;
  let now = { head: "", parens: 0, line: 1 };
  for (const char of code) {
    if (char === "\n") line++;
    if (char === "{") {
      const head = now.head.trim();
      braces.push({ line: now.line, kind: braceKind(head), head, outer: now });
      now = { head: "", parens: 0, line };
    } else if (char === "}") {
      const brace = braces.pop();
      if (!brace) continue;
      if (brace.kind === "function")
        spans.push({ line: brace.line, lines: line - brace.line + 1, head: brace.head });
      const ends = brace.kind === "other" && brace.outer.parens === 0 && !/[=(,:]\s*$/.test(brace.outer.head);
      now = { ...brace.outer, head: ends || brace.kind === "function" ? "" : `${brace.outer.head}#` };
    } else if (char === ";" && now.parens === 0) {
      now.head = "";
    } else {
      if (char === "(") now.parens++;
      if (char === ")") now.parens--;
      if (now.head === "" && /\s/.test(char)) continue;
      if (now.head === "") now.line = line;
      now.head += char;
    }
  }
  return spans;
}

function braceKind(head: string): Brace["kind"] {
  if (/=>$/.test(head)) return "function";
  if (control.test(head) || /\bclass\b/.test(head.split("(")[0]!)) return "other";
  if (/\)\s*:\s*([^=]*[<|&:,(])?$/.test(head)) return "type"; // an object type within a return type
  return /\)\s*(:[^=]*)?$/.test(head) ? "function" : "other";
}
